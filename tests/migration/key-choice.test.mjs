// Which data keys a re-encryption replaces: by age or id, whatever wraps them now, and never by a silent default.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { countingStore, DETERMINISTIC, failedChecks, failuresOf, hospital, mortalStore, openLab, valuesByKey } from './fixtures.mjs';

const mode = 'reencrypt';

describe('the keys of a re-encryption', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const run = (place, options = {}) =>
    place.migrate({ mode, collections: [{ client: lab.client, namespace: place.patientsNamespace }], execute: true, ...options });
  const idsOf = (place) => Object.values(place.keys).map((id) => id.toHexString(true));
  // Values that are still under the keys that the test began with.
  const exposed = async (place, ids = idsOf(place)) => Object.entries(await valuesByKey(place.patients)).filter(([id]) => ids.includes(id));
  const total = async (place) => Object.values(await valuesByKey(place.patients)).reduce((sum, count) => sum + count, 0);
  const namesOf = async (place, id) =>
    [...((await place.vault.findOne({ _id: new bson.UUID(id) })).keyAltNames ?? [])].filter((name) => !name.startsWith('csfle-migrate:')).sort();
  const reasons = (report) => Object.fromEntries(report.plan.keys.map(({ id, reason }) => [id, reason]));

  it('after a rewrap, a source alone is refused, and a source that leaves out every key writes nothing', async () => {
    const place = await hospital(lab, { documents: 3 });
    assert.equal((await place.migrate({ execute: true })).ok, true);
    const before = await place.dump();
    await assert.rejects(run(place, { createdBefore: undefined, from: { provider: 'local' } }), { code: 'OPTION_INVALID' });
    for (const choice of [{ all: true }, { createdBefore: place.cutOff }, { keyIds: idsOf(place) }]) {
      const report = await run(place, { ...choice, from: { provider: 'local' } });
      assert.deepEqual([report.ok, report.executed], [false, false]);
      assert.deepEqual(failuresOf(report), [{ kind: 'check', id: 'keys-chosen', code: 'MIGRATION_NO_KEYS_CHOSEN' }]);
      assert.deepEqual(Object.values(reasons(report)), ['left-out', 'left-out', 'left-out']);
    }
    assert.deepEqual(await place.dump(), before);
    assert.equal((await exposed(place)).length, 3);
  });

  it('after a rewrap, each choice puts every value under new data keys of the same master key', async () => {
    for (const choose of [(place) => ({ createdBefore: place.cutOff }), (place) => ({ keyIds: Object.values(place.keys) }), () => ({ all: true })]) {
      const place = await hospital(lab, { documents: 3 });
      await place.migrate({ execute: true });
      const report = await run(place, choose(place));
      assert.equal(report.ok, true, JSON.stringify(report.failures));
      assert.equal(report.keys.migrated, 3);
      assert.deepEqual(await exposed(place), []);
      assert.equal(await total(place), 12);
      assert.deepEqual(report.remaining, {
        keys: [],
        values: [{ namespace: place.patientsNamespace, values: 0 }],
        elsewhere: [],
        unproven: [],
        keyAltNames: 0,
        schemas: [],
        notChosen: [],
      });
      await place.readsAs({ aws: lab.aws });
    }
  });

  it('a second run with the same choice says what was done, writes nothing, and makes no further key', async () => {
    for (const choose of [(place) => ({ createdBefore: place.cutOff }), (place) => ({ keyIds: idsOf(place) }), () => ({ all: true })]) {
      const place = await hospital(lab, { documents: 2 });
      await run(place, choose(place));
      const before = await place.dump();
      const store = countingStore(place.store);
      const again = await run(place, { ...choose(place), keyVault: store });
      assert.equal(again.ok, true, JSON.stringify(again.failures));
      assert.deepEqual([again.keys.planned, again.keys.migrated, again.keys.alreadyDone], [3, 0, 3]);
      assert.deepEqual(Object.values(reasons(again)).sort(), ['chosen', 'chosen', 'chosen', 'replacement', 'replacement', 'replacement']);
      assert.equal(store.writes, 0);
      assert.deepEqual(await place.dump(), before);
    }
  });

  it('once the old keys are removed, the same date finds no key older than it', async () => {
    const place = await hospital(lab, { documents: 2 });
    assert.equal((await run(place, { deleteOldKeys: true })).keys.deleted, 3);
    const before = await place.dump();
    const again = await run(place, { deleteOldKeys: true });
    assert.equal(again.ok, true, JSON.stringify(again.failures));
    assert.deepEqual([again.keys.planned, again.keys.deleted, Object.values(reasons(again))], [0, 0, ['made-later', 'made-later', 'made-later']]);
    assert.deepEqual(again.remaining.notChosen, []);
    assert.deepEqual(await place.dump(), before);
  });

  it('keyIds of removed keys count as done, unless a value is still under one of them', async () => {
    const place = await hospital(lab, { documents: 2 });
    const value = await place.encryption.encrypt('late', { algorithm: DETERMINISTIC, keyId: place.keys.ssn });
    const choice = { keyIds: idsOf(place), deleteOldKeys: true };
    assert.equal((await run(place, choice)).keys.deleted, 3);
    const before = await place.dump();
    const again = await run(place, choice);
    assert.equal(again.ok, true, JSON.stringify(again.failures));
    assert.deepEqual([again.keys.planned, again.remaining.keys], [0, []]);
    assert.deepEqual(await place.dump(), before);
    const missing = randomUUID();
    const more = await run(place, { ...choice, keyIds: [...choice.keyIds, missing] });
    assert.equal(more.ok, false);
    assert.deepEqual(failuresOf(more), [{ kind: 'check', id: 'keys-chosen', code: 'MIGRATION_NO_KEYS_CHOSEN' }]);
    // A writer that kept the old key in its cache.
    await place.patients.insertOne({ late: value });
    const late = await run(place, choice);
    assert.equal(late.ok, false);
    assert.deepEqual(late.remaining.values, [{ namespace: place.patientsNamespace, values: 1 }]);
  });

  it('after an interruption during the removal of keys, the same command removes the rest', async () => {
    const place = await hospital(lab, { documents: 2 });
    const choice = { keyIds: idsOf(place), deleteOldKeys: true };
    // As when the process ends after the first key: no call of the store is answered any more.
    let isDead = false;
    const call =
      (method) =>
      async (...args) => {
        if (isDead) throw new Error('killed');
        return place.store[method](...args);
      };
    const store = Object.fromEntries(
      Object.keys(place.store)
        .filter((name) => typeof place.store[name] === 'function')
        .map((name) => [name, call(name)]),
    );
    const { retireKey } = store;
    store.retireKey = async (...args) => {
      const count = await retireKey(...args);
      isDead = true;
      return count;
    };
    await run(place, { ...choice, keyVault: store, dataClients: [lab.client] });
    assert.equal(await place.vault.countDocuments({ _id: { $in: Object.values(place.keys) } }), 2);
    const again = await run(place, choice);
    assert.equal(again.ok, true, JSON.stringify([again.failures, again.remaining]));
    assert.deepEqual([again.keys.deleted, again.remaining.keys], [2, []]);
    await place.readsAs({ aws: lab.aws });
  });

  it('keys by id: the others keep their values, and the report says how many', async () => {
    const place = await hospital(lab, { documents: 3 });
    await place.migrate({ execute: true });
    const notes = place.keys.notes.toHexString(true);
    const report = await run(place, { keyIds: [notes.toUpperCase()] });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(report.choice, { keyIds: [notes] });
    assert.deepEqual(
      (await exposed(place)).map(([id]) => id).sort(),
      idsOf(place)
        .filter((id) => id !== notes)
        .sort(),
    );
    const stay = ({ keyId, values, reason }) => [keyId, values, reason];
    const expected = [
      [place.keys.ssn.toHexString(true), 3, 'not-named'],
      [place.keys.plain.toHexString(true), 3, 'not-named'],
    ].sort();
    assert.deepEqual(report.remaining.notChosen.map(stay).sort(), expected);
    assert.deepEqual(report.plan.notChosen.map(stay).sort(), expected);
    // They are under the target, by the rewrap, with the data key of before.
    assert.deepEqual(failedChecks(report), [{ name: 'keys-under-target', code: undefined, required: false }]);
  });

  it('an id that the key vault does not have is asked for and not done', async () => {
    const place = await hospital(lab, { documents: 1 });
    const missing = randomUUID();
    const report = await run(place, { keyIds: [place.keys.ssn, missing] });
    assert.equal(report.ok, false);
    assert.deepEqual(report.remaining.keys, [{ keyId: missing, reason: 'not-in-vault' }]);
    assert.deepEqual(failedChecks(report), [{ name: 'keys-chosen', code: 'KEY_VAULT_KEY_NOT_FOUND', required: false }]);
    const none = await run(place, { keyIds: [missing] });
    assert.deepEqual(failuresOf(none), [{ kind: 'check', id: 'keys-chosen', code: 'MIGRATION_NO_KEYS_CHOSEN' }]);
  });

  it('a source restricts the choice, and what it leaves out is said', async () => {
    const place = await hospital(lab, { documents: 3 });
    await place.migrate({ execute: true, keyFilter: { _id: place.keys.ssn } });
    const report = await run(place, { from: { provider: 'local' } });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(report.remaining.notChosen, [{ keyId: place.keys.ssn.toHexString(true), values: 3, reason: 'left-out' }]);
    const rest = await run(place);
    assert.deepEqual([rest.ok, rest.keys.migrated, rest.keys.alreadyDone, rest.remaining.notChosen], [true, 1, 2, []]);
    assert.deepEqual(await exposed(place), []);
  });

  it('after a second leak, a later date replaces the replacements too, and a stop after any write is taken up again', async () => {
    const firstRun = async () => {
      const place = await hospital(lab, { documents: 1 });
      await run(place);
      await new Promise((resolve) => setTimeout(resolve, 2));
      const before = [...new Set((await place.lookAt.vault()).map(({ _id }) => new bson.UUID(_id.buffer).toHexString(true)))];
      return { place, before, createdBefore: new Date() };
    };
    const check = async ({ place, before }) => {
      assert.deepEqual(await exposed(place, before), []);
      await place.readsAs({ aws: lab.aws });
      const holders = await Promise.all(
        (await place.lookAt.vault()).map(async ({ _id }) => [
          new bson.UUID(_id.buffer).toHexString(true),
          await namesOf(place, new bson.UUID(_id.buffer).toHexString(true)),
        ]),
      );
      assert.deepEqual(
        holders
          .filter(([, names]) => names.length > 0)
          .map(([id, names]) => [before.includes(id), names])
          .sort(),
        [
          [false, ['notes']],
          [false, ['patients.ssn', 'ssn']],
        ],
      );
    };
    const whole = await firstRun();
    const counting = countingStore(whole.place.store);
    const report = await run(whole.place, { createdBefore: whole.createdBefore, keyVault: counting });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual([report.keys.planned, report.keys.migrated, report.keys.alreadyDone], [6, 3, 3]);
    await check(whole);
    for (let writes = 1; writes < counting.writes; writes += 3) {
      const lab2 = await firstRun();
      const stopped = await run(lab2.place, { createdBefore: lab2.createdBefore, keyVault: mortalStore(lab2.place.store, writes), kmsConcurrency: 1 });
      assert.equal(stopped.ok, false);
      const next = await run(lab2.place, { createdBefore: lab2.createdBefore });
      assert.equal(next.ok, true, `after ${writes}: ${JSON.stringify(next.failures)}`);
      await check(lab2);
    }
  });

  it('after a second leak in the middle of the names, they pass along to the last keys', async () => {
    const place = await hospital(lab, { documents: 1 });
    // 3 new keys, then one write of the first name: it is on neither key, only reserved.
    await run(place, { keyVault: mortalStore(place.store, 4), kmsConcurrency: 1 });
    await new Promise((resolve) => setTimeout(resolve, 2));
    const report = await run(place, { createdBefore: new Date(), deleteOldKeys: true });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual((await place.lookAt.vault()).flatMap(({ keyAltNames = [] }) => keyAltNames).sort(), ['notes', 'patients.ssn', 'ssn']);
    await place.readsAs({ aws: lab.aws });
  });

  it('a key whose creation date is missing or impossible counts as old', async () => {
    const place = await hospital(lab, { documents: 1 });
    await place.vault.updateOne({ _id: place.keys.ssn }, { $set: { creationDate: new Date('2199-01-01') } });
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { creationDate: 'long ago' } });
    const report = await run(place, { createdBefore: new Date(0) });
    const { ssn, notes, plain } = Object.fromEntries(Object.entries(place.keys).map(([name, id]) => [name, reasons(report)[id.toHexString(true)]]));
    assert.deepEqual({ ssn, notes, plain }, { ssn: 'chosen', notes: 'malformed', plain: 'made-later' });
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.notes.toHexString(true), code: 'KEY_VAULT_FIELD_INVALID' }]);
    assert.deepEqual(report.remaining.keys, [{ keyId: place.keys.notes.toHexString(true), reason: 'not-done' }]);
    assert.deepEqual(report.remaining.values, [{ namespace: place.patientsNamespace, values: 2 }]);
  });

  it('the wrong key vault is no success', async () => {
    const place = await hospital(lab, { documents: 1 });
    const other = await hospital(lab, { documents: 0 });
    const nothing = async (options) => failuresOf(await run(place, options));
    const expected = [{ kind: 'check', id: 'keys-chosen', code: 'MIGRATION_NO_KEYS_CHOSEN' }];
    assert.deepEqual(await nothing({ keyVault: { client: lab.client, namespace: other.namespace }, createdBefore: new Date(0) }), expected);
    const empty = await nothing({ keyVault: { client: lab.client, namespace: `${place.database}.nowhere` } });
    assert.deepEqual(
      empty.filter(({ id }) => id === 'keys-chosen'),
      expected,
    );
  });

  it('choices that make no sense are refused at once', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const none = { createdBefore: undefined };
    for (const options of [
      {},
      { all: false },
      { all: 1 },
      { all: true, deleteOldKeys: true },
      { all: true, createdBefore: place.cutOff },
      { all: true, keyIds: [place.keys.ssn] },
      {
        createdBefore: new Date(Date.now() + 60_000),
      },
      { createdBefore: new Date('never') },
      { createdBefore: place.cutOff.toISOString() },
      { createdBefore: place.cutOff.getTime() },
      { keyIds: [] },
      { keyIds: place.keys.ssn },
      { keyIds: ['ssn'] },
      { keyIds: [5] },
      { keyIds: [new bson.Binary(Buffer.alloc(16), 0)] },
      { all: true, collections: [] },
    ])
      await assert.rejects(run(place, { ...none, ...options }), { name: 'CsfleError', code: 'OPTION_INVALID' }, JSON.stringify(options));
    for (const options of [{ createdBefore: place.cutOff }, { keyIds: [place.keys.ssn] }, { all: true }]) {
      await assert.rejects(place.migrate(options), { code: 'OPTION_INVALID' });
      await assert.rejects(run(place, { mode: 'decrypt', ...options }), { code: 'OPTION_INVALID' });
    }
    assert.deepEqual(await place.dump(), before);
  });
});
