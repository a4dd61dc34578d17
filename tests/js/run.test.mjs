// The step loop: bounds, deadlines, retries, aborting, closing, and what it does to secrets on the way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as bson from 'bson';
import { ClientEncryption, CsfleError, MemoryKeyVaultStore } from 'csfle-wasm';
import { awsMasterKey, countingStore, DETERMINISTIC, failsWith, keyBytes, localEncryption, padKms, RANDOM } from './fixtures.mjs';

const withKms = (kms, options = {}) => localEncryption({ kmsProviders: { local: { key: keyBytes('local') }, aws: kms }, ...options });
const never = () => new Promise(() => {});

async function vaultWithKeys(count) {
  const store = new MemoryKeyVaultStore();
  const setup = withKms(padKms('aws'), { store });
  const ids = [];
  for (let index = 0; index < count; index += 1) ids.push(await setup.createDataKey('local', { keyAltNames: [`key ${index}`] }));
  const values = await Promise.all(ids.map((keyId, index) => setup.encrypt(index, { algorithm: RANDOM, keyId })));
  await setup.rewrapManyDataKey({}, { provider: 'aws', masterKey: awsMasterKey });
  setup.close();
  return { store, ids, values };
}

test('no more KMS calls run at a time than kmsConcurrency allows, within and across operations', async () => {
  const { store, values } = await vaultWithKeys(12);
  const kms = padKms('aws', () => sleep(5));
  const encryption = withKms(kms, { store, kmsConcurrency: 3 });
  const [document, ...rest] = await Promise.all([
    encryption.decryptDocument({ values: values.slice(0, 6) }),
    ...values.slice(6).map((value) => encryption.decrypt(value)),
  ]);
  assert.deepEqual([...document.values, ...rest], [...Array(12).keys()]);
  assert.equal(kms.mostRunning, 3);
  assert.equal(kms.calls.length, 12);
  encryption.close();
});

test('a call gets what it needs to know, and plaintext is overwritten afterwards', async () => {
  const kms = padKms('aws');
  const encryption = withKms(kms);
  const keyId = await encryption.createDataKey('aws', { masterKey: awsMasterKey, keyAltNames: ['a', 'b'] });
  const [wrap] = kms.calls;
  assert.equal(wrap.provider, 'aws');
  assert.deepEqual(wrap.masterKey, { provider: 'aws', ...awsMasterKey });
  assert.ok(Object.isFrozen(wrap.masterKey));
  assert.ok(wrap.signal instanceof AbortSignal);
  assert.deepEqual([...wrap.keyAltNames].sort(), ['a', 'b']);
  assert.equal(wrap.plaintext.length, 96);
  assert.ok(
    wrap.plaintext.every((byte) => byte === 0),
    'wiped after the call',
  );
  await encryption.encrypt(1, { algorithm: RANDOM, keyId });
  const unwrap = kms.calls[1];
  assert.equal(unwrap.operation, 'decrypt');
  assert.equal(unwrap.dataKeyId, keyId.toHexString());
  assert.deepEqual([...unwrap.keyAltNames].sort(), ['a', 'b']);
  encryption.close();
});

test('the reply of decrypt is overwritten after it crossed, also when it is refused', async () => {
  const { store, values } = await vaultWithKeys(1);
  const replies = [];
  const pad = padKms('aws');
  for (const spoil of [(bytes) => bytes, (bytes) => bytes.slice(0, 95)]) {
    const kms = {
      encrypt: pad.encrypt,
      decrypt: async (call) => {
        const reply = spoil(await pad.decrypt(call));
        replies.push(reply);
        return reply;
      },
    };
    const encryption = withKms(kms, { store });
    await encryption.decrypt(values[0]).catch((error) => assert.equal(error.code, 'KMS_REPLY_LENGTH'));
    encryption.close();
  }
  assert.deepEqual(
    replies.map((reply) => [reply.length, reply.every((byte) => byte === 0)]),
    [
      [96, true],
      [95, true],
    ],
  );
});

