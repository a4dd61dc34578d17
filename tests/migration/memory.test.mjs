// The migration without any server: a vault and a collection in memory, a KMS of two functions.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, CsfleError, MemoryKeyVaultStore, migrate, restoreBackup, retireKeys } from 'csfle-wasm';

const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const to = { provider: 'aws', region: 'eu-central-1', key: 'arn:aws:kms:eu-central-1:111122223333:key/1' };

// Wraps by XOR with a pad: enough for a KMS that nobody attacks.
function memoryKms() {
  const pad = randomBytes(96);
  const apply = (bytes) => Uint8Array.from(bytes, (byte, index) => byte ^ pad[index]);
  return { encrypt: async ({ plaintext }) => apply(plaintext), decrypt: async ({ ciphertext }) => apply(ciphertext) };
}

function memoryCollection(namespace, documents) {
  const rows = new Map(documents.map((bytes) => [bson.deserialize(bytes)._id, bytes]));
  return {
    namespace,
    rows,
    estimatedCount: async () => rows.size,
    async *scan() {
      yield [...rows.values()];
    },
    read: async (ids) => ids.map((id) => rows.get(Number(id))),
    async write(changes) {
      for (const { filter, update } of changes) {
        const fields = bson.deserialize(rows.get(Number(filter.get('_id'))), { promoteValues: false });
        for (const [path, value] of update.$set) fields[path] = value;
        rows.set(Number(filter.get('_id')), bson.serialize(fields));
      }
      return { refused: [] };
    },
  };
}

async function ward() {
  const store = new MemoryKeyVaultStore();
  const kmsProviders = { local: { key: randomBytes(96) }, aws: memoryKms() };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
  await encryption.createDataKey('local', { keyAltNames: ['notes'] });
  const documents = [];
  for (let n = 0; n < 3; n += 1)
    documents.push(
      await encryption.encryptDocument(bson.serialize({ _id: n, note: `note ${n}` }), { fields: { note: { algorithm: RANDOM, keyAltName: 'notes' } } }),
    );
  const collection = memoryCollection('memory.notes', documents);
  const notes = async (providers) => {
    const reader = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: providers });
    try {
      return await Promise.all([...collection.rows.values()].map(async (bytes) => bson.deserialize(await reader.decryptDocument(bytes)).note));
    } finally {
      reader.close();
    }
  };
  return { store, kmsProviders, collection, notes, run: (options) => migrate({ keyVault: store, kmsProviders, execute: true, ...options }) };
}

