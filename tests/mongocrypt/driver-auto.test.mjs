// Automatic encryption by the official driver on this package, with an analyser in the place of mongocryptd.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { testServices } from '../env.mjs';
import { startAnalyser } from './analyser.mjs';
import { aliasedDriver } from './driver.mjs';

const { mongodbUri } = await testServices();
const { driver, remove } = aliasedDriver();
const { ClientEncryption, MongoClient } = driver;
const database = `dropin_${randomBytes(4).toString('hex')}`;
const keyVaultNamespace = `${database}.keys`;
const kmsProviders = { local: { key: randomBytes(96) } };

let client;
let analyser;
let keyId;
before(async () => {
  analyser = await startAnalyser();
  client = await new MongoClient(mongodbUri).connect();
  keyId = await new ClientEncryption(client, { keyVaultNamespace, kmsProviders }).createDataKey('local');
});
after(async () => {
  await client.db(database).dropDatabase();
  await client.close();
  await analyser.stop();
  remove();
});

const schema = () => ({ bsonType: 'object', properties: { ssn: { encrypt: { keyId: [keyId], bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' } } } });
async function automatic(more, work) {
  const extraOptions = { mongocryptdURI: analyser.uri, mongocryptdBypassSpawn: true };
  const encrypting = new MongoClient(mongodbUri, { autoEncryption: { keyVaultNamespace, kmsProviders, extraOptions, ...more } });
  try {
    return await work(encrypting.db(database));
  } finally {
    await encrypting.close();
  }
}

test('encrypts what it writes and asks for, and decrypts what it reads', async () => {
  await automatic({ schemaMap: { [`${database}.people`]: schema() } }, async (db) => {
    await db.collection('people').insertMany([{ _id: 1, ssn: '457-55-5462', name: 'a' }, { _id: 2, ssn: '123', name: 'b' }]);
    assert.deepEqual(await db.collection('people').findOne({ ssn: '457-55-5462' }), { _id: 1, ssn: '457-55-5462', name: 'a' });
  });
  const stored = await client.db(database).collection('people').findOne({ _id: 1 });
  assert.deepEqual([stored.ssn.sub_type, stored.ssn.buffer[0], stored.name], [6, 1, 'a']);
  const [insert] = analyser.analysed;
  assert.deepEqual([insert.insert, insert.isRemoteSchema, '$db' in insert], ['people', false, true]);
});

// The test server knows no `encrypt` in a schema, so that one without is what it hands out.
test("takes the server's schema where the application has none", async () => {
  const jsonSchema = { bsonType: 'object', properties: { name: { bsonType: 'string' } } };
  await client.db(database).createCollection('remote', { validator: { $jsonSchema: jsonSchema } });
  await automatic({}, async (db) => {
    for (const _id of [1, 2]) await db.collection('remote').insertOne({ _id, name: 'x' });
    await db.collection('absent').insertOne({ _id: 1, name: 'x' });
  });
  const asked = analyser.analysed.filter(({ insert }) => insert === 'remote' || insert === 'absent').map((command) => [command.insert, command.jsonSchema, command.isRemoteSchema]);
  assert.deepEqual(asked, [['remote', jsonSchema, true], ['remote', jsonSchema, true], ['absent', {}, true]]);
  assert.deepEqual(await client.db(database).collection('remote').findOne({ _id: 1 }), { _id: 1, name: 'x' });
});

test('refuses commands and collections that it cannot encrypt', async () => {
  await automatic({}, (db) => assert.rejects(db.command({ mapreduce: 'people' }), { name: 'MongoCryptError', message: 'command not supported for auto encryption: mapreduce' }));
  const encryptedFields = { fields: [{ path: 'a', bsonType: 'string', keyId }] };
  await automatic({ encryptedFieldsMap: { [`${database}.queryable`]: encryptedFields } }, (db) =>
    assert.rejects(db.collection('queryable').insertOne({ a: 'x' }), ({ name, cause }) => name === 'MongoCryptError' && cause.code === 'AUTO_ENCRYPTION_QUERYABLE'));
});
