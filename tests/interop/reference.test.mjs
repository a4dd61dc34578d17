// The independent implementation against libmongocrypt and against the package, so that each checks the other two.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { randomValue, allowsDeterministic, Random } from './generate.mjs';
import { accept, HEX, Pair } from './pair.mjs';
import { binary, concat, field, fromBase64, fromHex, value } from './raw-bson.mjs';
import { decryptValue, DETERMINISTIC, encryptValue, open, payloadLength, RANDOM, readHeader, seal, unwrapKey, wrapKey } from './reference.mjs';
import { canonicalRegex, isCut } from './rewriting.mjs';
import { ALGORITHM } from './samples.mjs';

const ROUNDS = 400;
let pair;
let keys;

before(async () => {
  pair = await Pair.start();
  keys = { local: await pair.dataKey('theirs', 'local'), aws: await pair.dataKey('theirs', 'aws') };
  pair.setVault(Object.values(keys).map(({ document }) => document));
});
after(() => pair?.stop());

test('the reference reproduces the published deterministic vector', () => {
  const material = fromHex(`
    c4f4c08c1446e4988f9be7777e3e972e2daae43317512fdfd5ff923009618709210d12f492bf2bf460cb2064c01a5bc2
    f8756348881d2fe44ac190afa574b2c532025925d3518b1660fcaedc8a076ee059766c367da3375a17112206cc45e539`);
  const payload = encryptValue(value.string('test'), { kind: DETERMINISTIC, keyId: new Uint8Array(16), material });
  assert.equal(
    HEX(payload),
    HEX(fromBase64('AQAAAAAAAAAAAAAAAAAAAAACz0ZOLuuhEYi807ZXTdhbqhLaS2/t9wLifJnnNYwiw79d75QYIZ6M/aYC1h9nCzCjZ7pGUpAuNnkUhnIXM3PjrA==')),
  );
});

test('the reference reproduces the known answer of libmongocrypt, mcgrew.json', () => {
  // Key bytes 00 to 3f and a zero third part; draft-mcgrew-aead-aes-cbc-hmac-sha2, AEAD_AES_256_CBC_HMAC_SHA_512, is the
  // same construction with the same inputs, whose tag RFC 7518 appendix B.3 lists.
  const material = concat(
    Uint8Array.from({ length: 64 }, (_, index) => index),
    new Uint8Array(32),
  );
  const text = new TextEncoder().encode(
    'A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy without inconvenience',
  );
  const associatedData = new TextEncoder().encode('The second principle of Auguste Kerckhoffs');
  const sealed = seal(material, associatedData, text, fromHex('1af38c2dc2b96ffdd86694092341bc04'));
  assert.equal(HEX(sealed.subarray(-32)), '4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5');
  assert.deepEqual(open(material, associatedData, sealed), text);
});

test('the reference and libmongocrypt write the same bytes, whichever initialisation vector is drawn', async () => {
  const rng = new Random(1);
  for (let round = 0; round < ROUNDS; round += 1) {
    const item = randomValue(rng);
    const { keyId, material } = keys[rng.pick(['local', 'aws'])];
    const iv = rng.bytes(16);
    if (isCut(item)) continue;
    const theirs = accept(await pair.theirs.encrypt(item, { algorithm: ALGORITHM.random, keyId, random: [iv] }));
    assert.equal(HEX(theirs.payload), HEX(encryptValue(canonicalRegex(item), { kind: RANDOM, keyId, material, iv })));
    assert.ok(decryptValue(theirs.payload, material).equals(canonicalRegex(item)));
  }
});

test('the package and the reference agree on random values', async () => {
  const rng = new Random(2);
  for (let round = 0; round < ROUNDS; round += 1) {
    const item = randomValue(rng);
    const { keyId, material } = keys[rng.pick(['local', 'aws'])];
    const { payload } = accept(await pair.ours.encrypt(item, { algorithm: ALGORITHM.random, keyId }));
    // The package draws its own vector; everything else follows from it.
    assert.equal(HEX(payload), HEX(encryptValue(canonicalRegex(item), { kind: RANDOM, keyId, material, iv: readHeader(payload).iv })));
    assert.equal(payload.length, payloadLength(canonicalRegex(item).bytes.length));
    assert.ok(accept(await pair.ours.decrypt(encryptValue(item, { kind: RANDOM, keyId, material }))).value.equals(item));
    if (!allowsDeterministic(item)) continue;
    const deterministic = accept(await pair.ours.encrypt(item, { algorithm: ALGORITHM.deterministic, keyId }));
    assert.equal(HEX(deterministic.payload), HEX(encryptValue(canonicalRegex(item), { kind: DETERMINISTIC, keyId, material })));
  }
});

test('the package and the reference wrap local keys alike', async () => {
  const masterKey = pair.providers.local;
  const made = await pair.dataKey('ours', 'local');
  const wrapped = binary(field(made.document, 'keyMaterial')).content;
  assert.equal(HEX(unwrapKey(masterKey, wrapped)), HEX(made.material));
  assert.equal(HEX(wrapKey(masterKey, made.material, wrapped.subarray(0, 16))), HEX(wrapped));
  assert.throws(() => unwrapKey(randomBytes(96), wrapped), { code: 'CRYPTO_AUTHENTICATION_FAILED' });
});