test('retryable failures are repeated up to kmsRetries, each attempt with its own plaintext', async () => {
  const failing = (times) =>
    padKms('aws', async ({ count, plaintext }) => {
      if (plaintext !== undefined) assert.ok(plaintext.some((byte) => byte !== 0));
      if (count <= times) throw new CsfleError('KMS_THROTTLED', 'busy');
    });
  const twice = failing(2);
  const patient = withKms(twice, { kmsRetries: 2 });
  await patient.createDataKey('aws', { masterKey: awsMasterKey });
  assert.equal(twice.calls.length, 4, 'wrapped at the third attempt, then unwrapped');
  const always = failing(Infinity);
  const impatient = withKms(always, { kmsRetries: 1 });
  const error = await failsWith('KMS_THROTTLED', () => impatient.createDataKey('aws', { masterKey: awsMasterKey }));
  assert.equal(error.details.attempts, 2);
  assert.equal(error.retryable, true);
  assert.equal(always.calls.length, 2);
  patient.close();
  impatient.close();
});

test('other failures are not repeated', async () => {
  for (const [thrown, code] of [
    [new CsfleError('KMS_ACCESS_DENIED', 'no'), 'KMS_ACCESS_DENIED'],
    [new Error('surprise'), 'HOST_CALLBACK_FAILED'],
    ['a string', 'HOST_CALLBACK_FAILED'],
    [new CsfleError('KMS_KEY_UNAVAILABLE', 'pending deletion'), 'KMS_KEY_UNAVAILABLE'],
  ]) {
    const kms = padKms('aws', async () => {
      throw thrown;
    });
    const encryption = withKms(kms);
    const error = await failsWith(code, () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    assert.equal(kms.calls.length, 1);
    assert.equal(error.details.provider, 'aws');
    assert.equal(error.details.operation, 'wrap');
    if (code === 'HOST_CALLBACK_FAILED') assert.equal(error.cause, thrown, 'the very error that was thrown');
    encryption.close();
  }
});

const masterKeys = {
  aws: awsMasterKey,
  azure: { keyVaultEndpoint: 'vault.example.net', keyName: 'k' },
  gcp: { projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' },
  kmip: {},
};

test("the SDK's own errors keep their meaning when a plain callback lets them through", async () => {
  const sdk = (name, more = {}) => Object.assign(new Error('from the SDK'), { name, ...more });
  for (const [provider, thrown, code] of [
    ['aws', sdk('AccessDeniedException', { $metadata: { httpStatusCode: 400 } }), 'KMS_ACCESS_DENIED'],
    ['aws', sdk('ThrottlingException'), 'KMS_THROTTLED'],
    ['aws', sdk('NotFoundException'), 'KMS_KEY_NOT_FOUND'],
    ['aws', sdk('CredentialsProviderError'), 'KMS_CREDENTIALS_UNAVAILABLE'],
    ['azure', sdk('RestError', { statusCode: 403, code: 'Forbidden' }), 'KMS_ACCESS_DENIED'],
    ['gcp', sdk('Error', { code: 7 }), 'KMS_ACCESS_DENIED'],
    ['kmip', sdk('AccessDeniedException'), 'HOST_CALLBACK_FAILED'],
    ['aws', new TypeError('x is not a function'), 'HOST_CALLBACK_FAILED'],
  ]) {
    const callbacks = {
      encrypt: async () => {
        throw thrown;
      },
      decrypt: async () => {
        throw thrown;
      },
    };
    const encryption = new ClientEncryption(null, {
      keyVaultStore: new MemoryKeyVaultStore(),
      kmsProviders: { [provider]: callbacks },
      kmsRetries: 0,
    });
    const error = await failsWith(code, () => encryption.createDataKey(provider, { masterKey: masterKeys[provider] }));
    assert.equal(error.cause, thrown);
    encryption.close();
  }
});

test('a network error of a plain callback is KMS_UNREACHABLE and is repeated', async () => {
  const reset = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
  const kms = padKms('aws', async ({ count }) => {
    if (count === 1) throw reset;
  });
  const encryption = withKms(kms);
  await encryption.createDataKey('aws', { masterKey: awsMasterKey });
  assert.equal(kms.calls.length, 3);
  const wrapped = padKms('aws', async () => {
    throw new TypeError('fetch failed', { cause: reset });
  });
  const hopeless = withKms(wrapped, { kmsRetries: 0 });
  const error = await failsWith('KMS_UNREACHABLE', () => hopeless.createDataKey('aws', { masterKey: awsMasterKey }));
  assert.equal(error.cause.cause, reset);
  encryption.close();
  hopeless.close();
});

test('a synchronous callback and a callback that throws synchronously are fine', async () => {
  const invert = (bytes) => bytes.map((byte) => byte ^ 0xff);
  const store = new MemoryKeyVaultStore();
  const encryption = withKms({ encrypt: ({ plaintext }) => invert(plaintext), decrypt: ({ ciphertext }) => invert(ciphertext) }, { store });
  const keyId = await encryption.createDataKey('aws', { masterKey: awsMasterKey });
  const throwing = withKms(
    {
      encrypt: never,
      decrypt: () => {
        throw new Error('at once');
      },
    },
    { store },
  );
  await failsWith('HOST_CALLBACK_FAILED', () => throwing.encrypt(1, { algorithm: RANDOM, keyId }));
  encryption.close();
  throwing.close();
});

test('a callback that returns something else is named, without showing what it returned', async () => {
  for (const returned of [undefined, null, 'bytes', { ciphertext: 'x' }, { ciphertext: new Uint8Array(3), keyId: 7 }, [1, 2]]) {
    const encryption = withKms({ encrypt: async () => returned, decrypt: async () => returned });
    await failsWith('KMS_REPLY_INVALID', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    encryption.close();
  }
  const { store, values } = await vaultWithKeys(1);
  const encryption = withKms({ encrypt: never, decrypt: async () => ({ plaintext: 'x' }) }, { store });
  await failsWith('KMS_REPLY_INVALID', () => encryption.decrypt(values[0]));
  encryption.close();
});

test('a callback that returns its plaintext is refused, one that wraps in place is fine', async () => {
  for (const encrypt of [
    async ({ plaintext }) => plaintext,
    async ({ plaintext }) => plaintext.slice(),
    async ({ plaintext }) => ({ ciphertext: Buffer.from(plaintext) }),
  ]) {
    const store = new MemoryKeyVaultStore();
    const encryption = withKms({ encrypt, decrypt: async ({ ciphertext }) => ciphertext.slice() }, { store });
    await failsWith('KMS_REPLY_INVALID', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    assert.deepEqual(await store.find({}), []);
    encryption.close();
  }
  const invert = (bytes) => {
    for (const index of bytes.keys()) bytes[index] ^= 0xff;
    return bytes;
  };
  const inPlace = withKms({ encrypt: ({ plaintext }) => invert(plaintext), decrypt: ({ ciphertext }) => invert(ciphertext) });
  const keyId = await inPlace.createDataKey('aws', { masterKey: awsMasterKey, keyMaterial: keyBytes('in place') });
  assert.deepEqual(Buffer.from(invert((await inPlace.getKey(keyId)).keyMaterial.buffer.slice())), keyBytes('in place'));
  inPlace.close();
});

test('a call that takes longer than kmsTimeoutMS is given up, its signal aborted, its late reply wiped', async () => {
  const { store, values } = await vaultWithKeys(1);
  const signals = [];
  const late = new Uint8Array(96).fill(9);
  let release;
  const kms = {
    encrypt: never,
    decrypt: (call) => {
      signals.push(call.signal);
      return new Promise((resolve) => {
        release = () => resolve(late);
      });
    },
  };
  const encryption = withKms(kms, { store, kmsTimeoutMS: 20, kmsRetries: 0 });
  const started = performance.now();
  const error = await failsWith('KMS_TIMED_OUT', () => encryption.decrypt(values[0]));
  assert.ok(performance.now() - started < 1500, 'the deadline is that of the option');
  assert.equal(error.details.timeoutMs, 20);
  assert.equal(error.retryable, true);
  assert.equal(signals[0].aborted, true);
  release();
  await sleep(1);
  assert.ok(late.every((byte) => byte === 0));
  encryption.close();
});

test('the first failing call stops the others of its operation', async () => {
  const { store, values } = await vaultWithKeys(4);
  const aborted = [];
  const kms = padKms('aws', async ({ count, signal }) => {
    if (count === 3) throw new CsfleError('KMS_ACCESS_DENIED', 'no');
    await new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        aborted.push(count);
        resolve();
      });
    });
  });
  const encryption = withKms(kms, { store });
  const error = await failsWith('KMS_ACCESS_DENIED', () => encryption.decryptDocument({ values }));
  assert.equal(aborted.length, 3);
  assert.match(error.details.keyId, /^[0-9a-f-]{36}$/);
  assert.match(error.details.keyAltNames, /^key \d$/);
  assert.match(error.message, /key \d/);
  encryption.close();
});

