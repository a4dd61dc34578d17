// The real @aws-sdk/client-kms against the emulator, and key vaults on the real server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DecryptCommand, EncryptCommand, KMS, KMSClient } from '@aws-sdk/client-kms';
import { awsKms, ClientEncryption, MemoryKeyVaultStore, migrate } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { createCmk } from '../../js/dev/services.mjs';
import { testServices } from '../env.mjs';
import { DETERMINISTIC, failsWith, keyBytes } from './fixtures.mjs';

const database = `js_aws_${process.pid}`;
const keyVaultNamespace = `${database}.keys`;
let services;
let client;

const sdkClient = (options = {}) => new KMSClient({ endpoint: services.kmsEndpoint, region: services.region, maxAttempts: 1, ...options });
const masterKey = () => ({ region: services.region, key: services.keyArn });
const encryptionWith = (aws, more = {}) => new ClientEncryption(client, { keyVaultNamespace, kmsProviders: { aws, ...more } });

before(async () => {
  services = await testServices();
  client = await new MongoClient(services.mongodbUri).connect();
});

after(async () => {
  await client?.db(database).dropDatabase();
  await client?.close();
});

test('a data key under AWS KMS encrypts, and a second client decrypts with it', async () => {
  const writer = encryptionWith(awsKms(sdkClient()));
  const keyId = await writer.createDataKey('aws', { masterKey: masterKey(), keyAltNames: ['patients'] });
  const stored = await writer.getKey(keyId);
  assert.deepEqual(stored.masterKey, { provider: 'aws', ...masterKey() });
  const value = await writer.encrypt('secret', { algorithm: DETERMINISTIC, keyAltName: 'patients' });
  const reader = encryptionWith(awsKms(sdkClient()));
  assert.equal(await reader.decrypt(value), 'secret');
  writer.close();
  reader.close();
});

test('every form of client works: KMSClient, KMS, a factory, explicit commands', async () => {
  const forms = [
    awsKms(sdkClient()),
    awsKms(sdkClient(), { EncryptCommand, DecryptCommand }),
    awsKms(new KMS({ endpoint: services.kmsEndpoint, region: services.region })),
    awsKms(({ region }) => sdkClient({ region })),
  ];
  const first = encryptionWith(forms[0]);
  const keyId = await first.createDataKey('aws', { masterKey: masterKey() });
  const value = await first.encrypt(7, { algorithm: DETERMINISTIC, keyId });
  for (const form of forms) {
    const encryption = encryptionWith(form);
    await encryption.createDataKey('aws', { masterKey: masterKey() });
    assert.equal(await encryption.decrypt(value), 7);
    encryption.close();
  }
  first.close();
});

test('named providers of one type are unrelated', async () => {
  const other = await createCmk(services.kmsEndpoint);
  const encryption = new ClientEncryption(client, {
    keyVaultNamespace,
    kmsProviders: { 'aws:eu': awsKms(sdkClient()), 'aws:us': awsKms(sdkClient()), 'local:test': { key: keyBytes('named').toString('base64') } },
  });
  const eu = await encryption.createDataKey('aws:eu', { masterKey: masterKey() });
  const us = await encryption.createDataKey('aws:us', { masterKey: { ...masterKey(), key: other.arn } });
  const local = await encryption.createDataKey('local:test');
  assert.deepEqual(await Promise.all([eu, us, local].map(async (id) => (await encryption.getKey(id)).masterKey.provider)), ['aws:eu', 'aws:us', 'local:test']);
  for (const keyId of [eu, us, local]) {
    const value = await encryption.encrypt('x', { algorithm: DETERMINISTIC, keyId });
    assert.equal(await encryption.decrypt(value), 'x');
  }
  const unnamed = encryptionWith(awsKms(sdkClient()));
  const error = await failsWith('KMS_PROVIDER_NOT_CONFIGURED', () => unnamed.encrypt('x', { algorithm: DETERMINISTIC, keyId: eu }));
  assert.match(JSON.stringify(error), /aws:eu/);
  encryption.close();
  unnamed.close();
});

