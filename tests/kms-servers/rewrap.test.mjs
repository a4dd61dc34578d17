// rewrapManyDataKey from every kind of master key to every other: prose test 16 of the specification, with all six kinds.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp', 'kmip']);
const { encryption } = place;

const kinds = {
  local: ['local', () => undefined],
  aws: ['aws', () => place.cloud.masterKeys.aws],
  azure: ['azure', () => place.cloud.masterKeys.azure],
  gcp: ['gcp', () => place.cloud.masterKeys.gcp],
  kmip: ['kmip', () => ({})],
  delegated: ['kmip', () => ({ delegated: true })],
};
const names = Object.keys(kinds);

// A key of each kind, and a value that it encrypted.
async function oneOfEach() {
  const made = {};
  await Promise.all(
    names.map(async (name) => {
      const [provider, masterKey] = kinds[name];
      const maker = encryption();
      const id = await maker.createDataKey(provider, { masterKey: masterKey(), keyAltNames: [`${name}-${Math.random()}`] });
      made[name] = { id, value: await maker.encrypt(`by ${name}`, { algorithm: RANDOM, keyId: id }), before: await place.vault().findOne({ _id: id }) };
    }),
  );
  return made;
}

const idsOf = (made) => ({ _id: { $in: Object.values(made).map(({ id }) => id) } });

for (const target of names) {
  test(`keys of all kinds go to ${target} in one call, and unlock what they did`, async () => {
    const made = await oneOfEach();
    const [provider, masterKey] = kinds[target];
    const { bulkWriteResult } = await encryption().rewrapManyDataKey(idsOf(made), { provider, masterKey: masterKey() });
    assert.equal(bulkWriteResult.modifiedCount, names.length);
    const kmipObjects = new Set();
    for (const [name, { id, value, before }] of Object.entries(made)) {
      const { keyMaterial, masterKey: after, updateDate, ...kept } = await place.vault().findOne({ _id: id });
      assert.notDeepEqual(keyMaterial, before.keyMaterial);
      assert.ok(updateDate >= before.updateDate);
      const { keyMaterial: _material, masterKey: _key, updateDate: _date, ...keptBefore } = before;
      assert.deepEqual(kept, keptBefore, name);
      const { keyId, ...rest } = after;
      assert.deepEqual(rest, { provider, ...masterKey() }, name);
      if (keyId !== undefined) kmipObjects.add(keyId);
      assert.equal(await encryption().decrypt(value), `by ${name}`);
    }
    assert.equal(kmipObjects.size, provider === 'kmip' ? names.length : 0, 'each key has an object of its own');
  });
}

describe('without a new master key', () => {
  test('each key is wrapped again under its own', async () => {
    const made = await oneOfEach();
    await encryption().rewrapManyDataKey(idsOf(made));
    for (const [name, { id, value, before }] of Object.entries(made)) {
      const after = await place.vault().findOne({ _id: id });
      assert.deepEqual(after.masterKey, before.masterKey, name);
      assert.notDeepEqual(after.keyMaterial, before.keyMaterial, name);
      assert.equal(await encryption().decrypt(value), `by ${name}`);
    }
  });

  test('a provider is needed beside a master key, and none is written when one key fails', async () => {
    const made = await oneOfEach();
    await assert.rejects(encryption().rewrapManyDataKey(idsOf(made), { masterKey: {} }), { name: 'MongoCryptError', message: 'expected UTF-8 provider' });
    const foreign = { ...place.cloud.masterKeys.gcp, keyName: 'key-two' };
    await assert.rejects(encryption().rewrapManyDataKey(idsOf(made), { provider: 'gcp', masterKey: foreign }), {
      name: 'MongoCryptError',
      message: /^Error in KMS response\. HTTP status=404\. Response body=\n/,
    });
    const unreadable = { ...made.azure.before.masterKey, keyName: 'gone' };
    await place.vault().updateOne({ _id: made.azure.id }, { $set: { masterKey: unreadable } });
    await assert.rejects(encryption().rewrapManyDataKey(idsOf(made), { provider: 'local' }), {
      name: 'MongoCryptError',
      message: /HTTP status=404\. .*KeyNotFound/s,
    });
    for (const { id, before } of Object.values(made).filter(({ id: one }) => one !== made.azure.id))
      assert.deepEqual(await place.vault().findOne({ _id: id }), before);
  });
});
