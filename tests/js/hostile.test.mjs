// Stores, callbacks, options and values that do what their interfaces forbid: everything that is thrown is a CsfleError.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { BSONRegExp, deserialize } from 'bson';
import { ClientEncryption, CsfleError, MemoryKeyVaultStore } from 'csfle-wasm';
import { awsMasterKey, countingStore, DETERMINISTIC, failsWith, keyBytes, localEncryption, RANDOM } from './fixtures.mjs';

const never = () => new Promise(() => {});
const withKms = (kms, options = {}) => localEncryption({ kmsProviders: { local: { key: keyBytes('local') }, aws: kms }, ...options });
const invert = (bytes) => Uint8Array.from(bytes, (byte) => byte ^ 0xff);
const handOver = (bytes) => {
  structuredClone(bytes, { transfer: [bytes.buffer] });
  return bytes;
};

// One element of BSON in a document of its own: { v: <payload of that type> }.
function document(type, payload) {
  const body = Buffer.concat([Buffer.from([type]), Buffer.from('v\0'), payload, Buffer.from([0])]);
  const length = Buffer.alloc(4);
  length.writeInt32LE(body.length + 4);
  return Buffer.concat([length, body]);
}

const showsSecret = (error) => `${inspect(error, { depth: 9 })}${JSON.stringify(error)}${error.message}`.includes('SECRET');

test('what find() of a store returns is checked wherever it is used', async () => {
  for (const answer of [undefined, null, 'documents', 5, {}, { length: 1, 0: {} }, [null], ['document'], [undefined]]) {
    const store = countingStore();
    store.find = async () => answer;
    const encryption = localEncryption({ store });
    const keyId = await encryption.createDataKey('local');
    for (const work of [
      () => encryption.getKey(keyId),
      () => encryption.getKeyByAltName('x'),
      () => encryption.getKeys().toArray(),
      () => encryption.getKeys().next(),
      () => encryption.encrypt(1, { algorithm: RANDOM, keyId }),
      () => encryption.rewrapManyDataKey({}),
    ])
      await failsWith('HOST_CALLBACK_FAILED', work);
    encryption.close();
  }
});

test('close() and the signal end every call to a store that never answers', async () => {
  const inner = new MemoryKeyVaultStore();
  const keyId = await localEncryption({ store: inner }).createDataKey('local');
  for (const [method, work] of [
    ['find', (encryption) => encryption.getKey(keyId)],
    ['find', (encryption) => encryption.getKeyByAltName('x')],
    ['find', (encryption) => encryption.getKeys().toArray()],
    ['insert', (encryption) => encryption.createDataKey('local')],
    ['rewrapIf', (encryption) => encryption.rewrapManyDataKey({})],
    ['addKeyAltName', (encryption) => encryption.addKeyAltName(keyId, 'x')],
    ['removeKeyAltName', (encryption) => encryption.removeKeyAltName(keyId, 'x')],
    ['retireKey', (encryption) => encryption.deleteKey(keyId)],
  ]) {
    const store = countingStore(inner);
    store[method] = never;
    const controller = new AbortController();
    const closed = localEncryption({ store });
    const aborted = localEncryption({ store, signal: controller.signal });
    const pending = [failsWith('HOST_CLOSED', () => work(closed)), failsWith('OPERATION_ABORTED', () => work(aborted))];
    await sleep(5);
    closed.close();
    controller.abort();
    await Promise.all(pending);
    aborted.close();
  }
});

test('the signal of a rewrap ends it before the next write, and the error says how many there were', async () => {
  const inner = new MemoryKeyVaultStore();
  const setup = localEncryption({ store: inner });
  for (let count = 0; count < 3; count += 1) await setup.createDataKey('local');
  const controller = new AbortController();
  const store = countingStore(inner);
  let writes = 0;
  store.rewrapIf = async (...args) => {
    const done = await inner.rewrapIf(...args);
    writes += 1;
    if (writes === 2) controller.abort();
    return done;
  };
  const encryption = localEncryption({ store });
  const error = await failsWith('OPERATION_ABORTED', () => encryption.rewrapManyDataKey({}, { signal: controller.signal }));
  assert.deepEqual([error.details.written, writes], [1, 2]);
  setup.close();
  encryption.close();
});

