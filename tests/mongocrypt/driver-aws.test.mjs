// The official driver on this package, with AWS KMS as the emulator is it, over TLS.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { testPython, testServices } from '../env.mjs';
import { aliasedDriver } from './driver.mjs';
import { tlsFront } from './tls.mjs';

const { mongodbUri, kmsEndpoint, keyArn, region } = await testServices();
const { driver, remove } = aliasedDriver();
const { ClientEncryption, MongoClient } = driver;
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const database = `dropin_${randomBytes(4).toString('hex')}`;
const keyVaultNamespace = `${database}.keys`;
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const local = { key: randomBytes(96) };

let client;
let front;
let masterKey;
before(async () => {
  front = await tlsFront(await testPython(), kmsEndpoint);
  masterKey = { region, key: keyArn, endpoint: `127.0.0.1:${front.port}` };
  client = await new MongoClient(mongodbUri).connect();
});
after(async () => {
  await client.db(database).dropDatabase();
  await client.close();
  await front.stop();
  remove();
});

const encryption = (kmsProviders, more = {}) => {
  const tlsOptions = Object.fromEntries(
    Object.keys(kmsProviders)
      .filter((name) => name.startsWith('aws'))
      .map((name) => [name, { tlsCAFile: front.certificateFile }]),
  );
  return new ClientEncryption(client, { keyVaultNamespace, kmsProviders, tlsOptions, ...more });
};

test('makes a key, encrypts and decrypts, and asks the KMS once per cache', async () => {
  const aws = { aws: credentials };
  const id = await encryption(aws).createDataKey('aws', { masterKey, keyAltNames: ['aws'] });
  const stored = await encryption(aws).getKey(id);
  assert.deepEqual(stored.masterKey, { provider: 'aws', region, key: keyArn, endpoint: masterKey.endpoint });
  const value = await encryption(aws).encrypt('secret', { algorithm: RANDOM, keyAltName: 'aws' });
  const [one, other] = [encryption(aws), encryption(aws)];
  const before = front.connections;
  for (const either of [one, one, one]) assert.equal(await either.decrypt(value), 'secret');
  assert.equal(front.connections, before + 1);
  assert.equal(await other.decrypt(value), 'secret');
  assert.equal(front.connections, before + 2);
});

test('keeps providers of one type apart by their names', async () => {
  const id = await encryption({ 'aws:eu': credentials }).createDataKey('aws:eu', { masterKey });
  assert.equal((await encryption({ 'aws:eu': credentials }).getKey(id)).masterKey.provider, 'aws:eu');
  const value = await encryption({ 'aws:eu': credentials }).encrypt(1, { algorithm: RANDOM, keyId: id });
  await assert.rejects(encryption({ aws: credentials }).decrypt(value), { message: 'KMS provider `aws:eu` is not configured' });
});

test('rewraps from a local key to the KMS and back', async () => {
  const both = { local, aws: credentials };
  const ids = [await encryption(both).createDataKey('local'), await encryption(both).createDataKey('local')];
  const value = await encryption(both).encrypt('kept', { algorithm: RANDOM, keyId: ids[1] });
  const filter = { _id: { $in: ids } };
  const there = await encryption(both).rewrapManyDataKey(filter, { provider: 'aws', masterKey });
  assert.equal(there.bulkWriteResult.modifiedCount, 2);
  assert.equal(await encryption({ aws: credentials }).decrypt(value), 'kept');
  await encryption(both).rewrapManyDataKey(filter, { provider: 'local' });
  assert.equal(await encryption({ local }).decrypt(value), 'kept');
});

test('asks for credentials when they are needed', async () => {
  const asked = [];
  const credentialProviders = {
    aws: async () => {
      asked.push('aws');
      return credentials;
    },
  };
  const onDemand = () => encryption({ aws: {} }, { credentialProviders });
  const id = await onDemand().createDataKey('aws', { masterKey });
  const one = onDemand();
  const value = await one.encrypt('x', { algorithm: RANDOM, keyId: id });
  assert.equal(await one.decrypt(value), 'x');
  assert.deepEqual(asked, ['aws', 'aws']);
});

test('decrypts what a client reads', async () => {
  const id = await encryption({ aws: credentials }).createDataKey('aws', { masterKey });
  const value = await encryption({ aws: credentials }).encrypt({ nested: [1] }, { algorithm: RANDOM, keyId: id });
  const tlsOptions = { aws: { tlsCAFile: front.certificateFile } };
  const automatic = new MongoClient(mongodbUri, {
    autoEncryption: { keyVaultNamespace, kmsProviders: { aws: credentials }, tlsOptions, bypassAutoEncryption: true },
  });
  const people = automatic.db(database).collection('people');
  await people.insertOne({ _id: 1, value });
  assert.deepEqual(await people.findOne({ _id: 1 }), { _id: 1, value: { nested: [1] } });
  await automatic.close();
});

test('says what the KMS said', async () => {
  const answer = (status, body) => (socket) => {
    socket.once('data', () => socket.end(`HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`));
    return true;
  };
  const create = () => encryption({ aws: credentials }).createDataKey('aws', { masterKey });
  front.intercept = answer(403, '{"__type":"AccessDeniedException"}');
  await assert.rejects(create(), { message: 'Error in KMS response. HTTP status=403. Response body=\n{"__type":"AccessDeniedException"}' });
  // What may pass is asked for again, up to three times.
  front.intercept = answer(429, 'slow down');
  const before = front.connections;
  await assert.rejects(create(), {
    message: 'KMS request failed after maximum of 3 retries: Error in KMS response. HTTP status=429. Response body=\nslow down',
  });
  assert.equal(front.connections, before + 4);
  front.intercept = (socket) => {
    socket.destroy();
    return true;
  };
  await assert.rejects(create(), { message: /^KMS request (closed|failed)$/ });
  front.intercept = undefined;
  await create();
});
