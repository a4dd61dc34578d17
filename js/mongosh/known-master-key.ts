/** A local master key that opens nothing in the vault is the wrong one, unless somebody says that a second one is meant. */

import { CsfleError, type Document, type KeyVaultStore, type KmsProviders, proveKeys, type TrustOptions } from '../index.js';
import { whatOpens } from '../node/known-master-key.js';
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
  const tryOne = async (key: Document): Promise<string | undefined> => {
    const keyVault = { find: async () => [key] } as unknown as KeyVaultStore;
    return (await proveKeys({ keyVault, kmsProviders, collections: [], ...trust, bson })).keys[0]?.code;
  };
  // What cannot be read is an error of the work itself.
  const keys = await store.find({ 'masterKey.provider': provider }).catch(() => []);
  const retired = keys.length > 0 && alsoRetired ? ((await store.retiredKeys?.().catch(() => [])) ?? []) : [];
  const opens = await whatOpens(keys, retired.map(({ document }) => document).filter(({ masterKey }) => (masterKey as Document | undefined)?.['provider'] === provider), tryOne);
  if (opens !== 'none') return;
  const file = keyFileOf(given?.[provider]);
  const error = new CsfleError(
    'CRYPTO_AUTHENTICATION_FAILED',
    `the local master key${file === undefined ? '' : ` of ${file}`} opens none of the ${keys.length} ${keys.length === 1 ? 'key' : 'keys'} that ${namespace} has under ${provider}: it is another master key, and nothing was written`,
    { details: { provider, keys: keys.length, ...(file === undefined ? {} : { file }) } },
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
