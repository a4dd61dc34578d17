// Azure, Google Cloud and KMIP: request shapes and error mapping over stand-ins with the shapes of their SDKs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { azureKms, gcpKms, kmipKms, MemoryKeyVaultStore } from 'csfle-wasm';
import { failsWith, localEncryption, padKms, RANDOM } from './fixtures.mjs';

const azureKey = { keyVaultEndpoint: 'https://vault.example.net/', keyName: 'name', keyVersion: 'v1' };
const gcpKey = { projectId: 'p', location: 'global', keyRing: 'r', keyName: 'k', keyVersion: '7' };

async function roundTrip(encryption, provider, masterKey) {
  const keyId = await encryption.createDataKey(provider, { masterKey });
  const value = await encryption.encrypt('x', { algorithm: RANDOM, keyId });
  assert.equal(await encryption.decrypt(value), 'x');
  return keyId;
}

test('Azure wraps with RSA-OAEP-256 through a client per key URL', async () => {
  const pad = padKms('azure');
  const calls = [];
  const targets = [];
  const client = {
    wrapKey: async (algorithm, key, options) => {
      calls.push(['wrapKey', algorithm, options]);
      return { result: await pad.encrypt({ plaintext: key }), algorithm, keyID: 'id' };
    },
    unwrapKey: async (algorithm, key, options) => {
      calls.push(['unwrapKey', algorithm, options]);
      return { result: await pad.decrypt({ ciphertext: key }) };
    },
  };
  const encryption = localEncryption({
    allowedEndpoints: ['vault.example.net'],
    kmsProviders: {
      azure: azureKms((target) => {
        targets.push(target);
        return client;
      }),
    },
  });
  await roundTrip(encryption, 'azure', azureKey);
  await encryption.createDataKey('azure', { masterKey: { keyVaultEndpoint: 'vault.example.net', keyName: 'other' } });
  assert.deepEqual(targets, [
    { keyId: 'https://vault.example.net/keys/name/v1', keyVaultEndpoint: 'vault.example.net', keyName: 'name', keyVersion: 'v1' },
    { keyId: 'https://vault.example.net/keys/other', keyVaultEndpoint: 'vault.example.net', keyName: 'other' },
  ]);
  assert.deepEqual(
    calls.map(([name, algorithm]) => `${name} ${algorithm}`),
    ['wrapKey', 'unwrapKey', 'unwrapKey', 'wrapKey', 'unwrapKey'].map((name) => `${name} RSA-OAEP-256`),
  );
  assert.ok(calls.every(([, , options]) => options.abortSignal instanceof AbortSignal));
  const single = localEncryption({ allowedEndpoints: ['vault.example.net'], kmsProviders: { azure: azureKms(client) } });
  await roundTrip(single, 'azure', azureKey);
  for (const one of [encryption, single]) one.close();
});

test('Google Cloud KMS is asked by resource name, on decrypt never with a version', async () => {
  const pad = padKms('gcp');
  for (const shape of [
    (reply) => [reply, undefined, undefined],
    (reply) => reply,
    ({ ciphertext, plaintext }) => [
      { ciphertext: ciphertext && Buffer.from(ciphertext).toString('base64'), plaintext: plaintext && Buffer.from(plaintext).toString('base64') },
    ],
  ]) {
    const names = [];
    const client = {
      encrypt: async ({ name, plaintext }) => {
        names.push(name);
        return shape({ ciphertext: await pad.encrypt({ plaintext }) });
      },
      decrypt: async ({ name, ciphertext }) => {
        names.push(name);
        return shape({ plaintext: await pad.decrypt({ ciphertext }) });
      },
    };
    const encryption = localEncryption({ kmsProviders: { gcp: gcpKms(client) } });
    await roundTrip(encryption, 'gcp', gcpKey);
    const key = 'projects/p/locations/global/keyRings/r/cryptoKeys/k';
    assert.deepEqual(names, [`${key}/cryptoKeyVersions/7`, key, key]);
    encryption.close();
  }
});

test('Google Cloud identifiers that would name another resource are refused', async () => {
  const encryption = localEncryption({ kmsProviders: { gcp: gcpKms({ encrypt: async () => [{}], decrypt: async () => [{}] }) } });
  const error = await failsWith('MASTER_KEY_INVALID', () => encryption.createDataKey('gcp', { masterKey: { ...gcpKey, keyRing: 'r/cryptoKeys/other' } }));
  assert.equal(error.details.field, 'keyRing');
  encryption.close();
});