test('bytes that a callback hands over to another thread are no mistake, a reply that is gone is one', async () => {
  const store = new MemoryKeyVaultStore();
  const worker = withKms(
    {
      encrypt: async ({ plaintext }) => {
        const reply = invert(plaintext);
        handOver(plaintext);
        return reply;
      },
      decrypt: async ({ ciphertext }) => {
        const reply = invert(ciphertext);
        handOver(ciphertext);
        return reply;
      },
    },
    { store },
  );
  const keyId = await worker.createDataKey('aws', { masterKey: awsMasterKey });
  assert.equal(await worker.decrypt(await worker.encrypt(5, { algorithm: RANDOM, keyId })), 5);
  const gone = withKms(
    { encrypt: async ({ plaintext }) => handOver(invert(plaintext)), decrypt: async ({ ciphertext }) => handOver(invert(ciphertext)) },
    { store },
  );
  await failsWith('KMS_REPLY_LENGTH', () => gone.createDataKey('aws', { masterKey: awsMasterKey }));
  await failsWith('KMS_REPLY_LENGTH', () => gone.encrypt(5, { algorithm: RANDOM, keyId }));
  worker.close();
  gone.close();
});

test('an error that fails when it is looked at is kept as the cause', async () => {
  for (const thrown of [
    new Proxy(
      {},
      {
        get() {
          throw new Error('trap');
        },
      },
    ),
    Object.defineProperty(new Error('x'), 'code', {
      get() {
        throw new Error('getter');
      },
    }),
  ]) {
    const encryption = withKms({
      encrypt: () => {
        throw thrown;
      },
      decrypt: never,
    });
    const error = await failsWith('HOST_CALLBACK_FAILED', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    assert.ok(error.cause === thrown);
    encryption.close();
  }
});

test('options, signals, stores and visitors of the wrong kind are named', async () => {
  const encryption = localEncryption();
  const options = { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: {} };
  for (const wrong of [null, 5, () => 1]) {
    await failsWith('ARGUMENT_INVALID', () => encryption.createDataKey('local', wrong));
    await failsWith('ARGUMENT_INVALID', () => encryption.rewrapManyDataKey({}, wrong));
  }
  for (const signal of ['x', 5, {}, [], { aborted: false }]) {
    await failsWith('ARGUMENT_INVALID', () => new ClientEncryption(null, { ...options, signal }));
    await failsWith('ARGUMENT_INVALID', () => encryption.rewrapManyDataKey({}, { signal }));
  }
  // Anything falsy would have meant: write without looking.
  for (const verify of [null, 0, '', 'yes']) await failsWith('ARGUMENT_INVALID', () => encryption.rewrapManyDataKey({}, { verify }));
  await failsWith('ARGUMENT_INVALID', () => new ClientEncryption(null, { ...options, keyVaultStore: null }));
  await failsWith('ARGUMENT_INVALID', () => encryption.getKeys().forEach(null));
  await failsWith('ARGUMENT_INVALID', () => new MemoryKeyVaultStore(null));
  for (const code of ['NO_SUCH_CODE', 'toString', null, undefined])
    await failsWith('ARGUMENT_INVALID', () => {
      throw new CsfleError(code, 'x');
    });
  encryption.close();
});

test('an alternate name is Unicode text: halves of characters would all be stored as one name', async () => {
  const encryption = localEncryption();
  for (const name of ['\ud800', 'a\udfffb']) {
    await failsWith('KEY_ALT_NAME_INVALID', () => encryption.createDataKey('local', { keyAltNames: [name] }));
    await failsWith('KEY_ALT_NAME_INVALID', () => encryption.getKeyByAltName(name));
  }
  const keyId = await encryption.createDataKey('local', { keyAltNames: ['\u{1f600}', 'a\0b', ''] });
  for (const name of ['\u{1f600}', 'a\0b', '']) assert.deepEqual((await encryption.getKeyByAltName(name))._id, keyId);
  encryption.close();
});

test('a key or a name that was changed through this object is not used from the cache', async () => {
  const encryption = localEncryption();
  const first = await encryption.createDataKey('local', { keyAltNames: ['name'] });
  const byName = { algorithm: DETERMINISTIC, keyAltName: 'name' };
  const before = await encryption.encrypt(1, byName);
  await encryption.removeKeyAltName(first, 'name');
  await failsWith('KEY_VAULT_KEY_NOT_FOUND', () => encryption.encrypt(1, byName));
  await encryption.createDataKey('local', { keyAltNames: ['name'] });
  assert.notDeepEqual((await encryption.encrypt(1, byName)).buffer.subarray(1, 17), before.buffer.subarray(1, 17));
  await encryption.encrypt(1, { algorithm: RANDOM, keyId: first });
  await encryption.deleteKey(first);
  // What it would encrypt now could never be read again.
  await failsWith('KEY_VAULT_KEY_NOT_FOUND', () => encryption.encrypt(1, { algorithm: RANDOM, keyId: first }));
  encryption.close();
});

test('after forgetKeys() the next call reads the key vault again and sees changes of other clients', async () => {
  const store = new MemoryKeyVaultStore();
  const encryption = localEncryption({ store });
  const byId = { algorithm: RANDOM, keyId: await encryption.createDataKey('local') };
  await encryption.encrypt(1, byId);
  await store.retireKey(byId.keyId, { reason: 'a test', requestedBy: 'another' });
  await encryption.encrypt(1, byId);
  encryption.forgetKeys();
  await failsWith('KEY_VAULT_KEY_NOT_FOUND', () => encryption.encrypt(1, byId));
  encryption.close();
  encryption.forgetKeys();
});

test('a regular expression that JavaScript does not know decrypts to BSONRegExp, and may stand beside', async () => {
  const store = new MemoryKeyVaultStore();
  const encryption = localEncryption({ store });
  const byId = { algorithm: RANDOM, keyId: await encryption.createDataKey('local') };
  for (const pattern of ['(?i)SECRET', '(SECRET', '(?P<a>SECRET)']) {
    const plain = document(0x0b, Buffer.from(`${pattern}\0i\0`));
    const sealed = deserialize(await encryption.encryptDocument(plain, { fields: { v: byId } }));
    for (const found of [await encryption.decrypt(sealed.v), (await encryption.decryptDocument(sealed)).v]) {
      assert.deepEqual([found._bsontype, found.pattern, found.options], ['BSONRegExp', pattern, 'i']);
    }
    const beside = await encryption.encryptDocument({ other: new BSONRegExp(pattern, 'i'), known: /x/, s: 'text' }, { fields: { s: byId } });
    const opened = await encryption.decryptDocument(beside);
    assert.deepEqual([opened.other.pattern, opened.known, opened.s], [pattern, /x/, 'text']);
  }
  assert.deepEqual(await encryption.decrypt(await encryption.encrypt(/x/i, byId)), /x/i);
  encryption.close();
});

test('text that is not UTF-8 decrypts as bytes, and is BSON_MALFORMED as an object', async () => {
  const encryption = localEncryption();
  const byId = { algorithm: RANDOM, keyId: await encryption.createDataKey('local') };
  const plain = document(0x02, Buffer.from('04000000ff616200', 'hex'));
  const bytes = await encryption.encryptDocument(plain, { fields: { v: byId } });
  assert.deepEqual(Buffer.from(await encryption.decryptDocument(bytes)), plain);
  await failsWith('BSON_MALFORMED', () => encryption.decrypt(deserialize(bytes).v));
  await failsWith('BSON_MALFORMED', () => encryption.decryptDocument(deserialize(bytes)));
  encryption.close();
});

test('a value that the BSON library refuses is not quoted', async () => {
  const encryption = localEncryption();
  const byId = { algorithm: RANDOM, keyId: await encryption.createDataKey('local') };
  for (const value of [new RegExp(['SECRET', ''].join('\0')), { 'SECRET\0': 1 }, { deep: [{ 'SECRET\0': 1 }] }]) {
    for (const work of [() => encryption.encrypt(value, byId), () => encryption.encryptDocument({ value }, { fields: { value: byId } })]) {
      assert.ok(!showsSecret(await failsWith('ARGUMENT_INVALID', work)));
    }
  }
  encryption.close();
});

test('what BSON would store as another value is refused, not encrypted', async () => {
  const encryption = localEncryption();
  const byId = { algorithm: RANDOM, keyId: await encryption.createDataKey('local') };
  for (const value of [2n ** 63n, -(2n ** 63n) - 1n, new Date(Number.NaN), { SECRET: [2n ** 64n] }, new Map([['SECRET', new Date('never')]])]) {
    for (const work of [() => encryption.encrypt(value, byId), () => encryption.encryptDocument({ value }, { fields: { value: byId } })]) {
      assert.ok(!showsSecret(await failsWith('ARGUMENT_INVALID', work)));
    }
  }
  for (const value of [2n ** 63n - 1n, -(2n ** 63n)]) {
    assert.equal((await encryption.decrypt(await encryption.encrypt(value, byId))).toString(), value.toString());
  }
  encryption.close();
});
