// The page: everything a browser user does, one step after the other, each shown as a row. The test reads the rows.
import { DecryptCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import { awsKms, ClientEncryption, createBackup, init, MemoryKeyVaultStore, verifyBackup } from 'csfle-wasm';
import * as slim from 'csfle-wasm/slim';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

const violations = [];
document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => violations.push(`${violatedDirective} ${blockedURI}`));

/** A fresh master key: what a local provider needs, and what no test should hard-code. */
const localMasterKey = crypto.getRandomValues(new Uint8Array(96));
const results = {};

async function step(name, run) {
  const value = await run();
  results[name] = value;
  const row = document.querySelector('#steps').insertRow();
  row.insertCell().textContent = name;
  row.insertCell().textContent = typeof value === 'string' ? value : JSON.stringify(value);
  return value;
}

async function main() {
  const { kmsEndpoint, region, firstCmk, secondCmk, credentials, fromNode } = await (await fetch('/config.json')).json();
  const store = new MemoryKeyVaultStore();
  const kms = new KMSClient({ region, endpoint: kmsEndpoint, credentials });
  const kmsProviders = { local: { key: localMasterKey }, aws: awsKms(kms, { EncryptCommand, DecryptCommand }) };
  const open = () => new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
  const aws = (key) => ({ region, key });

  await step('before init', () => codeOf(async () => open().createDataKey('local')));
  await step('init, twice at once and once more', async () => {
    await Promise.all([init(), init()]);
    await init();
    return 'ready';
  });

  const client = open();
  const awsKey = await client.createDataKey('aws', { masterKey: aws(firstCmk), keyAltNames: ['browser-aws'] });
  await step('data key through the AWS SDK', async () => (await client.getKey(awsKey)).masterKey);
  const localKey = await client.createDataKey('local', { keyAltNames: ['browser-local'] });
  await step('data key under a local master key', async () => (await client.getKeyByAltName('browser-local')).masterKey);

  const ssn = await client.encrypt('457-55-5462', { algorithm: DETERMINISTIC, keyId: awsKey });
  await step('deterministic twice gives the same bytes', async () => {
    const again = await client.encrypt('457-55-5462', { algorithm: DETERMINISTIC, keyAltName: 'browser-aws' });
    return again.toString('base64') === ssn.toString('base64');
  });
  const record = await client.encrypt({ diagnosis: 'none', visits: [1, 2, 3] }, { algorithm: RANDOM, keyId: localKey });
  await step('decrypt a string', () => client.decrypt(ssn));
  await step('decrypt a document', () => client.decrypt(record));

  const fingerprintBefore = await client.decrypt(record);
  await step('rewrap local to AWS', async () => {
    await client.rewrapManyDataKey({ _id: localKey }, { provider: 'aws', masterKey: aws(firstCmk) });
    return (await client.getKey(localKey)).masterKey;
  });
  await step('rewrap AWS to another CMK', async () => {
    await client.rewrapManyDataKey({}, { provider: 'aws', masterKey: aws(secondCmk) });
    const keys = await client.getKeys().toArray();
    return keys.map(({ masterKey }) => masterKey.key);
  });
  // A client of its own: its key cache is empty, so the keys are unwrapped through the new master key.
  const reader = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: kmsProviders.aws } });
  await step('values from before the rewraps still decrypt', async () => {
    const [text, document] = [await reader.decrypt(ssn), await reader.decrypt(record)];
    return text === '457-55-5462' && JSON.stringify(document) === JSON.stringify(fingerprintBefore);
  });

  await store.insert(bson.EJSON.parse(fromNode.keyDocument));
  await step('decrypt the document Node wrote', async () => {
    const plain = await reader.decryptDocument(bson.EJSON.parse(fromNode.document));
    return bson.EJSON.stringify(plain, { relaxed: false });
  });
  await step('refuse a damaged value', () => {
    const damaged = new bson.Binary(Uint8Array.from(ssn.buffer.subarray(0, ssn.position)), 6);
    damaged.buffer[40] ^= 1;
    return codeOf(() => reader.decrypt(damaged));
  });

  const words = { passphrase: 'correct horse' };
  const backup = await createBackup({ keyVault: store, key: words });
  await step('back up under a passphrase, and verify', async () => (await verifyBackup(backup.bytes, words)).keys.length);
  await step('back up under a CMK, and verify', async () => {
    const { bytes } = await createBackup({ keyVault: store, key: { kmsProviders, masterKey: { provider: 'aws', ...aws(firstCmk) } } });
    return (await verifyBackup(bytes, { kmsProviders })).keys.length;
  });
  await step('refuse a damaged backup', () => {
    const damaged = Uint8Array.from(backup.bytes);
    damaged[damaged.length - 1] ^= 1;
    return codeOf(() => verifyBackup(damaged, words));
  });
  results.backup = Array.from(backup.bytes);

  await slimSteps();

  // For the way back: Node opens what was made here.
  const keys = await store.find({});
  results.forNode = bson.EJSON.stringify({ keys, document: { _id: 1, ssn, record } }, { relaxed: false });
  client.close();
  reader.close();
}

/** The slim entry knows neither a URL nor a BSON library: the page brings both. It is an instance of its own. */
async function slimSteps() {
  const store = new slim.MemoryKeyVaultStore();
  const open = (more) => new slim.ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local: { key: localMasterKey } }, ...more });
  await step('slim before init', () => codeOf(async () => open({ bson }).createDataKey('local')));
  await slim.init(await (await fetch('/csfle.wasm')).arrayBuffer());
  await step('slim without a BSON library', () => codeOf(async () => open().createDataKey('local')));
  await step('slim with its own bytes', async () => {
    const client = open({ bson });
    const keyId = await client.createDataKey('local');
    const value = await client.decrypt(await client.encrypt('slim', { algorithm: RANDOM, keyId }));
    client.close();
    return value;
  });
}

async function codeOf(run) {
  try {
    await run();
    return 'no error';
  } catch (error) {
    return error.code ?? String(error);
  }
}

const state = document.querySelector('#state');
try {
  await main();
  state.textContent = 'done';
} catch (error) {
  results.failure = `${error.code ?? error.name}: ${error.message}\n${error.stack}`;
  state.textContent = 'failed';
}
results.violations = violations;
globalThis.results = results;
state.dataset.state = state.textContent;