test('a factory is asked once per region and endpoint, and gets the endpoint as a URL', async () => {
  const asked = [];
  const factory = awsKms((target) => {
    asked.push(target);
    return sdkClient();
  });
  const encryption = encryptionWith(factory);
  const elsewhere = { ...masterKey(), endpoint: 'https://kms.example.com:4443/path' };
  for (const key of [masterKey(), masterKey(), elsewhere, elsewhere]) await encryption.createDataKey('aws', { masterKey: key });
  assert.deepEqual(asked, [{ region: services.region }, { region: services.region, endpoint: 'https://kms.example.com:4443' }]);
  encryption.close();
});

test('a client of another region than the master key is refused before it is asked', async () => {
  const encryption = encryptionWith(awsKms(sdkClient({ region: 'us-west-2', endpoint: 'http://127.0.0.1:9' })));
  const error = await failsWith('KMS_REGION_MISMATCH', () => encryption.createDataKey('aws', { masterKey: masterKey() }));
  assert.equal(error.details.clientRegion, 'us-west-2');
  assert.equal(error.details.region, services.region);
  encryption.close();
});

test('the emulator reports an unknown key and a foreign ciphertext with our codes', async () => {
  const encryption = encryptionWith(awsKms(sdkClient()));
  const absent = masterKey().key.replace(/[^/]+$/, '00000000-0000-0000-0000-000000000000');
  const unknown = await failsWith('KMS_KEY_NOT_FOUND', () => encryption.createDataKey('aws', { masterKey: { ...masterKey(), key: absent } }));
  assert.equal(unknown.cause.name, 'NotFoundException');
  encryption.close();
});

test('closing the vault client makes the vault unreadable, not a crash', async () => {
  const own = await new MongoClient(services.mongodbUri).connect();
  const encryption = new ClientEncryption(own, { keyVaultNamespace, kmsProviders: { local: { key: keyBytes('local') } } });
  await own.close();
  const closed = new MongoClient('mongodb://127.0.0.1:9/?directConnection=true', { serverSelectionTimeoutMS: 200 });
  const unreachable = new ClientEncryption(closed, { keyVaultNamespace, kmsProviders: { local: { key: keyBytes('local') } } });
  const error = await failsWith('KEY_VAULT_NOT_READABLE', () => unreachable.getKeyByAltName('x'));
  assert.equal(error.cause.name, 'MongoServerSelectionError');
  assert.equal(error.retryable, true);
  await failsWith('KEY_VAULT_NOT_WRITABLE', () => unreachable.createDataKey('local'));
  encryption.close();
  unreachable.close();
  await closed.close();
});

test('awsKms() and what the drivers take use the chain of the SDK, in the region of each master key', async (t) => {
  const before = { ...process.env };
  t.after(() => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  Object.assign(process.env, { AWS_ENDPOINT_URL_KMS: services.kmsEndpoint, AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' });
  const given = [awsKms(), awsKms({}), awsKms({ region: services.region }), awsKms({ credentials }), {}, credentials, { ...credentials, sessionToken: 'test' }];
  for (const provider of given) {
    const encryption = encryptionWith(provider);
    const id = await encryption.createDataKey('aws', { masterKey: masterKey() });
    assert.ok(await encryption.encrypt('a', { keyId: id, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' }));
    encryption.close();
  }
  const elsewhere = encryptionWith(awsKms({ region: 'us-west-2' }));
  await assert.rejects(elsewhere.createDataKey('aws', { masterKey: masterKey() }), { code: 'KMS_REGION_MISMATCH' });
  elsewhere.close();
});

test('migrate() counts the calls of a provider that is what the drivers take', async (t) => {
  const before = { ...process.env };
  t.after(() => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  });
  Object.assign(process.env, { AWS_ENDPOINT_URL_KMS: services.kmsEndpoint });
  const store = new MemoryKeyVaultStore();
  const local = { key: new Uint8Array(96).fill(3) };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local } });
  await encryption.createDataKey('local');
  encryption.close();
  const aws = { accessKeyId: 'test', secretAccessKey: 'test' };
  const report = await migrate({ keyVault: store, kmsProviders: { local, aws }, to: { provider: 'aws', ...masterKey() }, execute: true });
  assert.deepEqual([report.ok, report.keys.migrated, report.kmsCalls.wrap], [true, 1, 2]);
});
