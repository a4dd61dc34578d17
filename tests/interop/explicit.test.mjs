// Every encryptable BSON type x algorithm x key by id and by alternate name x local and AWS x the maker of the key.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, MemoryKeyVaultStore } from 'csfle-wasm';
import { codesFor } from './outcomes.mjs';
import { accept, HEX, Pair } from './pair.mjs';
import { field, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM, readHeader } from './reference.mjs';
import { canonicalRegex } from './rewriting.mjs';
import { ALGORITHM, ENCRYPTABLE, NEVER } from './samples.mjs';

let pair;
let keys;

before(async () => {
  pair = await Pair.start();
  keys = [];
  for (const provider of ['local', 'aws']) {
    for (const maker of ['ours', 'theirs']) keys.push(await pair.dataKey(maker, provider, [`${provider} by ${maker}`, `second ${provider} ${maker}`]));
  }
  pair.setVault(keys.map(({ document }) => document));
});
after(() => pair?.stop());

/** Calls `check` for every way to name every key. */
async function eachReference(check) {
  for (const key of keys) {
    await check(key, { keyId: key.keyId });
    for (const keyAltName of key.keyAltNames) await check(key, { keyAltName });
  }
}

for (const [type, { deterministic, values }] of Object.entries(ENCRYPTABLE)) {
  describe(type, () => {
    test(deterministic ? 'deterministic ciphertexts are equal byte for byte' : 'the deterministic algorithm is refused by both', async () => {
      for (const item of values) {
        await eachReference(async ({ keyId, material }, reference) => {
          const options = { algorithm: ALGORITHM.deterministic, ...reference };
          const ours = await pair.ours.encrypt(item, options);
          const theirs = await pair.theirs.encrypt(item, options);
          if (!deterministic) {
            assert.equal(theirs.ok, false);
            assert.equal(ours.code, 'VALUE_TYPE_NOT_DETERMINISTIC');
            assert.equal(ours.message, theirs.message);
            return;
          }
          assert.equal(HEX(accept(ours).payload), HEX(accept(theirs).payload));
          assert.equal(HEX(ours.payload), HEX(encryptValue(canonicalRegex(item), { kind: DETERMINISTIC, keyId, material })));
          assert.ok(accept(await pair.theirs.decrypt(ours.payload)).value.equals(canonicalRegex(item)));
          assert.ok(accept(await pair.ours.decrypt(theirs.payload)).value.equals(canonicalRegex(item)));
        });
      }
    });

    test('random ciphertexts open on the other side', async () => {
      for (const item of values) {
        await eachReference(async ({ keyId }, reference) => {
          const options = { algorithm: ALGORITHM.random, ...reference };
          const ours = accept(await pair.ours.encrypt(item, options));
          const theirs = accept(await pair.theirs.encrypt(item, options));
          assert.notEqual(HEX(ours.payload), HEX(theirs.payload));
          assert.ok(accept(await pair.theirs.decrypt(ours.payload)).value.equals(canonicalRegex(item)));
          assert.ok(accept(await pair.ours.decrypt(theirs.payload)).value.equals(canonicalRegex(item)));
          // With our initialisation vector, libmongocrypt writes our bytes.
          const { iv, kind, keyId: named } = readHeader(ours.payload);
          const again = accept(await pair.theirs.encrypt(item, { ...options, random: [iv] }));
          assert.equal(HEX(again.payload), HEX(ours.payload));
          assert.equal(kind, RANDOM);
          assert.equal(HEX(named), HEX(keyId));
        });
      }
    });
  });
}

test('values that are never encrypted are refused by both with the same text', async () => {
  for (const item of Object.values(NEVER)) {
    for (const algorithm of Object.values(ALGORITHM)) {
      const theirs = await pair.theirs.encrypt(item, { algorithm, keyId: keys[0].keyId });
      const ours = await pair.ours.encrypt(item, { algorithm, keyId: keys[0].keyId });
      assert.equal(theirs.ok, false);
      assert.ok(codesFor(theirs.message).includes(ours.code), `${ours.code} for ${theirs.message}`);
      assert.equal(ours.message, theirs.message);
    }
  }
});

