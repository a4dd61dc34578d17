// rewrapManyDataKey: between all providers, under its own master key, with races and with a KMS that lies.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { KMSClient } from '@aws-sdk/client-kms';
import { awsKms, ClientEncryption, MemoryKeyVaultStore } from 'csfle-wasm';
import { Binary, MongoClient, UUID } from 'mongodb';
import { testServices } from '../env.mjs';
import { DETERMINISTIC, failsWith, keyBytes, localEncryption, padKms } from './fixtures.mjs';

const database = `js_rewrap_${process.pid}`;
const keyVaultNamespace = `${database}.keys`;
const masterKeys = {
  aws: { region: 'eu-central-1', key: 'arn:aws:kms:eu-central-1:111122223333:alias/a' },
  azure: { keyVaultEndpoint: 'https://vault.vault.azure.net/', keyName: 'name', keyVersion: 'version' },
  gcp: { projectId: 'project', location: 'global', keyRing: 'ring', keyName: 'key', endpoint: 'cloudkms.googleapis.com:443' },
  kmip: { keyId: '7', delegated: true },
  local: undefined,
};
const providers = () => ({
  local: { key: keyBytes('local') },
  ...Object.fromEntries(['aws', 'azure', 'gcp', 'kmip'].map((type) => [type, padKms(type)])),
});
let services;
let client;

before(async () => {
  services = await testServices();
  client = await new MongoClient(services.mongodbUri).connect();
});

after(async () => {
  await client?.db(database).dropDatabase();
  await client?.close();
});

const types = Object.keys(masterKeys);
for (const source of types) {
  test(`keys move from ${source} to every provider, and the data stays readable`, async () => {
    const vault = client.db(database).collection('keys');
    for (const target of types) {
      const one = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: providers() });
      const keyId = await one.createDataKey(source, { masterKey: masterKeys[source], keyAltNames: [`${source} to ${target}`] });
      const value = await one.encrypt('stays', { algorithm: DETERMINISTIC, keyId });
      const before = await vault.findOne({ _id: keyId });
      const two = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: providers() });
      const result = await two.rewrapManyDataKey({ _id: keyId }, { provider: target, masterKey: masterKeys[target] });
      assert.equal(result.bulkWriteResult.modifiedCount, 1);
      assert.equal(result.bulkWriteResult.matchedCount, 1);
      const moved = await vault.findOne({ _id: keyId });
      assert.equal(moved.masterKey.provider, target);
      assert.notDeepEqual(moved.keyMaterial.buffer, source === target && source !== 'local' ? Buffer.alloc(0) : before.keyMaterial.buffer);
      assert.deepEqual([moved._id, moved.keyAltNames, moved.creationDate, moved.status], [before._id, before.keyAltNames, before.creationDate, before.status]);
      assert.ok(moved.updateDate >= before.updateDate);
      assert.deepEqual(Object.keys(moved), Object.keys(before), 'no field of our own');
      // Only the new provider is needed now.
      const three = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: { [target]: providers()[target] } });
      assert.equal(await three.decrypt(value), 'stays');
      for (const encryption of [one, two, three]) encryption.close();
    }
  });
}

test('a local key moves to the AWS KMS emulator through the real SDK and back', async () => {
  const aws = awsKms(new KMSClient({ endpoint: services.kmsEndpoint, region: services.region }));
  const encryption = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: { local: { key: keyBytes('local') }, aws } });
  const keyId = await encryption.createDataKey('local');
  const value = await encryption.encrypt('stays', { algorithm: DETERMINISTIC, keyId });
  await encryption.rewrapManyDataKey({ _id: keyId }, { provider: 'aws', masterKey: { region: services.region, key: services.keyArn } });
  const onlyAws = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: { aws } });
  assert.equal(await onlyAws.decrypt(value), 'stays');
  // Without options a key keeps its master key and gets a fresh wrapping.
  const before = await encryption.getKey(keyId);
  await encryption.rewrapManyDataKey({ _id: keyId });
  const anew = await encryption.getKey(keyId);
  assert.deepEqual(anew.masterKey, before.masterKey);
  assert.notDeepEqual(anew.keyMaterial.buffer, before.keyMaterial.buffer);
  await encryption.rewrapManyDataKey({ _id: keyId }, { provider: 'local' });
  assert.deepEqual((await encryption.getKey(keyId)).masterKey, { provider: 'local' });
  assert.equal(await localEncryption({ store: new MemoryKeyVaultStore([await encryption.getKey(keyId)]) }).decrypt(value), 'stays');
  encryption.close();
  onlyAws.close();
});

