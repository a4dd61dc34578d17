// What the command says names the thing, the place and the next step: key vault and server, flags, files.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
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
    local = ['--local-key-file', join(folder, 'master-key.bin')];
    sealed = ['--passphrase-file', join(folder, 'passphrase.txt')];
    await writeFile(local[1], place.masterKey, { mode: 0o600 });
    await writeFile(sealed[1], 'a passphrase of eight\n', { mode: 0o600 });
  });
  after(() => lab.close());

  const run = (args, { vault = place.namespace, env = {} } = {}) =>
    csfle([...args, '--key-vault', vault], { cwd: folder, env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint, ...env } });
  const nowhere = () => `${place.database}.nowhere`;
  const target = () => ['--to', 'aws', '--key-arn', lab.to.key];

  it('plans and reports name the key vault and the host of its server', async () => {
    const own = await hospital(lab, { documents: 1 });
    await writeFile(join(folder, 'own.bin'), own.masterKey, { mode: 0o600 });
    const line = new RegExp(`^ *vault ${own.namespace.replaceAll('.', '\\.')} at ${new URL(lab.uri).host}$`, 'm');
    const ownKey = ['--local-key-file', join(folder, 'own.bin')];
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

  it('a collection that was named and is not there is a failure', async () => {
    const before = await place.dump();
    const doctor = await run(['doctor', ...local, '--collection', place.patientsNamespace, '--collection', nowhere(), '--json']);
    const { findings } = JSON.parse(doctor.stdout);
    assert.deepEqual([doctor.code, findings.filter(({ state }) => state === 'fail').map(({ name, detail }) => [name, detail])], [1, [['collection', `there is no collection ${nowhere()}`]]]);
    const rewrap = await run(['keys', 'rewrap', '--all', ...local, '--proof-collection', nowhere(), '--json']);
    assert.deepEqual([rewrap.code, JSON.parse(rewrap.stdout).error.code], [1, 'CLI_OPTION_INVALID']);
    assert.match(JSON.parse(rewrap.stdout).error.message, /--proof-collection/);
    assert.deepEqual(await place.dump(), before);
  });

  it('an empty key vault is said on standard error, and fails what would stand for work', async () => {
    for (const [args, what] of [[['keys', 'list'], 'data key'], [['keys', 'rewrap', '--all', ...local], 'data key'], [['keys', 'restore', '--all'], 'retired key']]) {
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

    const decrypt = ['migrate', '--mode', 'decrypt', '--collection', place.patientsNamespace, '--confirm-plaintext', ...local, ...sealed, '--execute', '--json'];
    const decrypted = await run(decrypt, { vault: nowhere() });
    assert.deepEqual([decrypted.code, JSON.parse(decrypted.stdout).error?.code], [1, 'MIGRATION_NO_KEYS_CHOSEN']);
    const rewrap = ['migrate', ...target(), ...local, ...sealed, '--execute', '--json'];
    const rewrapped = await run(rewrap, { vault: nowhere() });
    assert.deepEqual([rewrapped.code, JSON.parse(rewrapped.stdout).failures[0].code], [1, 'MIGRATION_NO_KEYS_CHOSEN']);
    const allowed = await run([...rewrap, '--allow-empty'], { vault: nowhere() });
    assert.deepEqual([allowed.code, JSON.parse(allowed.stdout).ok, JSON.parse(allowed.stdout).executed], [0, true, false]);
  });
});
