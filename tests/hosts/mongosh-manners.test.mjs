// How csfle behaves as a guest of mongosh: help, printing, errors, secrets, key files, start-up time.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { attempt, installForShell } from './mongosh/shell.mjs';

const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

describe('csfle in mongosh', { timeout: 300_000 }, () => {
  let services;
  let shell;
  let client;
  const masterKey = randomBytes(96);
  const database = `manners_${randomUUID().slice(0, 8)}`;
  const options = `{ keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local: csfle.localKeyFile('master-key.bin') } }`;

  before(async () => {
    services = await testServices();
    shell = await installForShell({ files: { 'master-key.bin': masterKey } });
    client = await MongoClient.connect(services.mongodbUri);
  });

  after(async () => {
    await client?.db(database).dropDatabase();
    await client?.close();
    await shell?.remove();
  });

  const run = (script, settings) => shell.run(script, { uri: services.mongodbUri, ...settings });
  const evaluate = (script, settings) => shell.evaluate(`${shell.load} ${attempt} ${script}`, { uri: services.mongodbUri, ...settings });

  it('has help on every method and every object', async () => {
    const value = await evaluate(
      `const objects = { csfle, vault: csfle.keyVault(${options}), encryption: csfle.clientEncryption(${options}) };
       Object.entries(objects).flatMap(([name, object]) => [[name, object.help().help, object.help().attr.length],
         ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))
         .filter((method) => method !== 'constructor' && method !== 'help').map((method) => [name + '.' + method, object[method].help().help,
           object[method].help().attr[0].description.length])])`,
    );
    assert.equal(value.length, 3 + 6 + 14 + 9);
    for (const [name, usage, size] of value) {
      assert.ok(usage.length > 5 && Number(size) > 5, name);
      if (name.includes('.')) assert.match(usage, new RegExp(`\\.${name.split('.')[1]}\\(`));
    }
  });

  it('prints help as the shell prints its own', async () => {
    const { stdout } = await run(`${shell.load} const vault = csfle.keyVault(${options}); print(csfle.help()); print(vault.createKey.help()); vault.help`, {
      json: false,
    });
    assert.match(stdout, /^\n {2}Client-Side Field Level Encryption \(csfle-wasm\):\n\n {4}clientEncryption {27}Returns an object/);
    assert.match(stdout, /\n {2}keyVault\.createKey\(kms, [^\n]*\):\n\n {2}Creates a data key/);
    assert.match(stdout, /\n {2}Key Vault Class \(csfle-wasm\):\n/);
    assert.match(stdout, /For more information on usage: https:/);
  });

  it('refuses a FIFO, a device and a folder as a key file at once', { skip: process.platform === 'win32' && 'no FIFO' }, async () => {
    assert.equal(spawnSync('mkfifo', ['-m', '600', join(shell.folder, 'fifo')]).status, 0);
    const refused = await evaluate("['fifo', '/dev/zero', '/dev/stdin', '.'].map((file) => attempt(() => csfle.localKeyFile(file)))");
    assert.deepEqual(
      refused.map(({ code }) => code),
      Array(4).fill('ARGUMENT_INVALID'),
    );
  });

  it('shows names and messages of others with nothing hidden in them', async () => {
    const forged = 'x\u001b[2K\r\nforged ok\u202e\u200b';
    const absent = await run(`${shell.load} csfle.localKeyFile(${JSON.stringify(forged)})`, { json: false });
    assert.match(`${absent.stdout}${absent.stderr}`, /\\u001b\[2K\\u000d\\u000aforged ok\\u202e\\u200b/);
    const namespace = `${database}.${forged.replaceAll('\u0000', '')}`;
    const plan = await run(
      `${shell.load} print(csfle.migrate({ ...${options}, mode: 'reencrypt', collections: [${JSON.stringify(namespace)}], from: { provider: 'local' },
         to: { provider: 'local' } }))`,
      { json: false },
    );
    // A provider name that a writer of the key vault chose.
    const planted = await run(
      `${shell.load} csfle.keyVault(${options}).createKey('local', ['print']); const keys = db.getSiblingDB('${database}').getCollection('__keyVault');
       keys.insertOne({ ...keys.findOne(), _id: UUID(), keyAltNames: [${JSON.stringify(forged)}],
         masterKey: { provider: ${JSON.stringify(`aws:${forged}`)} } }); print(csfle.status(${options}));
         print(keys.deleteMany({ 'masterKey.provider': { $ne: 'local' } }).deletedCount); keys.deleteMany({})`,
      { json: false },
    );
    assert.match(planted.stdout, /aws:x\\+u001b\[2K\\+u000d\\+u000aforged ok\\+u202e\\+u200b/);
    for (const { stdout, stderr } of [absent, plan, planted]) {
      assert.doesNotMatch(`${stdout}${stderr}`, /^forged/m);
      assert.doesNotMatch(`${stdout}${stderr}`.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
    }
  });

  it('prints objects by what they are for, and connections without credentials', async () => {
    const uri = services.mongodbUri.replace('mongodb://', 'mongodb://canary-user:canary-word@');
    const { stdout } = await run(
      `${shell.load} const vault = csfle.keyVault(${options}); print(csfle); print(vault); print(csfle.clientEncryption(${options}));
       print(csfle.localKeyFile('master-key.bin')); print({ vault });
       const pretended = { __proto__: db.getMongo(), _serviceProvider: db.getMongo()._serviceProvider, _uri: ${JSON.stringify(uri)},
         getDB: (name) => db.getMongo().getDB(name) };
       print(csfle.clientEncryption({ ...${options}, client: pretended }))`,
      { json: false },
    );
    const host = new URL(services.mongodbUri).host;
    const vault = `mongodb://${host}, key vault ${database}.__keyVault`;
    assert.deepEqual(stdout.trimEnd().split('\n'), [
      'csfle: client-side field level encryption without libmongocrypt. See csfle.help()',
      `KeyVault class for ${vault}`,
      `ClientEncryption class for ${vault}`,
      `local master key in ${join(shell.folder, 'master-key.bin')}`,
      '{ vault: KeyVault {} }',
      `ClientEncryption class for ${vault}`,
    ]);
  });

  it('shows code and remedy of an error at the prompt, and stays a plain error under --json', async () => {
    const typed = await run(undefined, { input: `${shell.load}\ncsfle.keyVault({})\n` });
    assert.match(typed.stdout, /CsfleError\[ARGUMENT_INVALID\]: FLE options must be passed/);
    assert.match(typed.stdout, /remedy: 'Correct the argument/);
    const failed = await run(`${shell.load} csfle.keyVault({})`);
    assert.equal(failed.code, 1);
    const error = JSON.parse(failed.stdout);
    assert.deepEqual([error.name, error.code, 'codeName' in error, 'errInfo' in error], ['CsfleError', 'ARGUMENT_INVALID', false, false]);
  });

  it('lets no secret into output, history or logs', async () => {
    const secrets = {
      AWS_ACCESS_KEY_ID: 'CANARYACCESSKEYID',
      AWS_SECRET_ACCESS_KEY: `canary-secret-${randomUUID()}`,
      AWS_SESSION_TOKEN: `canary-token-${randomUUID()}`,
    };
    const lines = [
      shell.load,
      "const kmsProviders = { local: csfle.localKeyFile('master-key.bin'), 'local:other': { key: csfle.localKeyFile('other.bin') } }",
      `const options = { ...${options}, kmsProviders }`,
      'options',
      'const vault = csfle.keyVault(options)',
      'vault',
      "vault.createKey('local', ['canary'])",
      'vault.getKeys()',
      'const encryption = csfle.clientEncryption(options)',
      'encryption',
      'require("util").inspect({ csfle, vault, encryption, options }, { depth: 20, showHidden: true })',
      'EJSON.stringify({ csfle, vault, encryption, options })',
      `encryption.encrypt(null, require('fs').readFileSync('plain.txt', 'utf8'), { algorithm: '${RANDOM}', keyAltName: 'canary' })`,
      'csfle.status()',
      "csfle.keyVault({ ...options, kmsProviders: { local: csfle.localKeyFile('other.bin') } }).rewrapManyDataKey({})",
      "csfle.status({ ...options, kmsProviders: { local: csfle.localKeyFile('other.bin') } })",
      "csfle.localKeyFile('short.bin')",
      "csfle.clientEncryption({ ...options, kmsProviders: { local: { key: require('fs').readFileSync('short.bin') } } })",
    ];
    const plaintext = `canary plaintext ${randomUUID()}`;
    const other = randomBytes(96);
    await writeFile(join(shell.folder, 'other.bin'), other.toString('base64'), { mode: 0o600 });
    await writeFile(join(shell.folder, 'short.bin'), masterKey.subarray(0, 95), { mode: 0o600 });
    await writeFile(join(shell.folder, 'plain.txt'), plaintext);
    const { stdout, stderr } = await run(undefined, { input: `${lines.join('\n')}\n`, env: secrets });
    const kept = await shell.home();

    assert.match(stdout, /keyAltNames: \[ 'canary' \]/);
    assert.match(stdout, /CRYPTO_AUTHENTICATION_FAILED/);
    assert.match(stdout, /providers: \{ local: \{ keys: 1, open: 1 \} \}/);
    assert.match(kept, /csfle\.localKeyFile/, 'the session was kept');
    const forbidden = [plaintext, ...Object.values(secrets), ...[masterKey, other].flatMap(spellings)];
    const found = forbidden.filter((secret) => [stdout, stderr, kept].some((output) => output.includes(secret)));
    assert.deepEqual(found, []);
  });

  it('warns who types a master key at the prompt, once', async () => {
    const typed = `csfle.clientEncryption({ ...${options}, kmsProviders: { local: { key: Binary(Buffer.alloc(96)) } } })\n`;
    const { stdout } = await run(undefined, { input: `${shell.load}\n${typed}${typed}` });
    assert.equal(stdout.match(/Warning: A master key that was typed stays in the history/g)?.length, 1, stdout);
  });

  it('takes master keys from files that only their owner reads', async () => {
    await writeFile(join(shell.folder, 'open.bin'), masterKey);
    await chmod(join(shell.folder, 'open.bin'), 0o640);
    await writeFile(join(shell.folder, 'text.b64'), `${masterKey.toString('base64')}\n`, { mode: 0o600 });
    await writeFile(join(shell.folder, 'long.bin'), randomBytes(300), { mode: 0o600 });
    await mkdir(join(shell.folder, 'folder'));
    const value = await evaluate(
      `const text = csfle.clientEncryption({ ...${options}, kmsProviders: { local: { key: csfle.localKeyFile('text.b64') } } });
       const vault = csfle.keyVault(${options}); const id = vault.createKey('local');
       ({ same: text.decrypt(csfle.clientEncryption(${options}).encrypt(id, 'same', '${RANDOM}')),
         made: csfle.localKeyFile('made.bin', { create: true }).file, again: csfle.localKeyFile('made.bin', { create: true }).file,
          refused: ['open.bin', 'long.bin', 'folder', 'absent.bin', '', 5].map((file) => attempt(() => csfle.localKeyFile(file))) })`,
    );
    assert.deepEqual([value.same, value.made, value.again], ['same', 'made.bin', 'made.bin']);
    assert.deepEqual(
      value.refused.map(({ code }) => code),
      Array(6).fill('ARGUMENT_INVALID'),
    );
    assert.match(value.refused[0].message, /chmod 600 open\.bin/);
    const made = await stat(join(shell.folder, 'made.bin'));
    assert.deepEqual([made.size, made.mode & 0o777], [96, 0o600]);
    assert.notDeepEqual(await readFile(join(shell.folder, 'made.bin')), Buffer.alloc(96));
  });

  it('tells how to get the AWS SDK when it is not there', async () => {
    const value = await evaluate(
      `({ call: attempt(() => csfle.awsKms()), provider: attempt(() => csfle.clientEncryption({ ...${options}, kmsProviders: { aws: {} } })) })`,
    );
    for (const { code, message } of Object.values(value)) {
      assert.equal(code, 'ARGUMENT_INVALID');
      assert.match(message, /npm install @aws-sdk\/client-kms/);
    }
  });

  it('tells the state of the key vault', async () => {
    const value = await evaluate(
      `const own = { ...${options}, keyVaultNamespace: '${database}.status' }; const before = csfle.status();
       const vault = csfle.keyVault({ ...own, kmsProviders: { ...own.kmsProviders, 'local:second': csfle.localKeyFile('master-key.bin') } });
       const ids = [vault.createKey('local', ['first']), vault.createKey('local:second', { keyAltNames: ['second'] })];
       ({ before, ids, last: csfle.status(), byVault: csfle.status(vault), byOptions: csfle.status(own) })`,
    );
    assert.deepEqual(Object.keys(value.before), ['versions', 'hint']);
    assert.equal(value.before.versions.mongosh, '2.12.0');
    const numbers = ({ keyVault }) =>
      Object.fromEntries(Object.entries(keyVault.providers).map(([name, { keys, open }]) => [name, [Number(keys), Number(open)]]));
    assert.deepEqual(numbers(value.last), { local: [1, 1], 'local:second': [1, 1] });
    assert.deepEqual(numbers(value.byVault), numbers(value.last));
    assert.deepEqual(numbers(value.byOptions), { local: [1, 1], 'local:second': [1, 0] });
    const [closed] = value.byOptions.keyVault.closedKeys;
    assert.deepEqual([String(closed._id), closed.keyAltNames, closed.code], [String(value.ids[1]), ['second'], 'KMS_PROVIDER_NOT_CONFIGURED']);
    assert.deepEqual(
      [value.last.summary, value.byOptions.summary],
      ['every key opens: 2 of 2', '1 of 1 key under local:second does not open: kmsProviders has no local:second'],
    );
    assert.deepEqual([value.last.keyVault.writable, value.last.keyVault.uniqueIndex, value.last.keyVault.namespace], [true, true, `${database}.status`]);
  });

  it('says first how many keys do not open', async () => {
    await writeFile(join(shell.folder, 'foreign.bin'), randomBytes(96), { mode: 0o600 });
    const value = await evaluate(
      `const own = { ...${options}, keyVaultNamespace: '${database}.closed' }; const empty = csfle.status(own);
       csfle.keyVault(own).createKey('local'); csfle.clientEncryption(own);
       csfle.keyVault({ ...own, kmsProviders: { local: csfle.localKeyFile('foreign.bin') } }).createKey('local', { newMasterKey: true });
       ({ empty, some: csfle.status(own) })`,
    );
    assert.equal(value.empty.summary, 'the key vault has no data key');
    assert.deepEqual([Object.keys(value.some)[0], value.some.summary], ['summary', '1 of 2 keys under local does not open under this master key']);
    assert.deepEqual(
      value.some.keyVault.closedKeys.map(({ code }) => code),
      ['CRYPTO_AUTHENTICATION_FAILED'],
    );
  });

  it('adds little to the start of the shell', async (test) => {
    const script = `const started = performance.now(); ${shell.load} const loaded = performance.now(); csfle.clientEncryption(${options}).close();
      [loaded - started, performance.now() - loaded].map(Math.round)`;
    const runs = [];
    for (let round = 0; round < 3; round += 1) runs.push(await run(script).then(({ value }) => value.map(Number)));
    const [load, first] = [0, 1].map((column) => Math.min(...runs.map((one) => one[column])));
    test.diagnostic(`load() of csfle.mongosh.js: ${load} ms (aim: below 150 ms); the first clientEncryption(): ${first} ms`);
    assert.ok(load > 0);
  });
});

// The first bytes of a key in the ways that a program might print them.
function spellings(key) {
  const start = key.subarray(0, 24);
  const hex = start.toString('hex');
  return [
    hex,
    hex.match(/../g).join(' '),
    start.toString('base64').slice(0, 24),
    [...start].slice(0, 8).join(', '),
    [...start].slice(0, 8).join(','),
    start.toString('latin1'),
  ];
}
