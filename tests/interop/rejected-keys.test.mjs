// Key documents that must be refused, one fault each (csfle-format.md 1.2), fed to both sides.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { codesFor } from './outcomes.mjs';
import { Ours } from './ours.mjs';
import { accept, MASTER_KEYS, Pair, withField } from './pair.mjs';
import { concat, document, field, fields, int32, value } from './raw-bson.mjs';
import { ALGORITHM } from './samples.mjs';
import { Theirs } from './theirs.mjs';

let pair;
let key;
let other;

before(async () => {
  pair = await Pair.start();
  key = await pair.dataKey('theirs', 'local', ['name']);
  other = await pair.dataKey('theirs', 'local', ['other']);
});
after(() => pair?.stop());

/** What fresh instances of both sides, without a cached key, make of what the vault returned. */
async function bothSides(fed, reference = { keyId: key.keyId }) {
  const theirs = await Theirs.open(pair.peer, pair.providers);
  const ours = await Ours.open(pair.providers);
  for (const side of [theirs, ours]) side.feed = fed;
  const options = { algorithm: ALGORITHM.random, ...reference };
  const answers = { theirs: await theirs.encrypt(value.int(1), options), ours: await ours.encrypt(value.int(1), options) };
  await theirs.close();
  ours.close();
  return answers;
}

const masterKey = (...parts) => value.object(document(parts.map(([name, item]) => [name, typeof item === 'string' ? value.string(item) : item])));
const set = (name, item) => (bytes) => withField(bytes, name, item);
const add = (name, item) => (bytes) => document([...fields(bytes), [name, item]]);
const remove = (name) => set(name, undefined);

/** The fault, the change that makes it, and the code. The text is compared with libmongocrypt's own. */
const FAULTS = [
  ['_id is a string', set('_id', value.string('x')), 'KEY_VAULT_FIELD_INVALID'],
  ['_id is generic binary', set('_id', value.binData(new Uint8Array(16))), 'KEY_VAULT_FIELD_INVALID'],
  ['_id has 15 bytes', set('_id', value.uuid(new Uint8Array(15))), 'KEY_VAULT_FIELD_INVALID'],
  ['_id has 17 bytes', set('_id', value.uuid(new Uint8Array(17))), 'KEY_VAULT_FIELD_INVALID'],
  ['keyAltNames is a string', set('keyAltNames', value.string('name')), 'KEY_VAULT_FIELD_INVALID'],
  ['keyAltNames is a document', set('keyAltNames', value.object(document([]))), 'KEY_VAULT_FIELD_INVALID'],
  ['an alternate name is a number', set('keyAltNames', value.array([value.string('a'), value.int(1)])), 'KEY_VAULT_FIELD_INVALID'],
  ['an alternate name twice', set('keyAltNames', value.array([value.string('a'), value.string('a')])), 'KEY_VAULT_FIELD_INVALID'],
  ['keyMaterial is null', set('keyMaterial', value.null()), 'KEY_VAULT_FIELD_INVALID'],
  ['keyMaterial is a string', set('keyMaterial', value.string('x')), 'KEY_VAULT_FIELD_INVALID'],
  ['keyMaterial has subtype 4', set('keyMaterial', value.uuid(new Uint8Array(16))), 'KEY_VAULT_FIELD_INVALID'],
  ['masterKey is a string', set('masterKey', value.string('local')), 'KEY_VAULT_FIELD_INVALID'],
  ['masterKey is an array', set('masterKey', value.array([])), 'KEY_VAULT_FIELD_INVALID'],
  ['version is a double', add('version', value.double(0)), 'KEY_VAULT_FIELD_INVALID'],
  ['version is 1', add('version', value.int(1)), 'KEY_VAULT_VERSION_UNSUPPORTED'],
  ['version is -1', add('version', value.long(-1n)), 'KEY_VAULT_VERSION_UNSUPPORTED'],
  ['version is 2^32', add('version', value.long(2n ** 32n)), 'KEY_VAULT_VERSION_UNSUPPORTED'],
  ['creationDate is a number', set('creationDate', value.long(0n)), 'KEY_VAULT_FIELD_INVALID'],
  ['updateDate is a timestamp', set('updateDate', value.timestamp(0, 0)), 'KEY_VAULT_FIELD_INVALID'],
  ['an unknown field', add('comment', value.string('x')), 'KEY_VAULT_FIELD_UNKNOWN'],
  ['a field with an empty name', add('', value.null()), 'KEY_VAULT_FIELD_UNKNOWN'],
  ['a field of another case', add('Status', value.int(0)), 'KEY_VAULT_FIELD_UNKNOWN'],
  ...['_id', 'masterKey', 'keyMaterial', 'status', 'creationDate', 'updateDate'].map((name) => [`no ${name}`, remove(name), 'KEY_VAULT_FIELD_MISSING']),
  ['no field at all', () => document([]), 'KEY_VAULT_FIELD_MISSING'],
  ['masterKey twice', add('masterKey', value.object(document([['provider', value.string('local')]]))), 'KEY_VAULT_FIELD_INVALID'],
  ['masterKey without provider', set('masterKey', masterKey()), 'MASTER_KEY_INVALID'],
  ['a provider that is no string', set('masterKey', masterKey(['provider', value.int(1)])), 'MASTER_KEY_INVALID'],
  ['a provider of an unknown type', set('masterKey', masterKey(['provider', 'vault'])), 'KMS_PROVIDER_UNRECOGNIZED'],
  ['a provider with an empty name', set('masterKey', masterKey(['provider', 'local:'])), 'KMS_PROVIDER_UNRECOGNIZED'],
  ['a provider with a bad name', set('masterKey', masterKey(['provider', 'local:a b'])), 'KMS_PROVIDER_UNRECOGNIZED'],
  ['a provider that is not configured', set('masterKey', masterKey(['provider', 'local:absent'])), 'KMS_PROVIDER_NOT_CONFIGURED'],
  ['an unknown field in masterKey', set('masterKey', masterKey(['provider', 'local'], ['x', '1'])), 'MASTER_KEY_INVALID'],
  ['aws without key', set('masterKey', masterKey(['provider', 'aws'], ['region', 'r'])), 'MASTER_KEY_INVALID'],
  ['aws without region', set('masterKey', masterKey(['provider', 'aws'], ['key', 'k'])), 'MASTER_KEY_INVALID'],
  ['aws with a bad endpoint', set('masterKey', masterKey(['provider', 'aws'], ['region', 'r'], ['key', 'k'], ['endpoint', 'nodots'])), 'KMS_ENDPOINT_INVALID'],
  ['azure without keyName', set('masterKey', masterKey(['provider', 'azure'], ['keyVaultEndpoint', 'a.b'])), 'MASTER_KEY_INVALID'],
  ['gcp without location', set('masterKey', masterKey(['provider', 'gcp'], ['projectId', 'p'], ['keyRing', 'r'], ['keyName', 'n'])), 'MASTER_KEY_INVALID'],
  ['kmip without keyId', set('masterKey', masterKey(['provider', 'kmip'])), 'MASTER_KEY_INVALID'],
  ['keyMaterial of 63 bytes', set('keyMaterial', value.binData(new Uint8Array(63))), 'CRYPTO_INPUT_TOO_SHORT'],
  ['keyMaterial of 160 other bytes', set('keyMaterial', value.binData(new Uint8Array(160).fill(7))), 'CRYPTO_AUTHENTICATION_FAILED'],
];

