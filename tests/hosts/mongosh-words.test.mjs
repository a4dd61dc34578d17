// What csfle says in the real mongosh is in options and methods of the shell, and names key vault, server and next step.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { installForShell } from './mongosh/shell.mjs';

describe('what csfle says in mongosh', { timeout: 300_000 }, () => {
  let uri;
  let shell;
  let client;
  const database = `words_${randomUUID().slice(0, 8)}`;

  before(async () => {
    uri = (await testServices()).mongodbUri;
    shell = await installForShell();
    for (const name of ['master-key.bin', 'new.bin']) await writeFile(join(shell.folder, name), randomBytes(96), { mode: 0o600 });
    await writeFile(join(shell.folder, 'passphrase.txt'), 'correct horse\n', { mode: 0o600 });
    client = await MongoClient.connect(uri);
    const made = await run("csfle.keyVault(options).createKey('local', ['patients.ssn'])");
    assert.equal(made.code, 0, made.stderr);
  });
  after(async () => {
    await client?.db(database).dropDatabase();
    await client?.close();
    await shell?.remove();
  });

  const prelude = () => `${shell.load}
    const local = csfle.localKeyFile('master-key.bin'), words = { passphraseFile: 'passphrase.txt' };
    const options = { keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local } }, empty = { ...options, keyVaultNamespace: '${database}.nowhere' };
    const fails = (work) => { try { work(); return null; } catch ({ code, message, remedy }) { return { code, message, remedy }; } };`;
  const run = (script, settings = {}) => shell.run(`${prelude()} ${script}`, { uri, ...settings });
  const evaluate = async (script) => {
    const { code, stdout, stderr, value } = await run(script);
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return value;
  };
  // The result as a person sees it.
  const printed = async (script) => {
    const { code, stdout, stderr } = await run(`print(${script})`, { json: false });
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return stdout;
  };

  it('an option that is not known is refused with the list of the shell', async () => {
    const value = await evaluate(`({ migrate: fails(() => csfle.migrate({ ...options, collection: [] })), status: fails(() => csfle.status({ ...options, from: { provider: 'local' } })),
      keyVault: fails(() => csfle.keyVault({ ...options, keyVaultStore: {} })), clientEncryption: fails(() => csfle.clientEncryption({ ...options, bson: {} })) })`);
    for (const { code, message } of Object.values(value)) {
      assert.equal(code, 'OPTION_INVALID');
      assert.match(message, /it has client, keyVaultNamespace, /);
      assert.doesNotMatch(message.split('it has')[1], /keyVaultStore|onProgress|signal|bson|\bkeyVault\b/);
    }
    assert.match(value.migrate.message, /backupFile, passphraseFile/);
  });

  it('plans name the key vault and the host of its server, without the connection string', async () => {
    const text = await printed("csfle.migrate({ ...options, mode: 'decrypt', collections: ['x.y'], from: { provider: 'local' } })");
    assert.match(text, new RegExp(`^ {2}vault +${database}\\.__keyVault at ${new URL(uri).host}$`, 'm'));
  });

  it('a key file that does not open the keys is named, with the next step, in plan and status', async () => {
    const wrong = "{ ...options, kmsProviders: { local: csfle.localKeyFile('new.bin') } }";
    const text = await printed(`csfle.migrate({ ...${wrong}, to: { provider: 'local' }, mode: 'reencrypt', all: true, collections: ['${database}.__keyVault'] })`);
    assert.match(text, /FAIL old-keys-unwrap: .*do not open under the local master key of new\.bin.*\n +Give the file .*csfle\.localKeyFile/);
    const { keyVault } = await evaluate(`csfle.status(${wrong})`);
    assert.deepEqual(keyVault.closedKeys.map(({ code }) => code), ['CRYPTO_AUTHENTICATION_FAILED']);
    assert.match(keyVault.closedKeys[0].message, /does not open under the local master key of new\.bin/);
    assert.match(keyVault.closedKeys[0].remedy, /csfle\.localKeyFile/);
  });

  it('an empty key vault and a missing collection fail what would stand for work', async () => {
    const value = await evaluate(`({ backup: fails(() => csfle.backup.create('empty.csfle-backup', { keyVaultNamespace: empty.keyVaultNamespace, ...words })),
      decrypt: fails(() => csfle.migrate({ ...empty, ...words, mode: 'decrypt', collections: ['${database}.__keyVault'], confirmPlaintext: true, execute: true })),
      proof: fails(() => csfle.keyVault(options).rewrapManyDataKey({}, { proof: { collections: ['${database}.nowhere'] } })),
      allowed: csfle.migrate({ ...empty, ...words, mode: 'reencrypt', all: true, collections: ['${database}.__keyVault'], to: { provider: 'local' }, allowEmpty: true, execute: true }) })`);
    assert.deepEqual([value.backup.code, value.decrypt.code, value.proof.code], ['KEY_VAULT_KEY_NOT_FOUND', 'MIGRATION_NO_KEYS_CHOSEN', 'ARGUMENT_INVALID']);
    assert.match(value.backup.message, /allowEmpty: true/);
    assert.equal(existsSync(join(shell.folder, 'empty.csfle-backup')), false);
    assert.deepEqual([value.allowed.ok, value.allowed.executed], [true, false]);
    const made = await evaluate("csfle.backup.create('empty.csfle-backup', { keyVaultNamespace: empty.keyVaultNamespace, ...words, allowEmpty: true })");
    assert.deepEqual([Number(made.keys), existsSync(join(shell.folder, 'empty.csfle-backup'))], [0, true]);
  });
});
