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
const handOver = (bytes) => { structuredClone(bytes, { transfer: [bytes.buffer] }); return bytes; };

// One element of BSON in a document of its own: { v: <payload of that type> }.
function document(type, payload) {
  const body = Buffer.concat([Buffer.from([type]), Buffer.from('v\0'), payload, Buffer.from([0])]);
  const length = Buffer.alloc(4);
  length.writeInt32LE(body.length + 4);
  return Buffer.concat([length, body]);
}

const showsSecret = (error) => `${inspect(error, { depth: 9 })}${JSON.stringify(error)}${error.message}`.includes('SECRET');

test('bytes that a callback hands over to another thread are no mistake, a reply that is gone is one', async () => {
  const store = new MemoryKeyVaultStore();
  const worker = withKms({
    encrypt: async ({ plaintext }) => { const reply = invert(plaintext); handOver(plaintext); return reply; },
    decrypt: async ({ ciphertext }) => { const reply = invert(ciphertext); handOver(ciphertext); return reply; },
  }, { store });
  const keyId = await worker.createDataKey('aws', { masterKey: awsMasterKey });
  assert.equal(await worker.decrypt(await worker.encrypt(5, { algorithm: RANDOM, keyId })), 5);
  const gone = withKms({ encrypt: async ({ plaintext }) => handOver(invert(plaintext)), decrypt: async ({ ciphertext }) => handOver(invert(ciphertext)) }, { store });
  await failsWith('KMS_REPLY_LENGTH', () => gone.createDataKey('aws', { masterKey: awsMasterKey }));
  await failsWith('KMS_REPLY_LENGTH', () => gone.encrypt(5, { algorithm: RANDOM, keyId }));
  worker.close();
  gone.close();
});

test('an error that fails when it is looked at is kept as the cause', async () => {
  for (const thrown of [
    new Proxy({}, { get() { throw new Error('trap'); } }),
    Object.defineProperty(new Error('x'), 'code', { get() { throw new Error('getter'); } }),
  ]) {
    const encryption = withKms({ encrypt: () => { throw thrown; }, decrypt: never });
    const error = await failsWith('HOST_CALLBACK_FAILED', () => encryption.createDataKey('aws', { masterKey: awsMasterKey }));
    assert.ok(error.cause === thrown);
    encryption.close();
  }
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
