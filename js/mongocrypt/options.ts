/** Options of the constructor, read with the binding's rules and refused with its words. */

import { bytesOf } from './status.js';
import type { MongoCryptErrorWrapper } from './context.js';

/** How long data keys are cached unless the options say otherwise, in milliseconds. */
const DEFAULT_KEY_EXPIRATION_MS = 60_000;
const MAX_INT64 = 2 ** 63;

/** Options of `new MongoCrypt()`; documents are BSON. */
export interface MongoCryptOptions {
  /** Required in fact: without it `no kms provider set` is thrown. */
  readonly kmsProviders?: Uint8Array | undefined;
  readonly schemaMap?: Uint8Array | undefined;
  readonly encryptedFieldsMap?: Uint8Array | undefined;
  /** Takes `(level, message)`. */
  readonly logger?: unknown;
  /** Accepted and not used: the cryptography of this package cannot be replaced. */
  readonly cryptoCallbacks?: Readonly<Record<string, unknown>> | undefined;
  /** Accepted and not used: no native library is loaded. */
  readonly cryptSharedLibSearchPaths?: readonly string[] | undefined;
  /** Refused unless `bypassQueryAnalysis` is set: no native library is loaded. */
  readonly cryptSharedLibPath?: string | undefined;
  readonly bypassQueryAnalysis?: boolean | undefined;
  /** How long data keys are cached, in milliseconds; 0 = for ever. */
  readonly keyExpirationMS?: number | undefined;
  readonly errorWrapper: MongoCryptErrorWrapper;
}

/** Options after all checks. */
export interface CheckedOptions {
  readonly kmsProviders: Uint8Array | undefined;
  readonly schemaMap: Uint8Array | undefined;
  readonly encryptedFieldsMap: Uint8Array | undefined;
  readonly bypassQueryAnalysis: boolean;
  readonly keyExpirationMs: number;
}

/** Reads the options. Errors are those of the binding, and are not wrapped. */
export function checkOptions(options: MongoCryptOptions): CheckedOptions {
  if (typeof options !== 'object' || options === null) throw new TypeError('First parameter must be an object');
  const bytes = (name: 'kmsProviders' | 'schemaMap' | 'encryptedFieldsMap'): Uint8Array | undefined =>
    options[name] === undefined ? undefined : bytesOf(options[name], `options.${name}`);
  const checked = {
    kmsProviders: bytes('kmsProviders'),
    schemaMap: bytes('schemaMap'),
    encryptedFieldsMap: bytes('encryptedFieldsMap'),
    bypassQueryAnalysis: Boolean(options.bypassQueryAnalysis),
    keyExpirationMs: keyExpiration(options),
  };
  if ('logger' in options && typeof options.logger !== 'function') throw new Error('Storing non-function as callback logger');
  if ('cryptSharedLibSearchPaths' in options && !Array.isArray(options.cryptSharedLibSearchPaths)) {
    throw new TypeError('Option `cryptSharedLibSearchPaths` must be an array');
  }
  if ('cryptSharedLibPath' in options && !checked.bypassQueryAnalysis) refuseLibrary(String(options.cryptSharedLibPath));
  return checked;
}

/** COMPAT: a property that is there and undefined counts as 0, which keeps keys for ever; an absent one is the default. */
function keyExpiration(options: MongoCryptOptions): number {
  if (!('keyExpirationMS' in options)) return DEFAULT_KEY_EXPIRATION_MS;
  const given = Number(options.keyExpirationMS);
  const expiration = Number.isNaN(given) ? 0 : Math.trunc(given);
  if (expiration < 0) throw new TypeError('Option `keyExpirationMS` must be a non-negative number');
  if (expiration >= MAX_INT64) throw new TypeError('Option `keyExpirationMS` must be a 64-bit integer');
  return expiration;
}

/** The wording of libmongocrypt for a library that does not load. */
function refuseLibrary(path: string): never {
  throw new TypeError(
    `A crypt_shared override path was specified [${path}], but we failed to open a dynamic library at that location. ` +
      'Load error: [csfle-wasm loads no native library: automatic encryption needs mongocryptd, or set bypassQueryAnalysis]',
  );
}
