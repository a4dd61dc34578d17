// Properties of single values: every encryptable type, all lengths around block edges, any flipped bit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Binary, BSONRegExp, BSONSymbol, Code, Decimal128, deserialize, Double, Int32, Long, MaxKey, MinKey, ObjectId, serialize, Timestamp, UUID } from 'bson';
import { MemoryKeyVaultStore } from 'csfle-wasm';
import fc from 'fast-check';
import { DETERMINISTIC, failsWith, keyBytes, localEncryption, RANDOM } from './fixtures.mjs';

const store = new MemoryKeyVaultStore();
const exact = { promoteValues: false, promoteLongs: false, bsonRegExp: true };
const encryption = localEncryption({ store, deserializeOptions: exact });
const keyId = await encryption.createDataKey('local', { keyMaterial: keyBytes('values') });

const bytes = (maxLength) => fc.uint8Array({ maxLength });
const anyInt64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
// Strings of whole code points: BSON text is UTF-8, which has no lone surrogates.
const text = fc.string({ unit: 'binary' });
const noNul = text.filter((value) => !value.includes('\0'));
const deterministicTypes = {
  string: text,
  binary: fc.tuple(bytes(70), fc.constantFrom(0, 3, 5, 0x80)).map(([value, subtype]) => new Binary(value, subtype)),
  'old binary': bytes(40).map((value) => new Binary(value, 2)),
  uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => new UUID(value)),
  objectId: fc.uint8Array({ minLength: 12, maxLength: 12 }).map((value) => new ObjectId(value)),
  date: fc.date({ noInvalidDate: true }),
  regex: fc.tuple(noNul, fc.constantFrom('', 'i', 'imx')).map(([pattern, options]) => new BSONRegExp(pattern, options)),
  code: text.map((value) => new Code(value)),
  symbol: text.map((value) => new BSONSymbol(value)),
  int32: fc.integer().map((value) => new Int32(value)),
  timestamp: fc.tuple(fc.nat(), fc.nat()).map(([t, i]) => new Timestamp({ t, i })),
  int64: anyInt64.map((value) => Long.fromBigInt(value)),
};
const randomOnlyTypes = {
  double: fc.double().map((value) => new Double(value)),
  bool: fc.boolean(),
  decimal128: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => new Decimal128(value)),
  document: fc.dictionary(noNul, fc.oneof(text, fc.boolean(), fc.constant(null)), { maxKeys: 5 }),
  array: fc.array(
    fc.oneof(
      text,
      fc.boolean(),
      fc.integer().map((value) => new Int32(value)),
    ),
    { maxLength: 5 },
  ),
  'code with scope': fc.tuple(text, fc.dictionary(noNul, text, { maxKeys: 2 })).map(([code, scope]) => new Code(code, scope)),
};
const sameBson = (a, b) => assert.deepEqual(Buffer.from(serialize({ v: a })), Buffer.from(serialize({ v: b })));

for (const [name, arbitrary] of Object.entries({ ...deterministicTypes, ...randomOnlyTypes })) {
  test(`every ${name} comes back as it was, from the random algorithm`, () =>
    fc.assert(
      fc.asyncProperty(arbitrary, async (value) => {
        const encrypted = await encryption.encrypt(value, { algorithm: RANDOM, keyId });
        assert.equal(encrypted.buffer[0], 2);
        sameBson(await encryption.decrypt(encrypted), value);
      }),
      { numRuns: 60 },
    ));
}

for (const [name, arbitrary] of Object.entries(deterministicTypes)) {
  test(`every ${name} comes back as it was, from the deterministic algorithm, which gives equal bytes`, () =>
    fc.assert(
      fc.asyncProperty(arbitrary, async (value) => {
        const [one, two] = [
          await encryption.encrypt(value, { algorithm: DETERMINISTIC, keyId }),
          await encryption.encrypt(value, { algorithm: DETERMINISTIC, keyId }),
        ];
        assert.equal(one.buffer[0], 1);
        assert.deepEqual(one.buffer, two.buffer);
        sameBson(await encryption.decrypt(one), value);
      }),
      { numRuns: 40 },
    ));
}

for (const [name, arbitrary] of Object.entries(randomOnlyTypes)) {
  test(`no ${name} is encrypted deterministically`, async () => {
    const [value] = fc.sample(arbitrary, 1);
    await failsWith('VALUE_TYPE_NOT_DETERMINISTIC', () => encryption.encrypt(value, { algorithm: DETERMINISTIC, keyId }));
  });
}

test('lengths around every block edge have the size of the format and come back', async () => {
  for (let length = 0; length <= 70; length += 1) {
    const value = new Binary(Buffer.alloc(length, length), 0);
    const encrypted = await encryption.encrypt(value, { algorithm: RANDOM, keyId });
    const plaintext = 5 + length; // int32 length, subtype, bytes
    assert.equal(encrypted.buffer.length, 66 + 16 * (Math.floor(plaintext / 16) + 1));
    sameBson(await encryption.decrypt(encrypted), value);
  }
});

