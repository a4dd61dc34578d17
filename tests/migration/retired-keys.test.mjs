// Retired keys: no step of a removal, wherever it stops, leaves no copy of a wrapped key.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import * as bson from 'bson';
import {
  ClientEncryption,
  driverKeyVaultStore,
  MemoryKeyVaultStore,
  proveKeys,
  purgeRetiredKeys,
  restoreRetiredKeys,
  retiredKeys,
  retireKeys,
} from 'csfle-wasm';
import { DETERMINISTIC, failuresOf, hospital, openLab, RANDOM } from './fixtures.mjs';

const note = { reason: 'a test', requestedBy: 'retired-keys.test.mjs' };

describe('retired keys', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  async function scene(options = { documents: 0 }) {
    const place = await hospital(lab, options);
    const collection = (name) => lab.client.db(place.database).collection(name);
    const raw = async (name, filter = {}) => (await collection(name).find(filter, { raw: true }).toArray()).map((bytes) => Buffer.from(bytes));
    const keyVault = { client: lab.client, namespace: place.namespace };
    const evidence = lab.elsewhere(place.database);
    return {
      ...place,
      collection,
      raw,
      keyVault,
      // The key documents among the retired keys, as bytes.
      copies: async () =>
        (await collection('__keyVault.retired').find({}, { promoteValues: false, bsonRegExp: true }).sort({ retiredAt: 1 }).toArray()).map(({ key }) =>
          Buffer.from(bson.serialize(key)),
        ),
      retire: (...keys) => retireKeys({ keyVault, kmsProviders: place.kmsProviders, keys, evidence, execute: true }),
      restore: (keys, more = {}) => restoreRetiredKeys({ keyVault, keys, ...more }),
      purge: (more = {}) => purgeRetiredKeys({ keyVault, kmsProviders: place.kmsProviders, evidence, before: new Date(), ...more }),
    };
  }

  // A client whose methods on one collection run `around` first; it gets the call and what carries it out.
  const intercepted = (name, method, around) => ({
    db: (database) => ({
      command: (command) => lab.client.db(database).command(command),
      collection: (one, options) => {
        const inner = lab.client.db(database).collection(one, options);
        return new Proxy(inner, {
          get(target, property) {
            const value = target[property];
            if (typeof value !== 'function') return value;
            const call = value.bind(target);
            return one === name && property === method ? (...args) => around(() => call(...args), ...args) : call;
          },
        });
      },
    }),
  });

  it('a store that reports a retirement without a copy gets KEY_VAULT_COPY_MISMATCH, and the key is restored', async () => {
    const evidence = { skipNamespaces: ['*'], reason: 'everything is in memory' };
    const lies = {
      'nothing moved': (store) => ({
        retireKey: async (id) => ({ keyId: id, document: (await store.find({ _id: id }))[0], retiredAt: new Date(), reason: '', requestedBy: '' }),
      }),
      'said to be gone': () => ({ retireKey: async () => null }),
      'moved without a copy': (store) => ({ retiredKeys: async () => [], retireKey: (id, why) => store.retireKey(id, why) }),
    };
    for (const [name, lie] of Object.entries(lies)) {
      const store = new MemoryKeyVaultStore();
      const kmsProviders = { local: { key: Buffer.alloc(96, 1) } };
      const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
      const id = await encryption.createDataKey('local', { keyAltNames: ['a'] });
      encryption.close();
      const [before] = await store.find({});
      const lying = new Proxy(store, {
        get: (target, property) => lie(target)[property] ?? (typeof target[property] === 'function' ? target[property].bind(target) : target[property]),
      });
      const report = await retireKeys({ keyVault: lying, kmsProviders, keys: [id], evidence, execute: true });
      assert.deepEqual([report.ok, failuresOf(report).map(({ code }) => code)], [false, ['KEY_VAULT_COPY_MISMATCH']], name);
      assert.deepEqual(await store.find({}), [before], name);
    }
  });

  it('deleteKey moves the document byte for byte, and restoring brings the same bytes back', async () => {
    const place = await scene();
    const odd = {
      status: new bson.Long(0),
      masterKey: { provider: 'local' },
      keyMaterial: new bson.Binary(Buffer.alloc(160, 7)),
      updateDate: new Date(5),
      extra: { 10: new bson.Double(1), a: new bson.BSONRegExp('(?i)x', 'i') },
      creationDate: new Date(4),
      keyAltNames: ['$odd', 'a.b'],
    };
    const id = new bson.UUID();
    await place.vault.insertOne({ _id: id, ...odd });
    const [before] = await place.raw('__keyVault', { _id: id });
    const { deletedCount, acknowledged } = await place.encryption.deleteKey(id);
    assert.deepEqual([acknowledged, deletedCount], [true, 1]);
    assert.deepEqual(await place.raw('__keyVault', { _id: id }), []);
    assert.deepEqual(await place.copies(), [before]);
    const [entry] = await retiredKeys({ keyVault: place.keyVault });
    assert.deepEqual([entry.requestedBy, entry.reason, entry.keyId.buffer], ['ClientEncryption.deleteKey', 'deleted', id.buffer]);
    assert.ok(Math.abs(entry.retiredAt - Date.now()) < 60_000);
    assert.equal((await place.encryption.deleteKey(id)).deletedCount, 0);
    const report = await place.restore([id]);
    assert.deepEqual([report.ok, report.restored], [true, [id.toHexString(true)]]);
    assert.deepEqual(await place.raw('__keyVault', { _id: id }), [before]);
    assert.deepEqual((await place.restore([id])).present, [id.toHexString(true)]);
    // Only purging empties the retired keys.
    assert.equal((await place.copies()).length, 1);
  });

  it('values read again after a key was deleted and restored', async () => {
    const place = await scene();
    const value = await place.encryption.encrypt('x', { algorithm: DETERMINISTIC, keyAltName: 'ssn' });
    await place.encryption.deleteKey(place.keys.ssn);
    await assert.rejects(place.encryption.decrypt(value), { code: 'KEY_VAULT_KEY_NOT_FOUND' });
    await place.restore([place.keys.ssn]);
    assert.equal(await place.encryption.decrypt(value), 'x');
  });

  it('a stop after any step leaves a copy, and a repetition ends where it should', async () => {
    const steps = [
      ['__keyVault.retired', 'insertOne'],
      ['__keyVault.retired', 'updateOne'],
      ['__keyVault', 'deleteOne'],
    ];
    for (const [collection, method] of steps) {
      for (const isDone of [false, true]) {
        const place = await scene();
        const [before] = await place.raw('__keyVault', { _id: place.keys.ssn });
        const killed = intercepted(collection, method, async (call) => {
          if (isDone) await call();
          throw new Error('killed');
        });
        await assert.rejects(driverKeyVaultStore(killed, place.namespace).retireKey(place.keys.ssn, note), { code: 'KEY_VAULT_NOT_WRITABLE' });
        const kept = [...(await place.raw('__keyVault', { _id: place.keys.ssn })), ...(await place.copies())];
        assert.ok(kept.length >= 1 && kept.every((bytes) => bytes.equals(before)), `${collection} ${method} ${isDone}`);
        await place.store.retireKey(place.keys.ssn, note);
        assert.deepEqual([await place.raw('__keyVault', { _id: place.keys.ssn }), await place.copies()], [[], [before]]);
      }
    }
  });

  it('a key that another process changes between copy and removal is copied anew', async () => {
    const place = await scene();
    let changes = 0;
    const racing = intercepted('__keyVault', 'deleteOne', async (call) => {
      changes += 1;
      if (changes <= 2) await place.vault.updateOne({ _id: place.keys.ssn }, { $addToSet: { keyAltNames: `late ${changes}` } });
      return call();
    });
    assert.equal((await driverKeyVaultStore(racing, place.namespace).retireKey(place.keys.ssn, note)).keyId.toString(), place.keys.ssn.toString());
    const copies = (await place.copies()).map((bytes) => bson.deserialize(bytes).keyAltNames.length);
    assert.deepEqual(copies.sort(), [2, 3, 4]);
    await place.restore([place.keys.ssn]);
    assert.equal((await place.vault.findOne({ _id: place.keys.ssn })).keyAltNames.length, 4, 'the latest copy comes back');
  });

  it('a copy that does not arrive as it is keeps the key in the vault', async () => {
    const place = await scene();
    const before = await place.raw('__keyVault');
    for (const around of [
      async () => ({}),
      async (_, entry) =>
        lab.client
          .db(place.database)
          .collection('__keyVault.retired')
          .insertOne({
            ...entry,
            key: { ...entry.key, keyMaterial: new bson.Binary(Buffer.alloc(160)) },
          }),
    ]) {
      const lossy = intercepted('__keyVault.retired', 'insertOne', around);
      await assert.rejects(driverKeyVaultStore(lossy, place.namespace).retireKey(place.keys.ssn, note), { code: 'KEY_VAULT_COPY_MISMATCH' });
      assert.deepEqual(await place.raw('__keyVault'), before);
    }
  });

  it('a store of the caller that keeps no retired keys does not delete', async () => {
    const inner = new MemoryKeyVaultStore();
    const store = {};
    for (const method of ['find', 'insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName']) store[method] = (...args) => inner[method](...args);
    const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local: { key: Buffer.alloc(96, 1) } } });
    const id = await encryption.createDataKey('local');
    await assert.rejects(encryption.deleteKey(id), { code: 'KEY_VAULT_RETIREMENT_UNSUPPORTED' });
    await assert.rejects(retireKeys({ keyVault: store, keys: [id], execute: true }), { code: 'KEY_VAULT_RETIREMENT_UNSUPPORTED' });
    await assert.rejects(retiredKeys({ keyVault: store }), { code: 'KEY_VAULT_RETIREMENT_UNSUPPORTED' });
    assert.equal((await inner.find({})).length, 1);
    encryption.close();
  });

  it('restoring refuses an id and names that are taken, and leaves names off when told so', async () => {
    const place = await scene();
    await place.encryption.deleteKey(place.keys.ssn);
    const taker = await place.encryption.createDataKey('local', { keyAltNames: ['ssn'] });
    const before = await place.raw('__keyVault');
    const refused = await place.restore([place.keys.ssn, new bson.UUID()]);
    assert.deepEqual(
      refused.failures.map(({ code }) => code),
      ['KEY_VAULT_DUPLICATE_KEY', 'KEY_VAULT_KEY_NOT_FOUND'],
    );
    assert.deepEqual(await place.raw('__keyVault'), before);
    assert.equal((await place.restore([place.keys.ssn], { withoutTakenNames: true })).ok, true);
    assert.deepEqual((await place.vault.findOne({ _id: place.keys.ssn })).keyAltNames, ['patients.ssn']);
    assert.deepEqual((await place.vault.findOne({ _id: taker })).keyAltNames, ['ssn']);
    // Now the id is there, and not as it was retired.
    assert.deepEqual(
      (await place.restore([place.keys.ssn])).failures.map(({ code }) => code),
      ['KEY_VAULT_DUPLICATE_KEY'],
    );
  });

  it('purging asks for the time, for evidence again, and destroys only then', async () => {
    const place = await scene();
    const value = await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain });
    for (const name of ['ssn', 'notes', 'plain']) await place.encryption.deleteKey(place.keys[name]);
    await place.restore([place.keys.notes]);
    await place.collection('late').insertOne({ value });
    await new Promise((resolve) => setTimeout(resolve, 2));
    assert.deepEqual((await place.purge({ before: new Date(0), execute: true })).keys, []);
    const plan = await place.purge();
    assert.deepEqual(plan.keys.map(({ outcome }) => outcome).sort(), ['kept', 'unused', 'unused']);
    assert.equal((await place.copies()).length, 3);
    const report = await place.purge({ execute: true });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.plain.toHexString(true), code: 'KEY_VAULT_KEY_IN_USE' }]);
    const left = await retiredKeys({ keyVault: place.keyVault });
    assert.deepEqual(
      left.map(({ keyId }) => keyId.toString()),
      [place.keys.plain.toString()],
    );
    // The copy of a key that is in the vault again is not the last one.
    assert.equal(await place.vault.countDocuments({ _id: place.keys.notes }), 1);
    for (const before of [undefined, '2026-01-01', new Date(Number.NaN), new Date(Date.now() + 60_000)])
      await assert.rejects(place.purge({ before }), { code: 'ARGUMENT_INVALID' });
    await place.restore([place.keys.plain]);
    assert.equal(await place.encryption.decrypt(value), 'x');
  });

  it('an old key that a re-encryption retired comes back with its replacement marked', async () => {
    const place = await scene({ documents: 2 });
    const before = await place.raw('__keyVault', { _id: place.keys.plain });
    const collections = [{ client: lab.client, namespace: place.patientsNamespace }];
    const run = () => place.migrate({ mode: 'reencrypt', collections, deleteOldKeys: true, execute: true });
    const report = await run();
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.equal((await place.copies()).length, 3);
    const entries = await retiredKeys({ keyVault: place.keyVault });
    assert.ok(entries.every(({ requestedBy, replacedBy }) => requestedBy === 'migrate deleteOldKeys' && replacedBy !== undefined));
    assert.equal((await place.restore([place.keys.plain])).ok, true);
    assert.deepEqual(await place.raw('__keyVault', { _id: place.keys.plain }), before);
    // A later run knows the pair: it makes no second replacement.
    const again = await run();
    assert.deepEqual([again.ok, again.keys.migrated, again.keys.alreadyDone, again.keys.deleted], [true, 0, 1, 1]);
    assert.equal((await place.copies()).length, 3, 'the same bytes are kept once');
  });

  it('retireKeys plans without writing, and names keys that are not there', async () => {
    const place = await scene();
    const before = await place.dump();
    const missing = new bson.UUID();
    const plan = await retireKeys({ keyVault: place.keyVault, keys: [place.keys.plain, missing], evidence: lab.elsewhere(place.database) });
    assert.deepEqual([plan.executed, plan.ok, plan.keys.map(({ outcome }) => outcome)], [false, false, ['unused', 'gone']]);
    assert.deepEqual(failuresOf(plan), [{ kind: 'key', id: missing.toHexString(true), code: 'KEY_VAULT_KEY_NOT_FOUND' }]);
    assert.deepEqual(await place.dump(), before);
    assert.equal((await place.retire(place.keys.plain)).keys[0].outcome, 'retired');
  });

  it('a purge of an earlier copy at any step of a retirement does not destroy the last copy', async () => {
    const RETIRED = '__keyVault.retired';
    for (const [name, method, isDone] of [
      [RETIRED, 'updateOne', false],
      [RETIRED, 'updateOne', true],
      ['__keyVault', 'deleteOne', true],
    ]) {
      const place = await scene();
      const [before] = await place.raw('__keyVault', { _id: place.keys.ssn });
      await place.store.retireKey(place.keys.ssn, note);
      await place.restore([place.keys.ssn]);
      let purges = 0;
      // Every entry goes once, as if a purge had read it just before.
      const purge = () => (purges++ === 0 ? place.collection(RETIRED).deleteMany({}) : undefined);
      const racing = intercepted(name, method, async (call) => {
        if (!isDone) await purge();
        const result = await call();
        if (isDone) await purge();
        return result;
      });
      await driverKeyVaultStore(racing, place.namespace).retireKey(place.keys.ssn, note);
      assert.deepEqual([await place.raw('__keyVault', { _id: place.keys.ssn }), await place.copies()], [[], [before]], `${name} ${method} ${isDone}`);
    }
  });

  it('a purge restores the key when the key document disappears during the purge', async () => {
    const place = await scene();
    await place.collection('data').insertOne({ value: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.ssn }) });
    const [before] = await place.raw('__keyVault', { _id: place.keys.ssn });
    await place.store.retireKey(place.keys.ssn, note);
    await place.restore([place.keys.ssn]);
    const store = {
      ...place.store,
      purgeRetiredKey: async (entry) => {
        await place.vault.deleteOne({ _id: place.keys.ssn });
        return place.store.purgeRetiredKey(entry);
      },
    };
    await new Promise((resolve) => setTimeout(resolve, 2));
    const report = await place.purge({ keyVault: store, dataClients: [lab.client], execute: true });
    assert.deepEqual([report.ok, report.keys.map(({ outcome }) => outcome)], [false, ['restored']]);
    assert.deepEqual(await place.raw('__keyVault', { _id: place.keys.ssn }), [before]);
  });

  it('a purge keeps a retired key that a schema names by alternate name, and accepts Date objects of other realms', async () => {
    const place = await scene();
    await place.encryption.deleteKey(place.keys.notes);
    await new Promise((resolve) => setTimeout(resolve, 2));
    const before = runInNewContext('new Date()');
    const schemas = [{ name: 'a.json', read: async () => ({ fields: [{ path: 'x', keyAltName: 'notes' }] }), write: async () => {} }];
    const kept = await place.purge({ before, schemas, execute: true });
    assert.deepEqual(
      kept.keys.map(({ outcome, uses }) => [outcome, uses]),
      [['kept', [{ namespace: 'a.json', kind: 'schema', count: 1 }]]],
    );
    // Now another key has the name.
    await place.encryption.createDataKey('local', { keyAltNames: ['notes'] });
    assert.deepEqual(
      (await place.purge({ before, schemas, execute: true })).keys.map(({ outcome }) => outcome),
      ['purged'],
    );
    await assert.rejects(place.purge({ schemas: {} }), { code: 'ARGUMENT_INVALID' });
  });

  it('malformed entries are not listed as retired keys, and an entry that holds another key is not restored', async () => {
    const place = await scene();
    const [before] = await place.raw('__keyVault', { _id: place.keys.ssn });
    const own = await place.store.retireKey(place.keys.ssn, note);
    const other = await place.vault.findOne({ _id: place.keys.notes });
    const late = new Date(Date.now() + 3_600_000);
    const planted = await place.collection('__keyVault.retired').insertMany([
      { key: { ...other, _id: new bson.UUID() }, keyId: place.keys.ssn, retiredAt: late, reason: 'x', requestedBy: 'y' },
      { keyId: place.keys.ssn, retiredAt: late },
      {
        key: other,
        keyId: place.keys.ssn,
      },
      { key: other, keyId: 5, retiredAt: late },
      { key: other, keyId: place.keys.notes, retiredAt: 'soon' },
      { key: 1 },
      {},
    ]);
    const entries = await retiredKeys({ keyVault: place.keyVault });
    assert.deepEqual(
      entries.map(({ retiredId }) => String(retiredId)),
      [String(own.retiredId)],
    );
    await assert.rejects(place.store.restoreKey({ ...own, retiredId: planted.insertedIds[0] }), { code: 'KEY_VAULT_COPY_MISMATCH' });
    assert.deepEqual((await place.restore([place.keys.ssn])).restored, [place.keys.ssn.toHexString(true)]);
    assert.deepEqual(await place.raw('__keyVault', { _id: place.keys.ssn }), [before]);
  });

  it('takes the limits of KMS calls', async () => {
    const place = await scene();
    const kmsTimeoutMS = 50;
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.plain });
    await place.vault.insertOne({ ...(await place.vault.findOne({ _id: place.keys.plain })), _id: new bson.UUID(), keyMaterial, masterKey: lab.to });
    const never = { encrypt: () => new Promise(() => {}), decrypt: () => new Promise(() => {}) };
    const kmsProviders = { ...place.kmsProviders, aws: never };
    const { keys } = await proveKeys({ keyVault: place.keyVault, kmsProviders, collections: [], kmsTimeoutMS, kmsRetries: 0 });
    assert.deepEqual(keys.map(({ code }) => code).filter(Boolean), ['KMS_TIMED_OUT']);
    const limits = { kmsConcurrency: 2, kmsTimeoutMS, kmsRetries: 0 };
    assert.equal((await retireKeys({ keyVault: place.keyVault, keys: [place.keys.plain], evidence: lab.elsewhere(place.database), ...limits })).ok, true);
    assert.equal((await place.purge(limits)).ok, true);
    await assert.rejects(place.purge({ kmsRetries: -1 }), { code: 'ARGUMENT_INVALID' });
  });
});
