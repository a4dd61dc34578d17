// Long values, which the entry for Node leaves to Node's own AES and SHA-512: the bytes are libmongocrypt's all the same,
// and a host that refuses its primitives changes nothing but the speed.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { after, before, test } from 'node:test';
import { accept, HEX, Pair } from './pair.mjs';
import { value } from './raw-bson.mjs';
import { ALGORITHM } from './samples.mjs';

// Around each length from which something is left to the host, with the 5 bytes of a string's frame taken off.
const LENGTHS = [496, 512, 1008, 1024, 8160, 8192].flatMap((length) => [-7, -6, -5, -4].map((by) => length + by)).concat(65_536, 1_000_003);

let pair;
let key;

before(async () => {
  pair = await Pair.start();
  key = await pair.dataKey('ours', 'local', ['long values']);
  pair.setVault([key.document]);
});
after(() => pair?.stop());

async function checkLength(length) {
  const item = value.string('x'.repeat(length));
  const { keyId } = key;
  const ours = accept(await pair.ours.encrypt(item, { algorithm: ALGORITHM.deterministic, keyId }));
  const theirs = accept(await pair.theirs.encrypt(item, { algorithm: ALGORITHM.deterministic, keyId }));
  assert.ok(HEX(ours.payload) === HEX(theirs.payload), `${length} characters`);
  assert.ok(accept(await pair.ours.decrypt(theirs.payload)).value.equals(item), `${length} characters`);
  const random = accept(await pair.ours.encrypt(item, { algorithm: ALGORITHM.random, keyId }));
  assert.ok(accept(await pair.theirs.decrypt(random.payload)).value.equals(item), `${length} characters`);
  for (const at of [random.payload.length - 1, random.payload.length >> 1]) {
    const altered = Buffer.from(random.payload);
    altered[at] ^= 1;
    const [found, expected] = [await pair.ours.decrypt(altered), await pair.theirs.decrypt(altered)];
    assert.equal(found.code, 'CRYPTO_AUTHENTICATION_FAILED');
    assert.equal(found.message, expected.message);
  }
}

test('long values are libmongocrypt’s byte for byte, in both directions', async () => {
  for (const length of LENGTHS) await checkLength(length);
});

/** Puts `replace(original)` in the place of each function that is lent, and counts the calls. */
function withLent(replace) {
  const calls = {};
  const originals = {};
  for (const name of ['createCipheriv', 'createDecipheriv', 'createHmac']) {
    originals[name] = crypto[name];
    calls[name] = 0;
    crypto[name] = (...args) => {
      calls[name] += 1;
      return replace(originals[name])(...args);
    };
  }
  syncBuiltinESMExports();
  return {
    calls,
    restore() {
      Object.assign(crypto, originals);
      syncBuiltinESMExports();
    },
  };
}

test('a long value is left to Node, a short one is not', async () => {
  const lent = withLent((original) => original);
  try {
    for (const [length, encrypted, decrypted] of [
      [100, [0, 0], [0, 0]],
      [20_000, [1, 2], [1, 1]],
    ]) {
      const before = { ...lent.calls };
      const { payload } = accept(await pair.ours.encrypt(value.string('x'.repeat(length)), { algorithm: ALGORITHM.deterministic, keyId: key.keyId }));
      assert.deepEqual([lent.calls.createCipheriv - before.createCipheriv, lent.calls.createHmac - before.createHmac], encrypted);
      const between = { ...lent.calls };
      accept(await pair.ours.decrypt(payload));
      assert.deepEqual([lent.calls.createDecipheriv - between.createDecipheriv, lent.calls.createHmac - between.createHmac], decrypted);
    }
  } finally {
    lent.restore();
  }
});

test('a host that refuses is done without', async () => {
  const lent = withLent(() => () => {
    throw new Error('not allowed here');
  });
  try {
    for (const length of [600, 20_000]) await checkLength(length);
    assert.ok(
      Object.values(lent.calls).every((count) => count > 0),
      JSON.stringify(lent.calls),
    );
  } finally {
    lent.restore();
  }
});
