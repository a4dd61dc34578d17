import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, driverMigrationCollection } from 'csfle-wasm';
import { countingStore, DETERMINISTIC, failedChecks, failuresOf, hospital, openLab, RANDOM } from './fixtures.mjs';

const mode = 'reencrypt';

describe('documents of a re-encryption', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const collectionOf = (place) => ({ client: lab.client, namespace: place.patientsNamespace });
  const run = (place, options = {}) => place.migrate({ mode, collections: [collectionOf(place)], execute: true, ...options });

  it('meets a concurrent writer without losing what it wrote', async () => {
    const place = await hospital(lab, { documents: 6 });
    const inner = driverMigrationCollection(collectionOf(place));
    const theirs = await place.encryption.encrypt('999-99-9999', { algorithm: DETERMINISTIC, keyId: place.keys.ssn });
    let interfered = false;
    const collection = {
      ...inner,
      async write(changes) {
        if (!interfered) {
          interfered = true;
          await place.patients.updateOne({ _id: 2 }, { $set: { ssn: theirs } });
          await place.patients.updateOne({ _id: 3 }, { $set: { name: 'renamed' } });
          await place.patients.deleteOne({ _id: 4 });
        }
        return inner.write(changes);
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    place.originals[2].ssn = '999-99-9999';
    place.originals[3].name = 'renamed';
    place.originals.splice(4, 1);
    await place.readsAs({ aws: lab.aws });
  });

  it('a writer that is faster than the look back keeps its value, a server that damages one is found out', async () => {
    const place = await hospital(lab, { documents: 4 });
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = {
      ...inner,
      async write(changes) {
        const outcome = await inner.write(changes);
        const [first, second] = await place.patients
          .find({ _id: { $in: [0, 1] } })
          .sort({ _id: 1 })
          .toArray();
        first.ssn.buffer[40] ^= 1;
        await place.patients.updateOne({ _id: 0 }, { $set: { ssn: first.ssn } });
        await place.patients.updateOne({ _id: 2 }, { $set: { ssn: second.ssn } });
        return outcome;
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '0', code: 'CRYPTO_AUTHENTICATION_FAILED' }]);
  });

  it('values that a writer adds under old keys while names move are found by the last look', async () => {
    const place = await hospital(lab, { documents: 3 });
    const store = countingStore(place.store);
    const late = await place.encryption.encrypt('late', { algorithm: RANDOM, keyId: place.keys.notes });
    const addKeyAltName = store.addKeyAltName;
    let added = false;
    store.addKeyAltName = async (id, name) => {
      if (!added) {
        added = true;
        await place.patients.updateOne({ _id: 1 }, { $set: { late } });
      }
      return addKeyAltName(id, name);
    };
    const report = await run(place, { keyVault: store });
    assert.equal(added, true);
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.equal(report.collections[0].valuesLeft, 0);
    place.originals[1].late = 'late';
    await place.readsAs({ aws: lab.aws });
  });

  it('a document that others change during every attempt is named, and no name moves', async () => {
    const place = await hospital(lab, { documents: 4 });
    const inner = driverMigrationCollection(collectionOf(place));
    const attempts = [];
    const collection = {
      ...inner,
      async write(changes) {
        attempts.push(changes.length);
        const theirs = await place.encryption.encrypt(String(Math.random()), { algorithm: DETERMINISTIC, keyId: place.keys.ssn });
        await place.patients.updateOne({ _id: 2 }, { $set: { ssn: theirs } });
        return inner.write(changes);
      },
    };
    const report = await run(place, { collections: [collection], deleteOldKeys: true });
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '2', code: 'MIGRATION_DOCUMENT_CONFLICT' }]);
    assert.equal(report.failures[0].namespace, place.patientsNamespace);
    // Five attempts in the pass, and five in the last one.
    assert.deepEqual(attempts, [4, ...Array(9).fill(1)]);
    assert.equal(report.collections[0].documentsRewritten, 3);
    assert.equal(report.keys.namesMoved, 0);
    assert.equal(report.keys.deleted, 0);
  });

  it('writers that go on using old keys are named as what keeps the collection from being done', async () => {
    const place = await hospital(lab, { documents: 2 });
    const inner = driverMigrationCollection(collectionOf(place));
    let scans = 0;
    const collection = {
      ...inner,
      async *scan(batch) {
        scans += 1;
        const value = await place.encryption.encrypt(`late ${scans}`, { algorithm: RANDOM, keyId: place.keys.plain });
        await place.patients.insertOne({ _id: `late ${scans}`, value });
        yield* inner.scan(batch);
      },
    };
    const report = await run(place, { collections: [collection], deleteOldKeys: true });
    assert.deepEqual(failuresOf(report), [{ kind: 'collection', id: place.patientsNamespace, code: 'MIGRATION_COLLECTION_FAILED' }]);
    assert.equal(report.collections[0].passes, 5);
    assert.equal(report.collections[0].valuesLeft, 1);
    assert.equal(report.keys.deleted, 0);
  });

  it('a damaged document is named, and the others are rewritten', async () => {
    const place = await hospital(lab, { documents: 4 });
    const { ssn } = await place.patients.findOne({ _id: 2 });
    ssn.buffer[50] ^= 1;
    await place.patients.updateOne({ _id: 2 }, { $set: { ssn } });
    const plan = await run(place, { execute: false });
    assert.deepEqual(failedChecks(plan), [{ name: 'documents-decryptable', code: 'CRYPTO_AUTHENTICATION_FAILED', required: false }]);
    const report = await run(place);
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '2', code: 'CRYPTO_AUTHENTICATION_FAILED' }]);
    assert.equal(report.collections[0].documentsRewritten, 3);
    assert.ok(report.collections[0].valuesLeft > 0);
  });

  it('a document that the server refuses is named, and the others are rewritten', async () => {
    const place = await hospital(lab, { documents: 4 });
    const inner = driverMigrationCollection(collectionOf(place));
    const refuse = ({ filter }) => Number(filter.get('_id')) === 2;
    const collection = {
      ...inner,
      async write(changes) {
        await inner.write(changes.filter((change) => !refuse(change)));
        return { refused: changes.flatMap((change, index) => (refuse(change) ? [{ index, error: { code: 121, errmsg: 'secret value' } }] : [])) };
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '2', code: 'MIGRATION_DOCUMENT_REFUSED' }]);
    assert.ok(!JSON.stringify(report).includes('secret value'));
    assert.equal(report.collections[0].documentsRewritten, 3);
  });

  it('a change that a concurrent write made fail is computed again', async () => {
    const place = await hospital(lab, { documents: 4 });
    const inner = driverMigrationCollection(collectionOf(place));
    let raced = false;
    const collection = {
      ...inner,
      async write(changes) {
        const isRaced = ({ filter }) => !raced && Number(filter.get('_id')) === 2;
        const index = changes.findIndex(isRaced);
        if (index < 0) return inner.write(changes);
        raced = true;
        await place.patients.updateOne({ _id: 2 }, { $set: { meanwhile: 1 } });
        await inner.write(changes.filter((_, other) => other !== index));
        return { refused: [{ index, error: { code: 14 } }] };
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.deepEqual([raced, report.ok, failuresOf(report)], [true, true, []]);
    assert.equal(report.collections[0].documentsRewritten, 4);
    assert.equal((await place.patients.findOne({ _id: 2 })).meanwhile, 1);
  });

  it('a value in the scope of code is not rewritten, and the report is not ok', async () => {
    for (const mode of ['reencrypt', 'decrypt']) {
      const place = await hospital(lab, { documents: 2 });
      const value = await place.encryption.encrypt('secret', { algorithm: RANDOM, keyId: place.keys.ssn });
      await place.patients.insertOne({ _id: 77, run: new bson.Code('run()', { value }) });
      const report = await run(place, { mode, ...(mode === 'decrypt' ? { confirmPlaintext: true } : {}) });
      assert.equal(report.ok, false, mode);
      assert.deepEqual(report.remaining.unproven, [{ namespace: place.patientsNamespace, documents: 0, values: 1 }]);
      // A value under a key that was not chosen does not make the run incomplete.
      if (mode === 'decrypt') continue;
      const other = await hospital(lab, { documents: 2 });
      await other.patients.insertOne({
        _id: 77,
        run: new bson.Code('run()', { value: await other.encryption.encrypt('secret', { algorithm: RANDOM, keyId: other.keys.ssn }) }),
      });
      const byId = await run(other, { keyIds: [other.keys.plain], createdBefore: undefined });
      assert.deepEqual([byId.ok, byId.remaining.unproven], [true, []]);
    }
  });

  it('a change that spoils a whole command is found by sending each alone', async () => {
    const place = await hospital(lab, { documents: 4 });
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = {
      ...inner,
      async write(changes) {
        if (changes.some(({ filter }) => Number(filter.get('_id')) === 2)) throw new Error('too large');
        return inner.write(changes);
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '2', code: 'MIGRATION_DOCUMENT_REFUSED' }]);
    assert.equal(report.collections[0].documentsRewritten, 3);
  });

  it('fields that no update can address are replaced with their whole document', async () => {
    const place = await hospital(lab, { documents: 1 });
    const odd = { _id: 'odd', 'a.b': await place.encryption.encrypt('dotted', { algorithm: RANDOM, keyId: place.keys.plain }), $d: 1, n: new bson.Double(3) };
    await place.patients.insertOne(odd, { bypassDocumentValidation: true });
    const report = await run(place);
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    place.originals.push({ _id: 'odd', 'a.b': 'dotted', $d: 1, n: new bson.Double(3) });
    await place.readsAs({ aws: lab.aws });
  });

  it('a collection that is none is a failed check', async () => {
    const place = await hospital(lab, { documents: 1 });
    await lab.client.db(place.database).createCollection('view', { viewOn: 'patients', pipeline: [] });
    for (const name of ['absent', 'view']) {
      const report = await run(place, { collections: [{ client: lab.client, namespace: `${place.database}.${name}` }] });
      assert.equal(report.executed, false);
      assert.deepEqual(
        failedChecks(report).map(({ name: check, code }) => [check, code]),
        [['collection-writable', 'MIGRATION_COLLECTION_FAILED']],
      );
    }
  });

  it('a client that decrypts by itself is refused', async () => {
    const place = await hospital(lab, { documents: 0 });
    const client = { options: { autoEncryption: {} }, db: () => assert.fail('must not be used') };
    await assert.rejects(run(place, { collections: [{ client, namespace: 'a.b' }] }), { code: 'ARGUMENT_INVALID' });
  });

  it('several collections share their new keys', async () => {
    const place = await hospital(lab, { documents: 3 });
    const second = lab.client.db(place.database).collection('second');
    await second.insertMany(await place.patients.find({}, { promoteValues: false }).toArray());
    const report = await run(place, { collections: [collectionOf(place), { client: lab.client, namespace: `${place.database}.second` }] });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(
      report.collections.map(({ documentsRewritten }) => documentsRewritten),
      [3, 3],
    );
    const keyIdsOf = async (collection) => [...new Set((await collection.find().toArray()).map(({ ssn }) => ssn.buffer.subarray(1, 17).toString('hex')))];
    assert.deepEqual(await keyIdsOf(second), await keyIdsOf(place.patients));
  });

  it('works on collections and vaults of your own', async () => {
    const place = await hospital(lab, { documents: 4 });
    const rows = new Map((await place.patients.find({}, { raw: true }).toArray()).map((bytes) => [bson.deserialize(bytes)._id, Uint8Array.from(bytes)]));
    // The rows in memory take the place of these: values outside of the collections to migrate would keep the keys.
    await place.patients.deleteMany({});
    const collection = {
      namespace: 'memory.rows',
      estimatedCount: async () => rows.size,
      async *scan() {
        yield [...rows.values()];
      },
      read: async (ids) => ids.map((id) => rows.get(Number(id))),
      async write(changes) {
        for (const { filter, update } of changes) {
          const document = bson.deserialize(rows.get(Number(filter.get('_id'))), { promoteValues: false });
          for (const [path, value] of update.$set) {
            const names = path.split('.');
            const last = names.pop();
            names.reduce((at, name) => at[name], document)[last] = value;
          }
          rows.set(Number(filter.get('_id')), bson.serialize(document));
        }
        return { refused: [] };
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.equal(report.collections[0].valuesLeft, 0);
    const reader = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: { aws: lab.aws } });
    assert.equal(bson.deserialize(await reader.decryptDocument(rows.get(2))).ssn, place.originals[2].ssn);
    reader.close();
  });
});