test('the signal of a ClientEncryption ends what runs, in the queue, in a call and in a pause', async () => {
  const { store, values } = await vaultWithKeys(3);
  for (const behave of [
    never,
    async () => {
      throw new CsfleError('KMS_THROTTLED', 'busy');
    },
  ]) {
    const controller = new AbortController();
    const kms = padKms('aws', behave);
    const encryption = withKms(kms, { store, kmsConcurrency: 1, signal: controller.signal });
    const running = values.map((value) => failsWith('OPERATION_ABORTED', () => encryption.decrypt(value)));
    await sleep(5);
    controller.abort(new Error('the user left'));
    const errors = await Promise.all(running);
    assert.ok(errors.every((error) => error.cause.message === 'the user left'));
    await failsWith('OPERATION_ABORTED', () => encryption.decrypt(values[0]));
    await failsWith('OPERATION_ABORTED', () => encryption.createDataKey('local'));
    encryption.close();
  }
});

test('rewrapManyDataKey has a signal of its own', async () => {
  const { store } = await vaultWithKeys(2);
  const controller = new AbortController();
  const encryption = withKms(padKms('aws', never), { store });
  const running = failsWith('OPERATION_ABORTED', () => encryption.rewrapManyDataKey({}, { provider: 'local', signal: controller.signal }));
  await sleep(5);
  controller.abort();
  await running;
  await failsWith('OPERATION_ABORTED', () => encryption.rewrapManyDataKey({}, { provider: 'local', signal: AbortSignal.abort() }));
  assert.deepEqual(
    (await store.find({})).map((key) => key.masterKey.provider),
    ['aws', 'aws'],
    'nothing was written',
  );
  encryption.close();
});