test('the filter sent to the key vault is the same', async () => {
  for (const reference of [{ keyId: keys[0].keyId }, { keyAltName: keys[0].keyAltNames[0] }]) {
    const [theirs, ours] = await freshSides();
    const options = { algorithm: ALGORITHM.random, ...reference };
    const expected = accept(await theirs.encrypt(value.int(1), options)).filters;
    const actual = accept(await ours.encrypt(value.int(1), options)).filters;
    assert.equal(expected.length, 1);
    assert.deepEqual(actual.map(HEX), expected.map(HEX));
    await theirs.close();
    ours.close();
  }
});

async function freshSides() {
  const [{ Theirs }, { Ours }] = await Promise.all([import('./theirs.mjs'), import('./ours.mjs')]);
  const sides = [await Theirs.open(pair.peer, pair.providers), await Ours.open(pair.providers)];
  for (const side of sides) side.vault = keys.map(({ document }) => document);
  return sides;
}

// The other tests go around JavaScript values; this one is what an application does.
const JS_VALUES = [
  ['a string', 'mongodb', value.string('mongodb')],
  ['a whole number', 123, value.int(123)],
  ['an Int32', new bson.Int32(-5), value.int(-5)],
  ['a Long', bson.Long.fromString('456'), value.long(456n)],
  ['a bigint', 456n, value.long(456n)],
  ['a Date', new Date(12345), value.date(12345n)],
  ['an ObjectId', new bson.ObjectId('01234567890abcdef0123456'), value.objectId(Buffer.from('01234567890abcdef0123456', 'hex'))],
  ['bytes', Uint8Array.of(1, 2, 3, 4), value.binData([1, 2, 3, 4])],
  ['a Binary', new bson.Binary(Uint8Array.of(1, 2), 128), value.binData([1, 2], 128)],
  ['a UUID', new bson.UUID('00010203-0405-4607-8809-0a0b0c0d0e0f'), value.uuid(Buffer.from('000102030405460788090a0b0c0d0e0f', 'hex'))],
  ['a RegExp', /^a.*b$/i, value.regex('^a.*b$', 'i')],
  ['a RegExp with flags that js-bson writes out of order', /a/gim, value.regex('a', 'ims')],
  ['a BSONRegExp', new bson.BSONRegExp('.*', 'x'), value.regex('.*', 'x')],
  ['code', new bson.Code('x=1'), value.javascript('x=1')],
  ['a Timestamp', new bson.Timestamp({ t: 123, i: 456 }), value.timestamp(123, 456)],
  ['a BSONSymbol', new bson.BSONSymbol('mongodb-symbol'), value.symbol('mongodb-symbol')],
];

test('values of the bson package encrypt to the bytes libmongocrypt writes, and come back as they went in', async () => {
  const { document, keyId } = keys[0];
  const store = new MemoryKeyVaultStore();
  await store.insert(bson.deserialize(document));
  const client = new ClientEncryption(null, { kmsProviders: { local: { key: pair.providers.local } }, keyVaultStore: store });
  for (const [what, js, raw] of JS_VALUES) {
    const options = { algorithm: ALGORITHM.deterministic };
    const encrypted = await client.encrypt(js, { ...options, keyId: new bson.UUID(keyId) });
    const expected = accept(await pair.theirs.encrypt(raw, { ...options, keyId }));
    assert.equal(HEX(encrypted.buffer.subarray(0, encrypted.position)), HEX(expected.payload), what);
    const decrypted = await client.decrypt(encrypted);
    const written = field(bson.serialize({ v: decrypted }), 'v');
    // js-bson reads symbols as strings, small int64 as numbers and regular expressions without the options JavaScript
    // lacks: that is the library's habit and not the format's.
    if (!['BSONSymbol', 'Long', 'BSONRegExp'].includes(js._bsontype) && !(js instanceof RegExp) && typeof js !== 'bigint') assert.ok(written.equals(raw), what);
  }
  client.close();
});
