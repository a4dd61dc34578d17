// Providers that the command has no client of come from a module of the user.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'node:test';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

const MODULE = fileURLToPath(new URL('./cli/kms-module.mjs', import.meta.url));
const FIELDS = { keyVaultEndpoint: 'hospital.vault.azure.net', keyName: 'master' };

describe('csfle with providers of --kms-module', { timeout: 300_000 }, () => {
  let lab;
  let place;
  let keyFile;
  let environment;
  before(async () => {
    lab = await openCommandLab();
    place = await hospital(lab, { documents: 3 });
    keyFile = join(lab.folder, 'module-key.bin');
    await writeFile(keyFile, place.masterKey, { mode: 0o600 });
    const TEST_RSA_KEY = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    environment = { MONGODB_URI: lab.uri, TEST_RSA_KEY, CSFLE_BACKUP_PASSPHRASE: 'a passphrase of the tests' };
  });
  after(() => lab.close());

  const run = (...args) => csfle([...args, '--key-vault', place.namespace], { env: environment });
  const toAzure = () => ['migrate', '--local-key-file', keyFile, '--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', MODULE];
  const providers = () => place.vault.distinct('masterKey.provider');

  it('migrates to Azure Key Vault, reads under it, and back', async () => {
    const plan = await run(...toAzure());
    assert.equal(plan.code, 0, plan.stderr + plan.stdout);
    const done = await run(...toAzure(), '--execute', '--json');
    assert.equal(done.code, 0, done.stderr + done.stdout);
    const { to, keys } = JSON.parse(done.stdout);
    assert.deepEqual([to, keys.migrated, keys.verified], [{ provider: 'azure', ...FIELDS }, 3, 3]);
    assert.deepEqual(await providers(), ['azure']);

    const decrypted = await run('decrypt', place.patientsNamespace, '--kms-module', MODULE);
    assert.equal(decrypted.code, 0, decrypted.stderr);
    assert.ok(decrypted.stdout.includes(place.originals[0].ssn));
    const checked = JSON.parse((await run('doctor', '--kms-module', MODULE, '--json')).stdout);
    assert.deepEqual(checked.findings.filter(({ name, state }) => name === 'data key' && state === 'ok').length, 3);
    const made = await run('keys', 'create', '--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', MODULE);
    assert.equal(made.code, 0, made.stderr);

    const back = await run(...toAzure(), '--undo', '--execute', '--json');
    assert.equal(back.code, 0, back.stderr + back.stdout);
    assert.deepEqual(await providers(), ['local']);
  });

  it('seals a backup under the master key and opens it', async () => {
    const file = join(lab.folder, 'azure.csfle-backup');
    const made = await run('backup', 'create', file, '--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', MODULE);
    assert.equal(made.code, 0, made.stderr);
    assert.equal((await csfle(['backup', 'verify', file, '--kms-module', MODULE], { env: environment })).code, 0);
  });

  it('refuses what names no master key, and modules that give no providers', async () => {
    const empty = join(lab.folder, 'empty.mjs');
    const thrown = join(lab.folder, 'thrown.mjs');
    await writeFile(empty, 'export const other = 1;');
    await writeFile(thrown, "throw new Error('the secret of a module');");
    const before = await place.dump();
    for (const args of [
      ['--to', 'azure', '--kms-module', MODULE],
      ['--to', 'azure', '--to-master-key', '[]', '--kms-module', MODULE],
      ['--to', 'azure', '--to-master-key', '{"provider": "aws"}', '--kms-module', MODULE],
      ['--to', 'azure', '--to-master-key', JSON.stringify(FIELDS)],
      ['--to', 'gcp', '--to-master-key', '{"projectId": "p", "location": "l", "keyRing": "r", "keyName": "n"}', '--kms-module', MODULE],
      ['--to', 'aws', '--to-master-key', '{}'],
      ['--to', 'Azure', '--kms-module', MODULE],
      ['--to', 'nowhere', '--kms-module', MODULE],
      ['--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', empty],
      ['--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', thrown],
      ['--to', 'azure', '--to-master-key', JSON.stringify(FIELDS), '--kms-module', join(lab.folder, 'absent.mjs')],
    ]) {
      const { code, stdout } = await run('migrate', '--local-key-file', keyFile, ...args, '--execute', '--json');
      const { error } = JSON.parse(stdout);
      assert.deepEqual([code, error.code], [2, 'CLI_OPTION_INVALID'], args.join(' '));
      assert.doesNotMatch(stdout, /the secret of a module/);
    }
    assert.match((await run('migrate', '--to', 'Azure', '--local-key-file', keyFile)).stderr, /Did you mean azure\?/);
    assert.deepEqual(await place.dump(), before);
  });
});
