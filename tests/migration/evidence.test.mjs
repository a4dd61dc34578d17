// A data key is removed only on proof: whatever may need it, anywhere in the deployment, keeps it in the vault.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, MemoryKeyVaultStore, retireKeys } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { failuresOf, hospital, openLab, RANDOM } from './fixtures.mjs';

const mode = 'reencrypt';
const encrypted = (bytes) => new bson.Binary(Buffer.from(bytes), 6);

// Values of Queryable Encryption by their layout: kind, key id, original type, ciphertext; or kind and a BSON document.
const stored = (kind, id) => encrypted([kind, ...id.buffer, 2, ...randomBytes(64)]);
const payload = (kind, document) => encrypted([kind, ...bson.serialize(document)]);
const insertPayload = (id) =>
  payload(11, { d: new bson.Binary(randomBytes(32)), u: new bson.UUID(), t: 2, v: new bson.Binary(Buffer.concat([id.buffer, randomBytes(48)])) });

describe('evidence before a key is removed', { timeout: 300_000 }, () => {
  let lab;
  const made = [];
  before(async () => {
    lab = await openLab({ ownServer: true });
  });
  afterEach(async () => {
    for (const name of made.splice(0)) await lab.client.db(name).dropDatabase();
  });
  after(() => lab.close());

  async function scene(options = {}) {
    const place = await hospital(lab, { documents: 3, ...options });
    const other = lab.database();
    made.push(place.database, other);
    const collections = [{ client: lab.client, namespace: place.patientsNamespace }];
    return {
      ...place,
      other: lab.client.db(other),
      otherName: other,
      id: (name) => place.keys[name].toHexString(true),
      run: (more = {}) => place.migrate({ mode, collections, execute: true, evidence: undefined, ...more }),
      retire: (name, more = {}) =>
        retireKeys({ keyVault: { client: lab.client, namespace: place.namespace }, kmsProviders: place.kmsProviders, keys: [place.keys[name]], ...more }),
      inVault: async (name) => (await place.vault.countDocuments({ _id: place.keys[name] })) === 1,
      retired: () => lab.client.db(place.database).collection('__keyVault.retired').find({}).toArray(),
    };
  }

  const usesOf = (report, id) =>
    (report.oldKeys ?? report.keys).find((key) => key.id === id)?.uses.map(({ namespace, kind, count }) => [namespace, kind, count]);

  it('reencrypt without any collection is an error, with and without deleteOldKeys', async () => {
    const place = await scene();
    const whole = await place.dump();
    for (const options of [{}, { deleteOldKeys: true }, { collections: [] }, { collections: [], deleteOldKeys: true }])
      await assert.rejects(place.migrate({ mode, execute: true, evidence: undefined, ...options }), { code: 'OPTION_INVALID' });
    assert.deepEqual(await place.dump(), whole);
    await place.readsAs(place.kmsProviders);
  });

  it('keeps a key that a value of Queryable Encryption needs, by the key id in the value', async () => {
    const place = await scene();
    const kinds = [6, 7, 9, 14, 15, 16, 17];
    await place.other
      .collection('queryable')
      .insertMany([...kinds.map((kind) => ({ x: stored(kind, place.keys.plain) })), { x: insertPayload(place.keys.plain) }]);
    const report = await place.run({ deleteOldKeys: true });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.id('plain'), code: 'MIGRATION_OLD_KEYS_IN_USE' }]);
    assert.deepEqual(usesOf(report, place.id('plain')), [[`${place.otherName}.queryable`, 'reference', 8]]);
    assert.equal(report.keys.deleted, 2);
    assert.equal(await place.inVault('plain'), true);
    assert.deepEqual((await place.retired()).length, 2);
  });

  it('keeps every key while a value does not tell which one it needs', async () => {
    const place = await scene();
    await place.other.collection('unknown').insertOne({
      x: payload(12, { d: new bson.Binary(randomBytes(32)) }),
      y: encrypted([99, 1, 2, 3]),
      z: payload(0, { a: 2, ka: 'ssn', v: 1 }),
    });
    const report = await place.run({ deleteOldKeys: true });
    assert.equal(report.keys.deleted, 0);
    for (const name of ['ssn', 'notes', 'plain']) assert.deepEqual(usesOf(report, place.id(name)), [[`${place.otherName}.unknown`, 'unattributed', 3]]);
    assert.deepEqual(await place.retired(), []);
  });

  it('keeps a key that is needed inside an encrypted object, at any depth', async () => {
    const place = await scene();
    const aws = await place.encryption.createDataKey('aws', { masterKey: lab.to });
    const inner = await place.encryption.encrypt('deep', { algorithm: RANDOM, keyId: place.keys.plain });
    const middle = await place.encryption.encrypt([{ inner }], { algorithm: RANDOM, keyId: aws });
    await place.other.collection('nested').insertOne({ x: await place.encryption.encrypt({ middle }, { algorithm: RANDOM, keyId: aws }) });
    const report = await place.run({ deleteOldKeys: true });
    assert.deepEqual(usesOf(report, place.id('plain')), [[`${place.otherName}.nested`, 'nested', 1]]);
    assert.deepEqual([report.keys.deleted, await place.inVault('plain')], [2, true]);
  });

  it('an encrypted object in the migrated collection that holds a value keeps the key of that value', async () => {
    const place = await scene();
    const inner = await place.encryption.encrypt('deep', { algorithm: RANDOM, keyId: place.keys.plain });
    await place.patients.insertOne({ _id: 99, x: await place.encryption.encrypt({ inner }, { algorithm: RANDOM, keyId: place.keys.notes }) });
    const report = await place.run({ deleteOldKeys: true });
    assert.deepEqual(usesOf(report, place.id('plain')), [[place.patientsNamespace, 'nested', 1]]);
    const reader = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: place.kmsProviders });
    const { x } = await place.patients.findOne({ _id: 99 });
    assert.equal(await reader.decrypt((await reader.decrypt(x)).inner), 'deep');
    reader.close();
  });

  it('an encrypted object that cannot be opened keeps every key, an encrypted text none', async () => {
    const place = await scene();
    const elsewhere = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: { local: { key: randomBytes(96) } } });
    const keyId = await elsewhere.createDataKey('local');
    const closed = place.other.collection('closed');
    await closed.insertOne({ _id: 1, x: await elsewhere.encrypt('text', { algorithm: RANDOM, keyId }) });
    assert.equal((await place.retire('plain')).keys[0].outcome, 'kept');
    await place.patients.deleteMany({});
    assert.equal((await place.retire('plain')).keys[0].outcome, 'unused');
    await closed.insertMany([
      { x: await elsewhere.encrypt({ a: 1 }, { algorithm: RANDOM, keyId }) },
      { x: await elsewhere.encrypt([1], { algorithm: RANDOM, keyId }) },
    ]);
    elsewhere.close();
    const report = await place.retire('plain', { execute: true });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.id('plain'), code: 'KEY_VAULT_KEY_IN_USE' }]);
    assert.deepEqual(usesOf(report, place.id('plain')), [[`${place.otherName}.closed`, 'unopened', 2]]);
    assert.equal(await place.inVault('plain'), true);
  });

  it('keeps a key that a validator or a schema file names, and every key while one names it by a pointer', async () => {
    const place = await scene({ documents: 0 });
    // The server of these tests knows neither the keyword `encrypt` nor `encryptedFields`: a client that lists them does.
    const listing = (options) => ({
      db: (name) => {
        const database = lab.client.db(name);
        const command = async (given) => {
          const answer = await database.command(given);
          if (!('listCollections' in given) || name !== place.otherName) return answer;
          return { ...answer, cursor: { ...answer.cursor, firstBatch: [{ name: 'listed', type: 'collection', options, info: {} }] } };
        };
        return { collection: (one) => database.collection(one), command };
      },
    });
    const retire = (name, options) => place.retire(name, { keyVault: { client: listing(options), namespace: place.namespace } });
    await place.other.collection('listed').insertOne({});
    const validator = (keyId) => ({
      validator: { $jsonSchema: { bsonType: 'object', properties: { x: { encrypt: { bsonType: 'string', algorithm: RANDOM, keyId } } } } },
    });
    const named = [[`${place.otherName}.listed`, 'schema', 1]];
    for (const options of [validator([place.keys.plain]), { encryptedFields: { fields: [{ path: 'x', bsonType: 'string', keyId: place.keys.plain }] } }]) {
      assert.deepEqual(usesOf(await retire('plain', options), place.id('plain')), named);
      assert.deepEqual(usesOf(await retire('notes', options), place.id('notes')), []);
    }
    assert.deepEqual(usesOf(await retire('notes', { encryptedFields: { fields: [{ path: 'x', keyAltName: 'notes' }] } }), place.id('notes')), named);
    assert.deepEqual(usesOf(await retire('plain', validator('/key')), place.id('plain')), [[`${place.otherName}.listed`, 'unattributed', 1]]);
    await place.other.dropDatabase();
    const schemas = [
      {
        name: 'encryptedFields of a file',
        read: async () => ({ 'a.b': { fields: [{ path: 'x', keyId: place.keys.notes }] } }),
        write: async () => {},
      },
    ];
    assert.deepEqual(usesOf(await place.retire('notes', { schemas }), place.id('notes')), [['encryptedFields of a file', 'schema', 1]]);
    const broken = [
      {
        name: 'lost.json',
        read: async () => {
          throw new Error('gone');
        },
        write: async () => {},
      },
    ];
    assert.deepEqual(usesOf(await place.retire('notes', { schemas: broken }), place.id('notes')), [['lost.json', 'unreadable', 0]]);
  });

  it("skips the server's internal namespaces and searches all others", async () => {
    const place = await scene({ documents: 0 });
    const value = await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain });
    const reserved = {
      local: ['oplog.rs', 'replset.minvalid', 'startup_log', 'system.replset', 'system.rollback.id', 'system.tenantMigration.oplogView', 'system.healthlog'],
      config: ['system.sessions', 'cache.databases', 'transactions', 'image_collection', 'sampledQueries', 'sampledQueriesDiff'],
      admin: ['system.users', 'system.roles', 'system.keys', 'system.sessions'],
      [place.otherName]: ['system.profile', 'system.views'],
    };
    const searched = {
      local: ['w', 'oplog', 'system.other'],
      config: ['w', 'cache', 'transactions2'],
      admin: ['w', 'users'],
      [place.otherName]: ['w', 'transactions'],
    };
    const namesOf = (names) => Object.entries(names).flatMap(([database, list]) => list.map((name) => `${database}.${name}`));
    // The test server refuses some of these names and does not list others: this client lists all of them, with the value in each.
    const all = [...namesOf(reserved), ...namesOf(searched)];
    const asked = new Set();
    const inner = lab.client;
    const client = {
      db: (name) => ({
        command: async (given, options) => {
          if ('listDatabases' in given) return { databases: [...new Set(all.map((one) => one.split('.')[0]))].map((one) => ({ name: one })), ok: 1 };
          if (!('listCollections' in given)) return inner.db(name).command(given, options);
          const firstBatch = all
            .filter((one) => one.startsWith(`${name}.`))
            .map((one) => ({ name: one.slice(name.length + 1), type: 'collection', options: {}, info: {} }));
          return { cursor: { id: 0, ns: `${name}.$cmd.listCollections`, firstBatch }, ok: 1 };
        },
        collection: (one) => {
          if (!all.includes(`${name}.${one}`)) return inner.db(name).collection(one);
          asked.add(`${name}.${one}`);
          return inner.db(place.otherName).collection('w');
        },
      }),
    };
    await place.other.collection('w').insertOne({ value });
    const report = await place.retire('plain', { keyVault: { client, namespace: place.namespace } });
    assert.deepEqual(
      usesOf(report, place.id('plain'))
        .map(([namespace, kind]) => [namespace, kind])
        .sort(),
      namesOf(searched)
        .map((name) => [name, 'value'])
        .sort(),
    );
    assert.deepEqual([...asked].sort(), namesOf(searched).sort());
    assert.equal(report.keys[0].outcome, 'kept');
    // And as the server itself lists them.
    await place.other.dropDatabase();
    const own = lab.client.db('config');
    await own.collection('transactions').insertOne({ _id: 'w', value });
    assert.equal((await place.retire('plain')).keys[0].outcome, 'unused');
    await own.collection('w').insertOne({ _id: 'w', value });
    const kept = await place.retire('plain');
    for (const name of ['transactions', 'w']) await own.collection(name).deleteOne({ _id: 'w' });
    assert.deepEqual([kept.keys[0].outcome, usesOf(kept, place.id('plain'))], ['kept', [['config.w', 'value', 1]]]);
  });

  it('what cannot be read counts as in use: a view over nothing, a refused collection, a refused list', async () => {
    const place = await scene({ documents: 0 });
    await place.other.createCollection('view', { viewOn: 'missing', pipeline: [] });
    assert.deepEqual(usesOf(await place.retire('plain', { execute: true }), place.id('plain')), [[`${place.otherName}.view`, 'unreadable', 0]]);
    await place.other.collection('missing').insertOne({ a: 1 });
    assert.equal((await place.retire('plain')).keys[0].outcome, 'unused');
    const fail = (data, mode = 'alwaysOn') =>
      lab.client.db('admin').command({ configureFailPoint: 'failCommand', mode, ...(data === undefined ? {} : { data }) });
    for (const [command, refused] of [
      ['listDatabases', '*'],
      ['listCollections', `${place.otherName}.*`],
    ]) {
      await fail({ failCommands: [command], errorCode: 13 });
      try {
        const report = await place.retire('plain', { execute: true });
        assert.ok(
          usesOf(report, place.id('plain')).some(([namespace, kind]) => namespace === refused && kind === 'unreadable'),
          command,
        );
        assert.equal(report.ok, false);
      } finally {
        await fail(undefined, 'off');
      }
    }
    assert.equal(await place.inVault('plain'), true);
    // A client whose other collection answers with an error, as one does whose shard is down.
    const dead = {
      namespace: 'far.away',
      estimatedCount: async () => 1,
      scan: () => {
        throw Object.assign(new Error('no shard'), { name: 'MongoServerError', code: 133 });
      },
      read: async () => [],
      write: async () => ({ refused: [] }),
    };
    const report = await place.retire('plain', { otherCollections: [dead], execute: true });
    assert.deepEqual(report.keys[0].uses, [
      { namespace: 'far.away', kind: 'unreadable', count: 0, reason: 'it cannot be read (MongoServerError, server code 133)' },
    ]);
    const skipped = await place.retire('plain', {
      otherCollections: [dead],
      evidence: { skipNamespaces: ['far.away'], reason: 'it was never encrypted' },
      execute: true,
    });
    assert.equal(skipped.keys[0].outcome, 'retired');
    assert.match((await place.retired())[0].reason, /far\.away \(it was never encrypted\)$/);
  });

  it('searches the admin database and further deployments', async () => {
    const place = await scene({ documents: 0 });
    const value = await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain });
    const admin = lab.client.db('admin').collection(`app_${place.otherName}`);
    await admin.insertOne({ value });
    assert.deepEqual(usesOf(await place.retire('plain'), place.id('plain')), [[`admin.app_${place.otherName}`, 'value', 1]]);
    await admin.drop();
    const far = await openLab({ ownServer: true });
    try {
      const name = far.database();
      await far.client.db(name).collection('c').insertOne({ value });
      assert.equal((await place.retire('plain')).ok, true);
      assert.deepEqual(usesOf(await place.retire('plain', { dataClients: [far.client], execute: true }), place.id('plain')), [[`${name}.c`, 'value', 1]]);
      assert.equal(await place.inVault('plain'), true);
    } finally {
      await far.close();
    }
  });

  it('two clients of one deployment count each value once, and know the collections to migrate as the same', async () => {
    const place = await scene();
    const second = await new MongoClient(lab.uri).connect();
    try {
      await place.other.collection('copy').insertOne({ x: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain }) });
      const report = await place.run({ collections: [{ client: second, namespace: place.patientsNamespace }], deleteOldKeys: true });
      assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.id('plain'), code: 'MIGRATION_OLD_KEYS_IN_USE' }]);
      assert.deepEqual(usesOf(report, place.id('plain')), [[`${place.otherName}.copy`, 'value', 1]]);
      assert.equal(report.keys.namesMoved, 3);
    } finally {
      await second.close();
    }
  });

  it('a value that appears while a key is retired brings it back at once', async () => {
    const place = await scene();
    const value = await place.encryption.encrypt('late', { algorithm: RANDOM, keyId: place.keys.plain });
    let retiring = false;
    const onProgress = ({ phase }) => {
      retiring ||= phase === 'delete-keys';
    };
    // Written between the first search and the second: when the copy of the first key is made.
    const store = {
      ...place.store,
      retireKey: async (id, note) => {
        assert.equal(retiring, true);
        await place.other.collection('late').updateOne({ _id: 1 }, { $set: { value } }, { upsert: true });
        return place.store.retireKey(id, note);
      },
    };
    const report = await place.run({ keyVault: store, deleteOldKeys: true, onProgress });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.id('plain'), code: 'MIGRATION_OLD_KEYS_IN_USE' }]);
    assert.deepEqual(report.oldKeys.map(({ outcome }) => outcome).sort(), ['restored', 'retired', 'retired']);
    assert.equal(await place.inVault('plain'), true);
    assert.equal(report.ok, false);
    assert.equal(await place.encryption.decrypt((await place.other.collection('late').findOne()).value), 'late');
  });

  it('names do not move away from a key that other collections still need, and nothing under it is rewritten', async () => {
    const place = await scene();
    await place.other.collection('copy').insertOne(await place.patients.findOne({ _id: 1 }));
    const before = await place.patients.find({}, { promoteValues: false }).sort({ _id: 1 }).toArray();
    const report = await place.run();
    assert.equal(report.ok, false);
    const expected = ['ssn', 'notes'].map((name) => ({ kind: 'key', id: place.id(name), code: 'MIGRATION_COLLECTION_MISSING' }));
    assert.deepEqual(
      failuresOf(report).sort((a, b) => a.id.localeCompare(b.id)),
      expected.sort((a, b) => a.id.localeCompare(b.id)),
    );
    assert.deepEqual([report.keys.namesMoved, report.keys.migrated, report.keys.failed], [0, 1, 2]);
    assert.equal((await place.vault.findOne({ keyAltNames: 'ssn' }))._id.toHexString(true), place.id('ssn'));
    const after = await place.patients.find({}, { promoteValues: false }).sort({ _id: 1 }).toArray();
    assert.deepEqual(
      after.map(({ ssn }) => ssn),
      before.map(({ ssn }) => ssn),
    );
    await place.readsAs(place.kmsProviders);
    const both = await place.run({
      collections: [place.patientsNamespace, `${place.otherName}.copy`].map((namespace) => ({ client: lab.client, namespace })),
      deleteOldKeys: true,
    });
    assert.equal(both.ok, true, JSON.stringify(both.failures));
    assert.equal(both.keys.deleted, 3);
  });

  it('alternate names stay at the old key while a collection that may hold its values cannot be read', async () => {
    const place = await scene();
    const dead = {
      namespace: 'far.away',
      estimatedCount: async () => 1,
      scan: () => {
        throw Object.assign(new Error('no shard'), { name: 'MongoServerError', code: 133 });
      },
      read: async () => [],
      write: async () => ({ refused: [] }),
    };
    const report = await place.run({ otherCollections: [dead] });
    assert.equal(report.ok, false);
    const expected = ['ssn', 'notes'].map((name) => ({ kind: 'key', id: place.id(name), code: 'MIGRATION_EVIDENCE_INCOMPLETE' }));
    const ofKeys = failuresOf(report)
      .filter(({ kind }) => kind === 'key')
      .sort((a, b) => a.id.localeCompare(b.id));
    assert.deepEqual(
      ofKeys,
      expected.sort((a, b) => a.id.localeCompare(b.id)),
    );
    assert.equal(report.keys.namesMoved, 0);
    assert.equal((await place.vault.findOne({ keyAltNames: 'ssn' }))._id.toHexString(true), place.id('ssn'));
  });

  it('options that would weaken the evidence need to be said in full', async () => {
    const place = await scene({ documents: 0 });
    await assert.rejects(place.run({ witnesses: [] }), (error) => error.code === 'OPTION_INVALID' && /otherCollections/.test(error.message));
    for (const evidence of [
      { skipNamespaces: ['a.b'] },
      { skipNamespaces: ['a.b'], reason: ' ' },
      { reason: 'x' },
      { skipNamespaces: ['a'], reason: 'x' },
      null,
    ])
      await assert.rejects(place.retire('plain', { evidence }), { code: 'OPTION_INVALID' });
    await assert.rejects(place.retire('plain', { dataClients: [{}] }), { code: 'ARGUMENT_INVALID' });
    await assert.rejects(place.retire('plain', { skip: [] }), { code: 'OPTION_INVALID' });
  });

  it('when the second search fails or is aborted, the keys are restored and named in the report', async () => {
    for (const isAbort of [false, true]) {
      const place = await scene({ documents: 0 });
      const controller = new AbortController();
      let isRetired = false;
      const store = {
        ...place.store,
        retireKey: async (...args) => {
          const entry = await place.store.retireKey(...args);
          isRetired = true;
          if (isAbort) controller.abort();
          return entry;
        },
      };
      // BSON cannot hold this value, and the error has no namespace in its details.
      const options = { odd: { _bsontype: 'Odd' } };
      const client = {
        db: (name) => {
          const database = lab.client.db(name);
          const command = async (given) => {
            const answer = await database.command(given);
            if (!isRetired || isAbort || !('listCollections' in given)) return answer;
            return { ...answer, cursor: { ...answer.cursor, firstBatch: [{ name: 'c', type: 'collection', options, info: {} }] } };
          };
          return { collection: (one) => database.collection(one), command };
        },
      };
      const report = await place.retire('plain', { keyVault: store, dataClients: [client], execute: true, signal: controller.signal });
      assert.deepEqual([report.ok, report.interrupted, report.keys.map(({ outcome }) => outcome)], [false, isAbort, ['restored']]);
      assert.deepEqual(
        report.failures.map(({ kind, id }) => [kind, id]),
        isAbort ? [] : [['key', place.id('plain')]],
      );
      assert.deepEqual([isRetired, await place.inVault('plain')], [true, true]);
    }
  });

  it('a removal whose answer was lost is included in the second search', async () => {
    for (const isUsed of [true, false]) {
      const place = await scene({ documents: 0 });
      const value = await place.encryption.encrypt('late', { algorithm: RANDOM, keyId: place.keys.plain });
      const store = {
        ...place.store,
        retireKey: async (...args) => {
          await place.store.retireKey(...args);
          if (isUsed) await place.other.collection('late').insertOne({ value });
          throw new Error('the connection broke');
        },
      };
      const report = await place.retire('plain', { keyVault: store, dataClients: [lab.client], execute: true });
      assert.deepEqual(
        report.keys.map(({ outcome }) => outcome),
        [isUsed ? 'restored' : 'retired'],
      );
      assert.deepEqual([report.ok, await place.inVault('plain')], [!isUsed, isUsed]);
    }
  });

  it('the restored entry is that of this removal, also when another entry has a later date', async () => {
    const place = await scene({ documents: 0 });
    const value = await place.encryption.encrypt('late', { algorithm: RANDOM, keyId: place.keys.plain });
    const before = await place.vault.findOne({ _id: place.keys.plain });
    await lab.client
      .db(place.database)
      .collection('__keyVault.retired')
      .insertOne({
        key: { ...before, status: 7 },
        keyId: place.keys.plain,
        retiredAt: new Date(Date.now() + 3_600_000),
        reason: 'an earlier one',
        requestedBy: 'a clock that is ahead',
      });
    const store = {
      ...place.store,
      retireKey: async (...args) => {
        await place.other.collection('late').insertOne({ value });
        return place.store.retireKey(...args);
      },
    };
    const report = await place.retire('plain', { keyVault: store, dataClients: [lab.client], execute: true });
    assert.deepEqual(
      report.keys.map(({ outcome }) => outcome),
      ['restored'],
    );
    assert.deepEqual(await place.vault.findOne({ _id: place.keys.plain }), before);
  });
});
