// What errors of the AWS SDK become: by name with a mocked client, and through the real client against a small fake.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DecryptCommand, EncryptCommand, KMSClient, KMSServiceException } from '@aws-sdk/client-kms';
import { mockClient } from 'aws-sdk-client-mock';
import { awsKms, MemoryKeyVaultStore } from 'csfle-wasm';
import { startFakeKms } from './fake-kms.mjs';
import { awsEncryption, awsMasterKey, failsWith, kmsClient, localEncryption, RANDOM } from './fixtures.mjs';

const byName = {
  AccessDeniedException: ['KMS_ACCESS_DENIED', false],
  ThrottlingException: ['KMS_THROTTLED', true],
  TooManyRequestsException: ['KMS_THROTTLED', true],
  LimitExceededException: ['KMS_THROTTLED', true],
  RequestLimitExceeded: ['KMS_THROTTLED', true],
  NotFoundException: ['KMS_KEY_NOT_FOUND', false],
  DisabledException: ['KMS_KEY_UNAVAILABLE', false],
  KMSInvalidStateException: ['KMS_KEY_UNAVAILABLE', false],
  KeyUnavailableException: ['KMS_KEY_UNAVAILABLE', true],
  InvalidCiphertextException: ['KMS_CIPHERTEXT_REFUSED', false],
  IncorrectKeyException: ['KMS_CIPHERTEXT_REFUSED', false],
  InvalidKeyUsageException: ['KMS_REQUEST_REFUSED', false],
  InvalidGrantTokenException: ['KMS_REQUEST_REFUSED', false],
  ValidationException: ['KMS_REQUEST_REFUSED', false],
  ExpiredTokenException: ['KMS_CREDENTIALS_REFUSED', false],
  UnrecognizedClientException: ['KMS_CREDENTIALS_REFUSED', false],
  InvalidSignatureException: ['KMS_CREDENTIALS_REFUSED', false],
  CredentialsProviderError: ['KMS_CREDENTIALS_UNAVAILABLE', false],
  KMSInternalException: ['KMS_UNREACHABLE', true],
  DependencyTimeoutException: ['KMS_UNREACHABLE', true],
  TimeoutError: ['KMS_TIMED_OUT', true],
  SomethingNewException: ['KMS_FAILED', false],
};

const mocked = (error) => {
  const client = new KMSClient({ region: awsMasterKey.region });
  const mock = mockClient(client);
  mock.on(EncryptCommand).rejects(error);
  mock.on(DecryptCommand).rejects(error);
  return { mock, encryption: localEncryption({ kmsProviders: { aws: awsKms(client) }, kmsRetries: 0 }) };
};