test('an endpoint that is stored with a scheme is no conflict', async () => {
  // Other writers may have stored what this library would normalise; the comparison must be with what is stored.
  const store = new MemoryKeyVaultStore();
  const encryption = localEncryption({ store, kmsProviders: providers(), allowedEndpoints: ['kms.example.com'] });
  const keyId = await encryption.createDataKey('aws', { masterKey: masterKeys.aws });
  const document = await encryption.getKey(keyId);
  await store.retireKey(keyId, { reason: 'a test', requestedBy: 'a test' });
  await store.insert({ ...document, masterKey: { endpoint: 'https://kms.example.com/', ...document.masterKey } });
  assert.equal((await encryption.rewrapManyDataKey({}, { provider: 'local' })).bulkWriteResult.modifiedCount, 1);
  encryption.close();
});

test('no matching key gives an empty result and no write', async () => {
  const encryption = localEncryption();
  await encryption.createDataKey('local');
  assert.deepEqual(await encryption.rewrapManyDataKey({ keyAltNames: 'nobody' }, { provider: 'local' }), {});
  encryption.close();
});

test('a masterKey without provider is refused', async () => {
  const encryption = localEncryption();
  const error = await failsWith('OPTION_INVALID', () => encryption.rewrapManyDataKey({}, { masterKey: { key: 'x', region: 'y' } }));
  assert.equal(error.details.option, 'masterKey');
  encryption.close();
});

test('a key that another process rewrapped meanwhile is named and left as found, the others are written', async () => {
  for (const backing of [() => new MemoryKeyVaultStore(), undefined]) {
    const options = backing === undefined ? { client, more: { keyVaultNamespace } } : { client: null, more: { keyVaultStore: backing() } };
    const make = (kmsProviders) => new ClientEncryption(options.client, { ...options.more, kmsProviders });
    const setup = make(providers());
    const ids = [];
    for (let index = 0; index < 3; index += 1) ids.push(await setup.createDataKey('local', { keyAltNames: [`race ${backing === undefined} ${index}`] }));
    let interfered = false;
    const slow = padKms('aws', async ({ operation }) => {
      if (operation === 'encrypt' && !interfered) {
        interfered = true;
        await setup.rewrapManyDataKey({ _id: ids[1] }, { provider: 'local' });
      }
    });
    const racing = make({ local: { key: keyBytes('local') }, aws: slow });
    const error = await failsWith('KEY_VAULT_CONFLICT', () => racing.rewrapManyDataKey({ _id: { $in: ids } }, { provider: 'aws', masterKey: masterKeys.aws }));
    assert.equal(error.details.keyIds, ids[1].toHexString());
    assert.equal(error.details.written, 2);
    assert.equal(error.retryable, true);
    assert.deepEqual(await Promise.all(ids.map(async (id) => (await setup.getKey(id)).masterKey.provider)), ['aws', 'local', 'aws']);
    setup.close();
    racing.close();
  }
});

test('a stale key cache never reverts what another client rewrapped', async () => {
  // csfle-format 10.4: libmongocrypt takes cached keys with their cached master key.
  const store = new MemoryKeyVaultStore();
  const one = localEncryption({ store, kmsProviders: providers() });
  const keyId = await one.createDataKey('local');
  await one.encrypt(1, { algorithm: DETERMINISTIC, keyId });
  const two = localEncryption({ store, kmsProviders: providers() });
  await two.rewrapManyDataKey({}, { provider: 'aws', masterKey: masterKeys.aws });
  await one.rewrapManyDataKey({});
  assert.equal((await one.getKey(keyId)).masterKey.provider, 'aws');
  one.close();
  two.close();
});

