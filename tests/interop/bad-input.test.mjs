// Damaged and foreign input: both sides refuse it, for the same kind of reason, and neither returns a part of it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Binary } from 'bson';
import { damagePayload, flipBit, Random } from './generate.mjs';
import { Ours } from './ours.mjs';
import { codesFor } from './outcomes.mjs';
import { HEX, Pair, withField } from './pair.mjs';
import { binary, concat, document, RawValue, TYPE, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM, wrapKey } from './reference.mjs';
import { ALGORITHM, MALFORMED, NEVER } from './samples.mjs';
import { Theirs } from './theirs.mjs';

let pair;
let key;

before(async () => {
  pair = await Pair.start();
  key = await pair.dataKey('theirs', 'local', ['name']);
  pair.setVault([key.document]);
});
after(() => pair?.stop());

const seal = (item, kind = RANDOM) => encryptValue(item, { kind, keyId: key.keyId, material: key.material });

async function refusedAlike(payload, code) {
  const theirs = await pair.theirs.decrypt(payload);
  const ours = await pair.ours.decrypt(payload);
  assert.equal(theirs.ok, false, 'libmongocrypt accepts it');
  assert.equal(ours.ok, false, 'the package accepts it');
  assert.ok(codesFor(theirs.message).includes(ours.code), `${ours.code} (${ours.message}) for ${theirs.message}`);
  if (code) assert.equal(ours.code, code);
  return { ours, theirs };
}

test('every single bit of a ciphertext matters', async () => {
  for (const kind of [DETERMINISTIC, RANDOM]) {
    const payload = seal(value.string('0123456789'), kind);
    for (let bit = 0; bit < payload.length * 8; bit += 1) {
      const flipped = flipBit(payload, bit);
      // A flipped kind byte may name a kind of Queryable Encryption, which libmongocrypt goes on to parse.
      if (bit < 8 && ![0, 1, 2, 3, 5].includes(flipped[0])) {
        const ours = await pair.ours.decrypt(flipped);
        assert.ok(['PAYLOAD_IS_QUERYABLE', 'PAYLOAD_KIND_UNKNOWN'].includes(ours.code), ours.code);
        continue;
      }
      await refusedAlike(flipped);
    }
  }
});

test('every length of a ciphertext but the right one is refused', async () => {
  const payload = seal(value.string('x'.repeat(30)));
  for (let length = 0; length < payload.length; length += 1) await refusedAlike(payload.slice(0, length));
  for (const extra of [1, 15, 16, 17, 32]) await refusedAlike(concat(payload, new Uint8Array(extra)), 'CRYPTO_AUTHENTICATION_FAILED');
});

describe('a ciphertext is refused by both when', () => {
  const cases = [
    ['it is empty', () => new Uint8Array(), 'PAYLOAD_TOO_SHORT'],
    ['it is only a kind', () => Uint8Array.of(1), 'PAYLOAD_TOO_SHORT'],
    ['it ends after the header', () => seal(value.int(1)).slice(0, 18), 'PAYLOAD_TOO_SHORT'],
    [
      'it is a plaintext marking',
      () =>
        concat(
          [0],
          document([
            ['v', value.int(1)],
            ['a', value.int(1)],
          ]),
        ),
      'PAYLOAD_IS_MARKING',
    ],
    ...[3, 5, 10, 12, 13, 18].map((kind) => [`it is of the queryable kind ${kind}`, () => concat([kind], new Uint8Array(80)), 'PAYLOAD_IS_QUERYABLE']),
    ...[8, 19, 100, 255].map((kind) => [`it is of the unassigned kind ${kind}`, () => concat([kind], new Uint8Array(80)), 'PAYLOAD_KIND_UNKNOWN']),
    ['its key is another one', () => encryptValue(value.int(1), { kind: RANDOM, keyId: key.keyId, material: randomBytes(96) }), 'CRYPTO_AUTHENTICATION_FAILED'],
    [
      'its key is not in the vault',
      () => encryptValue(value.int(1), { kind: RANDOM, keyId: randomBytes(16), material: key.material }),
      'KEY_VAULT_KEY_NOT_FOUND',
    ],
    ['a deterministic value claims to be random', () => concat([RANDOM], seal(value.string('a'), DETERMINISTIC).subarray(1)), 'CRYPTO_AUTHENTICATION_FAILED'],
  ];
  for (const [what, build, code] of cases) test(what, () => refusedAlike(build(), code));

  for (const kind of [4, 6, 7, 9, 11, 14, 15, 16, 17]) {
    test(`it is of the queryable kind ${kind}, which libmongocrypt would decrypt`, async () => {
      const ours = await pair.ours.decrypt(concat([kind], new Uint8Array(80)));
      assert.equal(ours.code, 'PAYLOAD_IS_QUERYABLE');
      assert.match(ours.message, new RegExp(`\\b${kind}\\b`), 'the kind is not named');
    });
  }
});

test('only binary of subtype 6 is decrypted', async () => {
  for (const item of [value.binData(seal(value.int(1)), 0), value.binData(seal(value.int(1)), 5), value.string('x'), value.int(6)]) {
    const theirs = await pair.theirs.decrypt(item);
    const given = item.type === TYPE.binData ? new Binary(binary(item).content, binary(item).subtype) : item;
    const ours = await pair.ours.decrypt(given);
    assert.equal(theirs.ok, false);
    assert.equal(ours.code, 'PAYLOAD_NOT_ENCRYPTED');
    assert.ok(codesFor(theirs.message).includes(ours.code));
  }
});

