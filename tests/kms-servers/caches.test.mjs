// Two clients of one vault whose caches keep keys for different times.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp']);
const { encryption } = place;
const NOT_FOUND = 'not all keys requested were satisfied. Verify that key vault DB/collection name was correctly specified.';
const calls = () => ['aws', 'azure', 'gcp'].map((name) => place.cloud[name].service.paths().filter((path) => !path.endsWith('token')).length);
const made = async (provider = 'azure') => {
  const id = await encryption().createDataKey(provider, { masterKey: place.cloud.masterKeys[provider] });
  return { id, value: await encryption().encrypt('secret', { algorithm: RANDOM, keyId: id }) };
};

// How a value is read: by a ClientEncryption, and by a MongoClient that decrypts what it finds.
const readers = {
  ClientEncryption: (options, work) => {
    const reader = encryption({}, options);
    return work((value) => reader.decrypt(value));
  },
  MongoClient: (options, work) =>
    place.withClient(options, (automatic) =>
      work(async (value) => {
        const { insertedId } = await place.collection('read').insertOne({ value });
        return (await automatic.collection('read').findOne({ _id: insertedId })).value;
      }),
    ),
};

for (const [kind, open] of Object.entries(readers)) {
  describe(`two of ${kind}`, () => {
    // `brief` forgets a key within a millisecond, `lasting` never does.
    const withBoth = (work) => open({ keyExpirationMS: 1 }, (brief) => open({ keyExpirationMS: 0 }, (lasting) => work({ brief, lasting })));
    const warm = async ({ brief, lasting }, value) => {
      for (const read of [brief, lasting]) assert.equal(await read(value), 'secret');
      await sleep(5);
    };

    test('a deleted key is known to the one that keeps it', async () => {
      const { id, value } = await made();
      await withBoth(async (both) => {
        await warm(both, value);
        await encryption().deleteKey(id);
        assert.equal(await both.lasting(value), 'secret');
        await assert.rejects(both.brief(value), { name: 'MongoCryptError', message: NOT_FOUND });
        assert.equal(await both.lasting(value), 'secret');
      });
    });

    test('a replaced key is found by the other alone', async () => {
      const { id, value } = await made();
      const { id: other } = await made();
      await withBoth(async (both) => {
        await warm(both, value);
        const { keyMaterial, masterKey } = await place.vault().findOne({ _id: other });
        await place.vault().updateOne({ _id: id }, { $set: { keyMaterial, masterKey } });
        await assert.rejects(both.brief(value), { name: 'MongoCryptError', message: 'HMAC validation failure' });
        assert.equal(await both.lasting(value), 'secret');
        await place.vault().updateOne({ _id: id }, { $set: { masterKey: { provider: 'aws:unknown', region: 'r', key: 'k' } } });
        await sleep(5);
        await assert.rejects(both.brief(value), { name: 'MongoCryptError', message: 'KMS provider `aws:unknown` is not configured' });
        assert.equal(await both.lasting(value), 'secret');
      });
    });

    test('a key under another master key is asked for there by the one, and not at all by the other', async () => {
      const { id, value } = await made();
      await withBoth(async (both) => {
        await warm(both, value);
        await encryption().rewrapManyDataKey({ _id: id }, { provider: 'gcp', masterKey: place.cloud.masterKeys.gcp });
        const [aws, azure, gcp] = calls();
        assert.equal(await both.lasting(value), 'secret');
        assert.deepEqual(calls(), [aws, azure, gcp]);
        assert.equal(await both.brief(value), 'secret');
        assert.deepEqual(calls(), [aws, azure, gcp + 1]);
      });
    });
  });
}

test('a client that keeps keys does not take back what another one rewrapped', async () => {
  const { id, value } = await made();
  const lasting = encryption({}, { keyExpirationMS: 0 });
  assert.equal(await lasting.decrypt(value), 'secret');
  await encryption({}, { keyExpirationMS: 1 }).rewrapManyDataKey({ _id: id }, { provider: 'gcp', masterKey: place.cloud.masterKeys.gcp });
  const rewrapped = await place.vault().findOne({ _id: id });
  // DIFFERS: libmongocrypt takes the master key of its cache, and so writes the old one back.
  await lasting.rewrapManyDataKey({ _id: id });
  const after = await place.vault().findOne({ _id: id });
  assert.deepEqual(after.masterKey, rewrapped.masterKey);
  assert.notDeepEqual(after.keyMaterial, rewrapped.keyMaterial);
  assert.equal(await encryption().decrypt(value), 'secret');
});

test('a renamed key answers to its old name where it is kept', async () => {
  const { id } = await made('aws');
  await encryption().addKeyAltName(id, 'old name');
  const [brief, lasting] = [encryption({}, { keyExpirationMS: 1 }), encryption({}, { keyExpirationMS: 0 })];
  const use = (by, keyAltName) => by.encrypt(1, { algorithm: RANDOM, keyAltName });
  for (const by of [brief, lasting]) await use(by, 'old name');
  await encryption().removeKeyAltName(id, 'old name');
  await encryption().addKeyAltName(id, 'new name');
  await sleep(5);
  await use(lasting, 'old name');
  await assert.rejects(use(brief, 'old name'), { message: NOT_FOUND });
  for (const by of [brief, lasting]) await use(by, 'new name');
});
