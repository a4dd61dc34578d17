/** Options of the constructor, read with the binding's rules and refused with its words. */

import type { MongoCryptOptions } from './interface.js';
import { crossing, refuseMisspeltTrust, trustedMasterKeysOf } from '../trust.js';
import { bytesOf } from './status.js';

/** How long data keys are cached unless the options say otherwise, in milliseconds. */
const DEFAULT_KEY_EXPIRATION_MS = 60_000;

/** Options after all checks but those that the library makes itself. */
export interface CheckedOptions {
  readonly kmsProviders: Uint8Array | undefined;
  readonly schemaMap: Uint8Array | undefined;
  readonly encryptedFieldsMap: Uint8Array | undefined;
  readonly bypassQueryAnalysis: boolean;
  readonly keyExpirationMs: number;
  /** A native library that was asked for. */
  readonly libraryPath: string | undefined;
}

/** Reads the options, in the order in which the binding does. Errors are the binding's, and are not wrapped. */
export function checkOptions(options: Partial<MongoCryptOptions>): CheckedOptions {
  const bytes = (name: 'kmsProviders' | 'schemaMap' | 'encryptedFieldsMap'): Uint8Array | undefined =>
    options[name] === undefined ? undefined : bytesOf(options[name], `options.${name}`);
  const [kmsProviders, schemaMap, encryptedFieldsMap] = [bytes('kmsProviders'), bytes('schemaMap'), bytes('encryptedFieldsMap')];
  if ('logger' in options && typeof options.logger !== 'function') throw new Error('Storing non-function as callback logger');
  if ('cryptSharedLibSearchPaths' in options && !Array.isArray(options.cryptSharedLibSearchPaths)) {
    throw new TypeError('Option `cryptSharedLibSearchPaths` must be an array');
  }
  return {
    kmsProviders,
    schemaMap,
    encryptedFieldsMap,
    libraryPath: 'cryptSharedLibPath' in options ? `${options.cryptSharedLibPath}` : undefined,
    bypassQueryAnalysis: Boolean(options.bypassQueryAnalysis),
    keyExpirationMs: keyExpiration(options),
  };
}

/**
 * COMPAT: a property that is there and undefined counts as 0, which keeps keys for ever; an absent one is the default.
 * What is no finite number counts as 0 too, and what is longer than 64 bits as the longest time there is (Node-API,
 * `napi_get_value_int64`).
 */
function keyExpiration(options: Partial<MongoCryptOptions>): number {
  if (!('keyExpirationMS' in options)) return DEFAULT_KEY_EXPIRATION_MS;
  const given = Math.trunc(+(options.keyExpirationMS as number));
  if (!Number.isFinite(given)) return 0;
  if (given < 0) throw new TypeError('Option `keyExpirationMS` must be a non-negative number');
  return given;
}

/** The wording of libmongocrypt for a library that does not load. */
export function refuseLibrary(path: string): never {
  throw new TypeError(
    `A crypt_shared override path was specified [${path}], but we failed to open a dynamic library at that location. ` +
      'Load error: [csfle-wasm loads no native library: automatic encryption needs mongocryptd, or set bypassQueryAnalysis]',
  );
}

/**
 * The option of our own. Other unknown options are passed over, as the original does; one that is ours but for its spelling
 * is refused.
 * Errors: `OPTION_INVALID`.
 */
export function checkTrust(options: Partial<MongoCryptOptions>): (string | Uint8Array)[] | undefined {
  refuseMisspeltTrust(options, ['trustedMasterKeys']);
  const patterns = trustedMasterKeysOf(options.trustedMasterKeys);
  return patterns && crossing(patterns);
}
