// Rewrapping: the same data keys under other master keys, read by the other side.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Ours } from './ours.mjs';
import { codesFor } from './outcomes.mjs';
import { accept, HEX, MASTER_KEYS, Pair, withField } from './pair.mjs';
import { binary, field, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue } from './reference.mjs';
import { ALGORITHM } from './samples.mjs';
import { Theirs } from './theirs.mjs';

const PROVIDERS = Object.keys(MASTER_KEYS);
const PROBE = value.string('unchanged');

let pair;

before(async () => {
  pair = await Pair.start();
});
after(() => pair?.stop());

/** The key document as the driver leaves it in the vault. */
const stored = (key, { keyMaterial, masterKey }) => withField(withField(key, 'keyMaterial', keyMaterial), 'masterKey', masterKey);

/** A side that knows only the given provider. */
async function only(side, provider, vault) {
  const providers = { [provider]: pair.providers[provider] };
  const opened = side === 'theirs' ? await Theirs.open(pair.peer, providers) : await Ours.open(providers);
  opened.vault = vault;
  return opened;
}

describe('rewrapped keys hold the same material and open on the other side', () => {
  for (const from of PROVIDERS) {
    for (const to of PROVIDERS) {
      test(`${from} to ${to}`, async () => {
        for (const [maker, reader] of [
          ['ours', 'theirs'],
          ['theirs', 'ours'],
        ]) {
          // A name per case: libmongocrypt's cache takes a key of a known name for the cached one (csfle-format.md 5.9).
          const name = `${from} ${to} ${maker}`;
          const key = await pair.dataKey(reader, from, [name]);
          pair.setVault([key.document]);
          const { keys } = accept(await pair[maker].rewrap(to, MASTER_KEYS[to]), `rewrap by ${maker}`);
          assert.equal(keys.length, 1);
          assert.equal(HEX(binary(keys[0]._id).content), HEX(key.keyId));
          const opened = await only(reader, to, [stored(key.document, keys[0])]);
          const { payload } = accept(await opened.encrypt(PROBE, { algorithm: ALGORITHM.deterministic, keyAltName: name }), `${reader} after ${maker}`);
          assert.equal(HEX(payload), HEX(encryptValue(PROBE, { kind: DETERMINISTIC, keyId: key.keyId, material: key.material })));
          await opened.close();
        }
      });
    }
  }
});

test("the stored master key is libmongocrypt's, byte for byte, and so is a local wrapping", async () => {
  for (const to of PROVIDERS) {
    const key = await pair.dataKey('theirs', 'gcp');
    pair.setVault([key.document]);
    const [ours] = accept(await pair.ours.rewrap(to, MASTER_KEYS[to])).keys;
    const wrapped = binary(ours.keyMaterial).content;
    const drawsOwnVector = to.startsWith('local') || to === 'kmip';
    const [theirs] = accept(await pair.theirs.rewrap(to, MASTER_KEYS[to], { random: drawsOwnVector ? await rewrapDraws(wrapped) : [] })).keys;
    assert.equal(HEX(ours.masterKey.bytes), HEX(theirs.masterKey.bytes), to);
    assert.equal(HEX(wrapped), HEX(binary(theirs.keyMaterial).content), to);
  }
});

/** Rewrapping draws an id first, which it throws away: only the vector matters. */
const rewrapDraws = async (wrapped) => [wrapped.slice(0, 16), new Uint8Array(16)];

test('without a target every key is wrapped anew under its own master key', async () => {
  const keys = [];
  for (const provider of PROVIDERS) keys.push(await pair.dataKey('theirs', provider));
  pair.setVault(keys.map(({ document }) => document));
  for (const side of ['ours', 'theirs']) {
    const rewrapped = accept(await pair[side].rewrap()).keys;
    assert.equal(rewrapped.length, keys.length);
    for (const key of keys) {
      const found = rewrapped.find(({ _id }) => HEX(binary(_id).content) === HEX(key.keyId));
      assert.equal(HEX(found.masterKey.bytes), HEX(field(key.document, 'masterKey').bytes), key.provider);
      if (key.provider.startsWith('local')) assert.notEqual(HEX(found.keyMaterial.bytes), HEX(field(key.document, 'keyMaterial').bytes));
    }
  }
});

test('a vault without a matching key is left alone', async () => {
  pair.setVault([]);
  for (const side of ['ours', 'theirs']) assert.deepEqual(accept(await pair[side].rewrap('local')).keys, []);
});

test('one key that does not unwrap stops the whole rewrapping, on both sides', async () => {
  const good = await pair.dataKey('theirs', 'local');
  const bad = await pair.dataKey('theirs', 'local');
  const broken = withField(bad.document, 'keyMaterial', value.binData(new Uint8Array(160)));
  const [theirs, ours] = [await Theirs.open(pair.peer, pair.providers), await Ours.open(pair.providers)];
  for (const side of [theirs, ours]) side.vault = [good.document, broken];
  const expected = await theirs.rewrap('aws', MASTER_KEYS.aws);
  const actual = await ours.rewrap('aws', MASTER_KEYS.aws);
  assert.equal(expected.ok, false);
  assert.ok(codesFor(expected.message).includes(actual.code), `${actual.code} for ${expected.message}`);
  await theirs.close();
  ours.close();
});
