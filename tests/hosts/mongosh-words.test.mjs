// Messages of csfle in the real mongosh name options and methods of the shell, the key vault, its server and the next step.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { slowKms } from './cli/command.mjs';
import { installForShell } from './mongosh/shell.mjs';

describe('what csfle says in mongosh', { timeout: 300_000 }, () => {
  let uri;
  let shell;
  let client;
  const database = `words_${randomUUID().slice(0, 8)}`;

  before(async () => {
    uri = (await testServices()).mongodbUri;
    const files = { 'master-key.bin': randomBytes(96), 'new.bin': randomBytes(96), 'passphrase.txt': 'correct horse\n' };
    shell = await installForShell({ awsSdk: true, files });
    client = await MongoClient.connect(uri);
    await evaluate("csfle.keyVault(options).createKey('local', ['patients.ssn'])");
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
  const evaluate = (script) => shell.evaluate(`${prelude()} ${script}`, { uri });
  // The result as a person sees it.
  const printed = async (script) => {
    const { code, stdout, stderr } = await run(`print(${script})`, { json: false });
    assert.equal(code, 0, `${stdout}\n${stderr}`);
    return stdout;
  };

  it("an unknown option is refused with the list of the shell's options", async () => {
    const value = await evaluate(`({ migrate: fails(() => csfle.migrate({ ...options, collection: [] })),
        status: fails(() => csfle.status({ ...options, from: { provider: 'local' } })),
      keyVault: fails(() => csfle.keyVault({ ...options, keyVaultStore: {} })),
      clientEncryption: fails(() => csfle.clientEncryption({ ...options, bson: {} })) })`);
    for (const { code, message } of Object.values(value)) {
      assert.equal(code, 'OPTION_INVALID');
      assert.match(message, /it has client, keyVaultNamespace, /);
      assert.doesNotMatch(message.split('it has')[1], /keyVaultStore|onProgress|signal|bson|\bkeyVault\b/);
    }
    assert.match(value.migrate.message, /backupFile, passphraseFile/);
  });

  it('options of the library are refused with the name that the shell has for them', async () => {
    const value = await evaluate(`({ migrate: [{ keyVault: {} }, { onBackup: () => {} }].map((more) => fails(() => csfle.migrate({ ...options, ...more }))),
      keyVault: [{ keyVaultStore: {} }].map((more) => fails(() => csfle.keyVault({ ...options, ...more }))),
      restore: [{ keyVault: {} }].map((more) => fails(() => csfle.backup.restore('x', { ...more, ...words }))) })`);
    const of = ({ code, message }) => [code, message.split('; it has ')[0]];
    assert.deepEqual(Object.values(value).flat().map(of), [
      ['OPTION_INVALID', 'csfle.migrate has no option "keyVault" (in the shell it is keyVaultNamespace)'],
      ['OPTION_INVALID', 'csfle.migrate has no option "onBackup" (in the shell it is backupFile)'],
      ['OPTION_INVALID', 'csfle.keyVault has no option "keyVaultStore" (in the shell it is keyVaultNamespace)'],
      ['OPTION_INVALID', 'csfle.backup.restore has no option "keyVault" (in the shell it is keyVaultNamespace)'],
    ]);
  });

  it('a missing or incomplete master key is refused with the fields that it has to have', async () => {
    const { made, others } = await evaluate(`const vault = csfle.keyVault({ ...options, kmsProviders: { local, aws: csfle.awsKms() } });
      const made = [['aws'], ['aws', undefined, ['x']], ['aws:eu'], ['aws', { keyAltNames: ['x'] }], ['aws', { region: 'eu-west-1' }], ['azure'], ['gcp', {}]];
      ({ made: made.map((given) => fails(() => vault.createKey(...given))),
        others: [fails(() => vault.rewrapManyDataKey({}, { provider: 'aws' })), fails(() => csfle.migrate({ ...options, from: { provider: 'local' }, to: { provider: 'aws' } }))] })`);
    const none = 'KeyVault.createKey requires masterKey to be given as second argument if KMS is not local: ';
    const aws = '{ region: ..., key: ... }';
    assert.deepEqual(
      made.map(({ code, message }) => [code, message]),
      [
        ['ARGUMENT_INVALID', `${none}createKey("aws", ${aws}, keyAltNames)`],
        ['ARGUMENT_INVALID', `${none}createKey("aws", ${aws}, keyAltNames)`],
        ['ARGUMENT_INVALID', `${none}createKey("aws:eu", ${aws}, keyAltNames)`],
        ['MASTER_KEY_INVALID', `KeyVault.createKey: masterKey of aws lacks region and key: createKey("aws", ${aws}, keyAltNames)`],
        ['MASTER_KEY_INVALID', `KeyVault.createKey: masterKey of aws lacks key: createKey("aws", ${aws}, keyAltNames)`],
        ['ARGUMENT_INVALID', `${none}createKey("azure", { keyVaultEndpoint: ..., keyName: ... }, keyAltNames)`],
        [
          'MASTER_KEY_INVALID',
          'KeyVault.createKey: masterKey of gcp lacks projectId and location and keyRing and keyName: ' +
            'createKey("gcp", { projectId: ..., location: ..., keyRing: ..., keyName: ... }, keyAltNames)',
        ],
      ],
    );
    assert.deepEqual(
      others.map(({ code, message }) => [code, message]),
      [
        [
          'MASTER_KEY_INVALID',
          `KeyVault.rewrapManyDataKey: masterKey of aws lacks region and key: rewrapManyDataKey(filter, { provider: "aws", masterKey: ${aws} })`,
        ],
        ['MASTER_KEY_INVALID', 'csfle.migrate: to lacks region and key: to: { provider: "aws", region: ..., key: ... }'],
      ],
    );
  });

  it('a taken alternate name is printed with our code and remedy below the message of the server', async () => {
    const { stdout } = await shell.run(undefined, { uri, input: `${prelude()}\ncsfle.keyVault(options).createKey('local', ['patients.ssn'])\n` });
    assert.match(stdout, /MongoServerError[^\n]*: E11000 duplicate key error/);
    assert.match(stdout, /csfleCode: 'KEY_VAULT_DUPLICATE_KEY',\s+remedy: 'Choose another alternate name/);
  });

  it('plans name the key vault and the host of its server, without the connection string', async () => {
    const text = await printed("csfle.migrate({ ...options, mode: 'decrypt', collections: ['x.y'], from: { provider: 'local' } })");
    assert.match(text, new RegExp(`^ {2}vault +${database}\\.__keyVault at ${new URL(uri).host}$`, 'm'));
  });

  it('plan and status name a key file that does not open the keys, with the next step', async () => {
    const wrong = "{ ...options, kmsProviders: { local: csfle.localKeyFile('new.bin') } }";
    const text = await printed(
      `csfle.migrate({ ...${wrong}, to: { provider: 'local' }, newMasterKey: true, mode: 'reencrypt', all: true, collections: ['${database}.__keyVault'] })`,
    );
    assert.match(text, /FAIL old-keys-unwrap: .*do not open under the local master key of new\.bin.*\n +Give the file .*csfle\.localKeyFile/);
    const { keyVault } = await evaluate(`csfle.status(${wrong})`);
    assert.deepEqual(
      keyVault.closedKeys.map(({ code }) => code),
      ['CRYPTO_AUTHENTICATION_FAILED'],
    );
    assert.match(keyVault.closedKeys[0].message, /does not open under the local master key of new\.bin/);
    assert.match(keyVault.closedKeys[0].remedy, /csfle\.localKeyFile/);
  });

  it('backup.create and migrate with execute fail for an empty key vault and for a missing collection', async () => {
    const value = await evaluate(`({ backup: fails(() => csfle.backup.create('empty.csfle-backup', { keyVaultNamespace: empty.keyVaultNamespace, ...words })),
      decrypt: csfle.migrate({ ...empty, ...words, mode: 'decrypt', collections: ['${database}.__keyVault'], confirmPlaintext: true, execute: true }),
      proof: fails(() => csfle.keyVault(options).rewrapManyDataKey({}, { proof: { collections: ['${database}.nowhere'] } })),
      allowed: csfle.migrate({ ...empty, ...words, mode: 'reencrypt', all: true, collections: ['${database}.__keyVault'], to: { provider: 'local' }, allowEmpty: true, execute: true }) })`);
    assert.deepEqual(
      [value.backup.code, value.decrypt.failures[0].code, value.proof.code],
      ['KEY_VAULT_KEY_NOT_FOUND', 'MIGRATION_NO_KEYS_CHOSEN', 'ARGUMENT_INVALID'],
    );
    assert.match(value.backup.message, /allowEmpty: true/);
    assert.equal(existsSync(join(shell.folder, 'empty.csfle-backup')), false);
    assert.deepEqual([value.allowed.ok, value.allowed.executed], [true, true]);
    const made = await evaluate("csfle.backup.create('empty.csfle-backup', { keyVaultNamespace: empty.keyVaultNamespace, ...words, allowEmpty: true })");
    assert.deepEqual([Number(made.keys), existsSync(join(shell.folder, 'empty.csfle-backup'))], [0, true]);
  });

  it('restore prints its plan as text; the returned report is plain data', async () => {
    await evaluate("csfle.backup.create('one.csfle-backup', { keyVaultNamespace: options.keyVaultNamespace, ...words })");
    const { keyId } = { keyId: (await client.db(database).collection('__keyVault').findOne())._id };
    await client.db(database).collection('__keyVault').deleteOne({ _id: keyId });
    const text = await printed("csfle.backup.restore('one.csfle-backup', { ...options, ...words })");
    assert.match(text, /^Restore plan of one\.csfle-backup$/m);
    assert.match(text, new RegExp(`^ {2}vault +${database}\\.__keyVault at ${new URL(uri).host}$`, 'm'));
    assert.match(text, /^ {2}keys +1 would be inserted, /m);
    assert.match(text, /^Nothing was written\. Run it again with execute: true\.$/m);
    assert.equal(await client.db(database).collection('__keyVault').countDocuments(), 0);
    const report = await evaluate("csfle.backup.restore('one.csfle-backup', { ...options, ...words, execute: true })");
    assert.deepEqual([report.executed, report.ok, report.inserted.length, report.replacedFile], [true, true, 1, null]);
  });

  it('the error for a backup that does not open names its kind of seal, that for a missing file its folder', async () => {
    const value = await evaluate(`fs.writeFileSync('other.txt', 'another passphrase', { mode: 0o600 });
      ({ wrong: fails(() => csfle.backup.verify('one.csfle-backup', { passphraseFile: 'other.txt' })),
        none: fails(() => csfle.backup.verify('other.txt', words)), absent: fails(() => csfle.localKeyFile('absent.bin')) })`);
    assert.deepEqual([value.wrong.code, value.none.code, value.absent.code], ['BACKUP_KEY_WRONG', 'BACKUP_NOT_RECOGNIZED', 'ARGUMENT_INVALID']);
    assert.match(value.wrong.message, /^one\.csfle-backup: .*sealed under a passphrase$/);
    assert.match(value.wrong.remedy, /passphraseFile/);
    assert.match(value.none.remedy, /csfle\.backup\.create\(\)/);
    assert.ok(value.absent.message.includes(join(shell.folder, 'absent.bin')), value.absent.message);
  });

  it('Ctrl-C during a migration waits for the pending write, prints a report and how to continue', async () => {
    const { kmsEndpoint, keyArn, region } = await testServices();
    const vault = client.db(database).collection('interrupted');
    const made = await evaluate(
      `const vault = csfle.keyVault({ ...options, keyVaultNamespace: '${database}.interrupted' });
       [1, 2, 3].map((n) => vault.createKey('local', ['key' + n])).length`,
    );
    assert.equal(Number(made), 3);
    let interrupt;
    // The target is tried with two calls; each key takes three.
    const kms = await slowKms(kmsEndpoint, {
      delayMs: 200,
      onCall: (calls) => {
        if (calls === 6) interrupt('SIGINT');
      },
    });
    try {
      const input = `${shell.load}
        const options = { keyVaultNamespace: '${database}.interrupted', kmsProviders: { local: csfle.localKeyFile('master-key.bin'), aws: csfle.awsKms() } };
        const to = { provider: 'aws', region: '${region}', key: '${keyArn}' };
        csfle.migrate({ ...options, from: { provider: 'local' }, to, kmsConcurrency: 1, backup: false, execute: true })
        `.replaceAll(/\n +/g, '\n');
      const { stdout } = await shell.run(undefined, {
        uri,
        json: false,
        input,
        env: {
          AWS_ENDPOINT_URL_KMS: kms.endpoint,
        },
        endsInput: false,
        whileRunning(child) {
          interrupt = (signal) => child.kill(signal);
          child.stdout.on('data', (text) => {
            if (/run it again/.test(text)) setTimeout(() => child.kill('SIGKILL'), 500);
          });
        },
      });
      const left = await vault.countDocuments({ 'masterKey.provider': 'local' });
      assert.ok(left > 0 && left < 3, String(left));
      assert.match(stdout, new RegExp(`^ {2}result +${3 - left} keys? wrapped anew, 0 were done, 0 failed`, 'm'));
      assert.match(stdout, /^Interrupted: run it again to go on\.$/m);
      assert.doesNotMatch(stdout, new RegExp(`^keys: ${3 - left} of ${3 - left},`, 'm'));
    } finally {
      await kms.close();
    }
  });

  it('help lists csfle.backup, and a failed backup is printed with its remedy on a separate line', async () => {
    const { stdout } = await shell.run(undefined, { uri, json: false, input: `${shell.load}\ncsfle.help()\n` });
    assert.match(stdout, /^ +backup +Sealed backups/m);
    const text = await printed(
      `csfle.migrate({ ...options, ...words, kmsProviders: { local, 'local:new': csfle.localKeyFile('new.bin') }, to: { provider: 'local:new' },
         backupFile: 'new.bin', execute: true })`,
    );
    assert.match(text, /^ {2}failed +backup: .*choose another name \[MIGRATION_BACKUP_FAILED\]\n +Nothing was written\. Name a new file in backupFile/m);
  });
});