test('KMIP callbacks may name the object they made', async () => {
  const pad = padKms('kmip');
  const seen = [];
  const encryption = localEncryption({
    allowedEndpoints: ['kmip.example.com'],
    kmsProviders: {
      kmip: kmipKms({
        encrypt: async (call) => ({ ciphertext: await pad.encrypt(call), keyId: '42' }),
        decrypt: async (call) => {
          seen.push(call.masterKey.keyId);
          return pad.decrypt(call);
        },
      }),
    },
  });
  const keyId = await roundTrip(encryption, 'kmip', { endpoint: 'kmip.example.com:5696' });
  assert.deepEqual((await encryption.getKey(keyId)).masterKey, { provider: 'kmip', endpoint: 'kmip.example.com:5696', keyId: '42' });
  assert.deepEqual(seen, ['42', '42']);
  encryption.close();
});

const azureErrors = [
  [{ name: 'RestError', statusCode: 403, code: 'Forbidden' }, 'KMS_ACCESS_DENIED'],
  [{ name: 'RestError', statusCode: 429, code: 'Throttled' }, 'KMS_THROTTLED'],
  [{ name: 'RestError', statusCode: 404, code: 'KeyNotFound' }, 'KMS_KEY_NOT_FOUND'],
  [{ name: 'RestError', statusCode: 401 }, 'KMS_CREDENTIALS_REFUSED'],
  [{ name: 'RestError', statusCode: 503 }, 'KMS_UNREACHABLE'],
  [{ name: 'RestError', statusCode: 409 }, 'KMS_REQUEST_REFUSED'],
  [{ name: 'RestError', code: 'REQUEST_SEND_ERROR' }, 'KMS_UNREACHABLE'],
  [{ name: 'RestError', code: 'ENOTFOUND' }, 'KMS_UNREACHABLE'],
  [{ name: 'CredentialUnavailableError' }, 'KMS_CREDENTIALS_UNAVAILABLE'],
  [{ name: 'AuthenticationError', statusCode: 400 }, 'KMS_CREDENTIALS_REFUSED'],
  [{ name: 'Error' }, 'KMS_FAILED'],
];
const gcpErrors = [
  [{ code: 7 }, 'KMS_ACCESS_DENIED'],
  [{ code: 8 }, 'KMS_THROTTLED'],
  [{ code: 4 }, 'KMS_TIMED_OUT'],
  [{ code: 14 }, 'KMS_UNREACHABLE'],
  [{ code: 5 }, 'KMS_KEY_NOT_FOUND'],
  [{ code: 16 }, 'KMS_CREDENTIALS_REFUSED'],
  [{ code: 9 }, 'KMS_KEY_UNAVAILABLE'],
  [{ code: 3 }, 'KMS_REQUEST_REFUSED'],
  [{ code: 403 }, 'KMS_ACCESS_DENIED'],
  [{ code: 'ECONNREFUSED' }, 'KMS_UNREACHABLE'],
  [{ message: 'Could not load the default credentials. Browse to ...' }, 'KMS_CREDENTIALS_UNAVAILABLE'],
  [{}, 'KMS_FAILED'],
];

for (const [provider, masterKey, make, cases] of [
  ['azure', azureKey, (fail) => azureKms({ wrapKey: fail, unwrapKey: fail }), azureErrors],
  ['gcp', gcpKey, (fail) => gcpKms({ encrypt: fail, decrypt: fail }), gcpErrors],
]) {
  for (const [shape, code] of cases) {
    test(`an error of the ${provider} SDK with ${JSON.stringify(shape)} is ${code}`, async () => {
      const thrown = Object.assign(new Error('told so'), shape);
      const encryption = localEncryption({
        kmsProviders: {
          [provider]: make(async () => {
            throw thrown;
          }),
        },
        kmsRetries: 0,
      });
      const error = await failsWith(code, () => encryption.createDataKey(provider, { masterKey }));
      assert.equal(error.cause, thrown);
      assert.equal(error.details.provider, provider);
      encryption.close();
    });
  }
}

test('a wrapped key that Azure or Google cannot open is KMS_CIPHERTEXT_REFUSED', async () => {
  for (const [provider, masterKey, make, shape] of [
    [
      'azure',
      azureKey,
      (wrap, unwrap) => azureKms({ wrapKey: async (_, key) => ({ result: await wrap({ plaintext: key }) }), unwrapKey: unwrap }),
      { statusCode: 400, code: 'BadParameter' },
    ],
    ['gcp', gcpKey, (wrap, unwrap) => gcpKms({ encrypt: async (call) => [{ ciphertext: await wrap(call) }], decrypt: unwrap }), { code: 3 }],
  ]) {
    const encryption = localEncryption({
      allowedEndpoints: ['vault.example.net'],
      kmsProviders: {
        [provider]: make(padKms('x').encrypt, async () => {
          throw Object.assign(new Error('no'), shape);
        }),
      },
    });
    await failsWith('KMS_CIPHERTEXT_REFUSED', () => encryption.createDataKey(provider, { masterKey }));
    encryption.close();
  }
});