/** Faults where the package words the message itself. Each has its reason in differences.mjs. */
const OWN_WORDS = new Set(['keyMaterial of 63 bytes', 'keyMaterial of 160 other bytes', 'a provider that is not configured']);

describe('a key document is refused by both sides when', () => {
  for (const [what, change, code] of FAULTS) {
    test(what, async () => {
      const { theirs, ours } = await bothSides([change(key.document)]);
      assert.equal(theirs.ok, false, 'libmongocrypt accepts it');
      assert.equal(ours.code, code, ours.message);
      assert.ok(codesFor(theirs.message).includes(code), `outcomes.mjs does not map "${theirs.message}" to ${code}`);
      if (!OWN_WORDS.has(what)) assert.equal(ours.message, theirs.message);
    });
  }
});

describe('what the vault returned as a whole is refused by both sides when', () => {
  const cases = [
    ['nothing came', () => [], 'KEY_VAULT_KEY_NOT_FOUND'],
    ['another key came', () => [other.document], 'KEY_VAULT_UNEXPECTED_KEY'],
    ['the same key came twice', () => [key.document, key.document], 'KEY_VAULT_DUPLICATE_KEY'],
    ['two keys share a name', () => [key.document, withField(other.document, 'keyAltNames', value.array([value.string('name')]))], 'KEY_VAULT_DUPLICATE_KEY'],
    ['a document is cut', () => [concat(int32(40), key.document.subarray(4, 40))], 'KEY_VAULT_DOCUMENT_MALFORMED'],
  ];
  for (const [what, fed, code] of cases) {
    test(what, async () => {
      const { theirs, ours } = await bothSides(fed(), what === 'two keys share a name' ? { keyAltName: 'name' } : undefined);
      assert.equal(theirs.ok, false, 'libmongocrypt accepts it');
      assert.equal(ours.code, code, ours.message);
      assert.ok(codesFor(theirs.message).includes(code), theirs.message);
    });
  }
});

describe('a key document is accepted by both sides with', () => {
  const odd = [
    ['an empty list of names', set('keyAltNames', value.array([]))],
    ['no list of names', remove('keyAltNames')],
    ['a status of any type', set('status', value.string('whatever'))],
    ['status 1, disabled', set('status', value.int(1))],
    ['version 0 as int32', add('version', value.int(0))],
    ['version 0 as int64', add('version', value.long(0n))],
    ['its fields in reverse', (bytes) => document(fields(bytes).reverse())],
    ['a field twice, the last one valid', (bytes) => document([['creationDate', value.date(1n)], ...fields(bytes)])],
    ['dates before 1970', set('creationDate', value.date(-1n))],
  ];
  for (const [what, change] of odd) {
    test(what, async () => {
      const { theirs, ours } = await bothSides([change(key.document)]);
      accept(theirs, 'libmongocrypt');
      accept(ours, 'the package');
    });
  }

  test('an id that is no UUID of version 4', async () => {
    const odd = withField(key.document, '_id', value.uuid(new Uint8Array(16)));
    const { theirs, ours } = await bothSides([odd], { keyId: new Uint8Array(16) });
    accept(theirs);
    accept(ours);
  });

  test('a masterKey whose fields come in another order', async () => {
    const aws = accept(await pair.theirs.createDataKey('aws', { masterKey: MASTER_KEYS.aws })).output;
    const reversed = withField(aws, 'masterKey', value.object(document(fields(field(aws, 'masterKey').bytes).reverse())));
    const { theirs, ours } = await bothSides([reversed], { keyId: field(aws, '_id').bytes.slice(5) });
    accept(theirs);
    accept(ours);
  });
});
