/** A key vault in memory: for tests, and for browsers that keep key documents somewhere of their own. */

import { type BsonBinary, binaryBytes, type Document, isBinary, keyIdText } from '../bson.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { KeyVaultCapabilities, KeyVaultStore, KeyWrapping, RetiredKey, RetirementNote } from '../key-vault.js';
import { matches, sameValue } from './filter.js';
import { altNamesIn } from './retirement.js';

/**
 * Keeps key documents in memory.
 *
 * Shape: `find` evaluates equality, `$eq`, `$in`, `$or`, `$and`, `$exists` and dotted paths, and refuses other operators
 * by name with `ARGUMENT_INVALID`. Documents go in and out as copies.
 */
export class MemoryKeyVaultStore implements KeyVaultStore {
  readonly #documents: Document[] = [];
  readonly #retired: RetiredKey[] = [];

  /** Starts with the given key documents; two of one id or one alternate name are refused. */
  constructor(documents: Iterable<Document> = []) {
    if (typeof documents?.[Symbol.iterator] !== 'function') throw argumentError(`key documents must be iterable, found ${kindOf(documents)}`);
    for (const document of documents) this.#add(document);
  }

  async find(filter: Document): Promise<readonly Document[]> {
    return this.#documents.filter((document) => matches(document, filter)).map(copyOf);
  }

  async insert(document: Document): Promise<void> {
    this.#add(document);
  }

  async rewrapIf(id: BsonBinary, expected: KeyWrapping, next: KeyWrapping): Promise<boolean> {
    const stored = this.#byId(id);
    if (stored === undefined || !sameValue(stored['keyMaterial'], expected.keyMaterial) || !sameValue(stored['masterKey'], expected.masterKey)) return false;
    Object.assign(stored, copyOf({ keyMaterial: next.keyMaterial, masterKey: next.masterKey, updateDate: new Date() }));
    return true;
  }

  async addKeyAltName(id: BsonBinary, name: string): Promise<Document | null> {
    const stored = this.#byId(id);
    if (stored === undefined) return null;
    const before = copyOf(stored);
    this.#refuseTakenNames([name], stored);
    stored['keyAltNames'] = [...new Set([...namesOf(stored), name])];
    return before;
  }

  async removeKeyAltName(id: BsonBinary, name: string): Promise<Document | null> {
    const stored = this.#byId(id);
    if (stored === undefined) return null;
    const before = copyOf(stored);
    const others = namesOf(stored).filter((other) => other !== name);
    if (others.length > 0) stored['keyAltNames'] = others;
    else delete stored['keyAltNames'];
    return before;
  }

  async retireKey(id: BsonBinary, note: RetirementNote): Promise<RetiredKey | null> {
    const stored = this.#byId(id);
    if (stored === undefined) return null;
    const entry: RetiredKey = { ...note, retiredId: {}, keyId: id, retiredAt: new Date(), document: copyOf(stored) };
    this.#retired.unshift(entry);
    this.#documents.splice(this.#documents.indexOf(stored), 1);
    return { ...entry, document: copyOf(entry.document) };
  }

  async retiredKeys(id?: BsonBinary): Promise<readonly RetiredKey[]> {
    return this.#retired.filter(({ keyId }) => id === undefined || sameValue(keyId, id)).map((entry) => ({ ...entry, document: copyOf(entry.document) }));
  }

  async restoreKey(retired: RetiredKey, withoutNames: readonly string[] = []): Promise<'restored' | 'present'> {
    const entry = this.#retired.find(({ retiredId }) => retiredId === retired.retiredId);
    if (entry === undefined) {
      throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `key ${keyIdText(retired.keyId)} is not among the retired keys any more`, {
        details: { keyId: keyIdText(retired.keyId) },
      });
    }
    const present = this.#byId(entry.keyId);
    if (present !== undefined && sameValue(present, entry.document)) return 'present';
    const { keyAltNames: _names, ...rest } = entry.document;
    const names = altNamesIn(entry.document).filter((name) => !withoutNames.includes(name));
    this.#add(withoutNames.length === 0 ? entry.document : names.length === 0 ? rest : { ...rest, keyAltNames: names });
    return 'restored';
  }

  async purgeRetiredKey(retired: RetiredKey): Promise<boolean> {
    const at = this.#retired.findIndex(({ retiredId }) => retiredId === retired.retiredId);
    if (at >= 0) this.#retired.splice(at, 1);
    return at >= 0;
  }

  async capabilities(): Promise<KeyVaultCapabilities> {
    return { writable: true, uniqueIndex: true };
  }

  #byId(id: BsonBinary): Document | undefined {
    return this.#documents.find((document) => sameValue(document['_id'], id));
  }

  #add(document: Document): void {
    const id = document['_id'];
    if (!isBinary(id)) throw argumentError('a key document needs an _id that is a BSON binary');
    if (this.#byId(id) !== undefined) {
      throw new CsfleError('KEY_VAULT_DUPLICATE_KEY', 'the key vault has a key of this id already', {
        details: binaryBytes(id).length === 16 ? { keyId: keyIdText(id) } : {},
      });
    }
    this.#refuseTakenNames(namesOf(document), undefined);
    this.#documents.push(copyOf(document));
  }

  #refuseTakenNames(names: readonly string[], owner: Document | undefined): void {
    for (const name of names) {
      if (this.#documents.some((document) => document !== owner && namesOf(document).includes(name))) {
        throw new CsfleError('KEY_VAULT_DUPLICATE_KEY', `another key has the alternate name ${JSON.stringify(name)} already`, {
          details: { keyAltName: name },
        });
      }
    }
  }
}

function namesOf(document: Document): readonly string[] {
  const names = document['keyAltNames'];
  return Array.isArray(names) ? names : [];
}

/** Copies documents and arrays all the way down; values of BSON classes are shared, they do not change. */
function copyOf<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copyOf) as T;
  if (typeof value !== 'object' || value === null || '_bsontype' in value || value instanceof Date || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, copyOf(field)])) as T;
}
