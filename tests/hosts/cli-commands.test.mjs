import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { MongoClient } from 'mongodb';
import { startServices } from '../../js/dev/services.mjs';
import { hospital, RANDOM } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle keys, decrypt and doctor', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  let place;
  let keyFile;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    folder = lab.folder;
    place = await hospital(lab, { documents: 5 });
    keyFile = await lab.keyFileOf(place);
  });
  after(() => lab.close());

  const run = (...args) => csfle([...args, '--key-vault', place.namespace], { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint } });
  const json = async (...args) => {
    const { code, stdout, stderr } = await run(...args, '--json');
    return { code, stderr, ...JSON.parse(stdout) };
  };

  it('an error of the server is named, and not quoted: its message may hold values of documents', async () => {
    const failPoint = (mode, data) => lab.client.db('admin').command({ configureFailPoint: 'failCommand', mode, ...(data && { data }) });
    await failPoint('alwaysOn', { failCommands: ['find'], errorCode: 13 });
    try {
      const { code, stderr } = await run('keys', 'list');
      assert.equal(code, 1);
      assert.match(stderr, /server code 13/);
      assert.match(stderr, /cause: MongoServerError$/m);
    } finally {
      await failPoint('off');
    }
  });

  it('keys list and show print everything but key material', async () => {
    const { code, keys } = await json('keys', 'list');
    assert.equal(code, 0);
    assert.deepEqual(
      keys.map(({ id }) => id).sort(),
      Object.values(place.keys)
        .map((id) => id.toHexString(true))
        .sort(),
    );
    const shown = await json('keys', 'show', 'notes');
    assert.deepEqual([shown.id, shown.keyAltNames, shown.masterKey, shown.status], [place.keys.notes.toHexString(true), ['notes'], { provider: 'local' }, 0]);
    assert.match((await run('keys', 'list')).stdout, /3 keys in /);
    assert.equal((await run('keys', 'show', 'nobody')).code, 1);
  });

  it('keys create, alt-name and delete', async () => {
    const local = await json('keys', 'create', '--local-key-file', keyFile, '--alt-name', 'made', '--alt-name', 'made too');
    assert.equal(local.code, 0);
    const aws = await json('keys', 'create', '--to', 'aws', '--key-arn', lab.to.key);
    assert.deepEqual(aws.masterKey, lab.to);
    assert.deepEqual((await json('keys', 'alt-name', 'add', aws.id, 'in the cloud')).keyAltNames, ['in the cloud']);
    assert.equal((await json('keys', 'alt-name', 'add', aws.id, 'made')).error.code, 'KEY_VAULT_DUPLICATE_KEY');
    assert.deepEqual((await json('keys', 'alt-name', 'remove', 'made', 'made too')).keyAltNames, ['made']);
    // Without the master key nobody knows what the encrypted objects of the collection hold.
    const blind = await json('keys', 'delete', 'made', '--yes');
    assert.deepEqual([blind.code, blind.deletedCount, blind.failures[0].code], [1, 0, 'KEY_VAULT_KEY_IN_USE']);
    assert.deepEqual(blind.keys[0].uses, [{ namespace: place.patientsNamespace, kind: 'unopened', count: 5 }]);
    const remove = (...args) => json('keys', 'delete', ...args, '--local-key-file', keyFile);
    assert.equal((await run('keys', 'delete', 'made', '--local-key-file', keyFile)).code, 2);
    // A schema file that names the key, and one that cannot be read, count as use.
    const schema = join(folder, 'schema.json');
    await writeFile(schema, JSON.stringify({ fields: [{ path: 'x', keyAltName: 'made' }] }));
    const named = await remove('made', '--yes', '--schema-file', schema);
    assert.deepEqual([named.deletedCount, named.keys[0].uses.map(({ namespace, kind }) => [namespace, kind])], [0, [[`schema file ${schema}`, 'schema']]]);
    assert.equal((await remove('made', '--yes', '--schema-file', join(folder, 'none.json'))).keys[0].uses[0].kind, 'unreadable');
    assert.equal((await remove('made', '--yes')).deletedCount, 1);
    assert.equal((await remove(aws.id, '--yes')).deletedCount, 1);
    assert.equal(await place.vault.countDocuments(), 3);
  });

  it('keys delete searches every namespace; keys retired, restore and purge list, restore and destroy retired keys', async () => {
    const used = await json('keys', 'delete', 'ssn', '--yes', '--local-key-file', keyFile);
    assert.deepEqual([used.code, used.deletedCount, used.failures[0].code], [1, 0, 'KEY_VAULT_KEY_IN_USE']);
    assert.deepEqual(used.keys[0].uses, [{ namespace: place.patientsNamespace, kind: 'value', count: 5 }]);
    const skip = ['--skip-namespace', place.patientsNamespace];
    assert.equal((await json('keys', 'delete', 'ssn', '--yes', '--local-key-file', keyFile, ...skip)).error.code, 'CLI_OPTION_INVALID');
    const told = [...skip, '--skip-reason', 'a test'];
    assert.equal((await json('keys', 'delete', 'ssn', '--yes', '--local-key-file', keyFile, ...told)).deletedCount, 1);
    const { retired } = await json('keys', 'retired');
    assert.ok(retired.some(({ keyAltNames, reason }) => keyAltNames.includes('ssn') && reason.endsWith('(a test)')));
    assert.equal((await run('keys', 'retired')).code, 0);
    // Purging asks again, and what is in use stays.
    const purge = (...args) => json('keys', 'purge', '--local-key-file', keyFile, ...args);
    assert.deepEqual((await purge('--before', '2020-01-01', '--execute', '--yes')).keys, []);
    for (const before of ['tomorrow', '30', '2026-02-30', '2999-01-01'])
      assert.equal((await purge('--before', before)).error.code, 'CLI_OPTION_INVALID', before);
    const now = new Date().toISOString();
    const schema = join(folder, 'schema.json');
    await writeFile(schema, JSON.stringify({ fields: [{ path: 'x', keyAltName: 'made' }] }));
    assert.deepEqual((await purge('--before', now, '--schema-file', schema)).keys.map(({ outcome }) => outcome).sort(), ['kept', 'kept', 'unused']);
    const unasked = await purge('--before', now, '--execute');
    assert.deepEqual([unasked.code, unasked.error.code], [2, 'CLI_CONFIRMATION_MISSING']);
    const purged = await purge('--before', now, '--execute', '--yes');
    assert.equal(purged.code, 1);
    assert.deepEqual(purged.keys.map(({ outcome }) => outcome).sort(), ['kept', 'purged', 'purged']);
    assert.equal((await json('keys', 'restore')).error.code, 'CLI_OPTION_INVALID');
    assert.equal((await json('keys', 'restore', 'nobody')).code, 1);
    assert.equal((await json('keys', 'restore', 'ssn')).restored.length, 1);
    assert.equal((await json('keys', 'restore', '--all')).present.length, 1);
    await place.readsAs({ local: place.local });
  });

  it('keys delete also searches a second deployment that --data-uri or CSFLE_DATA_URIS names', async () => {
    await json('keys', 'create', '--local-key-file', keyFile, '--alt-name', 'used elsewhere');
    const second = await startServices({ kms: false, env: {} });
    const client = await MongoClient.connect(second.mongodbUri);
    try {
      const v = await place.encryption.encrypt('x', { algorithm: RANDOM, keyAltName: 'used elsewhere' });
      await client.db('far').collection('away').insertOne({ v });
      const args = ['keys', 'delete', 'used elsewhere', '--yes', '--local-key-file', keyFile];
      const told = await json(...args, '--data-uri', second.mongodbUri);
      const env = { MONGODB_URI: lab.uri, CSFLE_DATA_URIS: `${lab.uri} ${second.mongodbUri}` };
      const variable = await csfle([...args, '--key-vault', place.namespace, '--json'], { env });
      for (const { code, deletedCount, keys } of [told, { code: variable.code, ...JSON.parse(variable.stdout) }]) {
        assert.deepEqual([code, deletedCount, keys[0].uses], [1, 0, [{ namespace: 'far.away', kind: 'value', count: 1 }]]);
      }
      assert.equal((await json(...args)).deletedCount, 1, 'the key vault of one deployment does not know of the other');
    } finally {
      await client.close();
      await second.stop();
    }
  });

  it('keys rewrap, one, all, and back', async () => {
    assert.equal((await run('keys', 'rewrap')).code, 2);
    const one = await json('keys', 'rewrap', 'notes', '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', keyFile);
    assert.equal(one.rewrapped, 1);
    assert.equal((await json('keys', 'rewrap', '--all', '--local-key-file', keyFile)).rewrapped, 3);
    assert.equal((await place.vault.findOne({ keyAltNames: 'notes' })).masterKey.provider, 'aws');
    assert.equal((await json('keys', 'rewrap', 'notes', '--to', 'local', '--local-key-file', keyFile)).rewrapped, 1);
    assert.equal((await run('keys', 'rewrap', 'nobody', '--local-key-file', keyFile)).code, 1);
    await place.readsAs({ local: place.local });
  });

  it('keys backup and keys restore name the commands that replace them', async () => {
    await writeFile(join(folder, 'keys.jsonl'), '');
    for (const [command, next] of [
      ['backup', 'create'],
      ['restore', 'restore'],
    ]) {
      const { error } = await json('keys', command, join(folder, 'keys.jsonl'));
      assert.equal(error.code, 'CLI_OPTION_INVALID');
      assert.match(error.remedy, new RegExp(`csfle backup ${next} `));
    }
  });

  it('decrypt prints documents as extended JSON, one per line, all or one', async () => {
    const all = await run('decrypt', place.patientsNamespace, '--local-key-file', keyFile);
    assert.equal(all.code, 0, all.stderr);
    const canonical = (document) => bson.EJSON.stringify(bson.deserialize(bson.serialize(document), { promoteValues: false }), { relaxed: false });
    assert.deepEqual(all.stdout.trim().split('\n').sort(), place.originals.map(canonical).sort());
    const one = await run('decrypt', place.patientsNamespace, '--local-key-file', keyFile, '--id', '3', '--relaxed');
    assert.deepEqual(JSON.parse(one.stdout).ssn, place.originals[3].ssn);
    const array = JSON.parse((await run('decrypt', place.patientsNamespace, '--local-key-file', keyFile, '--json', '--filter', '{"_id": {"$lt": 2}}')).stdout);
    assert.equal(array.length, 2);
    assert.deepEqual(JSON.parse((await run('decrypt', place.patientsNamespace, '--json', '--filter', '{"_id": 99}')).stdout), []);
  });

  it('decrypt finds ids of every kind', async () => {
    const collection = lab.client.db(place.database).collection('ids');
    const ids = [new bson.ObjectId(), new bson.UUID(), 'plain text', '507f1f77bcf86cd799439011', 7, { a: 1 }];
    await collection.insertMany(ids.map((_id) => ({ _id })));
    for (const id of ids) {
      const text = typeof id === 'object' && !id._bsontype ? JSON.stringify(id) : String(id);
      const { code, stdout } = await run('decrypt', `${place.database}.ids`, '--id', text);
      assert.equal(code, 0, text);
      assert.deepEqual(bson.EJSON.parse(stdout)._id, id);
    }
  });

  it('decrypt names documents that fail, prints the others, and exits with 1', async () => {
    const damaged = lab.client.db(place.database).collection('damaged');
    const [first, second] = await place.patients.find().limit(2).toArray();
    second.ssn.buffer[60] ^= 1;
    await damaged.insertMany([first, second]);
    const { code, stdout, stderr } = await run('decrypt', `${place.database}.damaged`, '--local-key-file', keyFile);
    assert.equal(code, 1);
    assert.equal(stdout.trim().split('\n').length, 1);
    assert.match(stderr, /document 1: .*\[CRYPTO_AUTHENTICATION_FAILED\]/);
    assert.equal((await run('decrypt', place.patientsNamespace, '--id', 'nobody')).code, 1);
    const bad = await run('decrypt', place.patientsNamespace, '--filter', '{');
    assert.equal(bad.code, 2);
    assert.equal((await run('decrypt', 'nodot')).code, 2);
    assert.equal((await run('decrypt', place.patientsNamespace, '--id', '1', '--filter', '{}')).code, 2);
  });

  it('doctor finds everything in order, and says what is not', async () => {
    const good = await json('doctor', '--local-key-file', keyFile);
    assert.equal(good.code, 0, JSON.stringify(good));
    assert.equal(good.ok, true);
    const names = new Set(good.findings.map(({ name }) => name));
    for (const name of [
      'node',
      'csfle-wasm',
      'webassembly',
      'bson',
      'mongodb',
      'local key file',
      'server',
      'key vault',
      'key vault writable',
      'alternate name index',
      'data key',
    ])
      assert.ok(names.has(name), name);
    assert.equal(good.findings.filter(({ name, state }) => name === 'data key' && state !== 'fail').length, 3);

    const detailOf = (found) => found.findings.filter(({ name }) => name === 'data key').map(({ detail }) => detail.split(': ')[1]);
    for (const detail of detailOf(good)) assert.match(detail, /^opens [45] of 5 sampled values$/);
    const elsewhere = await json('doctor', '--local-key-file', keyFile, '--collection', `${place.database}.absent`);
    // The collection is not there, which is a failure of its own.
    assert.equal(elsewhere.findings.filter(({ state }) => state === 'fail').length, 1);
    assert.deepEqual(
      [elsewhere.code, ...detailOf(elsewhere)],
      [1, ...Array(3).fill('unwraps; not proven, no value under it in the first 2,000 documents of each collection')],
    );
    // Two keys exchanged: both unwrap, and neither opens a value.
    const exchange = async () => {
      const [one, two] = await Promise.all([place.keys.ssn, place.keys.notes].map((_id) => place.vault.findOne({ _id })));
      await place.vault.updateOne({ _id: one._id }, { $set: { keyMaterial: two.keyMaterial } });
      await place.vault.updateOne({ _id: two._id }, { $set: { keyMaterial: one.keyMaterial } });
    };
    await exchange();
    const exchanged = await json('doctor', '--local-key-file', keyFile, '--collection', place.patientsNamespace);
    await exchange();
    assert.equal(exchanged.code, 1);
    assert.deepEqual(
      exchanged.findings.filter(({ state }) => state === 'fail').map(({ code }) => code),
      Array(2).fill('CRYPTO_AUTHENTICATION_FAILED'),
    );

    await chmod(keyFile, 0o640);
    const exposed = await json('doctor', '--local-key-file', keyFile);
    await chmod(keyFile, 0o600);
    assert.equal(exposed.code, 1);
    assert.deepEqual(exposed.findings.filter(({ state }) => state === 'fail').map(({ code }) => code)[0], 'CLI_KEY_FILE_EXPOSED');
    assert.match(exposed.findings.find(({ state }) => state === 'fail').remedy, /^Run: chmod 600 /);

    const withoutKey = await json('doctor');
    assert.equal(withoutKey.code, 0);
    assert.equal(withoutKey.findings.filter(({ name, state }) => name === 'data key' && state === 'warn').length, 3);

    const nowhere = await csfle(['doctor', '--json'], { env: { MONGODB_URI: 'mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300' } });
    assert.equal(nowhere.code, 1);
    assert.ok(JSON.parse(nowhere.stdout).findings.some(({ code }) => code === 'CLI_SERVER_UNREACHABLE'));
  });
});
