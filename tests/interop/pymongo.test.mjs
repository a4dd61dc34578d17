// The whole way, with nothing pretended: the package and pymongo share a key vault on a real server, the KMS emulator
// wraps the keys, and each reads what the other wrote. pymongo speaks only TLS to a KMS, so a proxy with a certificate
// of its own stands before the emulator.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import { awsKms, ClientEncryption } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { listening } from '../listening.mjs';
import { testPython } from './peer.mjs';
import { field, fields, fromBase64, toBase64, TYPE } from './raw-bson.mjs';
import { ALGORITHM } from './samples.mjs';

const SCRIPT = fileURLToPath(new URL('./pymongo_peer.py', import.meta.url));
const CREDENTIALS = Object.freeze({ accessKeyId: 'test', secretAccessKey: 'test' });
const PEOPLE = 20;

const database = `csfle_interop_${randomBytes(6).toString('hex')}`;
const keyVault = `${database}.__keyVault`;
const localKey = randomBytes(96);
let folder;
let proxy;
let client;
let awsMasterKey;
let originals;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'csfle-interop-'));
  execFileSync(testPython(), [SCRIPT, 'certificate', folder]);
  proxy = await tlsProxy(new URL(process.env.TEST_KMS_ENDPOINT));
  client = await new MongoClient(process.env.TEST_MONGODB_URI).connect();
  const arn = process.env.TEST_KMS_KEY_ARN;
  awsMasterKey = { region: arn.split(':')[3], key: arn, endpoint: `127.0.0.1:${proxy.address().port}` };
});