test('close() ends pending work with HOST_CLOSED, in the key vault and in a KMS call, and everything later', async () => {
  const { store, ids, values } = await vaultWithKeys(1);
  const hanging = countingStore(store);
  hanging.find = never;
  for (const encryption of [withKms(padKms('aws'), { store: hanging }), withKms(padKms('aws', never), { store })]) {
    const pending = failsWith('HOST_CLOSED', () => encryption.decrypt(values[0]));
    await sleep(5);
    encryption.close();
    encryption.close();
    await pending;
    for (const work of [
      () => encryption.encrypt(1, { algorithm: RANDOM, keyId: ids[0] }),
      () => encryption.decrypt(values[0]),
      () => encryption.createDataKey('local'),
      () => encryption.getKey(ids[0]),
      () => encryption.getKeyByAltName('x'),
      async () => encryption.getKeys().toArray(),
      () => encryption.addKeyAltName(ids[0], 'x'),
      () => encryption.removeKeyAltName(ids[0], 'x'),
      () => encryption.deleteKey(ids[0]),
      () => encryption.rewrapManyDataKey({}),
      () => encryption.decryptDocument({}),
      () => encryption.encryptDocument({}, { fields: { a: { algorithm: RANDOM, keyAltName: 'a' } } }),
    ])
      await failsWith('HOST_CLOSED', work);
  }
});

