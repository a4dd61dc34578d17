// Writes the vectors of this folder anew. What must match is decided here, by walking both documents, and not by the core.
import { existsSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import * as bson from 'bson';
import { ClientEncryption, MemoryKeyVaultStore } from 'csfle-wasm';
import { changes } from '../../migration/shapes.mjs';
import { computed, encryption as openEncryption, keyFile } from './vectors.mjs';

const algorithms = { deterministic: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', random: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' };
const write = (name, value) => writeFileSync(new URL(name, import.meta.url), `${bson.EJSON.stringify(value, null, 1, { relaxed: false })}\n`);

if (!existsSync(new URL(keyFile, import.meta.url))) {
  const store = new MemoryKeyVaultStore();
  const masterKey = randomBytes(96);
  const maker = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local: { key: Uint8Array.from(masterKey) } } });
  await maker.createDataKey('local');
  write(keyFile, { masterKey: new bson.Binary(masterKey), document: (await store.find({}))[0] });
}
const { encryption, keyId } = openEncryption();
const encrypt = (value, algorithm) => encryption.encrypt(value, { algorithm, keyId });
const values = { X: await encrypt('x', algorithms.deterministic), Y: await encrypt('y', algorithms.random), Z: await encrypt({ z: 1 }, algorithms.random) };
const plaintexts = new Map([
  [values.X, 'x'],
  [values.Y, 'y'],
  [values.Z, { z: new bson.Int32(1) }],
]);

const more = {
  'beside fields of every kind': ({ X }) => [
    { a: X, n: new bson.Int32(1), list: [null, 1.5] },
    { n: new bson.Double(1), a: X, more: true },
  ],
  'in a list of documents': ({ X, Y }) => [{ visits: [{ note: X }, { note: Y }] }, { visits: [{ note: X, at: 1 }, { note: Y }, { note: 'NEW' }] }],
  'between other elements': ({ X, Y }) => [{ tags: ['a', X, 'b', Y] }, { tags: ['c', X, 'd', Y, 'e'] }],
  'with dollar names between other elements': ({ X, Y }) => [{ $t: ['a', X, 'b', Y] }, { $t: ['c', X, 'd', Y, 'e'], n: 1 }],
};
for (const [name, change] of Object.entries({ ...changes, ...more })) {
  const [old, theirs] = change(values).map((document) => ({ _id: new bson.Int32(1), ...document }));
  const places = placesOf(old, []);
  const caseOf = (stored) => {
    const matches = places.every(({ path, value }) => sameValue(at(stored, path), value));
    return {
      stored,
      matches,
      result: matches ? places.reduce((document, { path, value }) => replaced(document, path, plaintexts.get(value)), stored) : stored,
    };
  };
  write(`${name.replaceAll(' ', '-')}.json`, { name, before: old, ...(await computed(old)), cases: [caseOf(old), caseOf(theirs)] });
}
encryption.close();

function isContainer(value) {
  return typeof value === 'object' && value !== null && value._bsontype === undefined;
}

// Every encrypted value with the way to it, array or document at each step.
function placesOf(value, path) {
  if (plaintexts.has(value)) return [{ path, value }];
  if (!isContainer(value)) return [];
  return Object.entries(value).flatMap(([name, inner]) => placesOf(inner, [...path, { name, array: Array.isArray(value) }]));
}

function at(document, path) {
  let value = document;
  for (const { name, array } of path) {
    if (!isContainer(value) || Array.isArray(value) !== array || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

function sameValue(a, b) {
  return a?._bsontype === 'Binary' && a.sub_type === b.sub_type && Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

function replaced(value, [step, ...rest], inner) {
  if (step === undefined) return inner;
  const copy = Array.isArray(value) ? [...value] : { ...value };
  copy[step.name] = replaced(value[step.name], rest, inner);
  return copy;
}
