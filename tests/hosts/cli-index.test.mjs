// `csfle keys index`, and the messages that recommend it.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Binary, UUID } from 'bson';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle and the index on alternate names', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openCommandLab();
  });
  after(() => lab.close());

  const json = async (place, ...args) => {
    const { code, stdout } = await csfle([...args, '--json', '--key-vault', place.namespace], {
      env: { MONGODB_URI: lab.uri, CSFLE_LOCAL_KEY: place.masterKey.toString('base64') },
    });
    return { code, document: JSON.parse(stdout) };
  };
  const isUnique = async ({ vault }) => (await vault.indexes()).some(({ key, unique }) => 'keyAltNames' in key && unique);

  it('is created by the command that doctor and the plan name', async () => {
    const place = await hospital(lab, { documents: 1, index: false });
    const { document } = await json(place, 'doctor', '--collection', place.patientsNamespace);
    const { state, remedy } = document.findings.find(({ name }) => name === 'alternate name index');
    assert.deepEqual([state, remedy], ['warn', `Run: csfle keys index --key-vault ${place.namespace}`]);
    const { document: plan } = await json(
      place,
      'migrate',
      '--mode',
      'reencrypt',
      '--all-keys',
      '--collection',
      place.patientsNamespace,
      '--to',
      'local:new',
      '--execute',
      '--no-backup',
    );
    const failure = plan.failures.find(({ code }) => code === 'MIGRATION_INDEX_MISSING');
    assert.ok(failure.message.includes(place.namespace) && failure.remedy.includes('csfle keys index --key-vault'), JSON.stringify(failure));

    // mongosh leaves no empty arrays either: the index would take two of them for one name.
    for (let n = 0; n < 2; n += 1)
      await place.vault.insertOne({
        _id: new UUID(),
        keyAltNames: [],
        keyMaterial: new Binary(Buffer.alloc(160)),
        creationDate: new Date(),
        updateDate: new Date(),
        status: 0,
        masterKey: { provider: 'local' },
      });
    assert.deepEqual(await json(place, 'keys', 'index'), { code: 0, document: { keyVault: place.namespace, created: true } });
    assert.equal(await isUnique(place), true);
    assert.equal(await place.vault.countDocuments({ keyAltNames: { $size: 0 } }), 0);
    assert.deepEqual(await json(place, 'keys', 'index'), { code: 0, document: { keyVault: place.namespace, created: false } });
  });

  it('is not created while two keys share an alternate name, which the error names', async () => {
    const place = await hospital(lab, { documents: 0, index: false });
    await place.vault.updateOne({ _id: place.keys.plain }, { $set: { keyAltNames: ['notes'] } });
    const { code, document } = await json(place, 'keys', 'index');
    assert.deepEqual([code, document.error.code], [1, 'MIGRATION_INDEX_MISSING']);
    for (const part of ['"notes"', place.keys.notes.toHexString(true), place.keys.plain.toHexString(true)])
      assert.ok(document.error.message.includes(part), part);
    assert.equal((await json(place, 'keys', 'alt-name', 'remove', place.keys.plain.toHexString(true), 'notes')).code, 0);
    assert.equal((await json(place, 'keys', 'index')).code, 0);
  });

  it('is created by keys create too', async () => {
    const place = await hospital(lab, { documents: 0, index: false });
    assert.equal((await json(place, 'keys', 'create', '--alt-name', 'new')).code, 0);
    assert.equal(await isUnique(place), true);
  });
});
