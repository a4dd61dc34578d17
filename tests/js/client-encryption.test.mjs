// The whole surface of ClientEncryption against the real server, through the real driver.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ClientEncryption } from 'csfle-wasm';
import { Binary, Long, MongoClient, UUID } from 'mongodb';
import { testServices } from '../env.mjs';
import { DETERMINISTIC, failsWith, keyBytes, RANDOM } from './fixtures.mjs';

const database = `js_client_encryption_${process.pid}`;
const keyVaultNamespace = `${database}.keys`;
const kmsProviders = { local: { key: keyBytes('local') } };
let client;
let vault;
let encryption;

before(async () => {
  const { mongodbUri } = await testServices();
  client = await new MongoClient(mongodbUri).connect();
  vault = client.db(database).collection('keys');
  await vault.createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  encryption = new ClientEncryption(client, { keyVaultNamespace, kmsProviders });
});

after(async () => {
  encryption?.close();
  await client?.db(database).dropDatabase();
  await client?.close();
});

test('createDataKey stores a key document and returns its UUID', async () => {
  const id = await encryption.createDataKey('local', { keyAltNames: ['a', 'b'] });
  assert.ok(id instanceof UUID);
  const stored = await vault.findOne({ _id: id });
  assert.deepEqual(Object.keys(stored), ['_id', 'keyAltNames', 'keyMaterial', 'creationDate', 'updateDate', 'status', 'masterKey']);
  assert.deepEqual(stored.keyAltNames, ['b', 'a'], 'reversed, as libmongocrypt writes them');
  assert.equal(stored.keyMaterial.sub_type, 0);
  assert.equal(stored.keyMaterial.length(), 160);
  assert.ok(stored.creationDate instanceof Date && Math.abs(stored.creationDate - Date.now()) < 60_000);
  assert.deepEqual(stored.updateDate, stored.creationDate);
  assert.equal(stored.status, 0);
  assert.deepEqual(stored.masterKey, { provider: 'local' });
  assert.equal(id.id[6] >> 4, 4, 'a UUID of version 4');
});

test('createDataKey takes key material of the caller', async () => {
  const material = keyBytes('material');
  const first = await encryption.createDataKey('local', { keyMaterial: material });
  const second = await encryption.createDataKey('local', { keyMaterial: new Binary(material) });
  // The key id is authenticated but no part of the key: under one id, equal material means equal ciphertext.
  const id = new UUID(Buffer.alloc(16, 1));
  const ciphertexts = [];
  for (const source of [first, second]) {
    await vault.insertOne({ ...(await vault.findOne({ _id: source })), _id: id });
    const fresh = new ClientEncryption(client, { keyVaultNamespace, kmsProviders });
    ciphertexts.push((await fresh.encrypt('test', { algorithm: DETERMINISTIC, keyId: id })).buffer);
    fresh.close();
    await vault.deleteOne({ _id: id });
  }
  assert.deepEqual(ciphertexts[0], ciphertexts[1]);
  assert.deepEqual(material, keyBytes('material'), 'the caller keeps its key material');
});

test('createDataKey refuses a taken alternate name', async () => {
  await encryption.createDataKey('local', { keyAltNames: ['taken'] });
  const error = await failsWith('KEY_VAULT_DUPLICATE_KEY', () => encryption.createDataKey('local', { keyAltNames: ['taken'] }));
  assert.equal(error.cause.code, 11000);
});

test('encrypt and decrypt by id and by alternate name agree', async () => {
  const keyId = await encryption.createDataKey('local', { keyAltNames: ['by name'] });
  const byId = await encryption.encrypt('123-45-6789', { algorithm: DETERMINISTIC, keyId });
  const byName = await encryption.encrypt('123-45-6789', { algorithm: DETERMINISTIC, keyAltName: 'by name' });
  assert.equal(byId._bsontype, 'Binary');
  assert.equal(byId.sub_type, 6);
  assert.deepEqual(byId.buffer, byName.buffer);
  assert.equal(await encryption.decrypt(byId), '123-45-6789');
  const random = await encryption.encrypt('123-45-6789', { algorithm: RANDOM, keyId });
  assert.notDeepEqual(random.buffer, (await encryption.encrypt('123-45-6789', { algorithm: RANDOM, keyId })).buffer);
  assert.equal(await encryption.decrypt(random), '123-45-6789');
});

test('an encrypted field is found again by equality on the server', async () => {
  const keyId = await encryption.createDataKey('local');
  const people = client.db(database).collection('people');
  const ssn = (value) => encryption.encrypt(value, { algorithm: DETERMINISTIC, keyId });
  await people.insertMany([
    { name: 'A', ssn: await ssn('1') },
    { name: 'B', ssn: await ssn('2') },
  ]);
  const found = await people.findOne({ ssn: await ssn('2') });
  assert.equal(found.name, 'B');
  assert.equal(await encryption.decrypt(found.ssn), '2');
});

