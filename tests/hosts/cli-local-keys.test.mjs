// Local master keys of the command: a second one is never made or used by mistake, and several have names.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readBackup } from 'csfle-wasm';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle and local master keys', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openCommandLab();
  });
  after(() => lab.close());

  async function madePlace() {
    const place = await hospital(lab, { documents: 4 });
    const keyFile = await lab.keyFileOf(place);
    const foreign = join(lab.folder, `${place.database}-foreign.bin`);
    const newFile = join(lab.folder, `${place.database}-new.bin`);
    await writeFile(foreign, randomBytes(96), { mode: 0o600 });
    const newKey = randomBytes(96);
    await writeFile(newFile, newKey, { mode: 0o600 });
    const run = (...args) =>
      csfle([...args, '--key-vault', place.namespace], { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint }, cwd: lab.folder });
    const json = async (...args) => {
      const { code, stdout, stderr } = await run(...args, '--json');
      return { code, stderr, document: JSON.parse(stdout) };
    };
    const providers = async () => (await place.lookAt.vault()).map(({ masterKey }) => masterKey.provider).sort();
    return { ...place, keyFile, foreign, newFile, newKey, run, json, providers };
  }
  // Refused, with the file that was used and the way out, and nothing changed.
  async function refuses(place, args) {
    const before = await place.dump();
    const { code, document } = await place.json(...args);
    assert.deepEqual([code, document.error?.code], [1, 'CRYPTO_AUTHENTICATION_FAILED'], args.join(' '));
    assert.ok(document.error.message.includes(place.foreign), 'the absolute path of the key file');
    assert.match(document.error.remedy, /--new-master-key/);
    assert.deepEqual(await place.dump(), before);
  }

  it('keys create refuses a local master key that opens no key of the vault, without --new-master-key', async () => {
    const place = await madePlace();
    await refuses(place, ['keys', 'create', '--local-key-file', place.foreign]);
    assert.equal((await place.json('keys', 'create', '--local-key-file', place.keyFile)).code, 0);
    // Another name is another provider: nothing of the vault is under it yet.
    assert.equal((await place.json('keys', 'create', '--to', 'local:new', '--local-key-file', `local:new=${place.foreign}`)).code, 0);
    assert.equal((await place.json('keys', 'create', '--local-key-file', place.foreign, '--new-master-key')).code, 0);
    // Now the new master key opens one key of the vault.
    assert.equal((await place.json('keys', 'create', '--local-key-file', place.foreign)).code, 0);
    assert.equal((await place.lookAt.vault()).length, 7);
  });

  it('keys create refuses a local master key that opens only retired keys', async () => {
    const place = await madePlace();
    const made = await place.json('keys', 'create', '--local-key-file', place.foreign, '--new-master-key');
    assert.equal(
      (await place.json('keys', 'delete', made.document.id, '--yes', '--local-key-file', place.foreign, '--skip-namespace', '*', '--skip-reason', 'test')).code,
      0,
    );
    await refuses(place, ['keys', 'create', '--local-key-file', place.foreign]);
    // Keys may go back to it.
    assert.equal((await place.json('migrate', '--from', 'aws', '--to', 'local', '--local-key-file', place.foreign)).document.error, undefined);
  });

  it('migrate --to local, --undo and keys rewrap --to local refuse a local master key that opens no key', async () => {
    const place = await madePlace();
    await place.json('keys', 'rewrap', 'notes', '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', place.keyFile, '--no-backup');
    const foreign = ['--local-key-file', place.foreign];
    await refuses(place, ['keys', 'rewrap', 'notes', '--to', 'local', '--no-backup', ...foreign]);
    for (const more of [[], ['--execute', '--no-backup']]) {
      await refuses(place, ['migrate', '--from', 'aws', '--to', 'local', ...foreign, ...more]);
      await refuses(place, ['migrate', '--from', 'local', '--to', 'aws', '--key-arn', lab.to.key, '--undo', ...foreign, ...more]);
    }
    assert.deepEqual(await place.providers(), ['aws', 'local', 'local']);

    // The plan, the report and the line of keys rewrap name the file.
    const plan = await place.run('migrate', '--from', 'aws', '--to', 'local', '--local-key-file', place.keyFile);
    assert.ok(plan.stdout.includes(place.keyFile), plan.stdout);
    const back = await place.json('keys', 'rewrap', 'notes', '--to', 'local', '--no-backup', '--local-key-file', place.keyFile);
    assert.deepEqual([back.document.rewrapped, back.document.keyFile, back.document.backup], [1, place.keyFile, null]);
    await place.json('keys', 'rewrap', 'notes', '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', place.keyFile, '--no-backup');
    const meant = await place.json('migrate', '--from', 'aws', '--to', 'local', '--execute', '--no-backup', '--new-master-key', ...foreign);
    // The two keys under the first master key do not open: the report says so.
    assert.deepEqual([meant.code, meant.document.keys.migrated, meant.document.keys.failed, meant.document.keyFile], [1, 1, 2, place.foreign]);
  });

  it('keys rewrap takes a sealed backup first, and names it', async () => {
    const place = await madePlace();
    const passphrase = join(lab.folder, 'passphrase.txt');
    await writeFile(passphrase, 'a passphrase of the tests\n', { mode: 0o600 });
    const file = join(lab.folder, `${place.database}.csfle-backup`);
    const before = await place.lookAt.vault();
    const toAws = ['--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', place.keyFile];
    const first = await place.json('keys', 'rewrap', '--all', ...toAws, '--passphrase-file', passphrase, '--backup-file', file);
    assert.deepEqual([first.code, first.document.rewrapped, first.document.backup.file, first.document.backup.keys], [0, 3, file, 3]);
    const { keyDocuments } = await readBackup(await readFile(file), { passphrase: 'a passphrase of the tests' });
    assert.equal(keyDocuments.length, 3);
    assert.ok(
      keyDocuments.every((bytes) => before.some(({ keyMaterial }) => Buffer.from(bytes).includes(Buffer.from(keyMaterial.buffer)))),
      'as they were before',
    );

    // A file that is there is left alone, and nothing is written.
    const dump = await place.dump();
    const again = await place.json('keys', 'rewrap', '--all', ...toAws, '--passphrase-file', passphrase, '--backup-file', file);
    assert.deepEqual([again.code, again.document.error.code], [2, 'CLI_FILE_EXISTS']);
    assert.deepEqual(await place.dump(), dump);
    // Without a passphrase it is under the target, in this folder.
    const back = await place.json('keys', 'rewrap', '--all', '--to', 'local', '--local-key-file', place.keyFile);
    assert.equal(back.code, 0, JSON.stringify(back));
    const made = (await readdir(lab.folder)).filter((name) => name === back.document.backup.file);
    assert.equal(made.length, 1);
    const opened = await readBackup(await readFile(join(lab.folder, made[0])), { kmsProviders: { local: place.local } });
    assert.equal(opened.keyDocuments.length, 3);
    // Without a target the keys are rewrapped under the master key that they all share.
    const own = await place.run('keys', 'rewrap', '--all', '--local-key-file', place.keyFile);
    assert.match(own.stdout, /^vault .* at .*\n3 keys wrapped anew under the same master keys\nbackup: .*\.csfle-backup, 3 keys\n$/);
    await place.json('keys', 'rewrap', 'notes', ...toAws, '--no-backup');
    const files = await readdir(lab.folder);
    assert.equal(
      (await place.json('keys', 'rewrap', 'ssn', '--backup-file', 'x', '--no-backup', '--local-key-file', place.keyFile)).document.error.code,
      'CLI_OPTION_INVALID',
    );
    assert.equal(existsSync(join(lab.folder, 'x')), false);
    assert.deepEqual(await readdir(lab.folder), files);
  });

  it('two key files for one local provider are refused', async () => {
    const place = await madePlace();
    const before = await place.dump();
    for (const args of [
      ['--from', 'local', '--to', 'local', '--to-local-key-file', place.newFile],
      ['--from', 'local', '--to', 'local'],
      ['--mode', 'reencrypt', '--all-keys', '--collection', place.patientsNamespace, '--to', 'local', '--to-local-key-file', place.newFile],
    ]) {
      const { code, document } = await place.json('migrate', ...args, '--local-key-file', place.keyFile);
      assert.deepEqual([code, document.error?.code], [2, 'MIGRATION_TARGET_INVALID'], args.join(' '));
      assert.match(document.error.remedy, /such as --to local:new/);
    }
    for (const given of [
      ['local:new='],
      ['local:=a.bin'],
      ['local:a-b=a.bin'],
      [place.keyFile, place.newFile],
      [`local:new=${place.newFile}`, `local:new=${place.keyFile}`],
    ]) {
      const { code, document } = await place.json('doctor', ...given.flatMap((one) => ['--local-key-file', one]));
      assert.deepEqual([code, document.error?.code], [2, 'CLI_OPTION_INVALID'], given.join(' '));
    }
    assert.deepEqual(await place.dump(), before);
  });

  it('every command opens keys under a local provider with a name', async () => {
    const place = await madePlace();
    const both = ['--local-key-file', place.keyFile, '--local-key-file', `local:new=${place.newFile}`];
    const named = ['--local-key-file', `local:new=${place.newFile}`];
    const moved = await place.json('migrate', '--from', 'local', '--to', 'local:new', '--execute', '--no-backup', ...both);
    assert.equal(moved.code, 0, JSON.stringify(moved));
    assert.deepEqual([moved.document.keys.migrated, moved.document.keyFile], [3, place.newFile]);
    assert.deepEqual(await place.providers(), Array(3).fill('local:new'));
    await place.readsAs({ 'local:new': { key: place.newKey } });

    const decrypted = await place.run('decrypt', place.patientsNamespace, ...named);
    assert.deepEqual([decrypted.code, decrypted.stdout.trim().split('\n').length], [0, 4], decrypted.stderr);
    const doctor = await place.json('doctor', '--collection', place.patientsNamespace, ...named);
    assert.equal(doctor.code, 0, JSON.stringify(doctor));
    assert.equal(
      doctor.document.findings.filter(({ name, state, detail }) => name === 'data key' && state === 'ok' && detail.startsWith('local:new')).length,
      3,
    );
    const anew = await place.json('keys', 'rewrap', '--all', '--no-backup', ...named);
    assert.deepEqual([anew.code, anew.document.rewrapped], [0, 3]);
    assert.equal((await place.json('keys', 'create', '--to', 'local:new', ...named)).code, 0);
    const file = join(lab.folder, `${place.database}-named.csfle-backup`);
    assert.equal((await place.json('backup', 'create', file, '--to', 'local:new', '--include-local-key', ...both)).code, 0);
    const { localMasterKeys } = await readBackup(await readFile(file), { kmsProviders: { 'local:new': { key: place.newKey } } });
    assert.deepEqual(
      localMasterKeys.map(({ provider, key }) => [provider, Buffer.from(key).toString('hex')]),
      [
        ['local', place.masterKey.toString('hex')],
        ['local:new', place.newKey.toString('hex')],
      ],
    );
    const back = await place.json('migrate', '--from', 'local:new', '--to', 'local', '--execute', '--no-backup', ...both);
    assert.equal(back.code, 0, JSON.stringify(back));
    await place.readsAs({ local: place.local });
  });
});