test('any flipped bit of an encrypted value is found', async () => {
  const encrypted = await encryption.encrypt('flip', { algorithm: RANDOM, keyId });
  const codes = new Map();
  for (let bit = 0; bit < encrypted.buffer.length * 8; bit += 1) {
    const flipped = Buffer.from(encrypted.buffer);
    flipped[bit >> 3] ^= 1 << (bit & 7);
    let failure;
    try {
      await encryption.decrypt(new Binary(flipped, 6));
    } catch (error) {
      failure = error;
    }
    assert.ok(failure !== undefined, `bit ${bit} went unnoticed`);
    codes.set(failure.code, (codes.get(failure.code) ?? 0) + 1);
  }
  // PAYLOAD_VALUE_MALFORMED is for a type byte of the header that no BSON type has.
  const allowed = [
    'CRYPTO_AUTHENTICATION_FAILED',
    'KEY_VAULT_KEY_NOT_FOUND',
    'PAYLOAD_KIND_UNKNOWN',
    'PAYLOAD_IS_QUERYABLE',
    'PAYLOAD_IS_MARKING',
    'PAYLOAD_VALUE_MALFORMED',
  ];
  assert.deepEqual(
    [...codes.keys()].filter((code) => !allowed.includes(code)),
    [],
  );
  assert.ok(codes.get('CRYPTO_AUTHENTICATION_FAILED') > 500);
});

test('every truncation of an encrypted value is found', async () => {
  const encrypted = await encryption.encrypt('cut', { algorithm: RANDOM, keyId });
  for (let length = 0; length < encrypted.buffer.length; length += 1) {
    await assert.rejects(
      () => encryption.decrypt(new Binary(encrypted.buffer.subarray(0, length), 6)),
      (error) => /^(PAYLOAD|CRYPTO)_/.test(error.code),
    );
  }
});

test('types that are never encrypted are refused by both algorithms', async () => {
  const encrypted = await encryption.encrypt(1, { algorithm: RANDOM, keyId });
  for (const value of [undefined, null, new MinKey(), new MaxKey(), encrypted, () => 1, Symbol('s')]) {
    for (const algorithm of [RANDOM, DETERMINISTIC]) await failsWith('VALUE_TYPE_NOT_ENCRYPTABLE', () => encryption.encrypt(value, { algorithm, keyId }));
  }
});

test('foreign kinds of subtype 6 are refused by name', async () => {
  const kinds = {
    0: 'PAYLOAD_IS_MARKING',
    3: 'PAYLOAD_IS_QUERYABLE',
    7: 'PAYLOAD_IS_QUERYABLE',
    14: 'PAYLOAD_IS_QUERYABLE',
    18: 'PAYLOAD_IS_QUERYABLE',
    99: 'PAYLOAD_KIND_UNKNOWN',
  };
  for (const [kind, code] of Object.entries(kinds)) {
    await failsWith(code, () => encryption.decrypt(new Binary(Buffer.concat([Buffer.from([Number(kind)]), Buffer.alloc(100, 1)]), 6)));
  }
});

test('values of other kinds are not decrypted', async () => {
  for (const value of [undefined, null, 'text', 5, {}, new Binary(Buffer.alloc(100), 0), Buffer.alloc(100, 1)])
    await failsWith('PAYLOAD_NOT_ENCRYPTED', () => encryption.decrypt(value));
});

test('undefined inside a value is stored as null, as a MongoClient stores it', async () => {
  const value = await encryption.encrypt({ a: undefined, b: [undefined] }, { algorithm: RANDOM, keyId });
  assert.deepEqual(await encryption.decrypt(value), { a: null, b: [null] });
});

test('the worked vector of the format comes out byte for byte', async () => {
  // csfle-format 2.5, which restates specification prose test 1: this key material, key id of zeros, the string "test".
  const material = Buffer.from(
    'c4f4c08c1446e4988f9be7777e3e972e2daae43317512fdfd5ff923009618709210d12f492bf2bf460cb2064c01a5bc2' +
      'f8756348881d2fe44ac190afa574b2c532025925d3518b1660fcaedc8a076ee059766c367da3375a17112206cc45e539',
    'hex',
  );
  const first = new MemoryKeyVaultStore();
  const setup = localEncryption({ store: first });
  await setup.createDataKey('local', { keyMaterial: material });
  const [document] = await first.find({});
  const vault = new MemoryKeyVaultStore();
  await vault.insert({ ...document, _id: new UUID(Buffer.alloc(16)) });
  const fresh = localEncryption({ store: vault });
  const value = await fresh.encrypt('test', { algorithm: DETERMINISTIC, keyId: new UUID(Buffer.alloc(16)) });
  assert.equal(
    Buffer.from(value.buffer).toString('base64'),
    'AQAAAAAAAAAAAAAAAAAAAAACz0ZOLuuhEYi807ZXTdhbqhLaS2/t9wLifJnnNYwiw79d75QYIZ6M/aYC1h9nCzCjZ7pGUpAuNnkUhnIXM3PjrA==',
  );
  setup.close();
  fresh.close();
});

test('the bytes of a decrypted document are those that went in', () =>
  fc.assert(
    fc.asyncProperty(fc.dictionary(noNul, fc.oneof(text, fc.integer(), fc.double(), anyInt64), { maxKeys: 8 }), async (fields) => {
      const document = serialize({ fields });
      const encrypted = await encryption.encryptDocument(document, { fields: { fields: { algorithm: RANDOM, keyId } } });
      assert.equal(deserialize(encrypted).fields.sub_type, 6);
      assert.deepEqual(Buffer.from(await encryption.decryptDocument(encrypted)), Buffer.from(document));
    }),
    { numRuns: 60 },
  ));