test('closing at any moment between an answer and the next step is HOST_CLOSED too', async () => {
  const { store, values } = await vaultWithKeys(1);
  for (let turns = 0; turns < 12; turns += 1) {
    let encryption;
    const closing = countingStore(store);
    closing.find = async (filter) => {
      const found = await store.find(filter);
      // The answer needs a few turns of the microtask queue to arrive; close() gets in between at each of them.
      let turn = Promise.resolve();
      for (let left = turns; left > 0; left -= 1) turn = turn.then(() => undefined);
      turn.then(() => encryption.close());
      return found;
    };
    encryption = withKms(
      padKms('aws', () => sleep(5)),
      { store: closing },
    );
    await failsWith('HOST_CLOSED', () => encryption.decrypt(values[0]));
  }
});

test('a data key is fetched once while it is cached, and again after keyExpirationMS', async () => {
  const { store, values } = await vaultWithKeys(1);
  const counted = countingStore(store);
  const kms = padKms('aws');
  const encryption = withKms(kms, { store: counted, keyExpirationMS: 60 });
  for (let index = 0; index < 5; index += 1) await encryption.decrypt(values[0]);
  assert.deepEqual([counted.finds, kms.calls.length], [1, 1]);
  await sleep(90);
  await encryption.decrypt(values[0]);
  assert.deepEqual([counted.finds, kms.calls.length], [2, 2]);
  const forever = withKms(padKms('aws'), { store: counted, keyExpirationMS: 0 });
  await forever.decrypt(values[0]);
  await sleep(5);
  await forever.decrypt(values[0]);
  assert.equal(counted.finds, 3);
  const undefinedMeansDefault = withKms(padKms('aws'), { store: counted, keyExpirationMS: undefined });
  await undefinedMeansDefault.decrypt(values[0]);
  await undefinedMeansDefault.decrypt(values[0]);
  assert.equal(counted.finds, 4);
  for (const one of [encryption, forever, undefinedMeansDefault]) one.close();
});

test('maxCachedKeys bounds the cache, the oldest key goes first', async () => {
  const { store, values } = await vaultWithKeys(3);
  const counted = countingStore(store);
  const encryption = withKms(padKms('aws'), { store: counted, maxCachedKeys: 2 });
  for (const index of [0, 1, 2]) await encryption.decrypt(values[index]);
  await encryption.decrypt(values[2]);
  assert.equal(counted.finds, 3);
  await encryption.decrypt(values[0]);
  assert.equal(counted.finds, 4);
  encryption.close();
});

test('a store that fails, or answers nonsense, is HOST_CALLBACK_FAILED with its error as cause; a CsfleError passes', async () => {
  const boom = new Error('boom');
  const store = countingStore();
  const encryption = localEncryption({ store });
  const value = { algorithm: DETERMINISTIC, keyAltName: 'x' };
  store.find = async () => {
    throw boom;
  };
  assert.equal((await failsWith('HOST_CALLBACK_FAILED', () => encryption.encrypt(1, value))).cause, boom);
  store.find = () => {
    throw boom;
  };
  assert.equal((await failsWith('HOST_CALLBACK_FAILED', () => encryption.encrypt(1, value))).cause, boom);
  store.find = async () => 'documents';
  await failsWith('HOST_CALLBACK_FAILED', () => encryption.encrypt(1, value));
  store.find = async () => {
    throw new CsfleError('KEY_VAULT_NOT_READABLE', 'mine');
  };
  await failsWith('KEY_VAULT_NOT_READABLE', () => encryption.encrypt(1, value));
  store.find = async () => [{ _id: 1 }];
  await failsWith('KEY_VAULT_FIELD_INVALID', () => encryption.encrypt(1, value));
  encryption.close();
});

test('equal unwrapping at the same time is one call, and each operation gets and loses its own copy', async () => {
  const { store, values } = await vaultWithKeys(2);
  let open;
  const gate = new Promise((resolve) => {
    open = resolve;
  });
  const kms = padKms('aws', () => gate);
  const encryption = withKms(kms, { store });
  const waiting = Promise.all(Array.from({ length: 50 }, (_, index) => encryption.decrypt(values[index % 2])));
  await sleep(20);
  assert.equal(kms.running, 2);
  open();
  assert.deepEqual((await waiting).slice(0, 4), [0, 1, 0, 1]);
  assert.equal(kms.calls.length, 2);
  assert.equal(await encryption.decrypt(values[0]), 0);
  assert.equal(kms.calls.length, 2);
  encryption.close();
});

