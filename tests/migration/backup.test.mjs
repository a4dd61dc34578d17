import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { restoreKeyVault } from 'csfle-wasm';
import { countingStore, failuresOf, hospital, openLab } from './fixtures.mjs';

describe('backup and restore', { timeout: 240_000 }, () => {
  let lab;
  before(async () => { lab = await openLab(); });
  after(() => lab.close());

  const keyVaultOf = (place) => ({ client: lab.client, namespace: place.namespace });

  it('the backup is taken before the first write, and holds the keys as they were', async () => {
    const place = await hospital(lab, { documents: 0 });
    const vault = await place.vault.find().sort({ _id: 1 }).toArray();
    const store = countingStore(place.store);
    let writesAtBackup;
    let documents;
    const report = await place.migrate({ execute: true, keyVault: store, onBackup: (given) => { writesAtBackup = store.writes; documents = given; } });
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

  it('a backup that fails keeps everything from starting', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const report = await place.migrate({ execute: true, onBackup: async () => { throw new Error('disk full'); } });
    assert.equal(report.executed, false);
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [{ kind: 'backup', id: 'onBackup', code: 'MIGRATION_BACKUP_FAILED' }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('restore puts wrappings back where they differ, and only those', async () => {
    const place = await hospital(lab, { documents: 3 });
    await place.migrate({ execute: true, keyFilter: { keyAltNames: { $in: ['ssn', 'notes'] } }, onBackup: () => {} });
    const documents = await place.vault.find().toArray();
    await place.migrate({ execute: true });
    await place.vault.updateOne({ _id: place.keys.ssn }, { $push: { keyAltNames: 'added later' } });
    const plan = await restoreKeyVault({ keyVault: keyVaultOf(place), documents });
    assert.deepEqual([plan.executed, plan.restored, plan.unchanged], [false, [place.keys.plain.toHexString(true)], 2]);
    assert.equal((await place.vault.findOne({ _id: place.keys.plain })).masterKey.provider, 'aws');
    const report = await restoreKeyVault({ keyVault: keyVaultOf(place), documents, execute: true });
    assert.deepEqual([report.ok, report.restored, report.unchanged], [true, [place.keys.plain.toHexString(true)], 2]);
    assert.deepEqual((await place.vault.findOne({ _id: place.keys.plain })).masterKey, { provider: 'local' });
    // Names that came later stay.
    assert.ok((await place.vault.findOne({ _id: place.keys.ssn })).keyAltNames.includes('added later'));
    await place.readsAs(place.kmsProviders);
    const store = countingStore(place.store);
    assert.equal((await restoreKeyVault({ keyVault: store, documents, execute: true })).unchanged, 3);
    assert.equal(store.writes, 0);
  });

  it('a whole vault moves back to the local master key by its backup alone', async () => {
    const place = await hospital(lab, { documents: 3 });
    let documents;
    await place.migrate({ execute: true, onBackup: (given) => { documents = given; } });
    assert.equal((await restoreKeyVault({ keyVault: keyVaultOf(place), documents, execute: true })).restored.length, 3);
    await place.readsAs({ local: place.local });
  });

  it('a wrapping that unwraps to other key material than the present one is not restored', async () => {
    const place = await hospital(lab, { documents: 3 });
    let documents;
    await place.migrate({ execute: true, onBackup: (given) => { documents = given; } });
    const mixed = documents.map((document, index) => (index === 0 ? { ...document, keyMaterial: documents[1].keyMaterial } : document));
    const before = await place.dump();
    const options = { keyVault: keyVaultOf(place), documents: mixed, kmsProviders: place.kmsProviders };
    const expected = [{ kind: 'key', id: mixed[0]._id.toHexString(true), code: 'KMS_REPLY_MISMATCH' }];
    assert.deepEqual(failuresOf(await restoreKeyVault(options)), expected);
    assert.deepEqual(await place.dump(), before);
    const report = await restoreKeyVault({ ...options, execute: true });
    assert.deepEqual([failuresOf(report), report.restored.length, report.unproven], [expected, 2, []]);
    await place.readsAs(place.kmsProviders);
    // A key that its present wrapping does not open is what a backup is for; one whose provider is not at hand is not tried.
    const unproven = await restoreKeyVault({ ...options, documents, kmsProviders: { aws: lab.aws }, execute: true });
    assert.deepEqual([unproven.ok, unproven.unproven], [true, [documents[0]._id.toHexString(true)]]);
    await place.readsAs(place.kmsProviders);
  });

  it('a key that is gone is named, or added again when asked for', async () => {
    const place = await hospital(lab, { documents: 3 });
    const documents = await place.vault.find().toArray();
    await place.vault.deleteOne({ _id: place.keys.notes });
    const named = await restoreKeyVault({ keyVault: keyVaultOf(place), documents, execute: true });
    assert.equal(named.ok, false);
    assert.deepEqual(failuresOf(named), [{ kind: 'key', id: place.keys.notes.toHexString(true), code: 'KEY_VAULT_KEY_NOT_FOUND' }]);
    const added = await restoreKeyVault({ keyVault: keyVaultOf(place), documents, execute: true, insertMissing: true });
    assert.deepEqual([added.ok, added.inserted], [true, [place.keys.notes.toHexString(true)]]);
    await place.readsAs({ local: place.local });
  });

  it('a key that others change during every attempt is a conflict, a store that forgets is found out', async () => {
    const place = await hospital(lab, { documents: 0 });
    const documents = await place.vault.find({ _id: place.keys.ssn }).toArray();
    await place.migrate({ execute: true });
    const conflict = await restoreKeyVault({ keyVault: { ...countingStore(place.store), rewrapIf: async () => false }, documents, execute: true });
    assert.deepEqual(conflict.failures.map(({ code }) => code), ['KEY_VAULT_CONFLICT']);
    const forgetful = await restoreKeyVault({ keyVault: { ...countingStore(place.store), rewrapIf: async () => true }, documents, execute: true });
    assert.deepEqual(forgetful.failures.map(({ code }) => code), ['MIGRATION_VERIFICATION_FAILED']);
  });

  it('refuses what is no backup', async () => {
    const place = await hospital(lab, { documents: 0 });
    await assert.rejects(restoreKeyVault({ keyVault: keyVaultOf(place), documents: [{ _id: 1 }] }), { code: 'ARGUMENT_INVALID' });
    await assert.rejects(restoreKeyVault({ keyVault: keyVaultOf(place), documents: [], force: true }), { code: 'OPTION_INVALID' });
  });

  it('an abort stops between keys', async () => {
    const place = await hospital(lab, { documents: 0 });
    const documents = await place.vault.find().toArray();
    await place.migrate({ execute: true });
    const report = await restoreKeyVault({ keyVault: keyVaultOf(place), documents, execute: true, signal: AbortSignal.abort() });
    assert.deepEqual([report.interrupted, report.ok, report.restored], [true, false, []]);
  });
});