test('getKey, getKeyByAltName and getKeys read key documents, absent ones as null', async () => {
  const id = await encryption.createDataKey('local', { keyAltNames: ['reads'] });
  assert.deepEqual(await encryption.getKey(id), await vault.findOne({ _id: id }));
  assert.deepEqual(await encryption.getKeyByAltName('reads'), await vault.findOne({ _id: id }));
  assert.equal(await encryption.getKey(new UUID()), null);
  assert.equal(await encryption.getKeyByAltName('nobody'), null);
  const all = await vault.find().toArray();
  assert.deepEqual(await encryption.getKeys().toArray(), all);
  const seen = [];
  for await (const key of encryption.getKeys()) seen.push(key);
  assert.deepEqual(seen, all);
  const cursor = encryption.getKeys();
  assert.equal(await cursor.hasNext(), true);
  assert.deepEqual(await cursor.next(), all[0]);
  assert.deepEqual(await cursor.toArray(), all.slice(1));
  assert.equal(await cursor.next(), null);
  const visited = [];
  await encryption.getKeys().forEach((key) => {
    visited.push(key);
  });
  assert.equal(visited.length, all.length);
  const closed = encryption.getKeys();
  await closed.close();
  assert.deepEqual(await closed.toArray(), []);
});

test('addKeyAltName returns the document before and keeps updateDate', async () => {
  const id = await encryption.createDataKey('local');
  const original = await vault.findOne({ _id: id });
  assert.deepEqual(await encryption.addKeyAltName(id, 'one'), original);
  assert.deepEqual((await encryption.addKeyAltName(id, 'two')).keyAltNames, ['one']);
  assert.deepEqual((await encryption.addKeyAltName(id, 'two')).keyAltNames, ['one', 'two']);
  assert.deepEqual(await vault.findOne({ _id: id }), { ...original, keyAltNames: ['one', 'two'] });
  assert.equal(await encryption.addKeyAltName(new UUID(), 'nobody'), null);
  const other = await encryption.createDataKey('local');
  await failsWith('KEY_VAULT_DUPLICATE_KEY', () => encryption.addKeyAltName(other, 'one'));
});

test('removeKeyAltName returns the document before and drops the field with the last name', async () => {
  const id = await encryption.createDataKey('local', { keyAltNames: ['$price', 'plain'] });
  assert.deepEqual((await encryption.removeKeyAltName(id, 'not there')).keyAltNames, ['plain', '$price']);
  assert.deepEqual((await encryption.removeKeyAltName(id, '$price')).keyAltNames, ['plain', '$price'], 'a name with a dollar is no field path');
  assert.deepEqual((await vault.findOne({ _id: id })).keyAltNames, ['plain']);
  assert.deepEqual((await encryption.removeKeyAltName(id, 'plain')).keyAltNames, ['plain']);
  assert.equal('keyAltNames' in (await vault.findOne({ _id: id })), false);
  assert.equal('keyAltNames' in (await encryption.removeKeyAltName(id, 'plain')), false);
  assert.equal('keyAltNames' in (await vault.findOne({ _id: id })), false, 'a key without names stays without the field');
  assert.equal(await encryption.removeKeyAltName(new UUID(), 'nobody'), null);
});

test('deleteKey says how many there were', async () => {
  const id = await encryption.createDataKey('local');
  assert.deepEqual(await encryption.deleteKey(id), { acknowledged: true, deletedCount: 1 });
  assert.deepEqual(await encryption.deleteKey(id), { acknowledged: true, deletedCount: 0 });
});

test('an absent key is named by id and by alternate name', async () => {
  const id = new UUID();
  const byId = await failsWith('KEY_VAULT_KEY_NOT_FOUND', () => encryption.encrypt('x', { algorithm: RANDOM, keyId: id }));
  assert.match(JSON.stringify(byId), new RegExp(id.toHexString()));
  const byName = await failsWith('KEY_VAULT_KEY_NOT_FOUND', () => encryption.encrypt('x', { algorithm: RANDOM, keyAltName: 'no such name' }));
  assert.match(JSON.stringify(byName), /no such name/);
});

test('a wrong local master key fails by name, and says which data key', async () => {
  const keyId = await encryption.createDataKey('local');
  const stranger = new ClientEncryption(client, { keyVaultNamespace, kmsProviders: { local: { key: keyBytes('another') } } });
  const error = await failsWith('CRYPTO_AUTHENTICATION_FAILED', () => stranger.encrypt('x', { algorithm: RANDOM, keyId }));
  assert.match(JSON.stringify(error), new RegExp(keyId.toHexString()));
  stranger.close();
});

test('the key vault may be reached through another client', async () => {
  const through = new ClientEncryption(null, { keyVaultClient: client, keyVaultNamespace, kmsProviders });
  const keyId = await through.createDataKey('local');
  assert.equal(await vault.countDocuments({ _id: keyId }), 1);
  through.close();
});

test('deserializeOptions decide what decrypted values look like', async () => {
  const keyId = await encryption.createDataKey('local');
  const value = await encryption.encrypt(Long.fromNumber(5), { algorithm: DETERMINISTIC, keyId });
  assert.equal(await encryption.decrypt(value), 5);
  for (const [deserializeOptions, check] of [
    [{ promoteLongs: false }, (found) => found._bsontype === 'Long'],
    [{ useBigInt64: true }, (found) => found === 5n],
  ]) {
    const other = new ClientEncryption(client, { keyVaultNamespace, kmsProviders, deserializeOptions });
    assert.ok(check(await other.decrypt(value)));
    other.close();
  }
});

test('encryptExpression is refused as Queryable Encryption', async () => {
  await failsWith('ALGORITHM_QUERYABLE', () => encryption.encryptExpression({}, {}));
  await failsWith('ALGORITHM_QUERYABLE', () => encryption.encrypt(1, { algorithm: 'Indexed', keyAltName: 'a' }));
});