test('an operation that leaves a shared call leaves the others alone, the last one ends it', async () => {
  const { store, values } = await vaultWithKeys(1);
  const signals = [];
  let open;
  const kms = padKms('aws', ({ signal }) => {
    signals.push(signal);
    return new Promise((resolve) => {
      open = resolve;
    });
  });
  const encryption = withKms(kms, { store });
  const controller = new AbortController();
  const leaving = failsWith('OPERATION_ABORTED', () => encryption.rewrapManyDataKey({}, { provider: 'local', signal: controller.signal }));
  const staying = encryption.decrypt(values[0]);
  await sleep(10);
  assert.equal(kms.calls.length, 1);
  controller.abort();
  await leaving;
  assert.equal(signals[0].aborted, false);
  open();
  assert.equal(await staying, 0);

  const alone = withKms(kms, { store });
  const second = new AbortController();
  const only = failsWith('OPERATION_ABORTED', () => alone.rewrapManyDataKey({}, { provider: 'local', signal: second.signal }));
  await sleep(10);
  second.abort();
  await only;
  assert.equal(signals[1].aborted, true);
  encryption.close();
  alone.close();
});

test('a shared call that fails fails for everybody, and the next one is asked anew', async () => {
  const { store, values } = await vaultWithKeys(1);
  const kms = padKms('aws', async ({ count }) => {
    if (count === 1) throw new CsfleError('KMS_ACCESS_DENIED', 'no');
  });
  const encryption = withKms(kms, { store });
  await Promise.all([1, 2, 3].map(() => failsWith('KMS_ACCESS_DENIED', () => encryption.decrypt(values[0]))));
  assert.equal(kms.calls.length, 1);
  assert.equal(await encryption.decrypt(values[0]), 0);
  encryption.close();
});

test('operations that share a call do not share its bytes', async () => {
  const { store, values } = await vaultWithKeys(1);
  const refusing = countingStore(store);
  let writes = 0;
  // The first of two rewraps loses its write, so that what the second one unwrapped ends up in the vault.
  refusing.rewrapIf = async (...args) => {
    writes += 1;
    return writes > 1 && store.rewrapIf(...args);
  };
  const kms = padKms('aws', () => sleep(5));
  const encryption = withKms(kms, { store: refusing });
  const rewrap = () => encryption.rewrapManyDataKey({}, { provider: 'local' });
  const [first, second] = await Promise.allSettled([rewrap(), rewrap()]);
  assert.deepEqual([first.reason?.code, second.value?.bulkWriteResult.modifiedCount, kms.calls.length], ['KEY_VAULT_CONFLICT', 1, 2]);
  const fresh = localEncryption({ store });
  assert.equal(await fresh.decrypt(values[0]), 0);
  encryption.close();
  fresh.close();
});

test('the BSON of a value is overwritten after it crossed', async () => {
  const written = [];
  const library = {
    ...bson,
    serialize: (...args) => {
      const bytes = bson.serialize(...args);
      written.push(bytes);
      return bytes;
    },
  };
  const store = new MemoryKeyVaultStore();
  const encryption = localEncryption({ store, bson: library });
  const keyId = await encryption.createDataKey('local');
  written.length = 0;
  await encryption.encrypt('CANARY', { algorithm: RANDOM, keyId });
  await failsWith('VALUE_TYPE_NOT_DETERMINISTIC', () => encryption.encrypt({ text: 'CANARY' }, { algorithm: DETERMINISTIC, keyId }));
  await encryption.encryptDocuments([{ a: 'CANARY' }, { a: 'CANARY' }], { fields: { a: { algorithm: RANDOM, keyId } } });
  assert.ok(written.length >= 4);
  assert.deepEqual(
    written.filter((bytes) => Buffer.from(bytes).includes('CANARY')),
    [],
  );
  encryption.close();
});
