/** A local master key that opens nothing in the vault is the wrong one, unless somebody says that a second one is meant. */

import { CsfleError, type KmsProviders, type TrustOptions } from '../index.js';
import { keysThatNoneOpens } from '../node/known-master-key.js';
import type { ShellKmsProviders } from './kms-providers.js';
import { LocalKeyFile } from './local-key-file.js';
import type { ShellKeyVaultPlace } from './session.js';

/** What is wrapped under, and what the caller says about it. */
export interface KnownMasterKeyOptions extends TrustOptions {
  readonly provider: unknown;
  readonly kmsProviders: KmsProviders;
  /** As they were given: they tell the file. */
  readonly given: ShellKmsProviders | undefined;
  readonly newMasterKey: unknown;
  /** Whether one that opens retired keys is known, too: keys may go back to it. */
  readonly alsoRetired: boolean;
}

/**
 * Refuses to wrap under a local master key that opens none of the keys under its provider.
 * Errors: `CRYPTO_AUTHENTICATION_FAILED`, `OPTION_INVALID`.
 */
export async function requireKnownMasterKey({ store, namespace, bson }: ShellKeyVaultPlace, options: KnownMasterKeyOptions): Promise<void> {
  const { provider, kmsProviders, given, newMasterKey, alsoRetired, trustedMasterKeys, allowedEndpoints } = options;
  if (newMasterKey !== undefined && typeof newMasterKey !== 'boolean')
    throw new CsfleError('OPTION_INVALID', 'newMasterKey must be true or false', { details: { option: 'newMasterKey' } });
  if (newMasterKey === true || typeof provider !== 'string' || provider.split(':', 1)[0] !== 'local') return;
  const trust = { ...(trustedMasterKeys === undefined ? {} : { trustedMasterKeys }), ...(allowedEndpoints === undefined ? {} : { allowedEndpoints }) };
  const keys = await keysThatNoneOpens(store, provider, { kmsProviders, alsoRetired, ...trust, bson });
  if (keys === 0) return;
  const file = keyFileOf(given?.[provider]);
  const error = new CsfleError(
    'CRYPTO_AUTHENTICATION_FAILED',
    `the local master key${file === undefined ? '' : ` of ${file}`} opens none of the ${keys} ${keys === 1 ? 'key' : 'keys'} that ${namespace} has under ${provider}: it is another master key, and nothing was written`,
    { details: { provider, keys, ...(file === undefined ? {} : { file }) } },
  );
  throw Object.assign(error, {
    remedy: `Give the file of the master key that wraps them: csfle.localKeyFile(<path>). If a second master key is meant, give it a name of its own in kmsProviders, such as 'local:new', or the option newMasterKey: true.`,
  });
}

/** The absolute path of the file that a local provider of the shell reads its key from. */
export function keyFileOf(provider: unknown): string | undefined {
  const key = provider instanceof LocalKeyFile ? provider : (provider as { key?: unknown } | null | undefined)?.key;
  return key instanceof LocalKeyFile ? key.path : undefined;
}
