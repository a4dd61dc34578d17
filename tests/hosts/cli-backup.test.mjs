import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, createBackup, readBackup } from 'csfle-wasm';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, slowKms } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

const passphrase = 'correct horse';

describe('csfle backup', { timeout: 900_000 }, () => {
  let lab;
  let folder;
  before(async () => {
    lab = await openCommandLab();
    folder = lab.folder;
    await writeFile(join(folder, 'passphrase.txt'), `${passphrase}\n`, { mode: 0o600 });
  });
  after(() => lab.close());

  const words = () => ['--passphrase-file', join(folder, 'passphrase.txt')];

  async function ward(options = { documents: 0 }) {
    const place = await hospital(lab, options);
    const keyFile = await lab.keyFileOf(place);
    const env = { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    const cwd = await mkdtemp(join(folder, 'cwd-'));
    const run = async (args, settings = {}) => csfle(args, { cwd, ...settings, env: { ...env, ...settings.env } });
    const json = async (args, settings) => {
      const { code, stdout, stderr } = await run([...args, '--json'], settings);
      assert.notEqual(stdout, '', stderr);
      return { code, ...JSON.parse(stdout) };
    };
    const vault = ['--key-vault', place.namespace];
    const migrate = ['migrate', ...vault, '--from', 'local', '--local-key-file', keyFile, '--to', 'aws', '--key-arn', lab.to.key];
    const stored = async () => (await place.vault.find({}, { raw: true }).toArray()).map((bytes) => Buffer.from(bytes).toString('hex'));
    return { ...place, keyFile, cwd, run, json, vaultFlags: vault, migrateArgs: migrate, stored, file: join(cwd, 'backup') };
  }

  it('create, verify and restore, under a passphrase', async () => {
    const place = await ward();
    const schema = join(place.cwd, 'schema.json');
    await writeFile(schema, '{ "a": 1 }\n');
    const create = [
      'backup',
      'create',
      place.file,
      ...place.vaultFlags,
      ...words(),
      '--no-collections',
      '--schema-file',
      schema,
      '--include-local-key',
      '--local-key-file',
      place.keyFile,
    ];
    const made = await place.json(create);
    assert.deepEqual([made.code, made.keys, made.collections, made.file], [0, 3, 0, place.file]);
    assert.equal((await stat(place.file)).mode & 0o777, 0o600);
    const verified = await place.json(['backup', 'verify', place.file, ...words()], { env: { MONGODB_URI: '' } });
    assert.deepEqual(
      [verified.code, verified.sha256, verified.keys.length, verified.schemas, verified.localMasterKeys],
      [0, made.sha256, 3, [schema], ['local']],
    );

    const before = await place.stored();
    await place.vault.drop();
    const restore = [
      'backup',
      'restore',
      place.file,
      ...place.vaultFlags,
      ...words(),
      '--schemas-to',
      place.cwd,
      '--local-key-to',
      join(place.cwd, 'local.bin'),
    ];
    const plan = await place.json(restore);
    assert.deepEqual([plan.code, plan.executed, plan.inserted.length, await place.stored()], [0, false, 3, []]);
    assert.deepEqual((await readdir(place.cwd)).sort(), ['backup', 'schema.json']);
    await rm(schema);
    const report = await place.json([...restore, '--execute']);
    assert.deepEqual([report.code, report.inserted.length, report.indexes], [0, 3, ['keyAltNames_1']]);
    assert.deepEqual((await place.stored()).sort(), before.sort());
    assert.equal(await readFile(schema, 'utf8'), '{ "a": 1 }\n');
    assert.deepEqual(await readFile(join(place.cwd, 'local.bin')), place.masterKey);
    assert.equal((await stat(join(place.cwd, 'local.bin'))).mode & 0o777, 0o600);
  });

  it('under a master key, local or of a KMS', async () => {
    const place = await ward();
    for (const [name, flags, opening] of [
      ['kms', ['--to', 'aws', '--key-arn', lab.to.key], []],
      ['local', ['--to', 'local', '--local-key-file', place.keyFile], ['--local-key-file', place.keyFile]],
    ]) {
      const file = join(place.cwd, name);
      assert.equal((await place.json(['backup', 'create', file, ...place.vaultFlags, '--no-collections', ...flags])).code, 0);
      assert.equal((await place.json(['backup', 'verify', file, ...opening])).keys.length, 3);
    }
    const missing = await place.json(['backup', 'verify', join(place.cwd, 'local')]);
    assert.deepEqual([missing.code, missing.error.code], [2, 'CLI_MASTER_KEY_MISSING']);
  });

  it('never writes over a file, nor through a link', async () => {
    const place = await ward();
    await writeFile(place.file, 'mine');
    const link = join(place.cwd, 'link');
    await symlink(join(place.cwd, 'nowhere'), link);
    for (const file of [place.file, link]) {
      const { code, error } = await place.json(['backup', 'create', file, ...place.vaultFlags, ...words(), '--no-collections']);
      assert.deepEqual([code, error.code], [2, 'CLI_FILE_EXISTS']);
    }
    assert.equal(await readFile(place.file, 'utf8'), 'mine');
    assert.deepEqual((await readdir(place.cwd)).sort(), ['backup', 'link']);
  });

  it('every failed backup command has an error code and leaves no file', async () => {
    const place = await ward();
    const create = ['backup', 'create', place.file, ...place.vaultFlags, '--no-collections'];
    const refused = async (args, code, exit = 2, settings = {}) => {
      const result = await place.json(args, settings);
      assert.deepEqual([result.code, result.error?.code], [exit, code], args.join(' '));
    };
    await refused(create, 'CLI_PASSPHRASE_MISSING');
    await refused(create, 'BACKUP_PASSPHRASE_INVALID', 1, { env: { CSFLE_BACKUP_PASSPHRASE: 'short' } });
    await refused([...create, ...words(), '--to', 'aws', '--key-arn', lab.to.key], 'CLI_OPTION_INVALID');
    await refused([...create, ...words(), '--collection', 'a.b'], 'CLI_OPTION_INVALID');
    await refused(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--collection', `${place.database}.nobody`], 'BACKUP_COLLECTION_FAILED', 1);
    const exposed = join(place.cwd, 'exposed.txt');
    await writeFile(exposed, passphrase);
    await chmod(exposed, 0o644);
    await refused([...create, '--passphrase-file', exposed], 'CLI_KEY_FILE_EXPOSED');
    await refused([...create, '--passphrase-file', join(place.cwd, 'nowhere')], 'CLI_FILE_INVALID');
    assert.deepEqual(await readdir(place.cwd), ['exposed.txt']);

    await place.json([...create, ...words()]);
    await refused(['backup', 'verify', place.file], 'CLI_PASSPHRASE_MISSING');
    await refused(['backup', 'verify', place.file], 'BACKUP_KEY_WRONG', 1, { env: { CSFLE_BACKUP_PASSPHRASE: 'another horse' } });
    await refused(['backup', 'verify', exposed, ...words()], 'BACKUP_NOT_RECOGNIZED', 1);
    await refused(['backup', 'restore', exposed, ...place.vaultFlags, ...words()], 'CLI_FILE_INVALID');
    await refused(['backup', 'restore', place.file, ...place.vaultFlags, ...words(), '--local-key-to', join(place.cwd, 'key')], 'CLI_OPTION_INVALID', 1);
    const cut = await readFile(place.file);
    await writeFile(join(place.cwd, 'cut'), cut.subarray(0, -1));
    await refused(['backup', 'verify', join(place.cwd, 'cut'), ...words()], 'BACKUP_CHUNK_DAMAGED', 1);
  });

  it('restore --overwrite replaces on proof and keeps the state before', async () => {
    const place = await ward({ documents: 2 });
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections']);
    await place.migrate({ execute: true });
    const now = await place.stored();
    const restore = ['backup', 'restore', place.file, ...place.vaultFlags, ...words(), '--execute'];
    const left = await place.json(restore);
    assert.deepEqual([left.code, left.differing.length, left.replaced], [0, 3, []]);
    assert.deepEqual(await place.stored(), now);
    const unproven = await place.json([...restore, '--overwrite']);
    assert.deepEqual([unproven.code, unproven.failures.map(({ code }) => code)], [1, Array(3).fill('BACKUP_RESTORE_UNPROVEN')]);
    assert.deepEqual(await place.stored(), now);
    const report = await place.json([...restore, '--overwrite', '--local-key-file', place.keyFile]);
    assert.deepEqual([report.code, report.replaced.length, report.failures], [0, 3, []]);
    const kept = await readBackup(new Uint8Array(await readFile(join(place.cwd, report.replacedFile))), { passphrase });
    assert.deepEqual(
      kept.keyDocuments.map((bytes) => Buffer.from(bytes).toString('hex')),
      now,
    );
    await place.readsAs({ local: place.local });
  });

  it('restore --overwrite after an interruption accepts its earlier --replaced-file, and refuses any other file', async () => {
    const place = await ward({ documents: 2 });
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections']);
    await place.migrate({ execute: true });
    const migrated = await place.vault.findOne({ _id: place.keys.notes }, { promoteValues: false });
    const replacedFile = join(place.cwd, 'replaced');
    const restore = [
      'backup',
      'restore',
      place.file,
      ...place.vaultFlags,
      ...words(),
      '--execute',
      '--overwrite',
      '--local-key-file',
      place.keyFile,
      '--replaced-file',
      replacedFile,
    ];
    assert.equal((await place.json(restore)).code, 0);
    const kept = await readFile(replacedFile);
    // The state after a run that was interrupted at this key.
    await place.vault.replaceOne({ _id: migrated._id }, migrated);
    const again = await place.json(restore);
    assert.deepEqual([again.code, again.replaced, again.failures], [0, [place.keys.notes.toHexString(true)], []]);
    assert.deepEqual(await readFile(replacedFile), kept);
    await place.readsAs({ local: place.local });
    // The key was rewrapped since: the file does not have its present wrapping.
    await place.migrate({ execute: true });
    const other = await place.json(restore);
    assert.deepEqual([other.code, other.failures.map(({ kind, code }) => [kind, code])], [1, [['backup', 'BACKUP_VERIFICATION_FAILED']]]);
    assert.deepEqual(await readFile(replacedFile), kept);
    await place.readsAs({ aws: lab.aws });
  });

  it('restore --all-collections and --collection put validators back, and a restore without them does not', async () => {
    const place = await ward();
    const database = lab.client.db(place.database);
    const first = { $jsonSchema: { bsonType: 'object', required: ['name'] } };
    const optionsOf = async (name) => (await database.listCollections({ name }).toArray())[0]?.options ?? {};
    for (const name of ['one', 'two']) await database.createCollection(name, { validator: first, validationAction: 'warn' });
    assert.equal(
      (
        await place.json([
          'backup',
          'create',
          place.file,
          ...place.vaultFlags,
          ...words(),
          '--collection',
          `${place.database}.one`,
          '--collection',
          `${place.database}.two`,
        ])
      ).code,
      0,
    );
    const change = () =>
      Promise.all(
        ['one', 'two'].map((collMod) => database.command({ collMod, validator: { $jsonSchema: { bsonType: 'object' } }, validationAction: 'error' })),
      );
    const restored = async (...flags) => {
      await change();
      const { code, collections } = await place.json(['backup', 'restore', place.file, ...place.vaultFlags, ...words(), ...flags]);
      const found = await Promise.all(['one', 'two'].map(optionsOf));
      return [
        code,
        collections ?? [],
        found.map(({ validator, validationAction }) => validationAction === 'warn' && bson.EJSON.stringify(validator) === bson.EJSON.stringify(first)),
      ];
    };
    const [one, two] = ['one', 'two'].map((name) => `${place.database}.${name}`);
    assert.deepEqual(await restored('--execute'), [0, [], [false, false]]);
    assert.deepEqual(await restored('--all-collections'), [0, [one, two], [false, false]]);
    assert.deepEqual(await restored('--collection', two, '--execute'), [0, [two], [false, true]]);
    assert.deepEqual(await restored('--all-collections', '--execute'), [0, [one, two], [true, true]]);
    // A collection that was dropped is created again, empty.
    await database.dropCollection('one');
    assert.equal((await place.json(['backup', 'restore', place.file, ...place.vaultFlags, ...words(), '--all-collections', '--execute'])).code, 0);
    assert.deepEqual((await optionsOf('one')).validator, first);
  });

  it('restore reads the lines of extended JSON that earlier versions wrote', async () => {
    const place = await ward();
    const documents = await place.vault.find().toArray();
    await writeFile(place.file, documents.map((document) => `${bson.EJSON.stringify(document, { relaxed: false })}\n`).join(''));
    assert.equal((await place.json(['backup', 'restore', place.file, ...place.vaultFlags])).unchanged.length, 3);
    await place.vault.deleteOne({ _id: place.keys.plain });
    const report = await place.json(['backup', 'restore', place.file, ...place.vaultFlags, '--execute']);
    assert.deepEqual([report.code, report.inserted.length], [0, 1]);
    await writeFile(join(place.cwd, 'broken'), '{"a":\n');
    assert.equal((await place.json(['backup', 'restore', join(place.cwd, 'broken'), ...place.vaultFlags])).error.code, 'CLI_FILE_INVALID');
  });

  it('migrate --execute first creates a backup under the target master key and prints its file name', async () => {
    const place = await ward({ documents: 2 });
    const before = await place.stored();
    const plan = await place.json(place.migrateArgs);
    assert.deepEqual([plan.backup, await readdir(place.cwd)], [null, []]);
    const { code, stdout, stderr } = await place.run([...place.migrateArgs, '--execute', '--json']);
    assert.equal(code, 0, stderr);
    const report = JSON.parse(stdout);
    const [name] = await readdir(place.cwd);
    assert.ok(name.startsWith(`${place.namespace}-`), name);
    assert.deepEqual([report.backup.file, report.backup.keys, report.backup.kept], [name, 3, false]);
    assert.ok(stderr.includes(`backup: ${name}`), stderr);
    assert.equal((await stat(join(place.cwd, name))).mode & 0o777, 0o600);
    assert.equal(report.kmsCalls.wrap + report.kmsCalls.unwrap, plan.plan.kmsCalls);
    const contents = await readBackup(new Uint8Array(await readFile(join(place.cwd, name))), { kmsProviders: { aws: lab.aws } });
    assert.deepEqual(
      contents.keyDocuments.map((bytes) => Buffer.from(bytes).toString('hex')),
      before,
    );
    // No key is left to migrate, so no backup is created.
    assert.equal((await place.json([...place.migrateArgs, '--execute'])).backup, null);
    assert.equal((await readdir(place.cwd)).length, 1);
  });

  it('migrate creates no backup with --no-backup, and writes nothing when the backup fails', async () => {
    const place = await ward();
    const nowhere = await place.json([...place.migrateArgs, '--execute', '--backup-file', join(place.cwd, 'no', 'where')]);
    assert.deepEqual([nowhere.code, nowhere.executed, nowhere.failures[0].code], [1, false, 'MIGRATION_BACKUP_FAILED']);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'aws' }), 0);
    const both = await place.json([...place.migrateArgs, '--execute', '--no-backup', '--backup-file', place.file]);
    assert.equal(both.error.code, 'CLI_OPTION_INVALID');
    const decrypting = [
      'migrate',
      ...place.vaultFlags,
      '--mode',
      'decrypt',
      '--from',
      'aws',
      '--collection',
      place.patientsNamespace,
      '--confirm-plaintext',
      '--execute',
    ];
    assert.equal((await place.json(decrypting)).error.code, 'CLI_OPTION_INVALID');
    const without = await place.json([...place.migrateArgs, '--execute', '--no-backup']);
    assert.deepEqual([without.code, without.backup], [0, null]);
    assert.deepEqual(await readdir(place.cwd), []);
  });

  it('the same command after an interruption keeps the backup file; another command may not overwrite it', async () => {
    const place = await ward();
    const before = await place.stored();
    const command = [...place.migrateArgs, '--execute', '--backup-file', place.file, '--kms-concurrency', '1'];
    let child;
    const kms = await slowKms(lab.kmsEndpoint, {
      delayMs: 200,
      onCall: (calls) => {
        if (calls === 7) child.kill('SIGKILL');
      },
    });
    const killed = await place.run(command, {
      env: { AWS_ENDPOINT_URL_KMS: kms.endpoint },
      whileRunning: (started) => {
        child = started;
      },
    });
    await kms.close();
    assert.equal(killed.signal, 'SIGKILL');
    const kept = await readFile(place.file);
    const again = await place.json(command);
    assert.deepEqual([again.code, again.backup.kept], [0, true], JSON.stringify(again.failures));
    assert.deepEqual(await readFile(place.file), kept);
    const contents = await readBackup(new Uint8Array(kept), { kmsProviders: { aws: lab.aws } });
    assert.deepEqual(
      contents.keyDocuments.map((bytes) => Buffer.from(bytes).toString('hex')),
      before,
    );
    const undo = await place.json([...command, '--undo']);
    assert.deepEqual([undo.code, undo.executed, undo.failures[0].code], [1, false, 'MIGRATION_BACKUP_FAILED']);
    assert.deepEqual(await readFile(place.file), kept);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'aws' }), 3);
  });

  it('backup verify reads a backup that the library created', async () => {
    const place = await ward();
    const { bytes, sha256 } = await createBackup({ keyVault: place.store, key: { passphrase } });
    await writeFile(place.file, bytes);
    assert.equal((await place.json(['backup', 'verify', place.file, ...words()])).sha256, sha256);
  });

  it('restore proves keys of every provider that documents name, and names the others', async () => {
    const place = await ward();
    const encryption = new ClientEncryption(lab.client, {
      keyVaultNamespace: place.namespace,
      kmsProviders: { 'aws:eu': lab.aws, 'azure:x': { encrypt: () => new Uint8Array(256), decrypt: () => new Uint8Array(96) } },
    });
    const { provider: _provider, ...masterKey } = lab.to;
    const named = (await encryption.createDataKey('aws:eu', { masterKey })).toHexString(true);
    encryption.close();
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections']);
    await place.vault.deleteMany({});
    const restore = ['backup', 'restore', place.file, ...place.vaultFlags, ...words()];
    const plan = await place.json(restore);
    assert.deepEqual([plan.inserted.length, plan.unproven.length, plan.unproven.includes(named)], [4, 3, false]);
    const proven = await place.json([...restore, '--local-key-file', place.keyFile]);
    assert.deepEqual([proven.code, proven.unproven], [0, []]);
    const wrong = join(place.cwd, 'wrong.bin');
    await writeFile(wrong, randomBytes(96), { mode: 0o600 });
    const refused = await place.json([...restore, '--local-key-file', wrong, '--execute']);
    assert.deepEqual([refused.code, refused.inserted, refused.failures.map(({ code }) => code)], [1, [named], Array(3).fill('BACKUP_RESTORE_UNPROVEN')]);
    const pinned = await place.json([...restore, '--trusted-master-key', 'local', '--allow-unproven']);
    assert.deepEqual([pinned.code, pinned.inserted.length, pinned.failures], [0, 3, []]);
  });

  it('restore without the KMS puts the wrappings back that the local master key opens', async () => {
    const place = await ward({ documents: 2 });
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections']);
    await place.migrate({ execute: true });
    const kms = await slowKms(lab.kmsEndpoint, { delayMs: 60_000 });
    const env = { AWS_ENDPOINT_URL_KMS: kms.endpoint };
    const restore = [
      'backup',
      'restore',
      place.file,
      ...place.vaultFlags,
      ...words(),
      '--local-key-file',
      place.keyFile,
      '--overwrite',
      '--execute',
      '--kms-timeout-ms',
      '100',
    ];
    const refused = await place.json(restore, { env });
    assert.deepEqual([refused.code, refused.replaced, refused.failures.map(({ code }) => code)], [1, [], Array(3).fill('BACKUP_RESTORE_UNPROVEN')]);
    const report = await place.json([...restore, '--allow-unproven'], { env });
    await kms.close();
    assert.deepEqual([report.code, report.replaced.length, report.unproven], [0, 3, report.replaced]);
    await place.readsAs({ local: place.local });
  });

  it('a backup of another key vault is restored only with --from-another-key-vault', async () => {
    const place = await ward();
    const other = await ward();
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections']);
    const restore = ['backup', 'restore', place.file, ...other.vaultFlags, ...words(), '--execute'];
    const refused = await place.json(restore);
    assert.deepEqual([refused.code, refused.error.code, await other.vault.countDocuments()], [1, 'BACKUP_KEY_VAULT_MISMATCH', 3]);
    await other.vault.deleteMany({});
    assert.equal((await place.json([...restore, '--from-another-key-vault'])).inserted.length, 3);
  });

  it('restore prints its report although a file cannot be written, and refuses an existing file before any write', async () => {
    const place = await ward();
    const schema = join(place.cwd, 'schema.json');
    await writeFile(schema, '{ }\n');
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...words(), '--no-collections', '--schema-file', schema]);
    await place.vault.deleteMany({});
    const restore = ['backup', 'restore', place.file, ...place.vaultFlags, ...words(), '--execute'];
    const taken = await place.json([...restore, '--schemas-to', place.cwd]);
    assert.deepEqual([taken.code, taken.error.code, await place.vault.countDocuments()], [2, 'CLI_FILE_EXISTS', 0]);
    const report = await place.json([...restore, '--schemas-to', join(place.cwd, 'nowhere')]);
    assert.deepEqual([report.code, report.ok, report.inserted.length, report.files], [1, false, 3, []]);
    assert.deepEqual(
      report.failures.map(({ kind, id, code }) => [kind, id, code]),
      [['file', join(place.cwd, 'nowhere', 'schema.json'), 'CLI_FILE_INVALID']],
    );
  });

  it('a plain backup that is not UTF-8 is refused, and paths in the remedy are quoted for the shell', async () => {
    const place = await ward();
    await writeFile(place.file, Buffer.concat([Buffer.from('{"_id": "'), Buffer.from([0xff]), Buffer.from('"}\n')]));
    assert.equal((await place.json(['backup', 'restore', place.file, ...place.vaultFlags])).error.code, 'CLI_FILE_INVALID');
    const exposed = join(place.cwd, "it's open.txt");
    await writeFile(exposed, passphrase, { mode: 0o644 });
    await chmod(exposed, 0o644);
    const { error } = await place.json(['backup', 'verify', place.file, '--passphrase-file', exposed]);
    assert.notEqual(error.code, 'CLI_KEY_FILE_EXPOSED');
    const create = await place.json(['backup', 'create', join(place.cwd, 'new'), ...place.vaultFlags, '--passphrase-file', exposed]);
    assert.deepEqual([create.error.code, create.error.remedy], ['CLI_KEY_FILE_EXPOSED', `Run: chmod 600 '${exposed.replaceAll("'", "'\\''")}'`]);
  });

  it('Ctrl-C ends backup create and restore, and --kms-timeout-ms limits the wait for the KMS', async () => {
    const place = await ward();
    const sealing = ['--to', 'aws', '--key-arn', lab.to.key, '--no-collections'];
    await place.json(['backup', 'create', place.file, ...place.vaultFlags, ...sealing]);
    const stopped = async (args) => {
      let child;
      const kms = await slowKms(lab.kmsEndpoint, {
        delayMs: 60_000,
        onCall: (calls) => {
          if (calls === 1) child.kill('SIGINT');
        },
      });
      const result = await place.run([...args, '--json'], {
        env: { AWS_ENDPOINT_URL_KMS: kms.endpoint },
        whileRunning: (started) => {
          child = started;
        },
      });
      await kms.close();
      return { code: result.code, error: JSON.parse(result.stdout).error?.code };
    };
    const created = join(place.cwd, 'stopped');
    assert.deepEqual(await stopped(['backup', 'create', created, ...place.vaultFlags, ...sealing]), { code: 130, error: 'OPERATION_ABORTED' });
    assert.deepEqual(await stopped(['backup', 'restore', place.file, ...place.vaultFlags]), { code: 130, error: 'OPERATION_ABORTED' });
    assert.deepEqual(await readdir(place.cwd), ['backup']);
    const kms = await slowKms(lab.kmsEndpoint, { delayMs: 60_000 });
    const env = { AWS_ENDPOINT_URL_KMS: kms.endpoint };
    const limited = await place.json(['backup', 'create', created, ...place.vaultFlags, ...sealing, '--kms-timeout-ms', '100'], { env });
    await kms.close();
    assert.deepEqual([limited.code, limited.error.code], [1, 'KMS_TIMED_OUT']);
  });
});