describe('authentic ciphertexts of bytes that are no value', () => {
  for (const [what, item] of Object.entries(MALFORMED)) {
    test(what, async () => {
      const payload = seal(item);
      const theirs = await pair.theirs.decrypt(payload);
      const ours = await pair.ours.decrypt(payload);
      assert.equal(ours.ok, theirs.ok, `${theirs.message ?? 'libmongocrypt accepts'}, ${ours.code ?? 'the package accepts'}`);
      if (theirs.ok) assert.ok(ours.value.equals(theirs.value));
      else assert.equal(ours.code, 'PAYLOAD_VALUE_MALFORMED');
    });
  }
  test('of types that are never encrypted', async () => {
    for (const item of [NEVER.null, NEVER.minKey, NEVER.maxKey, NEVER.undefined, NEVER.encrypted]) {
      const theirs = await pair.theirs.decrypt(seal(item));
      const ours = await pair.ours.decrypt(seal(item));
      assert.equal(ours.ok, theirs.ok, `type ${item.type}: libmongocrypt ${theirs.message ?? 'accepts'}, the package ${ours.code ?? 'accepts'}`);
      if (theirs.ok) assert.ok(ours.value.equals(theirs.value));
    }
  });
  test('of a type byte no BSON value has', async () => {
    for (const type of [0x00, 0x14, 0x40, 0x80, 0xfe]) await refusedAlike(seal(new RawValue(type, new Uint8Array(8))));
  });
});

/** A vault that one master key sealed, opened with another. */
test('another local master key opens nothing', async () => {
  const providers = { ...pair.providers, local: new Uint8Array(randomBytes(96)) };
  const [theirs, ours] = [await Theirs.open(pair.peer, providers), await Ours.open(providers)];
  for (const side of [theirs, ours]) side.vault = [key.document];
  for (const ask of [(side) => side.encrypt(value.int(1), { algorithm: ALGORITHM.random, keyId: key.keyId }), (side) => side.decrypt(seal(value.int(1)))]) {
    const [expected, actual] = [await ask(theirs), await ask(ours)];
    assert.equal(expected.message, 'HMAC validation failure');
    assert.equal(actual.code, 'CRYPTO_AUTHENTICATION_FAILED');
  }
  await theirs.close();
  ours.close();
});

test('a local wrapping of the wrong length inside is refused', async () => {
  for (const length of [1, 95, 97, 192]) {
    const wrapped = wrapKeyOfAnyLength(pair.providers.local, length);
    const bad = withField(key.document, 'keyMaterial', value.binData(wrapped));
    const [theirs, ours] = [await Theirs.open(pair.peer, pair.providers), await Ours.open(pair.providers)];
    for (const side of [theirs, ours]) side.vault = [bad];
    const options = { algorithm: ALGORITHM.random, keyId: key.keyId };
    const [expected, actual] = [await theirs.encrypt(value.int(1), options), await ours.encrypt(value.int(1), options)];
    assert.equal(expected.ok, false);
    assert.ok(codesFor(expected.message).includes(actual.code), `${actual.code} for ${expected.message}`);
    await theirs.close();
    ours.close();
  }
});

const wrapKeyOfAnyLength = (masterKey, length) => wrapKey(masterKey, randomBytes(length));

test('a KMS that answers with another length is refused', async () => {
  const aws = await pair.dataKey('theirs', 'aws');
  for (const length of [0, 1, 95, 97]) {
    const body = JSON.stringify({ Plaintext: Buffer.alloc(length, 1).toString('base64') });
    const reply = new TextEncoder().encode(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const theirs = await Theirs.open(pair.peer, pair.providers);
    theirs.kms = { kmsReplies: [reply] };
    const ours = await Ours.open(pair.providers, { callbacks: { aws: { encrypt: () => new Uint8Array(160), decrypt: () => new Uint8Array(length).fill(1) } } });
    for (const side of [theirs, ours]) side.vault = [aws.document];
    const options = { algorithm: ALGORITHM.random, keyId: aws.keyId };
    assert.equal((await theirs.encrypt(value.int(1), options)).ok, false);
    assert.equal((await ours.encrypt(value.int(1), options)).code, 'KMS_REPLY_LENGTH');
    await theirs.close();
    ours.close();
  }
});

test('a document whose bytes are not BSON is refused, where libmongocrypt hands it back as it was', async () => {
  for (const [what, item] of Object.entries(MALFORMED)) {
    if (what === 'stringNotUtf8') continue; // neither side looks inside strings
    const bytes = document([
      ['bad', item],
      ['sealed', value.encrypted(seal(value.int(1)))],
    ]);
    const ours = await pair.ours.decryptDocument(bytes);
    assert.equal(ours.code, 'BSON_MALFORMED', `${what}: ${ours.ok ? 'accepted' : ours.message}`);
  }
});

test('random damage is refused alike', async () => {
  const rng = new Random(6);
  let refused = 0;
  for (let round = 0; round < 2000; round += 1) {
    const { what, payload } = damagePayload(rng, seal(value.string('some text to damage'), rng.pick([DETERMINISTIC, RANDOM])));
    if (![0, 1, 2, 3, 5, 8, 10, 12, 13].includes(payload[0] ?? 0) && payload[0] < 18) continue;
    const [theirs, ours] = [await pair.theirs.decrypt(payload), await pair.ours.decrypt(payload)];
    assert.equal(ours.ok, theirs.ok, `${what} ${HEX(payload)}`);
    if (theirs.ok) continue;
    refused += 1;
    assert.ok(codesFor(theirs.message).includes(ours.code), `${what}: ${ours.code} for ${theirs.message}`);
  }
  assert.ok(refused > 1000);
});
