// Automatic encryption with a key of every provider in one document, with an analyser in the place of mongocryptd.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startAnalyser } from '../mongocrypt/analyser.mjs';
import { faults } from './https-service.mjs';
import { startMetadata } from './metadata.mjs';
import { workplace } from './workplace.mjs';

const types = ['aws', 'azure', 'gcp', 'kmip'];
const place = await workplace(types, { modules: ['gcp-metadata'] });
const metadata = await startMetadata(place.cloud);
const analyser = await startAnalyser();
after(() => metadata.stop());
after(() => analyser.stop());
afterEach(() => assert.deepEqual([...metadata.violations.splice(0), ...analyser.declined.splice(0)], []));

const algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const properties = {};
before(async () => {
  const maker = place.encryption();
  for (const type of [...types, 'delegated', 'local']) {
    const [provider, masterKey] = type === 'delegated' ? ['kmip', { delegated: true }] : [type, place.cloud.masterKeys[type]];
    properties[`by_${type}`] = { encrypt: { keyId: [await maker.createDataKey(provider, { masterKey })], bsonType: 'string', algorithm } };
  }
});

const plain = (value) => Object.fromEntries(Object.keys(properties).map((name) => [name, value]));
const calls = () => Object.fromEntries(types.map((type) => [type, (place.cloud[type].service.requests ?? place.cloud[type].service.operations).length]));
const difference = (before) => Object.fromEntries(Object.entries(calls()).map(([type, count]) => [type, count - before[type]]));
const automatic = (more, work) =>
  place.withClient(
    {
      bypassAutoEncryption: false,
      schemaMap: { [`${place.database}.people`]: { bsonType: 'object', properties } },
      extraOptions: { mongocryptdURI: analyser.uri, mongocryptdBypassSpawn: true },
      ...more,
    },
    (db) => work(db.collection('people')),
  );

test('each provider is asked for its keys once, and all are read with one client', async () => {
  await automatic({}, async (people) => {
    const before = calls();
    await people.insertOne({ _id: 1, ...plain('a') });
    // Tokens of two and keys of all; a Get and a Decrypt of KMIP.
    assert.deepEqual(difference(before), { aws: 1, azure: 2, gcp: 2, kmip: 2 });
    assert.deepEqual(await people.findOne({ by_gcp: 'a', by_kmip: 'a' }), { _id: 1, ...plain('a') });
    assert.deepEqual(difference(before), { aws: 1, azure: 2, gcp: 2, kmip: 2 });
  });
  const stored = await place.collection('people').findOne({ _id: 1 });
  for (const name of Object.keys(properties)) assert.deepEqual([stored[name].sub_type, stored[name].buffer[0]], [6, 1], name);
});

test('credentials are asked for once in a context, however many keys and rounds it has', async () => {
  let asked = 0;
  const credentialProviders = {
    aws: async () => {
      asked += 1;
      return place.cloud.aws.kmsProvider;
    },
  };
  const kmsProviders = { ...place.cloud.options().kmsProviders, aws: {}, azure: {}, gcp: {} };
  await automatic({ kmsProviders, credentialProviders }, async (people) => {
    const before = calls();
    const count = metadata.requests.length;
    await people.insertOne({ _id: 2, ...plain('b') });
    assert.deepEqual([asked, metadata.requests.length - count], [1, 2]);
    // The tokens are given, not fetched.
    assert.deepEqual(difference(before), { aws: 1, azure: 1, gcp: 1, kmip: 2 });
    assert.deepEqual(await people.findOne({ by_aws: 'b' }), { _id: 2, ...plain('b') });
    assert.deepEqual([asked, metadata.requests.length - count], [1, 2]);
  });
});

test('one that puts us off is asked again, and one that refuses fails the command before it is sent', async () => {
  await automatic({}, async (people) => {
    for (const type of ['aws', 'azure', 'gcp']) place.cloud[type].service.fail(faults.status(503, 'later'));
    const before = calls();
    await people.insertOne({ _id: 3, ...plain('c') });
    assert.deepEqual(difference(before), { aws: 2, azure: 3, gcp: 3, kmip: 2 });
  });
  await automatic({}, async (people) => {
    place.cloud.azure.service.fail(faults.status(403, { error: { code: 'Forbidden' } }), { path: /^\/keys/ });
    await assert.rejects(people.insertOne({ _id: 4, ...plain('d') }), {
      name: 'MongoCryptError',
      message: 'Error in KMS response. HTTP status=403. Response body=\n{"error":{"code":"Forbidden"}}',
    });
    assert.equal(await place.collection('people').findOne({ _id: 4 }), null);
  });
});