test('a KMS that wraps something else is found out before anything is written', async () => {
  const store = new MemoryKeyVaultStore();
  const lying = padKms('aws', async ({ operation }) => (operation === 'decrypt' ? new Uint8Array(96).fill(1) : undefined));
  const encryption = localEncryption({ store, kmsProviders: { local: { key: keyBytes('local') }, aws: lying } });
  const keyId = await encryption.createDataKey('local');
  const before = await encryption.getKey(keyId);
  await failsWith('KMS_REPLY_MISMATCH', () => encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: masterKeys.aws }));
  assert.deepEqual(await encryption.getKey(keyId), before);
  const calls = lying.calls.length;
  await failsWith('OPTION_INVALID', () => encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: masterKeys.aws, verify: false }));
  assert.equal(lying.calls.length, calls);
  encryption.close();
});

test('one failing key fails the whole call before any write', async () => {
  const store = new MemoryKeyVaultStore();
  const good = localEncryption({ store });
  const bad = localEncryption({ store, kmsProviders: { local: { key: keyBytes('other') } } });
  const ids = [await good.createDataKey('local'), await bad.createDataKey('local')];
  const before = await store.find({});
  const error = await failsWith('CRYPTO_AUTHENTICATION_FAILED', () => good.rewrapManyDataKey({}, { provider: 'local' }));
  assert.match(JSON.stringify(error), new RegExp(ids[1].toHexString()));
  assert.deepEqual(await store.find({}), before);
  good.close();
  bad.close();
});

test('a store that fails in the middle says how far it came', async () => {
  const inner = new MemoryKeyVaultStore();
  let writes = 0;
  const failing = {
    find: (filter) => inner.find(filter),
    rewrapIf: (...args) => {
      writes += 1;
      if (writes === 2) throw new Error('disk full');
      return inner.rewrapIf(...args);
    },
  };
  for (const method of ['insert', 'addKeyAltName', 'removeKeyAltName', 'retireKey']) failing[method] = (...args) => inner[method](...args);
  const encryption = localEncryption({ store: failing });
  await encryption.createDataKey('local');
  const second = await encryption.createDataKey('local');
  const error = await failsWith('HOST_CALLBACK_FAILED', () => encryption.rewrapManyDataKey({}, { provider: 'local' }));
  assert.equal(error.cause.message, 'disk full');
  assert.equal(error.details.written, 1);
  assert.equal(error.details.keyId, second.toHexString());
  encryption.close();
});

test('a filter keeps its types on the way to the store', async () => {
  const filters = [];
  const inner = new MemoryKeyVaultStore();
  const spying = new Proxy(inner, {
    get: (target, name) =>
      name === 'find'
        ? (filter) => {
            filters.push(filter);
            return [];
          }
        : target[name]?.bind(target),
  });
  const encryption = localEncryption({ store: spying });
  const id = new UUID();
  const filter = { $or: [{ _id: id }, { creationDate: { $gt: new Date(5) } }, { keyMaterial: new Binary(Buffer.from('x')) }] };
  await encryption.rewrapManyDataKey(filter, { provider: 'local' });
  // One read to search for values that prove the keys, one to rewrap.
  assert.deepEqual(filters, [filter, filter]);
  encryption.close();
});

test("a wrong answer of a store's rewrapIf() makes the rewrap fail", async () => {
  const answers = { 'no answer': [undefined, true], 'a write that was none': [true, false], 'a number': [1, true] };
  for (const [name, [answer, writes]] of Object.entries(answers)) {
    const store = new MemoryKeyVaultStore();
    const lying = new Proxy(store, {
      get: (target, property) => {
        if (property !== 'rewrapIf') return typeof target[property] === 'function' ? target[property].bind(target) : target[property];
        return async (...args) => {
          if (writes) await target.rewrapIf(...args);
          return answer;
        };
      },
    });
    const kmsProviders = { local: { key: keyBytes('local') }, 'local:b': { key: keyBytes('b') } };
    const encryption = new ClientEncryption(null, { keyVaultStore: lying, kmsProviders });
    await encryption.createDataKey('local');
    const error = await failsWith('HOST_CALLBACK_FAILED', () => encryption.rewrapManyDataKey({}, { provider: 'local:b' }));
    assert.match(error.message, /rewrapIf\(\)|wrapped as before/, name);
    encryption.close();
  }
});
