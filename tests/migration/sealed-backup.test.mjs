// The sealed backup of a migration, and of a deployment: collections, indexes, and what a server stores.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { createBackup, readBackup, restoreBackup, verifyBackup } from 'csfle-wasm';
import { failuresOf, hospital, openLab } from './fixtures.mjs';

const passphrase = 'correct horse';
const key = { passphrase, argon2: { memoryKiB: 19_456, iterations: 2 } };
const hex = (bytes) => Buffer.from(bytes).toString('hex');

// A file in memory.
function memoryFile() {
  const file = { bytes: undefined, writes: 0 };
  file.backup = (settings = {}) => ({
    key,
    file: 'memory',
    read: () => file.bytes,
    write: ({ bytes }) => {
      file.writes += 1;
      file.bytes = bytes;
    },
    ...settings,
  });
  return file;
}

describe('sealed backups', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const keyVaultOf = (place) => ({ client: lab.client, namespace: place.namespace });
  const stored = async (place) => (await place.vault.find({}, { raw: true }).toArray()).map(hex);

  it('holds key documents as the server sent them, indexes, validators and encryptedFields', async () => {
    const place = await hospital(lab, { documents: 0 });
    // Types that a driver would promote, and an unusual order of fields.
    await place.vault.insertOne(
      {
        status: new bson.Double(0),
        _id: new bson.UUID(),
        keyMaterial: new bson.Binary(randomBytes(160), 0),
        masterKey: { provider: 'local' },
        creationDate: new Date(),
        updateDate: new Date(),
      },
      { forceServerObjectId: true },
    );
    const data = lab.client.db(place.database);
    const validator = { $jsonSchema: { required: ['name'], properties: { age: { minimum: new bson.Double(18) } } } };
    await data.createCollection('people', { validator, validationLevel: 'moderate' });
    const made = await createBackup({ keyVault: keyVaultOf(place), key, collections: [`${place.database}.people`, place.patientsNamespace].slice(0, 1) });
    const contents = await readBackup(made.bytes, { passphrase });
    assert.deepEqual(contents.keyDocuments.map(hex), await stored(place));
    assert.deepEqual(
      contents.indexes.map(({ namespace, definition }) => [namespace, definition.name, definition.unique]),
      [[place.namespace, 'keyAltNames_1', true]],
    );
    assert.equal(contents.manifest.keyVault, place.namespace);
    const [{ namespace, options }] = contents.collections;
    assert.equal(namespace, `${place.database}.people`);
    assert.deepEqual(bson.EJSON.stringify(options.validator, { relaxed: false }), bson.EJSON.stringify(validator, { relaxed: false }));

    const everything = await createBackup({ keyVault: keyVaultOf(place), key });
    assert.ok((await verifyBackup(everything.bytes, { passphrase })).collections.includes(namespace));
    assert.deepEqual(everything.notRead, []);
    await assert.rejects(createBackup({ keyVault: keyVaultOf(place), key, collections: [`${place.database}.nobody`] }), { code: 'BACKUP_COLLECTION_FAILED' });
  });

  it('restore brings a vault back that was dropped, with its index, and collections on request', async () => {
    const place = await hospital(lab, { documents: 4 });
    const data = lab.client.db(place.database);
    await data.createCollection('people', { validator: { $jsonSchema: { required: ['name'] } } });
    const { bytes } = await createBackup({ keyVault: keyVaultOf(place), key, collections: [`${place.database}.people`] });
    const before = await stored(place);
    await place.vault.drop();
    await data.collection('people').drop();
    const options = { bytes, key: { passphrase }, keyVault: keyVaultOf(place) };
    assert.deepEqual((await restoreBackup(options)).inserted.length, 3);
    assert.deepEqual(await stored(place), []);
    const report = await restoreBackup({ ...options, execute: true });
    assert.deepEqual([report.ok, report.inserted.length, report.indexes, report.collections], [true, 3, ['keyAltNames_1'], []]);
    assert.deepEqual((await stored(place)).sort(), before.sort());
    assert.equal((await place.vault.indexes()).find(({ name }) => name === 'keyAltNames_1').unique, true);
    await place.readsAs({ local: place.local });
    assert.deepEqual(await data.listCollections({ name: 'people' }).toArray(), []);
    const withCollections = await restoreBackup({ ...options, execute: true, collections: true });
    assert.deepEqual([withCollections.ok, withCollections.collections], [true, [`${place.database}.people`]]);
    assert.deepEqual((await data.listCollections({ name: 'people' }).toArray())[0].options.validator, { $jsonSchema: { required: ['name'] } });
    const again = await restoreBackup({ ...options, execute: true, collections: true });
    assert.deepEqual([again.ok, again.collections, again.indexes, again.inserted], [true, [], [], []]);
    const unknown = await restoreBackup({ ...options, execute: true, collections: ['a.b'] });
    assert.deepEqual(failuresOf(unknown), [{ kind: 'collection', id: 'a.b', code: 'BACKUP_COLLECTION_FAILED' }]);
  });

  it('a migration creates the backup before its first write, and the report names it', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await stored(place);
    const file = memoryFile();
    let vaultAtBackup;
    const write = async (backup) => {
      vaultAtBackup = await stored(place);
      await file.backup().write(backup);
    };
    const report = await place.migrate({ execute: true, backup: file.backup({ write }) });
    assert.equal(report.ok, true);
    assert.deepEqual(vaultAtBackup, before);
    const contents = await readBackup(file.bytes, { passphrase });
    assert.deepEqual(contents.keyDocuments.map(hex), before);
    const summary = await verifyBackup(file.bytes, { passphrase });
    assert.deepEqual(report.backup, { file: 'memory', sha256: summary.sha256, keys: 3, kept: false, notRead: [] });
  });

  it('no backup is taken for a plan, or when nothing is to be done', async () => {
    const place = await hospital(lab, { documents: 0 });
    const file = memoryFile();
    assert.equal((await place.migrate({ backup: file.backup() })).backup, null);
    assert.equal((await place.migrate({ execute: true })).backup, null);
    assert.deepEqual([(await place.migrate({ execute: true, backup: file.backup() })).backup, file.writes], [null, 0]);
  });

  it('under the target master key its KMS calls are planned and counted', async () => {
    const place = await hospital(lab, { documents: 0 });
    const file = memoryFile();
    const backup = file.backup({ key: { kmsProviders: place.kmsProviders, masterKey: lab.to } });
    const { plan } = await place.migrate({ backup });
    const report = await place.migrate({ execute: true, backup });
    assert.equal(report.ok, true);
    assert.equal(report.kmsCalls.wrap + report.kmsCalls.unwrap, plan.kmsCalls);
    assert.equal((await verifyBackup(file.bytes, { kmsProviders: { aws: lab.aws } })).keys.length, 3);
  });

  it('a migration whose backup fails writes nothing', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const failing = [
      {
        write: async () => {
          throw new Error('disk full');
        },
      },
      { read: () => undefined, write: () => undefined },
      { key: { passphrase: 'short' } },
    ];
    for (const settings of failing) {
      const report = await place.migrate({ execute: true, backup: memoryFile().backup(settings) });
      assert.deepEqual([report.executed, report.ok, report.backup], [false, false, null]);
      assert.deepEqual(failuresOf(report), [{ kind: 'backup', id: 'backup', code: 'MIGRATION_BACKUP_FAILED' }]);
    }
    assert.deepEqual(await place.dump(), before);
    for (const backup of [{}, { key }, { key, write: 'file' }, { key, write() {}, read: 5 }])
      await assert.rejects(place.migrate({ backup }), { code: 'ARGUMENT_INVALID' });
  });

  it('the same command after an interruption keeps the first backup and goes on', async () => {
    for (const mode of ['rewrap', 'reencrypt']) {
      const place = await hospital(lab, { documents: 2 });
      const collections = mode === 'reencrypt' ? { collections: [{ client: lab.client, namespace: place.patientsNamespace }] } : {};
      const before = await stored(place);
      const file = memoryFile();
      const controller = new AbortController();
      const onProgress = ({ phase, done }) => {
        if (!phase.startsWith('check') && done === 1) controller.abort();
      };
      const first = await place.migrate({
        execute: true,
        mode,
        ...collections,
        backup: file.backup(),
        signal: controller.signal,
        onProgress,
        kmsConcurrency: 1,
      });
      assert.deepEqual([first.interrupted, file.writes, first.backup.kept], [true, 1, false], mode);
      const kept = file.bytes;
      const second = await place.migrate({ execute: true, mode, ...collections, backup: file.backup() });
      assert.deepEqual([second.ok, second.failures, file.writes], [true, [], 1], mode);
      assert.deepEqual(second.backup, { ...first.backup, kept: true });
      assert.equal(file.bytes, kept);
      assert.deepEqual((await readBackup(kept, { passphrase })).keyDocuments.map(hex), before);
    }
  });

  it('any other backup of that name is refused, and nothing is written', async () => {
    const place = await hospital(lab, { documents: 0 });
    const other = await hospital(lab, { documents: 0 });
    const file = memoryFile();
    await place.migrate({ execute: true, backup: file.backup() });
    const refused = async (target, settings = {}) => {
      const before = await target.dump();
      const report = await target.migrate({ execute: true, backup: file.backup(), ...settings });
      assert.deepEqual(failuresOf(report), [{ kind: 'backup', id: 'backup', code: 'MIGRATION_BACKUP_FAILED' }]);
      assert.deepEqual(await target.dump(), before);
    };
    // A backup of another vault, of the other direction, from before a later key, under another passphrase, and another file.
    await refused(other);
    await refused(place, { from: lab.to, to: { provider: 'local' } });
    await place.encryption.createDataKey('local');
    await refused(place);
    await refused(place, { backup: file.backup({ key: { passphrase: 'another horse' } }) });
    file.bytes = new TextEncoder().encode('{}\n');
    await refused(place);
  });

  it('a migration that only changes schemas or removes markers creates a backup first', async () => {
    const place = await hospital(lab, { documents: 0 });
    const file = memoryFile();
    await place.patients.insertOne({ name: 'Ada' });
    const encrypted = {
      bsonType: 'object',
      properties: { ssn: { encrypt: { bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId: [place.keys.ssn] } } },
    };
    const order = [];
    let schema = encrypted;
    const schemas = [
      {
        name: 'kept elsewhere',
        read: async () => schema,
        write: async (rewritten) => {
          order.push('schema');
          schema = rewritten;
        },
      },
    ];
    const backup = file.backup({
      key: { kmsProviders: place.kmsProviders, masterKey: lab.to },
      write: async (made) => {
        order.push('backup');
        await file.backup().write(made);
      },
    });
    const options = {
      mode: 'decrypt',
      from: undefined,
      collections: [{ client: lab.client, namespace: place.patientsNamespace }],
      schemas,
      confirmPlaintext: true,
    };
    const { plan } = await place.migrate({ ...options, backup });
    assert.deepEqual([plan.kmsCalls, plan.counts.migrate], [2, 0]);
    const report = await place.migrate({ ...options, execute: true, backup });
    assert.deepEqual(report.failures, []);
    assert.deepEqual([report.ok, order, report.backup.keys, report.kmsCalls], [true, ['backup', 'schema'], 3, { wrap: 1, unwrap: 1 }]);
    file.bytes = undefined;
    assert.equal((await place.migrate({ ...options, execute: true, backup })).backup, null);

    const stale = `csfle-migrate:${new bson.UUID().toHexString(true)}`;
    await place.vault.updateOne({ _id: place.keys.ssn }, { $push: { keyAltNames: stale } });
    const before = await stored(place);
    const reencrypting = { mode: 'reencrypt', createdBefore: new Date(0), collections: options.collections, deleteOldKeys: true, execute: true };
    const removed = await place.migrate({ ...reencrypting, backup: file.backup() });
    assert.equal(await place.vault.countDocuments({ keyAltNames: stale }), 0, JSON.stringify(removed.failures));
    assert.deepEqual((await readBackup(file.bytes, { passphrase })).keyDocuments.map(hex), before);
  });

  // A client that hears from its server of these collections alone, in replies as long as it asks for.
  const listing = (client, answer) =>
    new Proxy(client, {
      get: (target, name) => {
        if (name !== 'db') return typeof target[name] === 'function' ? target[name].bind(target) : target[name];
        return (database) =>
          new Proxy(target.db(database), {
            get: (db, method) =>
              method === 'command'
                ? (command, options) => answer(database, command) ?? db.command(command, options)
                : typeof db[method] === 'function'
                  ? db[method].bind(db)
                  : db[method],
          });
      },
    });

  it('lists the collections of a database in one reply, and what it cannot read is in the report of a migration', async () => {
    const place = await hospital(lab, { documents: 0 });
    const many = Array.from({ length: 2500 }, (_, n) => ({ name: `c${n}`, type: 'collection', options: { validator: { n } } }));
    const client = listing(lab.client, (database, command) => {
      if ('listDatabases' in command) return Promise.resolve({ databases: [{ name: place.database }, { name: 'closed' }] });
      if (database === 'closed' && 'listCollections' in command)
        return Promise.reject(Object.assign(new Error('not authorized on closed: secret'), { codeName: 'Unauthorized' }));
      if ('getMore' in command) return Promise.reject(new Error('the cursor is of another session'));
      if (!('listCollections' in command)) return undefined;
      const { batchSize } = command.cursor;
      return Promise.resolve({ cursor: { id: batchSize < many.length ? 7n : 0, firstBatch: many.slice(0, batchSize) } });
    });
    const keyVault = { client, namespace: place.namespace };
    const made = await createBackup({ keyVault, key });
    assert.deepEqual([made.collections, made.notRead], [2500, ['the collections of closed: Unauthorized']]);
    const file = memoryFile();
    const report = await place.migrate({ execute: true, keyVault, backup: file.backup() });
    assert.deepEqual([report.ok, report.backup.notRead], [true, made.notRead]);
  });

  it('resets collection options that the backup does not contain to their defaults, and verifies them', async () => {
    const place = await hospital(lab, { documents: 0 });
    const data = lab.client.db(place.database);
    const optionsOf = async (name) => (await data.listCollections({ name }).toArray())[0].options;
    await data.createCollection('people', { validator: { $jsonSchema: { required: ['name'] } } });
    const namespace = `${place.database}.people`;
    const { bytes } = await createBackup({ keyVault: keyVaultOf(place), key, collections: [namespace] });
    await data.command({ collMod: 'people', validationLevel: 'moderate', validationAction: 'warn', validator: { $jsonSchema: { required: ['other'] } } });
    const options = { bytes, key: { passphrase }, keyVault: keyVaultOf(place), execute: true, collections: true };
    const report = await restoreBackup(options);
    assert.deepEqual([report.ok, report.collections], [true, [namespace]]);
    const { validator, validationLevel = 'strict', validationAction = 'error' } = await optionsOf('people');
    assert.deepEqual([validator, validationLevel, validationAction], [{ $jsonSchema: { required: ['name'] } }, 'strict', 'error']);
    assert.deepEqual((await restoreBackup(options)).collections, []);

    await data.command({ collMod: 'people', validator: {} });
    const deaf = listing(lab.client, (_, command) => ('collMod' in command ? Promise.resolve({ ok: 1 }) : undefined));
    const unwritten = await restoreBackup({ ...options, keyVault: { client: deaf, namespace: place.namespace } });
    assert.deepEqual([unwritten.collections, failuresOf(unwritten)], [[], [{ kind: 'collection', id: namespace, code: 'BACKUP_VERIFICATION_FAILED' }]]);
  });

  it('is restored into a key vault of another name only with fromAnotherKeyVault', async () => {
    const place = await hospital(lab, { documents: 0 });
    const other = await hospital(lab, { documents: 0 });
    const { bytes } = await createBackup({ keyVault: keyVaultOf(place), key, collections: [] });
    const before = await stored(other);
    const options = { bytes, key: { passphrase }, keyVault: keyVaultOf(other) };
    for (const execute of [false, true]) await assert.rejects(restoreBackup({ ...options, execute }), { code: 'BACKUP_KEY_VAULT_MISMATCH' });
    assert.deepEqual(await stored(other), before);
    const report = await restoreBackup({ ...options, kmsProviders: place.kmsProviders, fromAnotherKeyVault: true });
    assert.deepEqual([report.inserted.length, report.unproven], [3, []]);
  });
});
