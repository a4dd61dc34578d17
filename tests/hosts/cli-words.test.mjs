// Messages of the command name the object, the key vault and its server, the file and the flag to use next.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, onceOnStderr, stallingServer } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('what csfle says', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  let place;
  let local;
  let sealed;
  before(async () => {
    lab = await openCommandLab();
    folder = lab.folder;
    place = await hospital(lab, { documents: 2 });
    local = ['--local-key-file', await lab.keyFileOf(place)];
    sealed = ['--passphrase-file', join(folder, 'passphrase.txt')];
    await writeFile(sealed[1], 'a passphrase of eight\n', { mode: 0o600 });
  });
  after(() => lab.close());

  const run = (args, { vault = place.namespace, env = {} } = {}) =>
    csfle([...args, '--key-vault', vault], { cwd: folder, env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint, ...env } });
  const nowhere = () => `${place.database}.nowhere`;
  const target = () => ['--to', 'aws', '--key-arn', lab.to.key];

  it('plans and reports name the key vault and the host of its server', async () => {
    const own = await hospital(lab, { documents: 1 });
    const line = new RegExp(`^ *vault ${own.namespace.replaceAll('.', '\\.')} at ${new URL(lab.uri).host}$`, 'm');
    const ownKey = ['--local-key-file', await lab.keyFileOf(own)];
    for (const args of [
      ['migrate', ...target(), ...ownKey, ...sealed],
      ['migrate', ...target(), ...ownKey, ...sealed, '--execute'],
      ['keys', 'rewrap', '--all', ...ownKey],
      ['keys', 'purge', '--before', '2026-01-01', ...ownKey],
      ['keys', 'restore', '--all'],
      ['backup', 'create', 'named.csfle-backup', ...sealed],
      ['backup', 'restore', 'named.csfle-backup', ...sealed],
    ]) {
      const { code, stdout, stderr } = await run(args, { vault: own.namespace });
      assert.equal(code, 0, `${args.join(' ')}\n${stdout}${stderr}`);
      assert.match(stdout, line, args.join(' '));
    }
  });

  it('a missing collection that an option names is a failure', async () => {
    const before = await place.dump();
    const doctor = await run(['doctor', ...local, '--collection', place.patientsNamespace, '--collection', nowhere(), '--json']);
    const { findings } = JSON.parse(doctor.stdout);
    assert.deepEqual(
      [doctor.code, findings.filter(({ state }) => state === 'fail').map(({ name, detail }) => [name, detail])],
      [1, [['collection', `there is no collection ${nowhere()}`]]],
    );
    const rewrap = await run(['keys', 'rewrap', '--all', ...local, '--proof-collection', nowhere(), '--json']);
    assert.deepEqual([rewrap.code, JSON.parse(rewrap.stdout).error.code], [1, 'CLI_OPTION_INVALID']);
    assert.match(JSON.parse(rewrap.stdout).error.message, /--proof-collection/);
    assert.deepEqual(await place.dump(), before);
  });

  it('an empty key vault gives a warning, and makes backup create and migrate --execute fail', async () => {
    for (const [args, what] of [
      [['keys', 'list'], 'data key'],
      [['keys', 'rewrap', '--all', ...local], 'data key'],
      [['keys', 'restore', '--all'], 'retired key'],
    ]) {
      const { code, stderr } = await run(args, { vault: nowhere() });
      assert.equal(code, 0, stderr);
      assert.match(stderr, new RegExp(`^warn .*nowhere.* has no ${what}; check --key-vault`, 'm'), args.join(' '));
    }
    const file = join(folder, 'empty.csfle-backup');
    const create = ['backup', 'create', file, ...sealed];
    const refused = await run([...create, '--json'], { vault: nowhere() });
    assert.deepEqual([refused.code, JSON.parse(refused.stdout).error.code, existsSync(file)], [1, 'CLI_OPTION_INVALID', false]);
    assert.match(JSON.parse(refused.stdout).error.remedy, /--allow-empty/);
    assert.deepEqual([(await run([...create, '--allow-empty'], { vault: nowhere() })).code, existsSync(file)], [0, true]);

    const decrypt = [
      'migrate',
      '--mode',
      'decrypt',
      '--collection',
      place.patientsNamespace,
      '--confirm-plaintext',
      ...local,
      ...sealed,
      '--execute',
      '--json',
    ];
    const decrypted = await run(decrypt, { vault: nowhere() });
    assert.deepEqual([decrypted.code, JSON.parse(decrypted.stdout).failures[0].code], [1, 'MIGRATION_NO_KEYS_CHOSEN']);
    const rewrap = ['migrate', ...target(), ...local, ...sealed, '--execute', '--json'];
    const rewrapped = await run(rewrap, { vault: nowhere() });
    assert.deepEqual([rewrapped.code, JSON.parse(rewrapped.stdout).failures[0].code], [1, 'MIGRATION_NO_KEYS_CHOSEN']);
    const allowed = await run([...rewrap, '--allow-empty'], { vault: nowhere() });
    assert.deepEqual([allowed.code, JSON.parse(allowed.stdout).ok, JSON.parse(allowed.stdout).executed], [0, true, true]);
  });

  it('the error for a missing file names the folder that was searched', async () => {
    for (const args of [
      ['doctor', '--local-key-file', 'absent.bin'],
      ['backup', 'restore', 'absent.bin', ...sealed],
      ['backup', 'create', 'absent/x.bin', ...sealed],
    ]) {
      const { code, stdout, stderr } = await run(args);
      assert.notEqual(code, 0);
      assert.match(stdout + stderr, new RegExp(`looked for ${folder}/absent`), args.join(' '));
    }
  });

  it('a local key file that does not open the keys is named with its flag in errors, plans and reports', async () => {
    const wrong = ['--local-key-file', join(folder, 'wrong.bin')];
    await writeFile(wrong[1], Buffer.alloc(96, 7), { mode: 0o600 });
    for (const args of [
      ['keys', 'rewrap', '--all', ...wrong],
      ['doctor', ...wrong],
      ['migrate', ...target(), ...wrong, ...sealed],
      ['migrate', ...target(), ...wrong, ...sealed, '--execute'],
    ]) {
      const { code, stdout, stderr } = await run(args);
      assert.equal(code, 1);
      assert.match(stdout + stderr, /not open under the local master key of .*wrong\.bin/, args.join(' '));
      assert.match(stdout + stderr, /Pass the file of the master key .* --local-key-file/, args.join(' '));
    }
  });

  it('the error for a backup that does not open names the kind of its seal; verify lists keys, providers and seal', async () => {
    const file = join(folder, 'seal.csfle-backup');
    assert.equal((await run(['backup', 'create', file, ...sealed])).code, 0);
    const other = join(folder, 'other.txt');
    await writeFile(other, 'another passphrase\n', { mode: 0o600 });
    const verify = (...args) => csfle(['backup', 'verify', ...args], { cwd: folder });
    const wrong = await verify(file, '--passphrase-file', other);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /seal\.csfle-backup: .*sealed under a passphrase {2}\[BACKUP_KEY_WRONG\]\n.*--passphrase-file/);
    assert.match((await verify(other, ...sealed)).stderr, /other\.txt: .*\[BACKUP_NOT_RECOGNIZED\]\n.*csfle backup create/);
    const { stdout } = await verify(file, ...sealed);
    assert.match(stdout, /^ {2}sealed under a passphrase$/m);
    assert.match(stdout, /^ {2}[0-9a-f-]{36} {2}.*\bssn\b.* local *$/m);
  });

  it('a purge without a matching key prints the number of retired keys', async () => {
    const { code, stdout } = await run(['keys', 'purge', '--before', '2026-01-01', ...local]);
    assert.equal(code, 0);
    assert.match(stdout, /^no key was retired before 2026-01-01T00:00:00\.000Z: 0 retired keys in all$/m);
  });

  it('a malformed --key-arn is refused with its form and what was found', async () => {
    for (const arn of ['', 'arn:aws:kms:us-east-1', 'my-key']) {
      const { code, stderr } = await run(['migrate', '--to', 'aws', '--key-arn', arn, ...local]);
      assert.equal(code, 2);
      assert.match(stderr, /--key-arn: expected an ARN of the form arn:aws:kms:<region>:<account>:key\/<id>, found /);
      assert.ok(stderr.includes(JSON.stringify(arn)), stderr);
    }
  });

  it('alt-name remove of a name that the key does not have fails and changes nothing', async () => {
    const before = await place.dump();
    const { code, stderr } = await run(['keys', 'alt-name', 'remove', 'ssn', 'nobody']);
    assert.equal(code, 1);
    assert.match(stderr, /has no alternate name "nobody"/);
    assert.deepEqual(await place.dump(), before);
  });

  it('decrypt prints each cause of failure once, with the affected documents and the flag to add', async () => {
    const { code, stdout, stderr } = await run(['decrypt', place.patientsNamespace]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.equal(stderr.match(/KMS_PROVIDER_NOT_CONFIGURED/g).length, 1);
    assert.match(stderr, /^2 documents: no master key of the provider local is at hand .*\n +_id .*\n +Pass --local-key-file/m);
    const asJson = await run(['decrypt', place.patientsNamespace, '--json']);
    assert.deepEqual([asJson.code, JSON.parse(asJson.stdout)], [1, []]);
  });

  it('a value that starts with -- is refused: the value of the option before it is missing', async () => {
    const before = await place.dump();
    for (const args of [
      ['migrate', ...target(), ...local, '--passphrase-file', '--execute'],
      ['keys', 'list', '--uri', '--json'],
      ['decrypt', 'a.b', '--filter', '--relaxed'],
    ]) {
      const { code, stderr } = await csfle(args, { cwd: folder, env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint } });
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, /a value is missing: --\w+ is an option/);
    }
    assert.deepEqual(await place.dump(), before);
  });

  it('an endpoint with a scheme is refused, and the message does not quote it', async () => {
    for (const option of ['--endpoint', '--from-endpoint']) {
      const ofSource = option === '--endpoint' ? local : ['--from', 'aws', '--from-key-arn', lab.to.key];
      const { code, stderr } = await run(['migrate', ...target(), ...ofSource, option, 'http://user:secret@127.0.0.1:9']);
      assert.equal(code, 2);
      assert.match(stderr, new RegExp(`${option}: expected host\\[:port\\], found a URL .*\\[CLI_OPTION_INVALID\\]\\n.*AWS_ENDPOINT_URL_KMS`));
      assert.doesNotMatch(stderr, /secret/);
    }
  });

  it('SIGINT during a purge prints what was destroyed, and exits with 130', async () => {
    const own = await hospital(lab, { documents: 0 });
    const key = ['--local-key-file', await lab.keyFileOf(own)];
    const retired = await run(['keys', 'delete', 'ssn', '--yes', '--skip-namespace', '*', '--skip-reason', 'databases of other tests', ...key], {
      vault: own.namespace,
    });
    assert.equal(retired.code, 0, retired.stdout + retired.stderr);
    const entries = () => lab.client.db(own.database).collection('__keyVault.retired').countDocuments();
    assert.equal(await entries(), 1);
    let child;
    const server = await stallingServer(
      lab.uri,
      (bytes) => bytes.includes('listDatabases'),
      () => child.kill('SIGINT'),
    );
    try {
      const soon = new Date(Date.now() - 1).toISOString();
      const { code, stdout, stderr } = await csfle(['keys', 'purge', '--before', soon, '--execute', '--yes', ...key, '--key-vault', own.namespace], {
        cwd: folder,
        env: { MONGODB_URI: server.uri },
        whileRunning(started) {
          child = started;
          // The answer of the server comes only after the command has taken the signal.
          onceOnStderr(child, /stopping after the write in flight/, server.resume);
        },
      });
      assert.equal(code, 130, stdout + stderr);
      assert.match(stdout, /^Interrupted: nothing was destroyed$/m);
      assert.equal(await entries(), 1);
    } finally {
      await server.close();
    }
  });

  it('a failed backup is reported once, with the option to change', async () => {
    const { code, stdout } = await run(['migrate', ...target(), ...local, ...sealed, '--backup-file', local[1], '--execute']);
    assert.equal(code, 1);
    assert.match(stdout, /^Nothing was written: the backup failed: .*\[MIGRATION_BACKUP_FAILED\]\nName a new file with --backup-file/m);
  });
});