for (const [name, [code, retryable]] of Object.entries(byName)) {
  test(`${name} of the SDK is ${code}, ${retryable ? 'worth' : 'not worth'} a retry`, async () => {
    const thrown = Object.assign(new Error('told so'), { name });
    const { encryption } = mocked(thrown);
    const error = await failsWith(code, () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    assert.equal(error.retryable, retryable);
    assert.equal(error.cause, thrown, "the SDK's own error, untouched");
    assert.equal(error.details.sdkError, name);
    encryption.close();
  });
}

const byShape = [
  [{ code: 'ECONNREFUSED' }, 'KMS_UNREACHABLE'],
  [{ code: 'ENOTFOUND' }, 'KMS_UNREACHABLE'],
  [{ code: 'ECONNRESET', name: 'TimeoutError' }, 'KMS_UNREACHABLE'],
  [{ code: 'ETIMEDOUT' }, 'KMS_TIMED_OUT'],
  [{ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'KMS_UNREACHABLE'],
  [{ $metadata: { httpStatusCode: 500 } }, 'KMS_UNREACHABLE'],
  [{ $metadata: { httpStatusCode: 503 } }, 'KMS_UNREACHABLE'],
  [{ $metadata: { httpStatusCode: 429 } }, 'KMS_THROTTLED'],
  [{ $metadata: { httpStatusCode: 403 } }, 'KMS_ACCESS_DENIED'],
  [{ $metadata: { httpStatusCode: 400 } }, 'KMS_REQUEST_REFUSED'],
  [{}, 'KMS_FAILED'],
];

for (const [shape, code] of byShape) {
  test(`an SDK error with ${JSON.stringify(shape)} is ${code}`, async () => {
    const { encryption } = mocked(Object.assign(new Error('told so'), shape));
    await failsWith(code, () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    encryption.close();
  });
}

test('requests are those that other drivers send: no EncryptionContext, KeyId on Decrypt for a key ARN only', async () => {
  const client = new KMSClient({ region: 'eu-central-1' });
  const mock = mockClient(client);
  mock.on(EncryptCommand).resolves({ CiphertextBlob: new Uint8Array(120).fill(1) });
  mock.on(DecryptCommand).callsFake(async () => ({ Plaintext: new Uint8Array(96).fill(2) }));
  const keys = {
    'arn:aws:kms:eu-central-1:111122223333:key/abc': true,
    'arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-abc': true,
    'arn:aws:kms:eu-central-1:111122223333:alias/abc': false,
    'alias/abc': false,
    '00000000-0000-0000-0000-000000000001': false,
  };
  for (const [key, sendsKeyId] of Object.entries(keys)) {
    mock.resetHistory();
    const encryption = localEncryption({ kmsProviders: { aws: awsKms(client) } });
    const keyId = await encryption.createDataKey('aws', { masterKey: { region: 'eu-central-1', key }, keyMaterial: new Uint8Array(96).fill(2) });
    await encryption.encrypt(1, { algorithm: RANDOM, keyId });
    const [wrap, unwrap] = mock.calls().map((call) => call.args[0].input);
    assert.deepEqual(Object.keys(wrap).sort(), ['KeyId', 'Plaintext']);
    assert.equal(wrap.KeyId, key);
    assert.deepEqual(Object.keys(unwrap).sort(), sendsKeyId ? ['CiphertextBlob', 'KeyId'] : ['CiphertextBlob']);
    if (sendsKeyId) assert.equal(unwrap.KeyId, key);
    encryption.close();
  }
});

// ---- the real client over HTTP

let kms;
before(async () => {
  kms = await startFakeKms();
});
after(() => kms?.stop());

const vault = new MemoryKeyVaultStore();
async function storedValue() {
  kms.behave = () => undefined;
  const encryption = awsEncryption(kms.endpoint, { store: vault });
  const keyId = await encryption.createDataKey('aws', { masterKey: awsMasterKey });
  const value = await encryption.encrypt('x', { algorithm: RANDOM, keyId });
  encryption.close();
  return { keyId, value };
}

for (const [told, code] of [
  [{ error: 'AccessDeniedException' }, 'KMS_ACCESS_DENIED'],
  [{ error: 'ThrottlingException' }, 'KMS_THROTTLED'],
  [{ error: 'KMSInternalException', status: 500 }, 'KMS_UNREACHABLE'],
  [{ error: 'ExpiredTokenException' }, 'KMS_CREDENTIALS_REFUSED'],
  [{ error: 'NotFoundException' }, 'KMS_KEY_NOT_FOUND'],
  [{ error: 'DisabledException' }, 'KMS_KEY_UNAVAILABLE'],
  [{ error: 'InvalidCiphertextException' }, 'KMS_CIPHERTEXT_REFUSED'],
  [{ drop: true }, 'KMS_UNREACHABLE'],
  [{ hang: true }, 'KMS_TIMED_OUT'],
  [{ fields: { Plaintext: Buffer.alloc(95, 1).toString('base64') } }, 'KMS_REPLY_LENGTH'],
  [{ fields: { Plaintext: '' } }, 'KMS_REPLY_LENGTH'],
  [{ fields: {} }, 'KMS_REPLY_INVALID'],
]) {
  test(`a KMS that answers ${JSON.stringify(told).slice(0, 60)} on Decrypt is ${code}, naming the data key`, async () => {
    const { keyId, value } = await storedValue();
    kms.behave = () => told;
    const encryption = awsEncryption(kms.endpoint, { store: vault, kmsRetries: 0, kmsTimeoutMS: 150 });
    const error = await failsWith(code, () => encryption.decrypt(value));
    if (code !== 'KMS_REPLY_LENGTH') {
      assert.equal(error.details.provider, 'aws');
      assert.equal(error.details.operation, 'unwrap');
    }
    assert.match(`${error.message} ${JSON.stringify(error.details)}`, new RegExp(keyId.toHexString()));
    encryption.close();
  });
}

test('throttling that passes is waited out', async () => {
  const { value } = await storedValue();
  const before = kms.calls.length;
  kms.behave = ({ count }) => (count < before + 2 ? { error: 'ThrottlingException' } : undefined);
  const encryption = awsEncryption(kms.endpoint, { store: vault });
  assert.equal(await encryption.decrypt(value), 'x');
  assert.equal(kms.calls.length, before + 3);
  encryption.close();
});

test('a KMS that is not there is KMS_UNREACHABLE', async () => {
  const { value } = await storedValue();
  const gone = await startFakeKms();
  await gone.stop();
  const encryption = awsEncryption(gone.endpoint, { store: vault, kmsRetries: 0 });
  const error = await failsWith('KMS_UNREACHABLE', () => encryption.decrypt(value));
  assert.equal(error.cause.code, 'ECONNREFUSED');
  encryption.close();
});

test('a client without credentials is KMS_CREDENTIALS_UNAVAILABLE, one without a region is refused', async () => {
  const noCredentials = new KMSClient({
    endpoint: kms.endpoint,
    region: awsMasterKey.region,
    maxAttempts: 1,
    credentials: async () => {
      throw Object.assign(new Error('Could not load credentials from any providers'), { name: 'CredentialsProviderError' });
    },
  });
  const one = localEncryption({ kmsProviders: { aws: awsKms(noCredentials) } });
  await failsWith('KMS_CREDENTIALS_UNAVAILABLE', () => one.createDataKey('aws', { masterKey: awsMasterKey }));
  const noRegion = new KMSClient({
    endpoint: kms.endpoint,
    region: async () => {
      throw new Error('Region is missing');
    },
  });
  const two = localEncryption({ kmsProviders: { aws: awsKms(noRegion) } });
  await failsWith('KMS_REQUEST_REFUSED', () => two.createDataKey('aws', { masterKey: awsMasterKey }));
  one.close();
  two.close();
});

test('awsKms refuses what is no client', async () => {
  for (const wrong of [null, 7, 'aws', { accessKeyId: 'a', secretAccessKey: 'b' }, { regoin: 'us-east-1' }])
    await failsWith('ARGUMENT_INVALID', () => awsKms(wrong));
  const encryption = localEncryption({ kmsProviders: { aws: awsKms(() => ({})) } });
  await failsWith('ARGUMENT_INVALID', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
  encryption.close();
});

test('the SDK raises its own exceptions as expected by this file', () => {
  assert.ok(new KMSServiceException({ name: 'AccessDeniedException', $fault: 'client', $metadata: {} }) instanceof Error);
  assert.equal(typeof kmsClient(kms.endpoint).config.region, 'function');
});
