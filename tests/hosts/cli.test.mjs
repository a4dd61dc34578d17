import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, onceOnStderr, slowKms, stallingServer } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle migrate', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    folder = lab.folder;
  });
  after(() => lab.close());

  // A vault with its key file, and the arguments that every call on it shares.
  async function ward(options) {
    const place = await hospital(lab, options);
    const keyFile = await lab.keyFileOf(place);
    const env = { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    const reencrypt = ['--mode', 'reencrypt', '--created-before', place.cutOff.toISOString(), '--collection', place.patientsNamespace];
    const args = ['migrate', '--key-vault', place.namespace, '--from', 'local', '--local-key-file', keyFile, '--to', 'aws', '--key-arn', lab.to.key];
    // Vaults of the other tests here are unknown to this one: their values would count as uses of any key.
    const { skipNamespaces, reason } = lab.elsewhere(place.database);
    const alone = [...skipNamespaces.flatMap((name) => ['--skip-namespace', name]), '--skip-reason', reason];
    return {
      ...place,
      keyFile,
      env,
      args,
      alone,
      reencrypt,
      run: (more = [], settings = {}) => csfle([...args, ...more], { ...settings, env: { ...env, ...settings.env } }),
    };
  }

  // The same arguments with another key file: two that have no name are refused.
  const withKeyFile = (place, file) => place.args.map((word) => (word === place.keyFile ? file : word));

  it('plans with exit code 0, writes nothing, and prints the plan on stdout', async () => {
    const place = await ward();
    const before = await place.dump();
    const { code, stdout, stderr } = await place.run();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /Nothing was written\. Add --execute/);
    assert.match(stdout, /patients\.ssn/);
    assert.match(stderr, /^checking keys: 3 of 3, /m);
    assert.deepEqual(await place.dump(), before);
  });

  it('executes with exit code 0 and a line per step on stderr', async () => {
    const place = await ward();
    const { code, stdout, stderr } = await place.run(['--execute']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /3 of 3 keys wrapped anew/);
    assert.match(stderr, /^wrapping keys anew: 3 of 3, \d+\.\d s$/m);
    assert.match(stderr, /^unwrapping every key again: 3 of 3, /m);
    assert.ok(!stderr.includes('\u001b'), 'no terminal control where there is no terminal');
    await place.readsAs({ aws: lab.aws });
  });

  it('--json prints one document, before and after', async () => {
    const place = await ward({ documents: 0 });
    const plan = JSON.parse((await place.run(['--json'])).stdout);
    assert.deepEqual([plan.executed, plan.ok, plan.plan.counts.migrate], [false, true, 3]);
    const report = JSON.parse((await place.run(['--json', '--execute'])).stdout);
    assert.deepEqual([report.executed, report.ok, report.keys.migrated, report.keys.verified], [true, true, 3, 3]);
  });

  it('--undo goes back', async () => {
    const place = await ward({ documents: 2 });
    await place.run(['--execute']);
    const { code, stderr } = await place.run(['--execute', '--undo']);
    assert.equal(code, 0, stderr);
    await place.readsAs({ local: place.local });
  });

  it('goes back the long way too, and between two local master keys', async () => {
    const place = await ward({ documents: 2 });
    await place.run(['--execute']);
    const back = await csfle(['migrate', '--key-vault', place.namespace, '--from', 'aws', '--to', 'local', '--local-key-file', place.keyFile, '--execute'], {
      env: place.env,
    });
    assert.equal(back.code, 0, back.stderr);
    await place.readsAs({ local: place.local });

    const newKey = randomBytes(96);
    const newFile = join(folder, `${place.database}.new.bin`);
    await writeFile(newFile, newKey, { mode: 0o600 });
    const args = [
      'migrate',
      '--key-vault',
      place.namespace,
      '--from',
      'local',
      '--local-key-file',
      place.keyFile,
      '--to',
      'local:new',
      '--to-local-key-file',
      newFile,
      '--execute',
    ];
    const over = await csfle(args, { env: place.env });
    assert.equal(over.code, 0, over.stderr);
    await place.readsAs({ 'local:new': { key: newKey } });
  });

  it('--key restricts it to keys by id and by alternate name', async () => {
    const place = await ward({ documents: 0 });
    const { code } = await place.run(['--execute', '--key', 'notes', '--key', place.keys.plain.toHexString(true)]);
    assert.equal(code, 0);
    const providers = Object.fromEntries((await place.vault.find().toArray()).map(({ _id, masterKey }) => [_id.toString(), masterKey.provider]));
    assert.deepEqual([providers[place.keys.ssn], providers[place.keys.notes], providers[place.keys.plain]], ['local', 'aws', 'aws']);
  });

  it('re-encrypts collections and schema files, and removes old keys when no collection needs them', async () => {
    const place = await ward({ documents: 4 });
    const schemaFile = join(folder, `${place.database}.schema.json`);
    const before = bson.EJSON.stringify({ [place.patientsNamespace]: { properties: { ssn: { encrypt: { bsonType: 'string', keyId: [place.keys.ssn] } } } } });
    await writeFile(schemaFile, before);
    const { code, stdout, stderr } = await place.run([...place.reencrypt, '--schema-file', schemaFile, '--delete-old-keys', '--execute', ...place.alone]);
    assert.equal(code, 0, stdout + stderr);
    await place.readsAs({ aws: lab.aws });
    const schema = bson.EJSON.parse(await readFile(schemaFile, 'utf8'));
    const [keyId] = schema[place.patientsNamespace].properties.ssn.encrypt.keyId;
    const key = await place.vault.findOne({ keyAltNames: 'ssn' });
    assert.equal(keyId.toString('hex'), key._id.toString('hex'));
    assert.equal(await readFile(`${schemaFile}.before-migration`, 'utf8'), before);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'local' }), 0);
    // The old keys are not lost: they come back by name of the command.
    const keys = async (...args) => JSON.parse((await csfle(['keys', ...args, '--key-vault', place.namespace, '--json'], { env: place.env })).stdout);
    assert.deepEqual(
      (await keys('retired')).retired.map(({ requestedBy, masterKey }) => [requestedBy, masterKey.provider]),
      Array(3).fill(['migrate --delete-old-keys', 'local']),
    );
    assert.deepEqual((await keys('restore', place.keys.plain.toHexString(true))).restored, [place.keys.plain.toHexString(true)]);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'local' }), 1);
  });

  it('--delete-old-keys looks through collections that were not named', async () => {
    const place = await ward({ documents: 2 });
    await lab.client
      .db(place.database)
      .collection('archive')
      .insertOne(await place.patients.findOne());
    const { code, stdout } = await place.run([...place.reencrypt, '--delete-old-keys', '--execute', '--json', ...place.alone]);
    assert.equal(code, 1);
    const reasons = Object.fromEntries(JSON.parse(stdout).failures.map(({ id, code: reason }) => [id, reason]));
    assert.deepEqual(reasons, {
      [place.keys.ssn]: 'MIGRATION_COLLECTION_MISSING',
      [place.keys.notes]: 'MIGRATION_COLLECTION_MISSING',
      [place.keys.plain]: 'MIGRATION_OLD_KEYS_IN_USE',
    });
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'local' }), 3);
  });

  it('decrypts collections only with --confirm-plaintext', async () => {
    const place = await ward({ documents: 3 });
    const args = [
      'migrate',
      '--key-vault',
      place.namespace,
      '--mode',
      'decrypt',
      '--local-key-file',
      place.keyFile,
      '--collection',
      place.patientsNamespace,
      '--execute',
    ];
    const refused = await csfle(args, { env: place.env });
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /CLI_CONFIRMATION_MISSING/);
    assert.equal((await place.patients.findOne()).ssn.sub_type, 6);
    const { code, stderr } = await csfle([...args, '--confirm-plaintext'], { env: place.env });
    assert.equal(code, 0, stderr);
    assert.equal((await place.patients.findOne({ _id: 1 })).ssn, place.originals[1].ssn);
  });

  it('some keys that fail: exit code 1, each is named, the others are done', async () => {
    const place = await ward({ documents: 0 });
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.notes });
    keyMaterial.buffer[40] ^= 1;
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { keyMaterial } });
    const { code, stdout } = await place.run(['--execute']);
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`key ${place.keys.notes.toHexString(true)} \\(notes\\): .*\\[CRYPTO_AUTHENTICATION_FAILED\\]`));
    assert.match(stdout, /2 of 3 keys wrapped anew/);
  });

  it('a required check that fails: exit code 1 and the plan, nothing written', async () => {
    const place = await ward({ documents: 0 });
    const wrong = join(folder, `${place.database}.wrong.bin`);
    await writeFile(wrong, Buffer.alloc(96, 7), { mode: 0o600 });
    const { code, stdout } = await csfle([...withKeyFile(place, wrong), '--execute'], { env: place.env });
    assert.equal(code, 1);
    assert.match(stdout, /fail {2}old-keys-unwrap/);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'aws' }), 0);
  });

  it('SIGINT finishes the write in flight: exit code 130, and the next run goes on', async () => {
    const place = await ward({ documents: 2 });
    let child;
    // The probe takes two calls and the backup two; the fifth wraps the first key.
    const kms = await slowKms(lab.kmsEndpoint, {
      delayMs: 200,
      onCall: (calls) => {
        if (calls === 7) child.kill('SIGINT');
      },
    });
    const { code, stdout, stderr } = await place.run(['--execute', '--json', '--kms-concurrency', '1'], {
      env: { AWS_ENDPOINT_URL_KMS: kms.endpoint },
      whileRunning: (started) => {
        child = started;
      },
    });
    await kms.close();
    assert.equal(code, 130, stderr);
    assert.match(stderr, /stopping after the write in flight/);
    const report = JSON.parse(stdout);
    assert.deepEqual([report.interrupted, report.ok, report.failures], [true, false, []]);
    assert.equal(report.keys.migrated, 1);
    await place.readsAs(place.kmsProviders);
    assert.equal((await place.run(['--execute'])).code, 0);
    await place.readsAs({ aws: lab.aws });
  });

  it('a second SIGINT ends it at once, even while a write hangs', async () => {
    const place = await ward({ documents: 1 });
    let child;
    let secondMs;
    const server = await stallingServer(
      lab.uri,
      (bytes) => bytes.includes('$currentDate'),
      () => child.kill('SIGINT'),
    );
    const { code, stderr } = await place.run(['--execute'], {
      env: { MONGODB_URI: server.uri },
      whileRunning(started) {
        child = started;
        onceOnStderr(child, /stopping after the write in flight/, () => {
          secondMs = performance.now();
          child.kill('SIGINT');
        });
      },
    });
    await server.close();
    assert.equal(code, 130);
    assert.match(stderr, /stopping after the write in flight/);
    assert.ok(performance.now() - secondMs < 5000);
    await place.readsAs({ local: place.local });
  });

  it('SIGKILL in the middle leaves a vault that opens, and the next run goes on', async () => {
    for (const calls of [4, 6, 8]) {
      const place = await ward({ documents: 2 });
      let child;
      const kms = await slowKms(lab.kmsEndpoint, {
        delayMs: 50,
        onCall: (call) => {
          if (call === calls) child.kill('SIGKILL');
        },
      });
      const { signal } = await place.run(['--execute', '--kms-concurrency', '1'], {
        env: { AWS_ENDPOINT_URL_KMS: kms.endpoint },
        whileRunning: (started) => {
          child = started;
        },
      });
      await kms.close();
      assert.equal(signal, 'SIGKILL');
      await place.readsAs(place.kmsProviders);
      assert.equal((await place.run(['--execute'])).code, 0);
      await place.readsAs({ aws: lab.aws });
    }
  });

  describe('bad usage: exit code 2', () => {
    let place;
    before(async () => {
      place = await ward({ documents: 0 });
    });

    const expectUsage = async (code, args, settings) => {
      const { code: exit, stdout, stderr } = await csfle([...args, '--json'], { ...settings, env: { ...place.env, ...settings?.env } });
      assert.equal(exit, 2, stderr);
      assert.equal(JSON.parse(stdout).error.code, code, stdout);
      return JSON.parse(stdout).error;
    };

    it('options that are missing, unknown or do not fit', async () => {
      await expectUsage('CLI_OPTION_INVALID', ['migrate', '--local-key-file', place.keyFile]);
      await expectUsage('CLI_OPTION_INVALID', ['migrate', '--to', 'aws', '--local-key-file', place.keyFile]);
      await expectUsage('CLI_OPTION_INVALID', [...place.args, '--mode', 'rotate']);
      await expectUsage('CLI_OPTION_INVALID', [...place.args, '--password', 'x']);
      await expectUsage('CLI_OPTION_INVALID', [...place.args, '--batch-size', '0']);
      await expectUsage('CLI_OPTION_INVALID', [...place.args, '--region', 'eu-north-1']);
      await expectUsage('CLI_OPTION_INVALID', ['migrate', '--mode', 'decrypt', '--to', 'aws']);
      await expectUsage('CLI_OPTION_INVALID', [...place.args, '--mode', 'reencrypt', '--undo']);
      await expectUsage('CLI_OPTION_INVALID', ['migrate', '--local-key-file', place.keyFile, '--to', 'gcp']);
      await expectUsage('OPTION_INVALID', [...place.args, '--key-vault', place.namespace, '--collection', place.patientsNamespace]);
      await expectUsage('MIGRATION_TARGET_INVALID', [
        'migrate',
        '--key-vault',
        place.namespace,
        '--from',
        'local',
        '--to',
        'local',
        '--local-key-file',
        place.keyFile,
      ]);
      await expectUsage('KMS_ENDPOINT_INVALID', [...place.args, '--endpoint', 'nodots']);
    });

    it('no connection string, no master key', async () => {
      await expectUsage('CLI_URI_MISSING', place.args, { env: { MONGODB_URI: '' } });
      await expectUsage('CLI_MASTER_KEY_MISSING', ['migrate', '--to', 'aws', '--key-arn', lab.to.key]);
    });

    it('key files that others can read, that are none, that are not there', async () => {
      const exposed = join(folder, 'exposed key.bin');
      await writeFile(exposed, place.masterKey);
      await chmod(exposed, 0o644);
      const error = await expectUsage('CLI_KEY_FILE_EXPOSED', withKeyFile(place, exposed));
      assert.equal(error.remedy, `Run: chmod 600 '${exposed}'`);
      const short = join(folder, 'short.bin');
      await writeFile(short, Buffer.alloc(95), { mode: 0o600 });
      await expectUsage('CLI_KEY_FILE_INVALID', withKeyFile(place, short));
      await expectUsage('CLI_KEY_FILE_UNREADABLE', withKeyFile(place, join(folder, 'absent.bin')));
      await expectUsage('CLI_KEY_FILE_UNREADABLE', withKeyFile(place, folder));
    });

    it('no command at all', async () => {
      assert.equal((await csfle([])).code, 2);
      assert.equal((await csfle(['rotate'])).code, 2);
    });
  });

  it('help and version are no mistakes', async () => {
    for (const args of [['--help'], ['migrate', '--help'], ['keys', 'create', '--help'], ['--version']]) assert.equal((await csfle(args)).code, 0);
  });

  it('takes the master key as base64, from a file or from the environment', async () => {
    const place = await ward({ documents: 0 });
    const file = join(folder, `${place.database}.txt`);
    await writeFile(file, `${place.masterKey.toString('base64')}\n`, { mode: 0o600 });
    assert.equal((await csfle(withKeyFile(place, file), { env: place.env })).code, 0);
    const args = place.args.filter((word) => word !== '--local-key-file' && word !== place.keyFile);
    assert.equal((await csfle(args, { env: { ...place.env, CSFLE_LOCAL_KEY: place.masterKey.toString('base64') } })).code, 0);
  });

  it('a server that is not there: exit code 1, in one sentence', async () => {
    const { code, stderr } = await csfle(['keys', 'list'], { env: { MONGODB_URI: 'mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300' } });
    assert.equal(code, 1);
    assert.match(stderr, /CLI_SERVER_UNREACHABLE/);
  });
});