after(async () => {
  await client?.db(database).dropDatabase();
  await client?.close();
  proxy?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

async function tlsProxy(target) {
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => readFileSync(join(folder, name)));
  const server = tls.createServer({ cert, key }, (inside) => {
    const outside = net.connect(target.port, target.hostname);
    inside.pipe(outside).pipe(inside);
    inside.on('error', () => outside.destroy());
    outside.on('error', () => inside.destroy());
  });
  await listening(server);
  return server;
}

/** Runs steps in pymongo with exactly these providers. */
async function pymongo(kmsProviders, steps) {
  const child = spawn(testPython(), [SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'])
    child[stream].on('data', (text) => {
      output[stream] += text;
    });
  child.stdin.end(
    JSON.stringify({
      uri: process.env.TEST_MONGODB_URI,
      keyVault,
      kmsProviders: toBase64(bson.serialize(kmsProviders)),
      caFile: join(folder, 'cert.pem'),
      steps,
    }),
  );
  const status = await new Promise((resolve) => {
    child.once('close', resolve);
  });
  assert.equal(status, 0, output.stderr);
  return JSON.parse(output.stdout);
}

// The emulator is reached directly here; the endpoint in the master key is pymongo's way to it.
const kms = awsKms(({ region }) => new KMSClient({ region, endpoint: process.env.TEST_KMS_ENDPOINT, credentials: { ...CREDENTIALS } }));
const ours = (kmsProviders) => new ClientEncryption(client, { keyVaultNamespace: keyVault, kmsProviders, allowedEndpoints: [awsMasterKey.endpoint] });
const oursLocal = () => ours({ local: { key: localKey } });
const oursAws = () => ours({ aws: kms });
const LOCAL = { local: { key: new bson.Binary(localKey) } };
const AWS = { aws: CREDENTIALS };

const person = (index) => ({
  _id: index,
  name: `Person ${index}`,
  ssn: `${100 + index}-55-${5000 + index}`,
  records: [
    { code: index, note: `note ${index}` },
    { code: -index, note: '' },
  ],
  born: new Date(Date.UTC(1950 + index, 1, 2)),
  insurance: { policy: bson.Long.fromNumber(2 ** 40 + index), active: index % 2 === 0 },
});

async function encryptedPerson(encryption, index) {
  const { ssn, records, insurance, born, ...plain } = person(index);
  const random = { algorithm: ALGORITHM.random, keyAltName: 'medical' };
  return {
    ...plain,
    ssn: await encryption.encrypt(ssn, { algorithm: ALGORITHM.deterministic, keyAltName: 'identity' }),
    records: await Promise.all(records.map(async ({ code, note }) => ({ code, note: await encryption.encrypt(note, random) }))),
    born: await encryption.encrypt(born, random),
    insurance: await encryption.encrypt(insurance, random),
  };
}

/** Field names, types and bytes of a document, whatever wrote it. */
const canonical = (bytes) => fields(bytes).map(([name, item]) => [name, item.type, toBase64(item.bytes)]);
const expected = () => originals.map((document) => canonical(bson.serialize(document)));
const readByPymongo = async (providers) => {
  const [found] = await pymongo(providers, [{ do: 'find', namespace: `${database}.people` }]);
  return found.map((text) => canonical(fromBase64(text)));
};

test('pymongo decrypts the documents written under local keys', async () => {
  const encryption = oursLocal();
  for (const name of ['identity', 'medical']) await encryption.createDataKey('local', { keyAltNames: [name] });
  originals = Array.from({ length: PEOPLE }, (_, index) => person(index));
  const people = client.db(database).collection('people');
  for (let index = 0; index < PEOPLE; index += 1) await people.insertOne(await encryptedPerson(encryption, index));
  encryption.close();
  assert.deepEqual(await readByPymongo(LOCAL), expected());
});

test('after our rewrap from local to AWS, pymongo with AWS alone reads everything, and the local key opens nothing', async () => {
  const encryption = ours({ local: { key: localKey }, aws: kms });
  const { bulkWriteResult } = await encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: awsMasterKey });
  encryption.close();
  assert.equal(bulkWriteResult.modifiedCount, 2);
  assert.deepEqual(await readByPymongo(AWS), expected());
  const [key] = await pymongo(AWS, [{ do: 'getKeyByAltName', name: 'identity' }]);
  assert.deepEqual(
    fields(fromBase64(key)).map(([name]) => name),
    ['_id', 'keyAltNames', 'keyMaterial', 'creationDate', 'updateDate', 'status', 'masterKey'],
  );
  const masterKey = field(fromBase64(key), 'masterKey');
  assert.deepEqual(
    fields(masterKey.bytes).map(([name]) => name),
    ['provider', 'region', 'key', 'endpoint'],
  );
  const old = oursLocal();
  const [first] = await client.db(database).collection('people').find().toArray();
  await assert.rejects(old.decrypt(first.ssn), { code: 'KMS_PROVIDER_NOT_CONFIGURED' });
  old.close();
});

test('deterministic values still match: pymongo encrypts the same value to the same bytes', async () => {
  const { ssn } = person(7);
  const [payload] = await pymongo(AWS, [
    { do: 'encrypt', value: toBase64(bson.serialize({ v: ssn })), algorithm: ALGORITHM.deterministic, keyAltName: 'identity' },
  ]);
  const found = await client
    .db(database)
    .collection('people')
    .findOne({ ssn: new bson.Binary(fromBase64(payload), 6) });
  assert.equal(found?._id, 7);
});

test('keys that pymongo creates in the KMS, and values it encrypts, open here', async () => {
  const value = toBase64(bson.serialize({ v: { by: 'pymongo', list: [1, 'two'] } }));
  const [, payload] = await pymongo(AWS, [
    { do: 'createDataKey', provider: 'aws', masterKey: toBase64(bson.serialize(awsMasterKey)), keyAltNames: ['by pymongo', 'second'] },
    { do: 'encrypt', value, algorithm: ALGORITHM.random, keyAltName: 'by pymongo' },
  ]);
  const encryption = oursAws();
  assert.deepEqual(await encryption.decrypt(new bson.Binary(fromBase64(payload), 6)), { by: 'pymongo', list: [1, 'two'] });
  const key = await encryption.getKeyByAltName('second');
  assert.deepEqual(key.masterKey, { provider: 'aws', ...awsMasterKey });
  assert.equal(fields(bson.serialize(key)).find(([name]) => name === 'status')[1].type, TYPE.int);
  encryption.close();
});

test("after pymongo's rewrap from AWS back to local, the package with the local key alone reads everything", async () => {
  const [modified] = await pymongo({ ...LOCAL, ...AWS }, [{ do: 'rewrap', provider: 'local' }]);
  assert.equal(modified, 3);
  const encryption = oursLocal();
  const stored = await client.db(database).collection('people').find().sort({ _id: 1 }).toArray();
  const opened = await encryption.decryptDocuments(stored);
  encryption.close();
  // promoteLongs reads the policy number as a number on both sides.
  assert.deepEqual(
    opened,
    originals.map((document) => bson.deserialize(bson.serialize(document))),
  );
});