describe('migration in memory', () => {
  it('rewraps, and restores from what onBackup was given', async () => {
    const { store, kmsProviders, notes, run } = await ward();
    let documents;
    const report = await run({
      to,
      onBackup: (given) => {
        documents = given;
      },
    });
    assert.equal(report.ok, true, JSON.stringify(report));
    assert.deepEqual(await notes({ aws: kmsProviders.aws }), ['note 0', 'note 1', 'note 2']);
    const replaced = { key: { passphrase: 'correct horse', argon2: { memoryKiB: 19_456, iterations: 2 } }, write: () => {} };
    assert.equal((await restoreBackup({ keyVault: store, documents, overwrite: true, kmsProviders, replaced, execute: true })).replaced.length, 1);
    assert.deepEqual(await notes({ local: kmsProviders.local }), ['note 0', 'note 1', 'note 2']);
  });

  it('re-encrypts and removes the old key', async () => {
    const { store, kmsProviders, collection, notes, run } = await ward();
    await new Promise((resolve) => setTimeout(resolve, 2));
    const createdBefore = new Date();
    // Nothing here can list a deployment: the caller has to say that there is nothing else to search.
    await assert.rejects(run({ to, mode: 'reencrypt', createdBefore, collections: [collection], deleteOldKeys: true }), { code: 'OPTION_INVALID' });
    assert.deepEqual(await notes({ local: kmsProviders.local }), ['note 0', 'note 1', 'note 2']);
    const evidence = { skipNamespaces: ['*'], reason: 'there is no server' };
    const report = await run({ to, mode: 'reencrypt', createdBefore, collections: [collection], deleteOldKeys: true, evidence });
    assert.equal(report.ok, true, JSON.stringify(report));
    assert.deepEqual([report.keys.namesMoved, report.keys.deleted, report.collections[0].valuesLeft], [1, 1, 0]);
    assert.deepEqual(
      (await store.find({})).map(({ keyAltNames, masterKey }) => [keyAltNames, masterKey.provider]),
      [[['notes'], 'aws']],
    );
    assert.deepEqual(await notes({ aws: kmsProviders.aws }), ['note 0', 'note 1', 'note 2']);
    const [retired] = await store.retiredKeys();
    assert.deepEqual([retired.document.masterKey.provider, retired.requestedBy], ['local', 'migrate deleteOldKeys']);
    assert.match(retired.reason, /not searched: \* \(there is no server\)$/);
  });

  it('decrypts', async () => {
    const { collection, run } = await ward();
    const report = await run({ mode: 'decrypt', collections: [collection], confirmPlaintext: true });
    assert.equal(report.ok, true, JSON.stringify(report));
    assert.deepEqual(
      [...collection.rows.values()].map((bytes) => bson.deserialize(bytes).note),
      ['note 0', 'note 1', 'note 2'],
    );
  });

  it('a search for uses wipes every array with decrypted values', async () => {
    const { store, kmsProviders, collection } = await ward();
    const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
    const secret = 'a secret that is long enough to be found';
    const sealed = await encryption.encryptDocument(bson.serialize({ _id: 9, note: { secret } }), {
      fields: { note: { algorithm: RANDOM, keyAltName: 'notes' } },
    });
    collection.rows.set(9, sealed);
    const keyId = await encryption.createDataKey('local');
    encryption.close();
    // Every array that others are copied into, apart from the memory of the core.
    const { set } = Uint8Array.prototype;
    const copies = new Set();
    Uint8Array.prototype.set = function (...args) {
      if (this.length < 65_536) copies.add(this);
      return set.apply(this, args);
    };
    let isDecrypted = false;
    try {
      const report = await retireKeys({ keyVault: store, kmsProviders, keys: [keyId], otherCollections: [collection] });
      isDecrypted = report.keys[0].uses.every(({ kind }) => kind !== 'unopened');
    } finally {
      Uint8Array.prototype.set = set;
    }
    assert.equal(isDecrypted, true);
    assert.ok(copies.size > 0);
    assert.equal(
      [...copies].some((bytes) => Buffer.from(bytes).includes(secret)),
      false,
    );
  });

  it('an abort before the plan is whole leaves no plan', async () => {
    const { kmsProviders, run } = await ward();
    for (const reason of [undefined, new CsfleError('HOST_CLOSED', 'the page was closed')]) {
      const controller = new AbortController();
      const decrypt = (call) => {
        controller.abort(reason);
        return kmsProviders.aws.decrypt(call);
      };
      const report = await run({ to, signal: controller.signal, kmsProviders: { ...kmsProviders, aws: { ...kmsProviders.aws, decrypt } } });
      assert.deepEqual([report.interrupted, report.ok, report.executed, report.failures, report.plan.checks], [true, false, false, [], []]);
    }
  });

  const everywhere = { skipNamespaces: ['*'], reason: 'there is no server' };

  it('searches a collection that the caller names, though all other namespaces are skipped', async () => {
    const { store, kmsProviders, collection, notes } = await ward();
    const [{ _id }] = await store.find({});
    const shared = { keyVault: store, kmsProviders, otherCollections: [collection], evidence: everywhere, execute: true };
    const report = await retireKeys({ ...shared, keys: [_id] });
    assert.deepEqual([report.ok, report.keys.map(({ outcome }) => outcome)], [false, ['kept']]);
    assert.deepEqual(await notes({ local: kmsProviders.local }), ['note 0', 'note 1', 'note 2']);
  });

  // Each scan gives what a page may pass by mistake instead of BSON bytes; taken for an empty collection, it would retire the old key.
  for (const [what, scanOf] of [
    ['objects', (rows) => [rows.map((bytes) => bson.deserialize(bytes))]],
    ['ArrayBuffers', (rows) => [rows.map((bytes) => Uint8Array.from(bytes).buffer)]],
    ['one document at a time', (rows) => rows],
    ['texts', (rows) => [rows.map((bytes) => JSON.stringify(bson.deserialize(bytes)))]],
    ['bytes that were cut', (rows) => [rows.map((bytes) => bytes.subarray(0, -1))]],
  ]) {
    it(`refuses a scan that gives ${what}`, async () => {
      const { kmsProviders, collection, notes, run } = await ward();
      await new Promise((resolve) => setTimeout(resolve, 2));
      const given = {
        ...collection,
        async *scan() {
          yield* scanOf([...collection.rows.values()]);
        },
      };
      for (const options of [
        { mode: 'reencrypt', to, createdBefore: new Date(), evidence: everywhere, deleteOldKeys: true },
        { mode: 'decrypt', confirmPlaintext: true },
      ]) {
        const report = await run({ ...options, collections: [given] });
        assert.deepEqual([report.ok, report.executed, report.failures.map(({ code }) => code)], [false, false, ['HOST_CALLBACK_FAILED']], options.mode);
      }
      assert.deepEqual(await notes({ local: kmsProviders.local }), ['note 0', 'note 1', 'note 2']);
    });
  }

  it('refuses a scan() that continues an earlier one instead of starting again', async () => {
    const { collection, run } = await ward();
    await new Promise((resolve) => setTimeout(resolve, 2));
    const once = collection.scan();
    const report = await run({ mode: 'reencrypt', to, createdBefore: new Date(), evidence: everywhere, collections: [{ ...collection, scan: () => once }] });
    assert.equal(report.ok, false);
    assert.ok(
      report.failures.some(({ code }) => code === 'HOST_CALLBACK_FAILED'),
      JSON.stringify(report.failures),
    );
  });
});
