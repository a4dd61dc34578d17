// csfle.backup in the real mongosh, and the backup that csfle.migrate takes there.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readBackup, verifyBackup } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { attempt, installForShell } from './mongosh/shell.mjs';

const passphrase = 'correct horse';

describe('csfle.backup in mongosh', { timeout: 600_000 }, () => {
  let services;
  let shell;
  let client;
  const database = `backup_${randomUUID().slice(0, 8)}`;
  const masterKey = randomBytes(96);

  before(async () => {
    services = await testServices();
    const files = { 'master-key.bin': masterKey, 'other-key.bin': randomBytes(96), 'passphrase.txt': `${passphrase}\n` };
    shell = await installForShell({ files });
    client = await MongoClient.connect(services.mongodbUri);
  });
  after(async () => {
    await client?.db(database).dropDatabase();
    await client?.close();
    await shell?.remove();
  });

  const prelude = () => `${shell.load} ${attempt}
    const local = csfle.localKeyFile('master-key.bin'); const other = csfle.localKeyFile('other-key.bin');
    const place = { keyVaultNamespace: '${database}.__keyVault' }; const words = { passphraseFile: 'passphrase.txt' };`;
  const evaluate = (script) => shell.evaluate(`${prelude()} ${script}`, { uri: services.mongodbUri });
  const keys = async () =>
    (await client.db(database).collection('__keyVault').find({}, { raw: true }).toArray()).map((bytes) => Buffer.from(bytes).toString('hex'));
  const bytesOf = async (name) => new Uint8Array(await readFile(join(shell.folder, name)));

  it('creates, verifies and restores', async () => {
    const value = await evaluate(
      `const vault = csfle.keyVault({ ...place, kmsProviders: { local } }); vault.createKey('local', ['ssn']); vault.createKey('local');
       const made = csfle.backup.create('one', { ...place, ...words, collections: [] });
       const wrapped = csfle.backup.create('two', { ...place, kmsProviders: { local }, masterKey: { provider: 'local' }, collections: [] });
       ({ made, keys: csfle.backup.verify('one', words).keys.length, wrapped: csfle.backup.verify('two', { kmsProviders: { local } }).keys.length,
          again: attempt(() => csfle.backup.create('one', { ...place, ...words })).code,
          wrong: attempt(() => csfle.backup.verify('two', { kmsProviders: { local: other } })).code,
          keyless: attempt(() => csfle.backup.verify('one')).code, unknown: attempt(() => csfle.backup.create('x', { ...place, ...words, zip: true })).code })`,
    );
    assert.deepEqual([Number(value.made.keys), Number(value.keys), Number(value.wrapped)], [2, 2, 2]);
    assert.deepEqual(
      [value.again, value.wrong, value.keyless, value.unknown],
      ['ARGUMENT_INVALID', 'BACKUP_KEY_WRONG', 'BACKUP_KEY_MISSING', 'OPTION_INVALID'],
    );
    assert.equal((await stat(join(shell.folder, 'one'))).mode & 0o777, 0o600);
    const before = await keys();
    const contents = await readBackup(await bytesOf('one'), { passphrase });
    assert.deepEqual(
      contents.keyDocuments.map((bytes) => Buffer.from(bytes).toString('hex')),
      before,
    );
    assert.equal((await verifyBackup(await bytesOf('one'), { passphrase })).sha256, value.made.sha256);

    await client.db(database).collection('__keyVault').drop();
    const restored = await evaluate(
      `const restore = (more) => csfle.backup.restore('one', { ...place, ...words, ...more });
       const plan = restore({}); ({ plan, report: restore({ execute: true }) })`,
    );
    assert.deepEqual(
      [restored.plan.executed, restored.plan.inserted.length, restored.report.executed, restored.report.inserted.length, restored.report.indexes],
      [false, 2, true, 2, ['keyAltNames_1']],
    );
    assert.deepEqual((await keys()).sort(), before.sort());
  });

  it('csfle.migrate takes one before its first write, and none when told so', async () => {
    const before = await keys();
    const options = "{ ...place, kmsProviders: { local, 'local:new': other }, from: { provider: 'local' }, to: { provider: 'local:new' }";
    const names = async () => (await readdir(shell.folder)).filter((name) => name.endsWith('.csfle-backup'));
    const plan = await evaluate(`csfle.migrate(${options} })`);
    assert.deepEqual([plan.executed, plan.backup, await names()], [false, null, []]);
    const report = await shell.run(`${prelude()} csfle.migrate(${options}, execute: true })`, { uri: services.mongodbUri, json: false });
    assert.equal(report.code, 0, report.stderr);
    const [name] = await names();
    assert.match(report.stdout, new RegExp(`^backup: ${name}$`, 'm'));
    assert.match(report.stdout, new RegExp(`^ {2}backup {7}${name}: 2 keys$`, 'm'));
    const other = await readFile(join(shell.folder, 'other-key.bin'));
    const contents = await readBackup(await bytesOf(name), { kmsProviders: { 'local:new': { key: other } } });
    assert.deepEqual(
      contents.keyDocuments.map((bytes) => Buffer.from(bytes).toString('hex')),
      before,
    );
    const back = await evaluate(
      `const reversed = { ...place, kmsProviders: { local, 'local:new': other }, from: { provider: 'local:new' }, to: { provider: 'local' }, execute: true };
       const taken = csfle.migrate({ ...reversed, backupFile: 'master-key.bin' }); const none = csfle.migrate({ ...reversed, backup: false });
       ({ taken: taken.failures.map(({ code }) => code), none: none.backup, ok: none.ok })`,
    );
    assert.deepEqual(back, { taken: ['MIGRATION_BACKUP_FAILED'], none: null, ok: true });
    assert.deepEqual(await readFile(join(shell.folder, 'master-key.bin')), masterKey);
    assert.equal((await names()).length, 1);
  });
});
