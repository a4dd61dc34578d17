import { MaterialProof } from '../backup/proof.js';
import { type BsonLibrary, requireBson } from '../bson.js';
import type { KeyVaultStore } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import { findDocuments } from '../run.js';
import type { TrustOptions } from '../trust.js';
import type { NamespacedClient } from './options.js';
import { openKeyVault } from './setup.js';

/** Options of `opensKeysUnder()`. */
export interface OpensKeysOptions extends TrustOptions {
  readonly keyVault: KeyVaultStore | NamespacedClient;
  readonly kmsProviders: KmsProviders;
  /** As key documents name it: `local`, `local:new`. */
  readonly provider: string;
  readonly bson?: BsonLibrary | undefined;
}

/** Result of `opensKeysUnder()`. */
export interface OpensKeysReport {
  /** Keys of the vault under the provider. */
  readonly keys: number;
  /** Whether the master key opens one of them, a retired one only, or none. `unknown`: none that could be tried. */
  readonly opens: 'key' | 'retired-key' | 'none' | 'unknown';
}

/**
 * Whether a master key is the one that keys of this provider are under. A second one makes keys that the first does not open, and
 * nothing says so before the first is the only one at hand. Nothing is written.
 * Errors: `KEY_VAULT_NOT_READABLE`, and those of the options.
 */
export async function opensKeysUnder({ keyVault, provider, ...given }: OpensKeysOptions): Promise<OpensKeysReport> {
  const store = openKeyVault(keyVault);
  const proof = new MaterialProof({ ...given, bson: requireBson(given.bson) });
  try {
    const under = await findDocuments(store, { 'masterKey.provider': provider });
    // A right that this user lacks on the retired keys changes nothing.
    const retired = await store.retiredKeys?.().catch(() => []);
    let isForeign = false;
    for (const [opens, documents] of [['key', under], ['retired-key', (retired ?? []).map(({ document }) => document)]] as const)
      for (const document of documents) {
        if ((document.masterKey as { provider?: unknown } | undefined)?.provider !== provider) continue;
        const opened = await proof.ofPresent(document, undefined);
        if ('fingerprint' in opened) return { keys: under.length, opens: opens === 'key' || isForeign ? opens : 'unknown' };
        isForeign ||= opens === 'key' && opened.closed.code === 'CRYPTO_AUTHENTICATION_FAILED';
      }
    return { keys: under.length, opens: isForeign ? 'none' : 'unknown' };
  } finally {
    proof.close();
  }
}
