/** Retiring keys through a store: what a store must have for it, and the note when the caller gives none. */

import type { BsonBinary } from '../bson.js';
import { CsfleError } from '../errors.js';
import type { KeyVaultStore, RetiredKey, RetirementNote } from '../key-vault.js';

/** A store that keeps retired keys. */
export interface RetiringStore extends KeyVaultStore {
  retireKey(id: BsonBinary, note: RetirementNote): Promise<RetiredKey | null>;
  retiredKeys(id?: BsonBinary): Promise<readonly RetiredKey[]>;
  restoreKey(retired: RetiredKey, withoutNames?: readonly string[]): Promise<'restored' | 'present'>;
  purgeRetiredKey(retired: RetiredKey): Promise<boolean>;
}

const METHODS = ['retireKey', 'retiredKeys', 'restoreKey', 'purgeRetiredKey'] as const;

/**
 * Requires a store that keeps retired keys.
 * Errors: `KEY_VAULT_RETIREMENT_UNSUPPORTED`, naming the method that is missing.
 */
export function requireRetirement(store: KeyVaultStore): RetiringStore {
  const missing = METHODS.find((method) => typeof store[method] !== 'function');
  if (missing === undefined) return store as RetiringStore;
  throw new CsfleError('KEY_VAULT_RETIREMENT_UNSUPPORTED', `the key vault store keeps no retired keys: it has no method ${missing}`, {
    details: { method: missing },
  });
}

/** The alternate names of a key document that are texts. */
export function altNamesIn(document: { readonly [field: string]: unknown } | undefined): readonly string[] {
  const names = document?.['keyAltNames'];
  return Array.isArray(names) ? names.filter((name): name is string => typeof name === 'string') : [];
}
