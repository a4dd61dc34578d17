// What the tests of the JavaScript layer start from: keys, providers, stores and clients.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { KMSClient } from '@aws-sdk/client-kms';
import { awsKms, ClientEncryption, CsfleError, MemoryKeyVaultStore } from 'csfle-wasm';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

export const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

// 96 bytes that look random and are the same in every run.
export function keyBytes(label) {
  return Buffer.concat([createHash('sha512').update(`${label} 1`).digest(), createHash('sha256').update(`${label} 2`).digest()]);
}

// A ClientEncryption over memory with the local provider; options override.
export function localEncryption({ store = new MemoryKeyVaultStore(), ...options } = {}) {
  return new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local: { key: keyBytes('local') } }, ...options });
}

export const awsMasterKey = { region: 'eu-central-1', key: 'arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000001' };

// An SDK client for `endpoint` that leaves retries to the library.
export function kmsClient(endpoint, region = awsMasterKey.region) {
  return new KMSClient({ endpoint, region, credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'example' }, maxAttempts: 1 });
}

// A ClientEncryption over memory whose only provider is the AWS KMS at `endpoint`.
export function awsEncryption(endpoint, { store = new MemoryKeyVaultStore(), ...options } = {}) {
  return new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: awsKms(kmsClient(endpoint)) }, ...options });
}

// A store that counts its finds and hands everything on to `inner`.
export function countingStore(inner = new MemoryKeyVaultStore()) {
  const store = {
    finds: 0,
    find: (filter) => {
      store.finds += 1;
      return inner.find(filter);
    },
  };
  for (const method of ['insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName', 'retireKey', 'retiredKeys', 'restoreKey', 'purgeRetiredKey'])
    store[method] = (...args) => inner[method](...args);
  return store;
}

// A KMS provider in this process: wraps by XOR with a pad, counts calls, and lets `behave` interfere before each.
export function padKms(label, behave = async () => undefined) {
  const pad = keyBytes(label);
  const apply = (bytes) => Uint8Array.from(bytes, (byte, index) => byte ^ pad[index % pad.length]);
  const kms = {
    calls: [],
    running: 0,
    mostRunning: 0,
    encrypt: (call) => perform('encrypt', call, call.plaintext),
    decrypt: (call) => perform('decrypt', call, call.ciphertext),
  };
  async function perform(operation, call, bytes) {
    kms.calls.push({ operation, ...call });
    kms.running += 1;
    kms.mostRunning = Math.max(kms.mostRunning, kms.running);
    try {
      return (await behave({ operation, count: kms.calls.length, ...call })) ?? apply(bytes);
    } finally {
      kms.running -= 1;
    }
  }
  return kms;
}

// Checks that `work` fails with a CsfleError of `code`, and returns the error.
export async function failsWith(code, work) {
  let failure;
  await assert.rejects(
    async () => work(),
    (error) => {
      failure = error;
      return true;
    },
  );
  assert.ok(failure instanceof CsfleError, `a CsfleError, not ${failure?.stack}`);
  assert.equal(failure.code, code, failure.stack);
  return failure;
}
