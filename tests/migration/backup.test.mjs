import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { restoreBackup, verifyBackup } from 'csfle-wasm';
import { countingStore, failuresOf, hospital, openLab } from './fixtures.mjs';

describe('backup and restore', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  it('the backup is taken before the first write, and holds the keys as they were', async () => {
    const place = await hospital(lab, { documents: 0 });
    const vault = await place.vault.find().sort({ _id: 1 }).toArray();
    const store = countingStore(place.store);
    let writesAtBackup;
    let documents;
    const report = await place.migrate({
      execute: true,
      keyVault: store,
      onBackup: (given) => {
        writesAtBackup = store.writes;
        documents = given;
      },
    });
    assert.equal(report.ok, true);
    assert.equal(writesAtBackup, 0);
    const byId = (list) => list.map((key) => bson.EJSON.stringify(key)).sort();
    assert.deepEqual(byId(documents), byId(vault));
  });

  it('no backup is taken for a plan, or when nothing is to be done', async () => {
    const place = await hospital(lab, { documents: 0 });
    const onBackup = () => assert.fail('nothing to back up');
    await place.migrate({ onBackup });
    await place.migrate({ execute: true });
    assert.equal((await place.migrate({ execute: true, onBackup })).ok, true);
  });

  it('a migration whose backup fails writes nothing', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const report = await place.migrate({
      execute: true,
      onBackup: async () => {
        throw new Error('disk full');
      },
    });
    assert.equal(report.executed, false);
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [{ kind: 'backup', id: 'onBackup', code: 'MIGRATION_BACKUP_FAILED' }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('the documents of onBackup are enough to restore the whole vault under the local master key', async () => {
    const place = await hospital(lab, { documents: 3 });
    let documents;
    await place.migrate({
      execute: true,
      onBackup: (given) => {
        documents = given;
      },
    });
    const store = countingStore(place.store);
    const options = { keyVault: store, documents, overwrite: true, kmsProviders: place.kmsProviders };
    const plan = await restoreBackup(options);
    assert.deepEqual([plan.executed, plan.replaced.length, store.writes], [false, 3, 0]);
    // A wrapping is replaced only after a backup of it was written.
    await assert.rejects(restoreBackup({ ...options, execute: true }), { code: 'OPTION_INVALID' });
    const kept = [];
    const key = { passphrase: 'correct horse', argon2: { memoryKiB: 19_456, iterations: 2 } };
    const replaced = {
      key,
      write: ({ bytes }) => {
        kept.push({ bytes, writes: store.writes });
      },
    };
    const report = await restoreBackup({ ...options, execute: true, replaced });
    assert.deepEqual([report.ok, report.replaced.length, kept.map(({ writes }) => writes)], [true, 3, [0]]);
    await place.readsAs({ local: place.local });
    assert.equal((await verifyBackup(kept[0].bytes, key)).keys.length, 3);
  });
});
