// A report says what is so: nothing is `ok`, 0 or done that was not found to be so after the last write.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { driverMigrationCollection } from 'csfle-wasm';
import { countingStore, failedChecks, failuresOf, hospital, openLab, RANDOM } from './fixtures.mjs';

describe('the report of a migration', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const collectionOf = (place) => ({ client: lab.client, namespace: place.patientsNamespace });
  const reencrypt = (place, options = {}) => place.migrate({ mode: 'reencrypt', collections: [collectionOf(place)], execute: true, ...options });
  const decrypt = (place, options = {}) =>
    place.migrate({ mode: 'decrypt', from: undefined, collections: [collectionOf(place)], confirmPlaintext: true, execute: true, ...options });
  const nothingChosen = [{ kind: 'check', id: 'keys-chosen', code: 'MIGRATION_NO_KEYS_CHOSEN' }];

  it('a plan does not know what will remain, and an interrupted run does not know what remains', async () => {
    const place = await hospital(lab, { documents: 6 });
    assert.equal((await reencrypt(place, { execute: false })).remaining, null);
    await lab.client.db(place.database).collection('second').insertOne({ _id: 1 });
    const controller = new AbortController();
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = {
      ...inner,
      write: (changes) => {
        controller.abort();
        return inner.write(changes);
      },
    };
    const report = await reencrypt(place, {
      collections: [collection, { client: lab.client, namespace: `${place.database}.second` }],
      batchSize: 3,
      signal: controller.signal,
    });
    assert.deepEqual([report.interrupted, report.ok, report.remaining], [true, false, null]);
    // The first was changed after its only census; the second was not come to, and nothing has changed there.
    assert.deepEqual(
      report.collections.map(({ passes, documentsRewritten, valuesLeft }) => ({ passes, documentsRewritten, valuesLeft })),
      [
        { passes: 1, documentsRewritten: 3, valuesLeft: null },
        { passes: 0, documentsRewritten: 0, valuesLeft: 0 },
      ],
    );
  });

  it('rewrap: a second run says how many were done, and no key under the source is no success', async () => {
    const place = await hospital(lab, { documents: 0 });
    await place.migrate({ execute: true });
    const again = await place.migrate({ execute: true });
    assert.deepEqual([again.ok, again.keys.planned, again.keys.migrated, again.keys.alreadyDone], [true, 3, 0, 3]);
    const before = await place.dump();
    for (const options of [
      { to: { ...lab.to, key: `${lab.to.key}0` } },
      { keyFilter: { keyAltNames: 'nobody' } },
      { keyVault: { client: lab.client, namespace: `${place.database}.nowhere` } },
    ]) {
      const report = await place.migrate({ execute: true, ...options });
      assert.deepEqual([report.ok, report.executed], [false, false]);
      assert.deepEqual(
        failuresOf(report).filter(({ id }) => id === 'keys-chosen'),
        nothingChosen,
      );
    }
    assert.deepEqual(await place.dump(), before);
  });

  it('an empty key vault fails every mode and writes nothing; allowEmpty says that it is meant', async () => {
    const place = await hospital(lab, { documents: 1 });
    const before = await place.dump();
    const keyVault = { client: lab.client, namespace: `${place.database}.nowhere` };
    for (const run of [place.migrate, (options) => reencrypt(place, options), (options) => decrypt(place, options)]) {
      const refused = await run({ execute: true, keyVault });
      assert.deepEqual([refused.ok, refused.executed, refused.backup], [false, false, null], refused.mode);
      assert.deepEqual(
        failuresOf(refused).filter(({ id }) => id === 'keys-chosen'),
        nothingChosen,
      );
      const plan = await run({ execute: false, keyVault, allowEmpty: true });
      assert.deepEqual(
        plan.plan.checks.filter(({ name }) => name === 'keys-chosen').map(({ ok, detail }) => [ok, detail]),
        [[true, 'the key vault has no data key']],
      );
      const allowed = await run({ execute: true, keyVault, allowEmpty: true });
      // The collection has values under keys of another vault: they are still failures, or left.
      assert.deepEqual([allowed.mode, allowed.executed, allowed.ok], [allowed.mode, true, allowed.mode === 'rewrap']);
    }
    assert.deepEqual(await place.dump(), before);
    await assert.rejects(place.migrate({ allowEmpty: 'yes' }), { code: 'OPTION_INVALID' });
  });

  it('rewrap: a key that came under the source during the run is left', async () => {
    const place = await hospital(lab, { documents: 0 });
    let late;
    const store = {
      ...countingStore(place.store),
      rewrapIf: async (...args) => {
        late ??= place.encryption.createDataKey('local');
        await late;
        return place.store.rewrapIf(...args);
      },
    };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual([report.ok, report.keys.migrated, report.failures], [false, 3, []]);
    assert.deepEqual(report.remaining.keys, [{ keyId: (await late).toHexString(true), reason: 'not-done' }]);
    assert.equal((await place.migrate({ execute: true })).ok, true);
  });

  it('reencrypt: values under a key that failed are counted as left', async () => {
    const place = await hospital(lab, { documents: 3 });
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.notes });
    keyMaterial.buffer[40] ^= 1;
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { keyMaterial } });
    const report = await reencrypt(place);
    assert.equal(report.ok, false);
    assert.equal(report.collections[0].valuesLeft, 6);
    assert.deepEqual(report.remaining.values, [{ namespace: place.patientsNamespace, values: 6 }]);
    assert.deepEqual(report.remaining.keys, [{ keyId: place.keys.notes.toHexString(true), reason: 'not-done' }]);
  });

  it('reencrypt: without a census after the last change, nobody knows what is left', async () => {
    const place = await hospital(lab, { documents: 3 });
    const inner = driverMigrationCollection(collectionOf(place));
    // The plan, the pass, its census; then the names move, and the last look fails.
    let scans = 0;
    const collection = {
      ...inner,
      scan: (batch) => {
        scans += 1;
        if (scans > 3) throw new Error('down');
        return inner.scan(batch);
      },
    };
    const report = await reencrypt(place, { collections: [collection] });
    assert.equal(report.keys.namesMoved, 3);
    assert.deepEqual(
      [report.ok, report.collections[0].valuesLeft, report.remaining?.values],
      [false, null, [{ namespace: place.patientsNamespace, values: null }]],
    );
  });

  it('reencrypt: names and schemas that the run did not come to are left', async () => {
    const place = await hospital(lab, { documents: 3 });
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = { ...inner, write: async (changes) => ({ refused: changes.slice(0, 1).map((_, index) => ({ index, error: new Error('no') })) }) };
    const schema = {
      properties: { ssn: { encrypt: { bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', keyId: [place.keys.ssn] } } },
    };
    const schemas = [{ name: 'schema of ours', read: async () => schema, write: () => assert.fail('must not be written') }];
    const report = await reencrypt(place, { collections: [collection], schemas });
    assert.equal(report.ok, false);
    assert.deepEqual([report.remaining.keyAltNames, report.remaining.schemas, report.remaining.keys], [3, ['schema of ours'], []]);
    assert.deepEqual(
      report.schemas,
      [`validator of ${place.patientsNamespace}`, 'schema of ours'].map((name) => ({ name, changes: 0, written: false })),
    );
  });

  it('reencrypt is not ok while another collection holds values of the chosen keys, also without deleteOldKeys', async () => {
    const place = await hospital(lab, { documents: 1 });
    const archive = lab.client.db(place.database).collection('archive');
    await archive.insertOne({ value: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain }) });
    const otherCollections = [{ client: lab.client, namespace: `${place.database}.archive` }];
    const report = await reencrypt(place, { otherCollections });
    assert.deepEqual([report.ok, report.failures, report.remaining.elsewhere], [false, [], [{ namespace: `${place.database}.archive`, values: 1 }]]);
    await archive.deleteMany({});
    assert.deepEqual((({ ok, remaining }) => [ok, remaining.elsewhere])(await reencrypt(place, { otherCollections })), [true, []]);
  });

  it('reencrypt: values inside encrypted documents stay, and the report says so', async () => {
    const place = await hospital(lab, { documents: 1 });
    const inner = await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain });
    const outer = await place.encryption.encrypt({ inner }, { algorithm: RANDOM, keyId: place.keys.notes });
    await place.patients.insertOne({ _id: 'nested', outer });
    const report = await reencrypt(place);
    assert.equal(report.ok, false);
    assert.deepEqual(report.remaining.unproven, [{ namespace: place.patientsNamespace, documents: 0, values: 1 }]);
  });

  it('documents that no census can look through, and values that tell no key, are not proven to be done', async () => {
    const place = await hospital(lab, { documents: 1 });
    const inner = driverMigrationCollection(collectionOf(place));
    let deep = bson.serialize({ v: 1 });
    for (let level = 0; level < 300; level += 1) deep = wrapped(deep);
    const nested = bson.serialize({ _id: 99 });
    const document = Buffer.concat([sizeOf(nested.length + deep.length + 3), nested.subarray(4, -1), Buffer.from([3, 0x64, 0]), deep, Buffer.from([0])]);
    const collection = {
      ...inner,
      async *scan(batch) {
        yield* inner.scan(batch);
        yield [document];
      },
    };
    const report = await reencrypt(place, { collections: [collection] });
    assert.equal(report.plan.collections[0].unreadable, 1);
    assert.equal(report.ok, false);
    assert.deepEqual(report.remaining.unproven, [{ namespace: place.patientsNamespace, documents: 1, values: 0 }]);

    const other = await hospital(lab, { documents: 1 });
    await other.patients.updateOne({}, { $set: { queryable: new bson.Binary(Buffer.concat([Buffer.from([6]), Buffer.alloc(80)]), 6) } });
    const mixed = await reencrypt(other);
    assert.equal(mixed.ok, false);
    assert.deepEqual(mixed.remaining.unproven, [{ namespace: other.patientsNamespace, documents: 0, values: 1 }]);
  });

  it('decrypt: a schema that cannot be stripped leaves the collections, and they are in the report', async () => {
    const place = await hospital(lab, { documents: 2 });
    const schema = {
      properties: { ssn: { encrypt: { bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', keyId: [place.keys.ssn] } } },
    };
    const schemas = [
      {
        name: 'locked',
        read: async () => schema,
        write: async () => {
          throw new Error('read-only');
        },
      },
    ];
    const report = await decrypt(place, { schemas });
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [{ kind: 'schema', id: 'locked', code: 'MIGRATION_SCHEMA_FAILED' }]);
    assert.deepEqual(report.collections, [
      { namespace: place.patientsNamespace, passes: 0, documentsRewritten: 0, valuesRewritten: 0, documentsFailed: 0, valuesLeft: 8 },
    ]);
    assert.deepEqual(report.remaining.schemas, ['locked']);
  });

  it('decrypt: a limit that leaves out every key is no success, and a key that is used only later is asked for', async () => {
    const place = await hospital(lab, { documents: 1 });
    const none = await decrypt(place, { from: { provider: 'aws' } });
    assert.deepEqual([none.ok, none.executed, failuresOf(none)], [false, false, nothingChosen]);
    const late = await place.encryption.createDataKey('local', { keyAltNames: ['late'] });
    const inner = driverMigrationCollection(collectionOf(place));
    let wrote = false;
    const collection = {
      ...inner,
      write: async (changes) => {
        const outcome = await inner.write(changes);
        if (!wrote) await place.patients.insertOne({ _id: 100, late: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: late }) });
        wrote = true;
        return outcome;
      },
    };
    const report = await decrypt(place, { from: { provider: 'local' }, collections: [collection] });
    assert.deepEqual([report.ok, report.remaining.values], [false, [{ namespace: place.patientsNamespace, values: 1 }]]);
    assert.equal((await decrypt(place, { from: { provider: 'local' } })).ok, true);
  });

  it('decrypt: values that a limit leaves encrypted are said', async () => {
    const place = await hospital(lab, { documents: 2 });
    const report = await decrypt(place, { keyFilter: { _id: place.keys.ssn } });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(
      report.remaining.notChosen.map(({ keyId, values, reason }) => [keyId, values, reason]).sort(),
      [
        [place.keys.notes.toHexString(true), 4, 'left-out'],
        [place.keys.plain.toHexString(true), 2, 'left-out'],
      ].sort(),
    );
  });

  it('a check that could not find out is not ok, and keeps nothing from running', async () => {
    const place = await hospital(lab, { documents: 1 });
    const { capabilities: _none, ...store } = countingStore(place.store);
    const { facts: _unknown, ...collection } = driverMigrationCollection(collectionOf(place));
    const report = await reencrypt(place, { keyVault: store, collections: [collection] });
    assert.deepEqual(
      failedChecks(report),
      ['vault-writable', 'alt-name-index', 'collection-writable'].map((name) => ({ name, code: undefined, required: false })),
    );
    assert.equal(report.ok, true, JSON.stringify(report.failures));
  });

  it('two replacements of one key, where no index keeps them apart, are found before one is used', async () => {
    const place = await hospital(lab, { documents: 1, index: false });
    const { capabilities: _none, ...inner } = countingStore(place.store);
    let twice = false;
    const store = {
      ...inner,
      insert: async (document) => {
        if (!twice) await place.store.insert({ ...document, _id: new bson.UUID() });
        twice = true;
        return place.store.insert(document);
      },
    };
    const before = await place.lookAt.patients();
    const report = await reencrypt(place, { keyVault: store, kmsConcurrency: 1 });
    assert.equal(report.ok, false);
    assert.deepEqual(
      report.failures.map(({ kind, code }) => [kind, code]),
      [['key', 'MIGRATION_INDEX_MISSING']],
    );
    const again = await reencrypt(place, { keyVault: store });
    assert.deepEqual([again.ok, again.failures.map(({ kind, code }) => [kind, code])], [false, [['key', 'MIGRATION_INDEX_MISSING']]]);
    const [failed] = report.failures;
    const stays = (document) =>
      Object.values(document).filter((value) => value?.sub_type === 6 && new bson.UUID(value.buffer.subarray(1, 17)).toHexString(true) === failed.id);
    assert.deepEqual((await place.lookAt.patients()).flatMap(stays), before.flatMap(stays));
  });
});

function sizeOf(length) {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(length);
  return bytes;
}

// `{ a: <document> }`, from bytes: the BSON library refuses to write documents this deep.
function wrapped(inner) {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from([3, 0x61, 0]), inner, Buffer.from([0])]);
  bytes.writeInt32LE(bytes.length);
  return bytes;
}
