/** Whether a local master key is the one that the keys of its provider are under, for the command and the shell. */

import { type BsonLibrary, type Document, type KeyVaultStore, type KmsProviders, proveKeys, type TrustOptions } from '../index.js';

/** What a master key is tried on, and with what. */
export interface KnownMasterKeyQuestion extends TrustOptions {
  readonly kmsProviders: KmsProviders;
  /** Whether a master key that opens only retired keys is known, too: keys may go back to it. */
  readonly alsoRetired: boolean;
  readonly bson: BsonLibrary | undefined;
}

/**
 * How many keys the vault has under `provider` when its master key opens none of them: 0 when it opens one, and when there is
 * none that could be tried. A second master key makes keys that the first does not open, and nothing says so before the first
 * is the only one at hand.
 */
export async function keysThatNoneOpens(store: KeyVaultStore, provider: string, question: KnownMasterKeyQuestion): Promise<number> {
  const { alsoRetired, ...options } = question;
  const failureOf = async (key: Document): Promise<string | undefined> => {
    const keyVault = { find: async () => [key] } as unknown as KeyVaultStore;
    return (await proveKeys({ ...options, keyVault, collections: [] })).keys[0]?.code;
  };
  // What cannot be read is an error, or a check of the plan, of the work itself.
  const keys = await store.find({ 'masterKey.provider': provider }).catch(() => []);
  let isForeign = false;
  for (const key of keys) {
    const code = await failureOf(key);
    if (code === undefined) return 0;
    // Other failures say nothing about the master key: the document is malformed, or the provider is not trusted.
    isForeign ||= code === 'CRYPTO_AUTHENTICATION_FAILED';
  }
  if (!isForeign) return 0;
  if (alsoRetired) {
    const retired = (await store.retiredKeys?.().catch(() => [])) ?? [];
    for (const { document } of retired)
      if ((document.masterKey as Document | undefined)?.['provider'] === provider && (await failureOf(document)) === undefined) return 0;
  }
  return keys.length;
}