test('replies without bytes are KMS_REPLY_INVALID, clients without methods ARGUMENT_INVALID', async () => {
  const azure = localEncryption({
    allowedEndpoints: ['vault.example.net'],
    kmsProviders: { azure: azureKms({ wrapKey: async () => ({}), unwrapKey: async () => undefined }) },
  });
  await failsWith('KMS_REPLY_INVALID', () => azure.createDataKey('azure', { masterKey: azureKey }));
  const gcp = localEncryption({ kmsProviders: { gcp: gcpKms({ encrypt: async () => [{}], decrypt: async () => [] }) } });
  await failsWith('KMS_REPLY_INVALID', () => gcp.createDataKey('gcp', { masterKey: gcpKey }));
  for (const make of [azureKms, gcpKms, kmipKms]) for (const wrong of [undefined, null, {}, 7]) await failsWith('ARGUMENT_INVALID', () => make(wrong));
  const lazy = localEncryption({ allowedEndpoints: ['vault.example.net'], kmsProviders: { azure: azureKms(() => ({})) } });
  await failsWith('ARGUMENT_INVALID', () => lazy.createDataKey('azure', { masterKey: azureKey }));
  for (const one of [azure, gcp, lazy]) one.close();
});

// Node's own cryptography and the real clients of Azure and Google give Buffers, of which slice() is a view.
test('answers of a KMS client that are Buffers give the right key material', async () => {
  const pad = padKms('buffers');
  const encrypt = async (call) => Buffer.from(await pad.encrypt(call));
  const decrypt = async (call) => Buffer.concat([await pad.decrypt(call)]);
  for (const [provider, masterKey, callbacks] of [
    ['kmip', { delegated: true, keyId: 'k' }, kmipKms({ encrypt: async (call) => ({ ciphertext: await encrypt(call), keyId: 'k' }), decrypt })],
    [
      'azure',
      azureKey,
      azureKms({
        wrapKey: async (_, key) => ({ result: await encrypt({ plaintext: key }) }),
        unwrapKey: async (_, key) => ({ result: await decrypt({ ciphertext: key }) }),
      }),
    ],
    ['gcp', gcpKey, gcpKms({ encrypt: async (call) => [{ ciphertext: await encrypt(call) }], decrypt: async (call) => [{ plaintext: await decrypt(call) }] })],
    ['aws', { region: 'us-east-1', key: 'arn:aws:kms:us-east-1:111122223333:key/1' }, { encrypt, decrypt }],
  ]) {
    const store = new MemoryKeyVaultStore();
    const first = localEncryption({ store, allowedEndpoints: ['vault.example.net'], kmsProviders: { [provider]: callbacks } });
    const keyId = await first.createDataKey(provider, { masterKey });
    const value = await first.encrypt('x', { algorithm: RANDOM, keyId });
    // Another process: its key is unwrapped anew.
    const second = localEncryption({ store, allowedEndpoints: ['vault.example.net'], kmsProviders: { [provider]: callbacks } });
    assert.equal(await second.decrypt(value), 'x', provider);
    for (const one of [first, second]) one.close();
  }
});

test('key material of zeros, from a callback that returns a wiped array again, is refused', async () => {
  const pad = padKms('kept');
  const store = new MemoryKeyVaultStore();
  const kept = new Map();
  const decrypt = async (call) => {
    const name = Buffer.from(call.ciphertext).toString('hex');
    if (!kept.has(name)) kept.set(name, await pad.decrypt(call));
    return kept.get(name);
  };
  const honest = localEncryption({ store, kmsProviders: { aws: pad } });
  const keyId = await honest.createDataKey('aws', { masterKey: { region: 'us-east-1', key: 'arn:aws:kms:us-east-1:111122223333:key/1' } });
  const encryption = localEncryption({ store, kmsProviders: { aws: { ...pad, decrypt } }, keyExpirationMS: 1 });
  await encryption.encrypt('x', { algorithm: RANDOM, keyId });
  await new Promise((resolve) => setTimeout(resolve, 5));
  await failsWith('KMS_REPLY_INVALID', () => encryption.encrypt('x', { algorithm: RANDOM, keyId }));
  for (const one of [honest, encryption]) one.close();
});
