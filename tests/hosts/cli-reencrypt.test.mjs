// `csfle migrate --mode reencrypt` after a leak of the local master key: the commands of docs/migrate.md and docs/reencrypt.md, as they stand there.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { fencesOf, textOf } from '../docs/markdown.mjs';
import { DETERMINISTIC, hospital, valuesByKey } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle migrate --mode reencrypt', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    folder = lab.folder;
  });
  after(() => lab.close());

  async function ward(options) {
    const place = await hospital(lab, options);
    const keyFile = await lab.keyFileOf(place);
    const env = { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    const old = Object.values(place.keys).map((id) => id.toHexString(true));
    const exposed = async () =>
      Object.entries(await valuesByKey(place.patients))
        .filter(([id]) => old.includes(id))
        .map(([, values]) => values);
    const run = (args) => csfle(['migrate', '--key-vault', place.namespace, ...args], { env });
    // Vaults of the other tests here are unknown to this one: their values would count as uses of any key.
    const { skipNamespaces, reason } = lab.elsewhere(place.database);
    const alone = [...skipNamespaces.flatMap((name) => ['--skip-namespace', name]), '--skip-reason', reason];
    const target = ['--local-key-file', keyFile, '--to', 'aws', '--key-arn', lab.to.key];
    return {
      ...place,
      alone,
      keyFile,
      old,
      exposed,
      run,
      target,
      reencrypt: (...args) => run(['--mode', 'reencrypt', '--collection', place.patientsNamespace, ...target, ...args]),
    };
  }

  /** The commands of these pages with this mode, with the reader's own names put in. */
  function commandsOfPages(mode, names) {
    const commands = ['docs/migrate.md', 'docs/reencrypt.md']
      .flatMap((path) => fencesOf(textOf(path)))
      .filter(({ language, kind }) => `${language} ${kind}` === 'sh project')
      .flatMap(({ text }) => text.replaceAll('\\\n', ' ').split('\n'))
      .filter((line) => line.startsWith('npx csfle migrate'));
    const isMode = (line) => (mode === 'rewrap' ? !line.includes('--mode') : line.includes(`--mode ${mode}`));
    return commands.filter(isMode).map((line) =>
      line
        .trim()
        .split(/\s+/)
        .slice(3)
        .map((word) => names[word.replaceAll('"', '')] ?? word),
    );
  }

  it('the commands of the pages, after a rewrap: no value is left under a data key of before', async () => {
    const place = await ward({ documents: 4 });
    const schemaFile = join(folder, `${place.database}.json`);
    await writeFile(
      schemaFile,
      bson.EJSON.stringify({
        [place.patientsNamespace]: { properties: { ssn: { encrypt: { bsonType: 'string', algorithm: DETERMINISTIC, keyId: [place.keys.ssn] } } } },
      }),
    );
    const passphraseFile = join(folder, 'passphrase.txt');
    await writeFile(passphraseFile, 'correct horse\n', { mode: 0o600 });
    const names = {
      'master-key.bin': place.keyFile,
      'schema-map.json': schemaFile,
      'hospital.patients': place.patientsNamespace,
      'backup-passphrase.txt': passphraseFile,
      'key-vault.csfle-backup': join(folder, `${place.database}.csfle-backup`),
      'before-reencrypt.csfle-backup': join(folder, `${place.database}-2.csfle-backup`),
      $KEY_ARN: lab.to.key,
      $LEAK_ENDED: place.cutOff.toISOString(),
    };
    const [, rewrap] = commandsOfPages('rewrap', names);
    assert.ok(rewrap.includes('--execute'));
    assert.equal((await place.run(rewrap)).code, 0);
    assert.equal(await place.vault.countDocuments({ 'masterKey.provider': 'aws' }), 3);
    assert.equal((await place.exposed()).length, 3, 'a rewrap leaves the data keys');

    const commands = commandsOfPages('reencrypt', names);
    assert.deepEqual(
      commands.map((words) => [words.includes('--execute'), words.includes('--delete-old-keys')]),
      [
        [false, false],
        [true, false],
        [true, true],
      ],
    );
    for (const words of commands) {
      const { code, stdout, stderr } = await place.run([...words, ...place.alone]);
      assert.equal(code, 0, stdout + stderr);
      assert.match(stdout, words.includes('--execute') ? /^Done, / : /Nothing was written\. Add --execute/);
      // The first only plans.
      assert.equal((await place.exposed()).length, words.includes('--execute') ? 0 : 3);
    }
    assert.equal(await place.vault.countDocuments({ _id: { $in: Object.values(place.keys) } }), 0);
    await place.readsAs({ aws: lab.aws });
    // Once more: the date is what makes it end.
    const between = await place.dump();
    const again = await place.run(commands.at(-1));
    assert.equal(again.code, 0);
    assert.match(again.stdout, /^Nothing to do, \d.*\n {2}vault .*\n {2}no key is made before \S+: the 3 keys there are newer or made by a re-encryption$/m);
    assert.deepEqual(await place.dump(), between);
  });

  it('is undone by a re-encryption with a new date and --to local', async () => {
    const place = await ward({ documents: 3 });
    assert.equal((await place.reencrypt('--created-before', place.cutOff.toISOString(), '--execute')).code, 0);
    await place.readsAs({ aws: lab.aws });
    await new Promise((resolve) => setTimeout(resolve, 2));
    const undo = [
      '--mode',
      'reencrypt',
      '--collection',
      place.patientsNamespace,
      '--created-before',
      new Date().toISOString(),
      '--to',
      'local',
      '--local-key-file',
      place.keyFile,
      '--execute',
    ];
    const { code, stdout, stderr } = await place.run(undo);
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Done, /);
    await place.readsAs({ local: place.local });
    // Neither the first keys nor the later ones: the leaked master key opens no key in use.
    assert.deepEqual(await place.exposed(), []);
  });

  it('a re-encryption chosen by --from alone after a rewrap is refused, or reported as not done', async () => {
    const place = await ward({ documents: 2 });
    assert.equal((await place.run([...place.target, '--execute'])).code, 0);
    const before = await place.dump();
    for (const [args, expected] of [
      [['--from', 'local'], 'CLI_OPTION_INVALID'],
      [[], 'CLI_OPTION_INVALID'],
    ]) {
      const { code, stdout } = await place.reencrypt(...args, '--execute', '--json');
      assert.deepEqual([code, JSON.parse(stdout).error.code], [2, expected]);
    }
    for (const choice of [['--all-keys'], ['--created-before', new Date().toISOString()]]) {
      const { code, stdout } = await place.reencrypt('--from', 'local', ...choice, '--execute');
      assert.equal(code, 1);
      assert.match(stdout, /fail {2}keys-chosen .* \[MIGRATION_NO_KEYS_CHOSEN\]/);
      assert.match(stdout, /left out by --from or --key/);
      assert.doesNotMatch(stdout, /^Done/m);
    }
    assert.deepEqual(await place.dump(), before);
  });

  it('says what is left with exit code 1, what stays, and what was done', async () => {
    const place = await ward({ documents: 3 });
    const id = place.keys.notes.toHexString(true);
    const one = await place.reencrypt('--key', id, '--execute');
    assert.equal(one.code, 0, one.stdout);
    assert.match(
      one.stdout,
      /^Done, [\s\S]* 1 of 1 key replaced by new ones, 0 were done, 0 failed[\s\S]*warn {2}6 values stay under 2 keys that were not chosen \(/,
    );

    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.ssn });
    keyMaterial.buffer[40] ^= 1;
    await place.vault.updateOne({ _id: place.keys.ssn }, { $set: { keyMaterial } });
    const all = await place.reencrypt('--all-keys', '--execute');
    assert.equal(all.code, 1);
    assert.match(all.stdout, /^Not done: see the failures below, /);
    assert.match(all.stdout, /1 of 3 keys replaced by new ones, 1 were done, 1 failed/);
    assert.match(all.stdout, new RegExp(`left: 1 key that was asked for and not done \\(${place.keys.ssn.toHexString(true)}\\)`));
    assert.match(all.stdout, /left: 3 values of \S+ under the keys asked for/);
    assert.match(all.stdout, /3 old values left$/m);
  });

  it('an id that is not there: exit code 1, though the others were done', async () => {
    const place = await ward({ documents: 1 });
    const missing = '6c1f2d0e-0b6a-4f3c-9a53-6f0b8a6f7d11';
    const { code, stdout } = await place.reencrypt(...place.old.flatMap((id) => ['--key', id]), '--key', missing, '--execute');
    assert.equal(code, 1);
    assert.match(stdout, /^Not done: see below what is left, /);
    assert.match(stdout, new RegExp(`left: 1 key that was asked for and that the key vault does not have \\(${missing}\\)`));
    assert.deepEqual(await place.exposed(), []);
  });

  it('choices and dates that make no sense are bad usage', async () => {
    const place = await ward({ documents: 0 });
    const later = new Date(Date.now() + 3_600_000).toISOString();
    for (const args of [
      ['--key', 'ssn'],
      ['--all-keys', '--key', place.old[0]],
      ['--all-keys', '--delete-old-keys'],
      ['--all-keys', '--created-before', '2026-01-01'],
      ...['', 'yesterday', '2026-13-01', '2026-02-30', '2026-01-01T10:00', '2026-01-01 10:00Z', '01.11.2026', '1767225600000', later].map((date) => [
        '--created-before',
        date,
      ]),
    ]) {
      const { code, stdout } = await place.reencrypt(...args, '--json');
      assert.deepEqual([code, JSON.parse(stdout).error?.code], [2, 'CLI_OPTION_INVALID'], args.join(' '));
    }
    for (const args of [['--all-keys'], ['--created-before', '2026-01-01']]) {
      const { code, stdout } = await place.run([...place.target, ...args, '--json']);
      assert.deepEqual([code, JSON.parse(stdout).error.code], [2, 'CLI_OPTION_INVALID']);
    }
    const dates = {
      '2026-01-01': '2026-01-01T00:00:00.000Z',
      '2026-01-01T10:00+02:00': '2026-01-01T08:00:00.000Z',
      '2026-01-01T10:00:00.5Z': '2026-01-01T10:00:00.500Z',
    };
    for (const [date, expected] of Object.entries(dates))
      assert.deepEqual(JSON.parse((await place.reencrypt('--created-before', date, '--json')).stdout).choice, { createdBefore: expected });
  });

  it('a second rewrap says how many were done', async () => {
    const place = await ward({ documents: 0 });
    await place.run([...place.target, '--execute']);
    const { code, stdout } = await place.run([...place.target, '--execute']);
    assert.equal(code, 0);
    assert.match(stdout, /^Done, [\s\S]* 0 of 3 keys wrapped anew, 3 were done, 0 failed$/m);
  });
});
