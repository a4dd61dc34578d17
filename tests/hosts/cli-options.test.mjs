// Options that make the command comfortable: lists that fit, filters on encrypted fields, a file of options, completion in shells.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Int32 } from 'bson';
import { DETERMINISTIC, hospital, RANDOM } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('options of csfle', { timeout: 300_000 }, () => {
  let lab;
  let place;
  let keyFile;
  before(async () => {
    lab = await openCommandLab();
    place = await hospital(lab, { documents: 4 });
    keyFile = join(lab.folder, 'options-key.bin');
    await writeFile(keyFile, place.masterKey, { mode: 0o600 });
  });
  after(() => lab.close());

  const environment = () => ({ MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint });
  const run = (...args) => csfle([...args, '--key-vault', place.namespace], { env: environment() });
  const decrypted = async (...args) => {
    const { code, stdout, stderr } = await run('decrypt', place.patientsNamespace, '--local-key-file', keyFile, '--json', ...args);
    return {
      code,
      stderr,
      ids:
        code === 0
          ? JSON.parse(stdout)
              .map(({ _id }) => Number(_id.$numberInt ?? _id))
              .sort()
          : stdout,
    };
  };

  it('keys list is grouped by master key, fits 100 columns, and can be limited', async () => {
    const other = await hospital(lab, { documents: 0 });
    const list = (...args) => csfle(['keys', 'list', '--key-vault', other.namespace, ...args], { env: environment() });
    const name = 'a very long alternate name that does not fit into the column of names';
    await other.encryption.createDataKey('local', { keyAltNames: [name] });
    await other.encryption.createDataKey('aws', { masterKey: { region: lab.to.region, key: lab.to.key } });
    const { code, stdout } = await list();
    assert.equal(code, 0);
    assert.deepEqual(
      stdout.split('\n').filter((line) => line.length > 100),
      [],
    );
    assert.match(stdout, /^local: 4 keys$/m);
    assert.match(stdout, new RegExp(`^aws {2}${lab.to.key}: 1 key$`, 'm'));
    assert.match(stdout, /^5 keys in /m);
    const json = async (...args) => JSON.parse((await list('--json', ...args)).stdout);
    assert.deepEqual((({ keys, matching, total }) => [keys.length, matching, total])(await json('--provider', 'aws')), [1, 1, 5]);
    assert.deepEqual((({ keys, matching, total }) => [keys.length, matching, total])(await json('--master-key', lab.to.key.slice(-12))), [1, 1, 5]);
    assert.deepEqual((({ keys, matching, total }) => [keys.length, matching, total])(await json('--limit', '2')), [2, 5, 5]);
    assert.ok((await json()).keys.some(({ keyAltNames }) => keyAltNames.includes(name)));
    assert.match((await list('--limit', '2')).stdout, /^\.\.\. and 3 more keys/m);
    assert.match((await list('--provider', 'aws')).stdout, /^1 of 5 keys in /m);
  });

  it('--dry-run is a plan, and excludes --execute', async () => {
    const migrate = ['migrate', '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', keyFile, '--dry-run'];
    const plan = await run(...migrate);
    assert.equal(plan.code, 0, plan.stderr);
    assert.match(plan.stdout, /Nothing was written/);
    const both = await run(...migrate, '--execute');
    assert.equal(both.code, 2);
    assert.match(both.stderr, /--dry-run.* cannot be used with .*--execute/);
  });

  it('decrypt --filter-encrypted compares values as they are encrypted, in every type and under every key', async () => {
    const { encryption, patients, originals } = place;
    const second = await encryption.createDataKey('local');
    const keyed = (keyId, value, algorithm = DETERMINISTIC) => encryption.encrypt(value, { keyId, algorithm });
    await patients.insertMany([
      {
        _id: 100,
        code: await keyed(second, 'B'),
        number: await keyed(second, new Int32(7)),
        many: [{ code: await keyed(second, 'x') }],
        secret: await keyed(second, 'B', RANDOM),
      },
      { _id: 101, code: await keyed(place.keys.ssn, 'B'), number: await keyed(second, new Int32(8)), secret: await keyed(second, 'B', RANDOM) },
      { _id: 102, code: 'B' },
    ]);
    assert.deepEqual((await decrypted('--filter-encrypted', `ssn=${originals[2].ssn}`)).ids, [2]);
    assert.deepEqual((await decrypted('--filter-encrypted', 'code=B')).ids, [100, 101]);
    assert.deepEqual((await decrypted('--filter-encrypted', 'code=B', '--filter-encrypted', 'number=7')).ids, [100]);
    assert.deepEqual((await decrypted('--filter-encrypted', 'number={"$numberInt":"8"}')).ids, [101]);
    assert.deepEqual((await decrypted('--filter-encrypted', 'many.code=x')).ids, [100]);
    assert.deepEqual((await decrypted('--filter', '{"_id": 101}', '--filter-encrypted', 'code=B')).ids, [101]);
    for (const condition of ['number=seven', 'number=99999999999', 'secret=B', 'absent=1', 'code']) {
      const { code, ids } = await decrypted('--filter-encrypted', condition);
      assert.deepEqual([code, JSON.parse(ids).error.code], [2, 'CLI_OPTION_INVALID'], condition);
      assert.doesNotMatch(ids, /seven|9999/);
    }
  });

  it('decrypt --filter on an encrypted field says why nothing was found', async () => {
    const { code, stderr, ids } = await decrypted('--filter', JSON.stringify({ ssn: place.originals[1].ssn }));
    assert.deepEqual([code, ids], [0, []]);
    assert.match(stderr, /ssn is stored encrypted.*--filter-encrypted 'ssn=/);
    assert.doesNotMatch((await decrypted('--filter', '{"_id": 12345}')).stderr, /encrypted/);
  });

  it('--config gives options that the command line does not have', async () => {
    const config = join(lab.folder, 'config.json');
    const withConfig = async (settings, args, mode = 0o600) => {
      await writeFile(config, typeof settings === 'string' ? settings : JSON.stringify(settings));
      await chmod(config, mode);
      const { code, stdout, stderr } = await csfle([...args, '--config', config, '--json'], { env: { AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint } });
      return { code, stderr, document: JSON.parse(stdout) };
    };
    const settings = {
      uri: lab.uri,
      'key-vault': place.namespace,
      localKeyFile: [keyFile],
      'kms-timeout-ms': 5000,
      mode: 'reencrypt',
      collection: [place.patientsNamespace],
      'all-keys': true,
    };
    const listed = await withConfig(settings, ['keys', 'list']);
    assert.equal(listed.document.keyVault, place.namespace);
    const plan = await withConfig(settings, ['migrate', '--to', 'aws', '--key-arn', lab.to.key]);
    assert.deepEqual([plan.code, plan.document.mode], [0, 'reencrypt'], JSON.stringify(plan.document.plan?.checks));
    assert.equal(
      (await withConfig(settings, ['migrate', '--mode', 'rewrap', '--to', 'aws', '--key-arn', lab.to.key])).document.error?.code,
      'CLI_OPTION_INVALID',
      '--all-keys goes with reencrypt',
    );
    for (const wrong of [
      { keyvault: 'a.b' },
      { execute: true },
      { yes: true },
      { mode: 'sideways' },
      { mode: ['rewrap', 'decrypt'] },
      { 'all-keys': 'yes' },
      { batchSize: 0 },
      { to: null },
    ]) {
      const { code, document } = await withConfig({ uri: lab.uri, ...wrong }, ['migrate']);
      assert.deepEqual([code, document.error.code], [2, 'CLI_OPTION_INVALID'], JSON.stringify(wrong));
      assert.ok(document.error.message.includes(JSON.stringify(Object.keys(wrong)[0])), document.error.message);
    }
    for (const wrong of ['{"uri": "mongodb://u:pass-word@h"', '[]', 'null']) {
      const { document } = await withConfig(wrong, ['keys', 'list']);
      assert.equal(document.error.code, 'CLI_FILE_INVALID');
      assert.doesNotMatch(JSON.stringify(document), /pass-word/);
    }
    assert.equal((await withConfig(settings, ['keys', 'list'], 0o644)).document.error.code, 'CLI_KEY_FILE_EXPOSED');
    const { uri: _, ...shared } = settings;
    assert.equal((await withConfig(shared, ['keys', 'list'], 0o644)).document.error.code, 'CLI_URI_MISSING');
  });

  it('completion writes a script for each shell, which asks the command for words', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await csfle(['completion', shell]);
      assert.equal(code, 0);
      assert.match(stdout, /csfle/);
    }
    const { stdout: script } = await csfle(['completion', 'bash']);
    const registered = spawnSync('bash', ['-c', `${script}\ncomplete -p csfle`], { encoding: 'utf8' });
    assert.match(registered.stdout, /^complete .*csfle$/m, registered.stderr);
    const words = async (...line) => (await csfle(['complete', '--', ...line])).stdout.split('\n').map((word) => word.split('\t')[0]);
    assert.ok((await words('')).includes('migrate'));
    assert.ok((await words('keys', 'l')).includes('list'));
    assert.deepEqual(
      (await words('migrate', '--mode', 'r')).filter((word) => /^\w/.test(word)),
      ['rewrap', 'reencrypt'],
    );
    assert.ok((await words('migrate', '--local')).includes('--local-key-file'));
  });
});
