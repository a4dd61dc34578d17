// Master keys in the real mongosh: a second local master key and an AWS key with another region than its ARN are refused.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { attempt, installForShell } from './mongosh/shell.mjs';

describe('master keys in mongosh', { timeout: 300_000 }, () => {
  let services;
  let shell;
  let client;
  const databases = [];

  before(async () => {
    services = await testServices();
    shell = await installForShell({ awsSdk: true, files: { 'master-key.bin': randomBytes(96), 'foreign.bin': randomBytes(96) } });
    client = await MongoClient.connect(services.mongodbUri);
  });
  after(async () => {
    for (const name of databases) await client?.db(name).dropDatabase();
    await client?.close();
    await shell?.remove();
  });

  const run = (script, settings) => shell.run(script, { uri: services.mongodbUri, ...settings });
  const evaluate = (script, settings) => shell.evaluate(script, { uri: services.mongodbUri, ...settings });
  function newVault() {
    const database = `shell_${randomUUID().slice(0, 8)}`;
    databases.push(database);
    const vault = client.db(database).collection('__keyVault');
    const aws = JSON.stringify(services.kmsEndpoint === undefined ? {} : { endpoint: services.kmsEndpoint });
    const prelude = `${shell.load} ${attempt} const aws = csfle.awsKms(${aws});
      const to = ${JSON.stringify({ provider: 'aws', region: services.region, key: services.keyArn })};
      const options = { keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local: csfle.localKeyFile('master-key.bin'), aws } };
      const foreign = { ...options, kmsProviders: { local: csfle.localKeyFile('foreign.bin'), aws, 'local:new': csfle.localKeyFile('foreign.bin') } };
      const remedyOf = (f) => { try { f(); return 'no error';
        } catch (error) { return { code: error.code, message: error.message, remedy: error.remedy ?? error.errInfo?.remedy }; } };`;
    return { database, prelude, vault, keys: () => vault.find().sort({ _id: 1 }).toArray() };
  }

  it('localKeyFile says that it made a new key, and where', async () => {
    const path = join(shell.folder, 'made.bin');
    const script = `${shell.load} const local = csfle.localKeyFile('made.bin', { create: true }); 1`;
    const { stdout, code } = await run(script, { json: false });
    assert.equal(code, 0);
    assert.equal(stdout, `made a new local master key: ${path}\n1\n`);
    const made = await readFile(path);
    // No message for a file that exists.
    assert.equal((await run(script, { json: false })).stdout, '1\n');
    assert.deepEqual(await readFile(path), made);
    // --json keeps its one document.
    const json = await run(`${shell.load} const local = csfle.localKeyFile('json.bin', { create: true }); 1`);
    assert.deepEqual([Number(json.value), json.stderr], [1, `made a new local master key: ${join(shell.folder, 'json.bin')}\n`]);
    const required = await run(
      `const local = require(${JSON.stringify(join(shell.folder, 'node_modules', 'csfle-wasm', 'dist', 'mongosh.cjs'))}).localKeyFile('required.bin',
         { create: true }); 1`,
      { json: false },
    );
    assert.equal(required.stdout, `made a new local master key: ${join(shell.folder, 'required.bin')}\n1\n`);
  });

  it('createKey and createDataKey refuse a local master key that opens no key of the vault, without newMasterKey', async () => {
    const { prelude, keys } = newVault();
    const value = await evaluate(`${prelude} csfle.keyVault(options).createKey('local', ['first']); const vault = csfle.keyVault(foreign);
      ({ refused: [() => vault.createKey('local', ['second']), () => vault.createKey('local'),
        () => vault.createDataKey('local', { keyAltNames: ['second'] }), () => vault.createKey('local', { newMasterKey: 'yes' })].map(remedyOf) })`);
    assert.deepEqual(
      value.refused.map(({ code }) => code),
      [...Array(3).fill('CRYPTO_AUTHENTICATION_FAILED'), 'OPTION_INVALID'],
    );
    assert.ok(value.refused[0].message.includes(join(shell.folder, 'foreign.bin')));
    assert.match(value.refused[0].remedy, /newMasterKey: true/);
    assert.equal((await keys()).length, 1);

    await evaluate(
      `${prelude} const vault = csfle.keyVault(foreign); vault.createKey('local:new', { keyAltNames: ['named'] });
       vault.createKey('local', { keyAltNames: ['second'], newMasterKey: true }); vault.createKey('local'); csfle.keyVault(options).createKey('local'); 0`,
    );
    assert.deepEqual((await keys()).map(({ masterKey }) => masterKey.provider).sort(), ['local', 'local', 'local', 'local', 'local:new']);
  });

  it('migrate and rewrapManyDataKey to a local master key that opens no key are refused', async () => {
    const { prelude, keys } = newVault();
    await evaluate(
      `${prelude} const vault = csfle.keyVault(options); vault.createKey('local', ['stays']);
      vault.createKey('aws', { masterKey: to, keyAltNames: ['goes'] }); 0`.replace('masterKey: to', 'masterKey: { region: to.region, key: to.key }'),
    );
    const before = await keys();
    const value = await evaluate(`${prelude} const move = { ...foreign, from: { provider: 'aws' }, to: { provider: 'local' }, backup: false };
      ({ refused: [() => csfle.migrate(move), () => csfle.migrate({ ...move, execute: true }),
        () => csfle.keyVault(foreign).rewrapManyDataKey({ keyAltNames: 'goes' }, { provider: 'local', proof: false })].map(remedyOf) })`);
    assert.deepEqual(
      value.refused.map(({ code }) => code),
      Array(3).fill('CRYPTO_AUTHENTICATION_FAILED'),
    );
    assert.deepEqual(await keys(), before);
    const meant = await evaluate(
      `${prelude} csfle.keyVault(foreign).rewrapManyDataKey({ keyAltNames: 'goes' },
         { provider: 'local', proof: false, newMasterKey: true }).bulkWriteResult.modifiedCount`,
    );
    assert.equal(Number(meant), 1);
    assert.deepEqual(
      (await keys()).map(({ masterKey }) => masterKey.provider),
      ['local', 'local'],
    );
  });

  it('refuses a region that is not that of the ARN, wherever a master key is named', async () => {
    const { database, prelude, keys } = newVault();
    const value = await evaluate(`${prelude} const vault = csfle.keyVault(options); vault.createKey('local', ['one']);
      const wrong = { region: 'eu-west-1', key: to.key };
      ({ refused: [
        () => csfle.migrate({ ...options, from: { provider: 'local' }, to: { provider: 'aws', ...wrong } }),
        () => csfle.migrate({ ...options, from: { provider: 'aws', ...wrong }, to: { provider: 'local' } }),
        () => vault.createKey('aws', wrong), () => vault.createDataKey('aws', { masterKey: wrong }),
        () => vault.rewrapManyDataKey({}, { provider: 'aws', masterKey: wrong }),
        () => csfle.backup.create('x.csfle-backup', { ...options, masterKey: { provider: 'aws', ...wrong } }),
      ].map(attempt) })`);
    assert.deepEqual(
      value.refused.map(({ code }) => code),
      Array(6).fill('MASTER_KEY_INVALID'),
    );
    for (const { message } of value.refused) assert.ok(message.includes('eu-west-1') && message.includes(services.region), message);
    assert.deepEqual(
      (await keys()).map(({ masterKey }) => masterKey.provider),
      ['local'],
      database,
    );
  });
});
