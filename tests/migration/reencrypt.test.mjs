import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, CsfleError, driverMigrationCollection } from 'csfle-wasm';
import { countingStore, DETERMINISTIC, failedChecks, failuresOf, hospital, mortalStore, openLab, RANDOM } from './fixtures.mjs';

const mode = 'reencrypt';

describe('reencrypt', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const collectionOf = (place) => ({ client: lab.client, namespace: place.patientsNamespace });
  const run = (place, options = {}) => place.migrate({ mode, collections: [collectionOf(place)], execute: true, ...options });

  // Names by key id, markers included.
  const namesOf = async (place) =>
    Object.fromEntries((await place.lookAt.vault()).map(({ _id, keyAltNames = [] }) => [new bson.UUID(_id.buffer).toHexString(true), [...keyAltNames].sort()]));
  const providersOf = async (place) => (await place.lookAt.vault()).map(({ masterKey }) => masterKey.provider).sort();

  it('a plan writes nothing and counts what is there', async () => {
    const place = await hospital(lab);
    const before = await place.dump();
    const report = await run(place, { execute: false });
    assert.deepEqual(await place.dump(), before);
    assert.equal(report.ok, true);
    const [collection] = report.plan.collections;
    assert.equal(collection.documents, 12);
    assert.equal(collection.values, 48);
    assert.equal(collection.valuesToMigrate, 48);
    assert.deepEqual(collection.paths.map(({ path, values }) => [path, values]).sort(), [
      ['insurance.policy', 12],
      ['records.$[].note', 24],
      ['ssn', 12],
    ]);
    assert.deepEqual(Object.fromEntries(collection.byKey.map(({ keyId, ...counts }) => [keyId, counts])), {
      [place.keys.ssn.toHexString(true)]: { deterministic: 12, random: 0 },
      [place.keys.notes.toHexString(true)]: { deterministic: 0, random: 24 },
      [place.keys.plain.toHexString(true)]: { deterministic: 0, random: 12 },
    });
    assert.deepEqual(
      report.plan.checks.map(({ name }) => name),
      [
        'vault-readable',
        'vault-writable',
        'alt-name-index',
        'collection-readable',
        'collection-writable',
        'key-documents',
        'keys-chosen',
        'keys-under-target',
        'old-keys-unwrap',
        'new-master-key',
        'documents-decryptable',
        'schema-rewritable',
      ],
    );
    assert.deepEqual(failedChecks(report), []);
  });

  it('puts every value under new keys, moves the names, and every document still reads', async () => {
    const place = await hospital(lab);
    const before = await place.lookAt.patients();
    const report = await run(place);
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(report.keys, { planned: 3, migrated: 3, alreadyDone: 0, failed: 0, namesMoved: 3, deleted: 0, verified: 3 });
    const [collection] = report.collections;
    assert.deepEqual(
      { ...collection, namespace: '' },
      { namespace: '', passes: 1, documentsRewritten: 12, valuesRewritten: 48, documentsFailed: 0, valuesLeft: 0 },
    );
    // No ciphertext of before is left anywhere.
    const after = await place.lookAt.patients();
    for (const [index, document] of after.entries()) assert.notDeepEqual(document.ssn.buffer, before[index].ssn.buffer);
    await place.readsAs({ aws: lab.aws });
    const names = await namesOf(place);
    for (const id of Object.values(place.keys)) assert.deepEqual(names[id.toHexString(true)], []);
    const ofNew = Object.entries(names)
      .filter(([id]) => !Object.values(place.keys).some((key) => key.toHexString(true) === id))
      .map(([, list]) => list);
    assert.deepEqual(
      ofNew
        .flat()
        .filter((name) => !name.startsWith('csfle-migrate:'))
        .sort(),
      ['notes', 'patients.ssn', 'ssn'],
    );
    assert.deepEqual(
      ofNew
        .flat()
        .filter((name) => name.startsWith('csfle-migrate:'))
        .sort(),
      Object.values(place.keys)
        .map((id) => `csfle-migrate:${id.toHexString(true)}`)
        .sort(),
    );
  });

  it('deterministic fields are still found by equality, under the new key of the same name', async () => {
    const place = await hospital(lab);
    await run(place);
    const reader = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: { aws: lab.aws } });
    const wanted = await reader.encrypt(place.originals[5].ssn, { algorithm: DETERMINISTIC, keyAltName: 'ssn' });
    assert.equal((await place.patients.findOne({ ssn: wanted }))._id, 5);
    reader.close();
  });

  it('costs exactly the KMS calls that the plan says', async () => {
    const place = await hospital(lab, { documents: 3 });
    const { plan, kmsCalls, ok } = await run(place);
    assert.equal(ok, true);
    assert.equal(kmsCalls.wrap + kmsCalls.unwrap, plan.kmsCalls);
    const again = await run(place);
    assert.equal(again.kmsCalls.wrap, 1);
  });

  it('no plaintext is ever written', async () => {
    const place = await hospital(lab, { documents: 5 });
    const inner = driverMigrationCollection(collectionOf(place));
    const written = [];
    const collection = {
      ...inner,
      write: (changes) => {
        written.push(...changes);
        return inner.write(changes);
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.equal(report.ok, true);
    assert.equal(written.length, 5);
    const text = bson.EJSON.stringify(written.map(({ update }) => update));
    assert.ok(!/note \d|second|000-00/.test(text));
    for (const { update } of written) for (const value of update.$set.values()) assert.equal(value.sub_type, 6);
  });

  it('a replacement of an earlier run under another master key is named, not taken for what was asked for', async () => {
    const place = await hospital(lab, { documents: 2 });
    await run(place);
    const before = await place.dump();
    const other = { kmsProviders: { ...place.kmsProviders, 'local:other': { key: randomBytes(96) } }, to: { provider: 'local:other' }, deleteOldKeys: true };
    const report = await run(place, other);
    assert.equal(report.ok, false);
    assert.deepEqual(
      report.failures.map(({ kind, code }) => [kind, code]),
      Array(3).fill(['key', 'MIGRATION_TARGET_INVALID']),
    );
    assert.deepEqual(
      report.plan.keys.filter(({ disposition }) => disposition === 'migrate').map(({ code }) => code),
      Array(3).fill('MIGRATION_TARGET_INVALID'),
    );
    assert.deepEqual(await place.dump(), before);
    // Wrapped anew under that master key first, they are what was asked for.
    const rewrapped = await place.migrate({ ...other, deleteOldKeys: undefined, from: { provider: 'aws' }, execute: true });
    assert.equal(rewrapped.keys.migrated, 3);
    assert.equal((await run(place, other)).keys.deleted, 3);
    await place.readsAs({ 'local:other': other.kmsProviders['local:other'] });
  });

  it('running twice changes nothing', async () => {
    const place = await hospital(lab);
    await run(place);
    const between = await place.dump();
    const store = countingStore(place.store);
    const inner = driverMigrationCollection(collectionOf(place));
    const again = await run(place, { keyVault: store, collections: [{ ...inner, write: () => assert.fail('a second run writes') }] });
    assert.equal(again.ok, true, JSON.stringify(again.failures));
    assert.equal(again.keys.alreadyDone, 3);
    assert.equal(store.writes, 0);
    assert.deepEqual(await place.dump(), between);
  });

  it('a stop after any write to the vault, between any two steps of a name, is taken up again', async () => {
    const whole = await hospital(lab, { documents: 2 });
    const counting = countingStore(whole.store);
    await run(whole, { keyVault: counting, deleteOldKeys: true });
    // 3 new keys, 3 names in 3 steps each, 3 old keys with their notes.
    assert.equal(counting.writes, 3 + 9 + 6);
    for (let writes = 1; writes < counting.writes; writes += 1) {
      const place = await hospital(lab, { documents: 2 });
      const stopped = await run(place, { keyVault: mortalStore(place.store, writes), kmsConcurrency: 1, deleteOldKeys: true });
      assert.equal(stopped.ok, false, `after ${writes}`);
      await place.readsAs(place.kmsProviders);
      const next = await run(place, { deleteOldKeys: true });
      assert.equal(next.ok, true, `after ${writes}: ${JSON.stringify(next.failures)}`);
      await place.readsAs({ aws: lab.aws });
      assert.deepEqual(await providersOf(place), ['aws', 'aws', 'aws'], `after ${writes}`);
      assert.deepEqual(
        Object.values(await namesOf(place))
          .flat()
          .sort(),
        ['notes', 'patients.ssn', 'ssn'],
        `after ${writes}`,
      );
    }
  });

  it('a name that came to the old key after its replacement was made survives a stop after any write', async () => {
    // 3 names in 3 steps, one in 4, since it is reserved only now.
    for (let writes = 1; writes <= 13; writes += 1) {
      const place = await hospital(lab, { documents: 1 });
      await run(place, { keyVault: mortalStore(place.store, 3), kmsConcurrency: 1 });
      await place.encryption.addKeyAltName(place.keys.ssn, 'late');
      const stopped = await run(place, { keyVault: mortalStore(place.store, writes) });
      assert.equal(stopped.keys.alreadyDone, 3);
      const names = Object.values(await namesOf(place))
        .flat()
        .join(' ');
      for (const name of ['late', 'ssn', 'patients.ssn', 'notes']) assert.match(names, new RegExp(`(^| |:name:)${name}( |$)`), `${name} after ${writes}`);
      assert.equal((await run(place)).ok, true);
      const after = Object.entries(await namesOf(place)).find(([, list]) => list.includes('late'));
      assert.deepEqual(
        after[1].filter((name) => !name.startsWith('csfle-migrate:')),
        ['late', 'patients.ssn', 'ssn'],
      );
      assert.notEqual(after[0], place.keys.ssn.toHexString(true));
    }
  });

  it('a KMS that unwraps a new key to other bytes once is found out before anything is written', async () => {
    // Of each key: what it was wrapped as, what the vault holds, and the independent look at what was encrypted.
    const expected = [
      ['KMS_REPLY_MISMATCH', 'KMS_REPLY_MISMATCH', 'KMS_REPLY_MISMATCH'],
      ['CRYPTO_AUTHENTICATION_FAILED', 'CRYPTO_AUTHENTICATION_FAILED', 'CRYPTO_AUTHENTICATION_FAILED'],
      ['CRYPTO_AUTHENTICATION_FAILED'],
    ];
    for (const [lie, codes] of expected.entries()) {
      const place = await hospital(lab, { documents: 2 });
      const before = await place.lookAt.patients();
      const seen = new Map();
      const decrypt = async (call) => {
        const bytes = await lab.aws.decrypt(call);
        const count = (seen.get(call.dataKeyId) ?? -1) + 1;
        seen.set(call.dataKeyId, count);
        if (call.dataKeyId !== undefined && count === lie) bytes[10] ^= 1;
        return bytes;
      };
      const report = await run(place, { kmsProviders: { local: place.local, aws: { encrypt: (call) => lab.aws.encrypt(call), decrypt } } });
      assert.equal(report.ok, false);
      assert.deepEqual(
        report.failures.map(({ code }) => code),
        codes,
      );
      assert.equal(report.collections[0].documentsRewritten, 0);
      assert.equal(await place.vault.countDocuments(), lie === 0 ? 3 : 6);
      assert.deepEqual(await place.lookAt.patients(), before);
    }
  });

  it('a stop between any two batches of documents leaves all of them readable', async () => {
    for (const writes of [0, 1, 2]) {
      const place = await hospital(lab, { documents: 9 });
      const inner = driverMigrationCollection(collectionOf(place));
      let left = writes;
      const collection = {
        ...inner,
        write: async (changes) => {
          if (left === 0) throw Object.assign(new Error('killed'), { name: 'MongoNetworkError' });
          left -= 1;
          return inner.write(changes);
        },
      };
      const stopped = await run(place, { collections: [collection], batchSize: 3 });
      assert.equal(stopped.ok, false);
      assert.deepEqual(failuresOf(stopped), [{ kind: 'collection', id: place.patientsNamespace, code: 'MIGRATION_COLLECTION_FAILED' }]);
      assert.equal(stopped.collections[0].documentsRewritten, 3 * writes);
      assert.equal(stopped.keys.namesMoved, 0);
      await place.readsAs(place.kmsProviders);
      const next = await run(place);
      assert.equal(next.ok, true, JSON.stringify(next.failures));
      assert.equal(next.collections[0].documentsRewritten, 9 - 3 * writes);
      await place.readsAs({ aws: lab.aws });
    }
  });

  it('an abort between batches stops there and says so', async () => {
    const place = await hospital(lab, { documents: 9 });
    const controller = new AbortController();
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = {
      ...inner,
      write: (changes) => {
        controller.abort();
        return inner.write(changes);
      },
    };
    const report = await run(place, { collections: [collection], batchSize: 3, signal: controller.signal });
    assert.equal(report.interrupted, true);
    assert.equal(report.ok, false);
    assert.deepEqual(report.failures, []);
    assert.equal(report.collections[0].documentsRewritten, 3);
    await place.readsAs(place.kmsProviders);
    assert.equal((await run(place)).ok, true);
  });

  it('the index on names is required here', async () => {
    const place = await hospital(lab, { documents: 1, index: false });
    const before = await place.dump();
    const report = await run(place);
    assert.equal(report.executed, false);
    assert.deepEqual(failedChecks(report), [{ name: 'alt-name-index', code: 'MIGRATION_INDEX_MISSING', required: true }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('an old key stays when its replacement does not open at the end', async () => {
    const place = await hospital(lab, { documents: 2 });
    let verifying = false;
    const decrypt = async (call) => {
      if (verifying && call.keyAltNames.includes('notes')) throw new CsfleError('KMS_ACCESS_DENIED', 'not any more');
      return lab.aws.decrypt(call);
    };
    const report = await run(place, {
      deleteOldKeys: true,
      kmsProviders: { local: place.local, aws: { encrypt: (call) => lab.aws.encrypt(call), decrypt } },
      onProgress: ({ phase }) => {
        verifying ||= phase === 'verify-keys';
      },
    });
    assert.deepEqual(
      report.failures.map(({ kind, code }) => [kind, code]),
      [['key', 'KMS_ACCESS_DENIED']],
    );
    assert.equal(report.keys.deleted, 2);
    assert.equal(await place.vault.countDocuments({ _id: place.keys.notes }), 1);
  });

  it('old keys go only when asked for, and never while another collection needs them', async () => {
    const place = await hospital(lab, { documents: 3 });
    const archive = lab.client.db(place.database).collection('archive');
    await archive.insertOne({ value: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: place.keys.plain }) });
    const kept = await run(place, { deleteOldKeys: true });
    assert.deepEqual(failuresOf(kept), [{ kind: 'key', id: place.keys.plain.toHexString(true), code: 'MIGRATION_OLD_KEYS_IN_USE' }]);
    // Each key is judged by itself.
    assert.equal(kept.keys.deleted, 2);
    assert.deepEqual(
      kept.oldKeys.filter(({ outcome }) => outcome === 'kept').map(({ id, uses }) => [id, uses]),
      [[place.keys.plain.toHexString(true), [{ namespace: `${place.database}.archive`, kind: 'value', count: 1 }]]],
    );
    await archive.deleteMany({});
    const gone = await run(place, { deleteOldKeys: true });
    assert.equal(gone.ok, true, JSON.stringify(gone.failures));
    assert.equal(gone.keys.deleted, 1);
    assert.deepEqual(await providersOf(place), ['aws', 'aws', 'aws']);
    await place.readsAs({ aws: lab.aws });
  });
});
