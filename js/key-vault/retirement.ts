/** Retiring keys through a store: what a store must have for it, and the note when the caller gives none. */

import { type BsonBinary, binaryBytes, type Document } from '../bson.js';
import { uuidText } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { KeyVaultStore, RetiredKey, RetirementNote } from '../key-vault.js';
import { findDocuments } from '../run.js';

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

/** The alternate names of a key document that other keys of the vault have, with the ids of these. */
export async function namesOfOthers(store: KeyVaultStore, document: Document): Promise<ReadonlyMap<string, string>> {
  const names = altNamesIn(document);
  const own = uuidText(binaryBytes(document['_id'] as BsonBinary));
  const taken = new Map<string, string>();
  const owners = names.length === 0 ? [] : await findDocuments(store, { keyAltNames: { $in: names } });
  for (const owner of owners) {
    const id = uuidText(binaryBytes(owner['_id'] as BsonBinary));
    if (id !== own) for (const name of altNamesIn(owner)) if (names.includes(name)) taken.set(name, id);
  }
  return taken;
}
