// csfle.migrate() in the real mongosh: from a key file to AWS KMS through the real AWS SDK, against a real server.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { KMSClient } from '@aws-sdk/client-kms';
import { deserialize, EJSON } from 'bson';
import { awsKms, ClientEncryption, readBackup } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { createCmk, emulatorCredentials, startServices } from '../../js/dev/services.mjs';
import { testServices } from '../env.mjs';
import { attempt, installForShell } from './mongosh/shell.mjs';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const documents = 25;

describe('csfle.migrate in mongosh', { timeout: 300_000 }, () => {
  let services;
  let own;
  let shell;
  let client;
  let to;
  const masterKey = randomBytes(96);
  const databases = [];

  before(async () => {
    // A server of its own: a search for uses of a key finds what these tests put there, and nothing of others.
    own = await startServices({ kms: false, env: {} });
    services = { ...(await testServices()), mongodbUri: own.mongodbUri };
    shell = await installForShell({ awsSdk: true, files: { 'master-key.bin': masterKey } });
    client = await MongoClient.connect(services.mongodbUri);
    to = { provider: 'aws', region: services.region, key: services.keyArn };
  });

  after(async () => {
    for (const name of databases) await client?.db(name).dropDatabase();
    await client?.close();
    await shell?.remove();
    await own?.stop();
  });

  const run = (script, settings) => shell.run(script, { uri: services.mongodbUri, ...settings });
  const evaluate = (script, settings) => shell.evaluate(script, { uri: services.mongodbUri, ...settings });

  // A database with three keys (and more) under the key file and encrypted patients, all made in the shell, and shell code for it.
  async function hospital({ moreKeys = 0 } = {}) {
    for (const name of databases.splice(0)) await client.db(name).dropDatabase();
    const database = `migrate_${randomUUID().slice(0, 8)}`;
    databases.push(database);
    const awsOptions = JSON.stringify(services.kmsEndpoint === undefined ? {} : { endpoint: services.kmsEndpoint });
    const prelude = `${shell.load} ${attempt}
      const local = csfle.localKeyFile('master-key.bin'); const aws = csfle.awsKms(${awsOptions}); const to = ${JSON.stringify(to)};
      const options = { keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local, aws } }; const data = db.getSiblingDB('${database}');
      const open = (kmsProviders) => csfle.clientEncryption({ ...options, kmsProviders });
      const fails = (f) => attempt(f).code;`;
    await evaluate(
      `${prelude} const vault = csfle.keyVault(options); const keyId = vault.createKey('local', ['ssn']); vault.createKey('local', ['notes']);
       for (let n = 0; n <= ${moreKeys}; n += 1) vault.createKey('local');
       const people = Array.from({ length: ${documents} }, (_, n) => ({ _id: n, ssn: 'ssn-' + n, visits: [{ note: 'note ' + n }] }));
       data.patients.insertMany(open({ local }).encryptDocuments(people,
         { fields: { ssn: { algorithm: '${DETERMINISTIC}', keyId }, 'visits.note': { algorithm: '${RANDOM}', keyAltName: 'notes' } } })); 0`,
    );
    return { database, prelude, keys: () => client.db(database).collection('__keyVault').find().sort({ _id: 1 }).toArray() };
  }

  it('plans, writes nothing, and reads well', async () => {
    const { prelude, keys } = await hospital({ moreKeys: 17 });
    const before = await keys();
    const { code, stdout, stderr } = await run(`${prelude} csfle.migrate({ ...options, from: { provider: 'local' }, to })`, { json: false });
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
    assert.match(stdout, /^check-keys: 20 of 20, /m);
    assert.match(stdout, /^Migration plan \(rewrap\): local -> aws \S+ \S+$/m);
    assert.match(stdout, /^ {2}keys {9}20 to migrate, 0 done before, 0 not asked for, 0 malformed$/m);
    assert.match(stdout, /^ {2}check {8}ok {3}old-keys-unwrap: /m);
    assert.match(stdout, /\nNothing was written\. Run it again with execute: true\.\n$/);
    assert.deepEqual(await keys(), before);
  });

  it('moves keys from a file to AWS KMS, and nothing is lost', async () => {
    const { database, prelude, keys } = await hospital();
    const before = await keys();
    const report = await evaluate(`${prelude} csfle.migrate({ ...options, from: { provider: 'local' }, to, execute: true, backupFile: '${database}.backup' })`);
    assert.deepEqual([report.mode, report.executed, report.ok, report.failures], ['rewrap', true, true, []]);
    assert.deepEqual([report.keys.migrated, report.keys.verified, report.keys.failed].map(Number), [3, 3, 0]);
    const after = await keys();
    assert.deepEqual(
      after.map(({ masterKey: { provider, key } }) => ({ provider, key })),
      Array(3).fill({ provider: 'aws', key: services.keyArn }),
    );
    assert.deepEqual(
      after.map(({ _id, keyAltNames, creationDate }) => ({ _id, keyAltNames, creationDate })),
      before.map(({ _id, keyAltNames, creationDate }) => ({ _id, keyAltNames, creationDate })),
    );

    const { keyDocuments } = await readBackup(new Uint8Array(await readFile(join(shell.folder, `${database}.backup`))), {
      kmsProviders: {
        aws: awsKms(new KMSClient({ region: services.region, ...(services.kmsEndpoint === undefined ? {} : { endpoint: services.kmsEndpoint }) })),
      },
    });
    assert.deepEqual(
      keyDocuments.map((bytes) => EJSON.stringify(deserialize(bytes), { relaxed: false })).sort(),
      before.map((key) => EJSON.stringify(key, { relaxed: false })).sort(),
    );

    const inShell = await evaluate(
      `${prelude} const encryption = open({ aws }); const { _id: keyId } = csfle.keyVault(encryption).getKeyByAltName('ssn');
       ({ found: encryption.decryptDocument(data.patients.findOne({ ssn: encryption.encrypt(keyId, 'ssn-7', '${DETERMINISTIC}') })),
         all: encryption.decryptDocuments(data.patients.find()).length,
          oldKeyAlone: fails(() => open({ local }).decryptDocument(data.patients.findOne())), status: csfle.status(encryption).keyVault.providers,
          again: csfle.migrate({ ...options, from: { provider: 'local' }, to, execute: true }) })`,
    );
    assert.deepEqual({ ...inShell.found, _id: Number(inShell.found._id) }, { _id: 7, ssn: 'ssn-7', visits: [{ note: 'note 7' }] });
    assert.deepEqual(
      [Number(inShell.all), inShell.oldKeyAlone, Object.keys(inShell.status), Number(inShell.status.aws.open)],
      [documents, 'KMS_PROVIDER_NOT_CONFIGURED', ['aws'], 3],
    );
    assert.deepEqual([inShell.again.ok, Number(inShell.again.keys.migrated), Number(inShell.again.plan.counts.done)], [true, 0, 3]);

    const kms = new KMSClient({ region: services.region, ...(services.kmsEndpoint === undefined ? {} : { endpoint: services.kmsEndpoint }) });
    const inNode = new ClientEncryption(client, { keyVaultNamespace: `${database}.__keyVault`, kmsProviders: { aws: awsKms(kms) } });
    const patients = await inNode.decryptDocuments(await client.db(database).collection('patients').find().sort({ _id: 1 }).toArray());
    assert.deepEqual(
      patients.map(({ ssn, visits }) => [ssn, visits[0].note]),
      Array.from({ length: documents }, (_, n) => [`ssn-${n}`, `note ${n}`]),
    );
    inNode.close();
    kms.destroy();
  });

  it('re-encrypts collections of the shell under new keys', async () => {
    const { prelude, database } = await hospital();
    const report = await evaluate(
      `${prelude} csfle.migrate({ ...options, to, mode: 'reencrypt', createdBefore: new Date(), collections: [data.patients], deleteOldKeys: true,
         execute: true })`,
    );
    assert.deepEqual([report.ok, report.failures], [true, []]);
    const [collection] = report.collections;
    assert.deepEqual([collection.namespace, Number(collection.documentsRewritten), Number(collection.valuesLeft)], [`${database}.patients`, documents, 0]);
    const value = await evaluate(
      `${prelude} const encryption = open({ aws }); const vault = csfle.keyVault(encryption); const { _id: keyId } = vault.getKeyByAltName('ssn');
       ({ found: encryption.decryptDocument(data.patients.findOne({ ssn: encryption.encrypt(keyId, 'ssn-7', '${DETERMINISTIC}') })).visits[0].note,
         providers: vault.getKeys().map((key) => key.masterKey.provider).toArray() })`,
    );
    assert.deepEqual([value.found, [...new Set(value.providers)]], ['note 7', ['aws']]);
  });

  it('re-encrypts by age or id after a rewrap, not at all without a choice, and says what stays', async () => {
    const { prelude, keys } = await hospital();
    const settings = "to, mode: 'reencrypt', collections: [data.patients], execute: true";
    await evaluate(`${prelude} csfle.migrate({ ...options, to, execute: true }).ok`);
    const old = (await keys()).map(({ _id }) => _id.toString('hex'));
    const refused = await evaluate(
      `${prelude} ({ none: fails(() => csfle.migrate({ ...options, ${settings} })),
         source: fails(() => csfle.migrate({ ...options, ${settings}, from: { provider: 'local' } })),
         later: fails(() => csfle.migrate({ ...options, ${settings}, createdBefore: new Date(Date.now() + 60000) })),
         text: fails(() => csfle.migrate({ ...options, ${settings}, createdBefore: '2026-11-01' })) })`,
    );
    assert.deepEqual(refused, { none: 'OPTION_INVALID', source: 'OPTION_INVALID', later: 'OPTION_INVALID', text: 'OPTION_INVALID' });
    const one = await run(
      `${prelude} const { _id } = csfle.keyVault(options).getKeyByAltName('ssn'); csfle.migrate({ ...options, ${settings}, keyIds: [_id] })`,
      { json: false },
    );
    assert.equal(one.code, 0, one.stdout);
    assert.match(one.stdout, new RegExp(`^ {2}not chosen {3}${documents} values stay under 1 key that was not chosen \\(`, 'm'));
    assert.match(one.stdout, /\nDone and verified for the keys that were chosen; others keep their data key\.\n$/);
    const early = await run(`${prelude} csfle.migrate({ ...options, ${settings}, createdBefore: new Date(0) })`, { json: false });
    assert.match(early.stdout, /\nNothing to do: no key is made before 1970-01-01T00:00:00\.000Z: the 4 keys there are newer or made by a re-encryption\.\n$/);
    const rest = await evaluate(`${prelude} csfle.migrate({ ...options, ${settings}, createdBefore: ISODate('${new Date().toISOString()}') })`);
    assert.equal(rest.ok, true, JSON.stringify(rest.failures));
    assert.deepEqual(rest.remaining.notChosen, []);
    const used = new Set(
      (
        await client
          .db(`${await evaluate(`${prelude} data.getName()`)}`)
          .collection('patients')
          .find()
          .toArray()
      )
        .flatMap(({ ssn, visits }) => [ssn, visits[0].note])
        .map((value) => value.buffer.subarray(1, 17).toString('hex')),
    );
    assert.deepEqual(
      old.filter((id) => used.has(id)),
      [],
    );
  });

  it('takes other collections as collections of the shell, and names options that are none', async () => {
    const { prelude, keys } = await hospital();
    const value = await evaluate(
      `${prelude} data.archive.insertOne(data.patients.findOne());
       const migrate = (more) => csfle.migrate({ ...options, to, mode: 'reencrypt', createdBefore: new Date(), collections: [data.patients], ...more });
       ({ report: migrate({ deleteOldKeys: true, otherCollections: [data.archive], execute: true }),
         collections: fails(() => migrate({ collections: data.patients })), others: fails(() => migrate({ otherCollections: data.archive })),
         other: fails(() => migrate({ otherCollections: [5] })),
          witnesses: fails(() => migrate({ witnesses: [] })), clients: fails(() => migrate({ dataClients: [5] })),
          region: fails(() => csfle.awsKms({ regio: 'x' })), noOptions: fails(() => csfle.awsKms(null)),
          create: fails(() => csfle.localKeyFile('master-key.bin', { creat: true })), none: fails(() => csfle.localKeyFile('master-key.bin', null)) })`,
    );
    const { report, ...codes } = value;
    // Two keys with names are used in the archive; the third is not, and was replaced and retired.
    assert.deepEqual(
      report.failures.map(({ code }) => code),
      ['MIGRATION_COLLECTION_MISSING', 'MIGRATION_COLLECTION_MISSING'],
    );
    assert.deepEqual(
      report.oldKeys.map(({ outcome }) => outcome),
      ['retired'],
    );
    assert.equal((await keys()).length, 3);
    assert.deepEqual(codes, {
      collections: 'ARGUMENT_INVALID',
      others: 'ARGUMENT_INVALID',
      other: 'ARGUMENT_INVALID',
      witnesses: 'OPTION_INVALID',
      clients: 'ARGUMENT_INVALID',
      region: 'OPTION_INVALID',
      noOptions: 'ARGUMENT_INVALID',
      create: 'OPTION_INVALID',
      none: 'ARGUMENT_INVALID',
    });
  });

  it('deletes a key only when nothing needs it, lists it as retired, and brings it back', async () => {
    const { prelude, keys } = await hospital();
    const value = await evaluate(
      `${prelude} const vault = csfle.keyVault(options); const unused = vault.createKey('local', ['unused']); const used = vault.getKeyByAltName('ssn')._id;
       const schemas = [{ name: 'a.json', read: () => ({ keyAltName: 'unused' }) }];
       ({ schema: fails(() => vault.deleteKey(unused, { schemas })), other: fails(() => vault.deleteKey(unused, { otherCollections: [5] })),
         noSchemas: fails(() => vault.deleteKey(unused, { schemas: {} })),
          used: fails(() => vault.deleteKey(used)), unknown: fails(() => vault.deleteKey(unused, { force: true })),
          deleted: vault.deleteKey(unused, { otherCollections: [data.patients] }), again: vault.deleteKey(unused), gone: vault.getKey(unused),
          retired: vault.retiredKeys().map(({ requestedBy, key }) => [requestedBy, key.keyAltNames]), restored: vault.restoreKey(unused).keyAltNames,
          missing: fails(() => vault.restoreKey(UUID())) })`,
    );
    assert.deepEqual([value.schema, value.other, value.noSchemas], ['KEY_VAULT_KEY_IN_USE', 'ARGUMENT_INVALID', 'ARGUMENT_INVALID']);
    assert.deepEqual([value.used, value.unknown, value.missing], ['KEY_VAULT_KEY_IN_USE', 'OPTION_INVALID', 'KEY_VAULT_KEY_NOT_FOUND']);
    assert.deepEqual(
      [value.deleted, value.again].map(({ acknowledged, deletedCount }) => [acknowledged, Number(deletedCount)]),
      [
        [true, 1],
        [true, 0],
      ],
    );
    assert.deepEqual([value.gone, value.retired, value.restored], [null, [['mongosh KeyVault.deleteKey', ['unused']]], ['unused']]);
    assert.equal((await keys()).length, 4);
  });

  it('leaves encryption only when told so in so many words', async () => {
    const { prelude, database } = await hospital();
    const patients = client.db(database).collection('patients');
    const refused = await evaluate(`${prelude} csfle.migrate({ ...options, mode: 'decrypt', collections: ['${database}.patients'], execute: true })`);
    assert.deepEqual([refused.ok, refused.executed, refused.failures.map(({ code }) => code)], [false, false, ['MIGRATION_CONFIRMATION_MISSING']]);
    assert.equal((await patients.findOne()).ssn.sub_type, 6);
    const report = await evaluate(
      `${prelude} csfle.migrate({ ...options, mode: 'decrypt', collections: ['${database}.patients'], confirmPlaintext: true, execute: true })`,
    );
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(await patients.findOne({ ssn: 'ssn-7' }), { _id: 7, ssn: 'ssn-7', visits: [{ note: 'note 7' }] });
  });

  it("takes the drivers' forms of an AWS provider, and finds credentials as the SDK does", async () => {
    const { prelude } = await hospital();
    const value = await evaluate(
      `${prelude} const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = process.env;
       const chain = csfle.keyVault({ ...options, kmsProviders: { aws: {} } });
       const id = chain.createKey('aws', { region: to.region, key: to.key }, ['by-chain']);
       const sealed = csfle.clientEncryption({ ...options, kmsProviders: { 'aws': { accessKeyId, secretAccessKey } } }).encrypt(id, 'x', '${RANDOM}');
       ({ opened: csfle.clientEncryption(options).decrypt(sealed), names: chain.getKey(id).keyAltNames,
         region: fails(() => csfle.clientEncryption({ ...options, kmsProviders: { aws: csfle.awsKms({ region: 'eu-south-2' }) } }).decrypt(sealed)) })`,
      { env: services.kmsEndpoint === undefined ? {} : { AWS_ENDPOINT_URL_KMS: services.kmsEndpoint } },
    );
    assert.deepEqual(value, { opened: 'x', names: ['by-chain'], region: 'KMS_REGION_MISMATCH' });
  });

  it('csfle.awsKms takes a region, an endpoint and a profile', async () => {
    const { prelude } = await hospital();
    // An emulator of its own, which takes any credentials: those of the environment are written nowhere.
    const emulator = await startServices({ mongo: false, env: {} });
    try {
      const endpoint = emulator.kmsEndpoint;
      const { arn: key, region } = await createCmk(endpoint);
      const credentials = join(shell.folder, 'credentials');
      const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } = emulatorCredentials;
      await writeFile(credentials, `[migration]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`, { mode: 0o600 });
      const given = [
        { region, profile: 'migration', endpoint },
        { profile: 'nobody', endpoint },
        { region: 'eu-south-2', profile: 'migration', endpoint },
        { profile: 'migration', endpoint: 'http://127.0.0.1:9' },
      ];
      const value = await evaluate(
        `${prelude} const vaultOf = (given) => csfle.keyVault({ ...options, kmsProviders: { aws: csfle.awsKms(given) } });
         const createKey = (given) => vaultOf(given).createKey('aws', ${JSON.stringify({ region, key })});
         ${JSON.stringify(given)}.map((given) => fails(() => createKey(given)))`,
        {
          env: {
            AWS_ACCESS_KEY_ID: '',
            AWS_SECRET_ACCESS_KEY: '',
            AWS_SESSION_TOKEN: '',
            AWS_PROFILE: '',
            AWS_EC2_METADATA_DISABLED: 'true',
            AWS_SHARED_CREDENTIALS_FILE: credentials,
            AWS_CONFIG_FILE: join(shell.folder, 'none'),
          },
        },
      );
      assert.deepEqual(value, [null, 'KMS_CREDENTIALS_UNAVAILABLE', 'KMS_REGION_MISMATCH', 'KMS_UNREACHABLE']);
    } finally {
      await emulator.stop();
    }
  });

  it('names what keeps a migration from starting', async () => {
    const { prelude, keys } = await hospital();
    const before = await keys();
    const value = await evaluate(
      `${prelude} const wrong = csfle.localKeyFile('wrong.bin', { create: true });
       const migrate = (more) => csfle.migrate({ ...options, from: { provider: 'local' }, to, ...more });
       const failed = ({ checks }) => checks.filter((check) => !check.ok && check.required);
       const codes = ({ ok, plan }) => ({ ok, codes: failed(plan).map(({ name, code }) => name + ' ' + code) });
       ({ wrongFile: codes(migrate({ kmsProviders: { local: wrong, aws } })),
         backup: migrate({ execute: true, backupFile: 'master-key.bin' }).failures.map(({ code }) => code),
         noCmk: codes(migrate({ to: { ...to, key: to.key.replace(/.{12}$/, '000000000000') } })),
          executed: codes(migrate({ kmsProviders: { local: wrong, aws }, execute: true })), target: fails(() => migrate({ to: undefined })),
          collection: fails(() => migrate({ mode: 'reencrypt', all: true, collections: [5] })),
          vault: fails(() => csfle.migrate({ kmsProviders: { local }, to })) })`,
    );
    assert.deepEqual(value, {
      wrongFile: { ok: false, codes: ['old-keys-unwrap CRYPTO_AUTHENTICATION_FAILED'] },
      backup: ['MIGRATION_BACKUP_FAILED'],
      noCmk: { ok: false, codes: ['new-master-key KMS_KEY_NOT_FOUND'] },
      executed: { ok: false, codes: ['old-keys-unwrap CRYPTO_AUTHENTICATION_FAILED'] },
      target: 'MIGRATION_TARGET_INVALID',
      collection: 'ARGUMENT_INVALID',
      vault: 'ARGUMENT_INVALID',
    });
    assert.deepEqual(await keys(), before);
  });
});
