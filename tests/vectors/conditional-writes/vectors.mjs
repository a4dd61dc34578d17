// The vectors of this folder: filters and updates of the migration's conditional writes, each with documents that they must
// match or must not. They are kept so that any server can be asked: tests/migration/conditional-write-vectors.test.mjs runs
// them on the one at hand, or on that of MONGODB_URI. Written by `node tests/vectors/conditional-writes/generate.mjs`.
//
// Shape, as canonical extended JSON: { name, before, filter, update, cases: [{ stored, matches, result }] }.
import { readdirSync, readFileSync } from 'node:fs';
import { EJSON } from 'bson';
import { ClientEncryption, MemoryKeyVaultStore, migrate } from 'csfle-wasm';
import * as bson from 'bson';

const folder = new URL('.', import.meta.url);
const read = (name) => EJSON.parse(readFileSync(new URL(name, folder), 'utf8'), { relaxed: false });

export const keyFile = 'key.json';

export function vectors() {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json') && name !== keyFile)
    .sort()
    .map((name) => ({ file: name, ...read(name) }));
}

// The vault of the vectors: one key under a local master key, both published and worth nothing.
export function vault() {
  const { masterKey, document } = read(keyFile);
  return { kmsProviders: { local: { key: Uint8Array.from(masterKey.buffer) } }, store: new MemoryKeyVaultStore([document]), keyId: document._id };
}

// What the mode decrypt would tell a server about one document: every part of it is determined by the document.
export async function computed(before) {
  const { kmsProviders, store } = vault();
  const bytes = bson.serialize(before);
  const told = [];
  const collection = {
    namespace: 'vectors.documents',
    estimatedCount: async () => 1,
    async *scan() {
      yield [bytes];
    },
    read: async () => [bytes],
    async write(changes) {
      told.push(...changes);
      return { refused: changes.map((_, index) => ({ index, error: new Error('not written') })) };
    },
  };
  await migrate({ keyVault: store, kmsProviders, mode: 'decrypt', confirmPlaintext: true, execute: true, collections: [collection] });
  const [{ filter, update }] = told;
  return { filter: plain(filter), update: plain(update) };
}

export function encryption() {
  const { kmsProviders, store, keyId } = vault();
  return { encryption: new ClientEncryption(null, { keyVaultStore: store, kmsProviders }), keyId };
}

// Maps as objects: none of the operators here has names that are numbers.
function plain(value) {
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, field]) => [name, plain(field)]));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null && value._bsontype === undefined && !(value instanceof Date))
    return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
  return value;
}
