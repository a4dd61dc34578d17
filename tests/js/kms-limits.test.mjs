// What README says of calls to a KMS where no option says otherwise, and which of the two calls an application needs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CsfleError, MemoryKeyVaultStore } from 'csfle-wasm';
import { awsMasterKey, DETERMINISTIC, failsWith, keyBytes, localEncryption, padKms, RANDOM } from './fixtures.mjs';

const withKms = (aws, store = new MemoryKeyVaultStore()) => localEncryption({ store, kmsProviders: { aws } });

async function keysUnderKms(count) {
  const store = new MemoryKeyVaultStore();
  const setup = withKms(padKms('aws'), store);
  const ids = [];
  for (let index = 0; index < count; index += 1) ids.push(await setup.createDataKey('aws', { masterKey: awsMasterKey, keyMaterial: keyBytes(`key ${index}`) }));
  const values = await Promise.all(ids.map((keyId, index) => setup.encrypt(index, { algorithm: RANDOM, keyId })));
  setup.close();
  return { store, ids, values };
}

/** Timers that run at once, and how long they were set for. */
function hurry(t) {
  const { setTimeout: real } = globalThis;
  const durations = [];
  t.mock.method(globalThis, 'setTimeout', (work, duration, ...more) => {
    durations.push(duration);
    return real(work, 0, ...more);
  });
  t.mock.method(Math, 'random', () => 1);
  return durations;
}

test('with existing keys only kms.decrypt is called, for encryption of values too', async () => {
  const {
    store,
    ids: [keyId],
    values,
  } = await keysUnderKms(1);
  const kms = padKms('aws', async ({ operation }) => {
    if (operation === 'encrypt') throw new CsfleError('KMS_ACCESS_DENIED', 'kms:Decrypt alone');
  });
  const encryption = withKms(kms, store);
  assert.equal(await encryption.decrypt(values[0]), 0);
  assert.equal(await encryption.decrypt(await encryption.encrypt('new', { algorithm: DETERMINISTIC, keyId })), 'new');
  assert.deepEqual(
    kms.calls.map(({ operation }) => operation),
    ['decrypt'],
  );
  await failsWith('KMS_ACCESS_DENIED', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
  encryption.close();
});

test('eight KMS calls run at the same time by default', async () => {
  const { store, values } = await keysUnderKms(12);
  const kms = padKms('aws', () => sleep(5));
  const encryption = withKms(kms, store);
  await encryption.decryptDocument({ values });
  assert.deepEqual([kms.mostRunning, kms.calls.length], [8, 12]);
  encryption.close();
});

test('a failed KMS call is repeated three times, after random pauses of at most 0.2, 0.4 and 0.8 seconds', async (t) => {
  const { store, values } = await keysUnderKms(1);
  const kms = padKms('aws', async () => {
    throw new CsfleError('KMS_THROTTLED', 'busy');
  });
  const encryption = withKms(kms, store);
  const durations = hurry(t);
  await failsWith('KMS_THROTTLED', () => encryption.decrypt(values[0]));
  assert.equal(kms.calls.length, 4);
  assert.deepEqual(
    durations.filter((duration) => duration !== 10_000),
    [200, 400, 800],
  );
  encryption.close();
});

test('each KMS attempt times out after ten seconds by default', async (t) => {
  const { store, values } = await keysUnderKms(1);
  const kms = padKms('aws', () => new Promise(() => {}));
  const encryption = withKms(kms, store);
  const durations = hurry(t);
  const { details } = await failsWith('KMS_TIMED_OUT', () => encryption.decrypt(values[0]));
  assert.deepEqual([details.timeoutMs, details.attempts, kms.calls.length], [10_000, 4, 4]);
  assert.deepEqual(durations, [10_000, 200, 10_000, 400, 10_000, 800, 10_000]);
  encryption.close();
});
