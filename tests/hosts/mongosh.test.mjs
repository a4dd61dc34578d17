// The key vault and explicit encryption in the real mongosh, without the native addon, against a real server.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { Binary, Decimal128, Double, Int32, Long, ObjectId, UUID } from 'bson';
import { ClientEncryption } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { startServices } from '../../js/dev/services.mjs';
import { attempt, installForShell } from './mongosh/shell.mjs';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

describe('mongosh', { timeout: 300_000 }, () => {
  let services;
  let shell;
  let client;
  const masterKey = randomBytes(96);
  const databases = [];

  before(async () => {
    // A server of its own: a search for uses of a key finds what these tests put there, and nothing of others.
    services = await startServices({ kms: false, env: {} });
    shell = await installForShell({ files: { 'master-key.bin': masterKey } });
    client = await MongoClient.connect(services.mongodbUri);
  });

  after(async () => {
    for (const name of databases) await client?.db(name).dropDatabase();
    await client?.close();
    await shell?.remove();
    await services?.stop();
  });

  // A vault that no other test uses, and shell code that opens it.
  function newVault() {
    const database = `shell_${randomUUID().slice(0, 8)}`;
    databases.push(database);
    const namespace = `${database}.__keyVault`;
    const options = `{ keyVaultNamespace: '${namespace}', kmsProviders: { local: csfle.localKeyFile('master-key.bin') } }`;
    return { database, namespace, options, prelude: `${shell.load} ${attempt} const options = ${options};` };
  }

  const evaluate = (script, settings) => shell.evaluate(script, { uri: services.mongodbUri, ...settings });

  const inNode = (namespace) => new ClientEncryption(client, { keyVaultNamespace: namespace, kmsProviders: { local: { key: masterKey } } });

  it('has no native addon anywhere near', async () => {
    const value = await evaluate(
      `${shell.load} (() => { try { require.resolve('mongodb-client-encryption'); return 'there'; } catch (error) { return error.code; } })()`,
    );
    assert.equal(value, 'MODULE_NOT_FOUND');
  });

  it('gives csfle through load() and through require(), and awaits without being told in both', async () => {
    const { prelude, options } = newVault();
    const loaded = await evaluate(
      `${prelude} const id = csfle.keyVault(options).createKey('local', ['loaded']); ({ id, name: csfle.keyVault(options).getKey(id).keyAltNames[0] })`,
    );
    assert.equal(loaded.name, 'loaded');
    assert.equal(loaded.id.sub_type, Binary.SUBTYPE_UUID);
    const required = await evaluate(
      `const csfle = require('csfle-wasm/mongosh'); const { csfle: again } = require('csfle-wasm/mongosh');
       const vault = csfle.keyVault(${options}); const id = vault.createKey('local', ['required']);
       ({ id, same: csfle === again, found: vault.getKeyByAltName('required')._id.equals(id), keys: vault.getKeys().toArray().length })`,
    );
    assert.deepEqual({ same: required.same, found: required.found, keys: Number(required.keys) }, { same: true, found: true, keys: 2 });
  });

  it('works in scripts, with a Mongo or a Database as client, and inside callbacks', async () => {
    const { prelude, database } = newVault();
    const value = await evaluate(
      `${prelude} const other = new Mongo(${JSON.stringify(services.mongodbUri)});
       const byMongo = csfle.keyVault({ ...options, client: other }).createKey('local', ['one']);
       const byDatabase = csfle.keyVault({ ...options, client: other.getDB('elsewhere') }).getKeyByAltName('one')._id;
       const bySeparate = csfle.keyVault({ ...options, client: db.getMongo(), keyVaultClient: other });
       const encryption = csfle.clientEncryption(options);
       const round = [1, 2, 3].map((value) => encryption.decrypt(encryption.encrypt(byMongo, value, '${RANDOM}')));
       ({ same: byMongo.equals(byDatabase), kept: bySeparate.getKey(byMongo) !== null, round, vaults: db.getSiblingDB('${database}').getCollectionNames() })`,
    );
    assert.equal(value.same && value.kept, true);
    assert.deepEqual(value.round.map(Number), [1, 2, 3]);
    assert.deepEqual(value.vaults, ['__keyVault']);
  });

  it('takes the options that a Mongo was opened with', async () => {
    const { prelude, database } = newVault();
    const value = await evaluate(
      `${prelude} const mongo = new Mongo(${JSON.stringify(services.mongodbUri)},
         { keyVaultNamespace: '${database}.of.mongo', kmsProviders: { local: { key: BinData(0, '${masterKey.toString('base64')}') } },
           explicitEncryptionOnly: true });
       const id = csfle.keyVault(mongo).createKey('local');
       ({ id, found: mongo.getDB('${database}').getCollection('of.mongo').findOne({ _id: id }) !== null })`,
    );
    assert.equal(value.found, true);
  });

  it('manages keys with the names and results of mongosh, old document first', async () => {
    const { prelude, namespace, database } = newVault();
    const value = await evaluate(
      `${prelude} const vault = csfle.keyVault(options);
       const id = vault.createKey('local', ['a']); const missing = UUID();
       const document = vault.getKey(id);
       ({ id, document, isUuid: id instanceof db.getMongo()._serviceProvider.bsonLibrary.UUID,
          added: vault.addKeyAlternateName(id, 'b').keyAltNames, addedAgain: vault.addKeyAltName(id, 'c').keyAltNames,
          removed: vault.removeKeyAlternateName(id, 'a').keyAltNames,
          removedAgain: vault.removeKeyAltName(id, 'b').keyAltNames, left: vault.getKeyByAltName('c').keyAltNames,
          removedLast: vault.removeKeyAltName(id, 'c').keyAltNames,
          noField: 'keyAltNames' in vault.getKey(id),
          absent: [vault.getKey(missing), vault.getKeyByAltName('a'), vault.addKeyAltName(missing, 'x'), vault.removeKeyAltName(missing, 'x')],
          ids: vault.getKeys().map((key) => key._id).toArray(), deletedNothing: vault.deleteKey(missing), deleted: vault.deleteKey(id),
          count: vault.getKeys().itcount() })`,
    );
    assert.equal(value.isUuid, true);
    assert.deepEqual([value.added, value.addedAgain, value.removed, value.removedAgain], [['a'], ['a', 'b'], ['a', 'b', 'c'], ['b', 'c']]);
    assert.deepEqual([value.left, value.removedLast, value.noField], [['c'], ['c'], false]);
    assert.deepEqual(value.absent, [null, null, null, null]);
    assert.deepEqual(value.ids.map(String), [String(value.id)]);
    assert.deepEqual({ acknowledged: true, deletedCount: 0 }, { ...value.deletedNothing, deletedCount: Number(value.deletedNothing.deletedCount) });
    assert.deepEqual({ acknowledged: true, deletedCount: 1 }, { ...value.deleted, deletedCount: Number(value.deleted.deletedCount) });
    assert.equal(Number(value.count), 0);
    assert.deepEqual(Object.keys(value.document).sort(), ['_id', 'creationDate', 'keyAltNames', 'keyMaterial', 'masterKey', 'status', 'updateDate']);
    const indexes = await client
      .db(database)
      .collection(namespace.slice(database.length + 1))
      .indexes();
    const index = indexes.find(({ key }) => 'keyAltNames' in key);
    assert.deepEqual([index.unique, index.partialFilterExpression], [true, { keyAltNames: { $exists: true } }]);
  });

  it('creates keys in every form that mongosh takes', async () => {
    const { prelude } = newVault();
    const material = randomBytes(96);
    const value = await evaluate(
      `${prelude} const vault = csfle.keyVault({ ...options, kmsProviders: { ...options.kmsProviders, 'local:second': csfle.localKeyFile('master-key.bin') } });
       const names = (id) => vault.getKey(id).keyAltNames ?? null;
       const keyMaterial = BinData(0, '${material.toString('base64')}');
       ({ plain: names(vault.createKey('local')), list: names(vault.createKey('local', ['1'])), legacy: names(vault.createKey('local', '', ['2'])),
          undefinedKey: names(vault.createKey('local', undefined, ['3'])), options: names(vault.createKey('local', { keyAltNames: ['4'] })),
          thirdWins: names(vault.createKey('local', { keyAltNames: ['5'] }, ['6'])), masterKey: names(vault.createKey('local', { masterKey: {} }, ['7'])),
          namedProvider: vault.getKey(vault.createKey('local:second', { keyAltNames: ['8'] })).masterKey, alias: names(vault.createDataKey('local', ['9'])),
          ids: [vault.createKey('local', { keyMaterial }), vault.createKey('local', { keyMaterial })] })`,
    );
    assert.deepEqual(
      [value.plain, value.list, value.legacy, value.undefinedKey, value.options, value.thirdWins, value.masterKey, value.namedProvider, value.alias],
      [null, ['1'], ['2'], ['3'], ['4'], ['6'], ['7'], { provider: 'local:second' }, ['9']],
    );
    assert.notEqual(String(value.ids[0]), String(value.ids[1]));
  });

  it('refuses arguments in the words of mongosh', async () => {
    const { prelude } = newVault();
    const value = await evaluate(
      `${prelude} const vault = csfle.keyVault(options); const encryption = csfle.clientEncryption(options); const id = UUID();
       [ () => vault.createKey('aws', 'arn:aws:kms:eu-west-1:1:key/1', ['a']), () => vault.createKey('aws', ['a']),
         () => vault.createKey('local:x', ['a']), () => vault.createKey('local', ['a'], ['b']),
         () => vault.createKey(), () => vault.getKey(), () => vault.getKeyByAltName(1), () => vault.addKeyAlternateName(id),
         () => vault.removeKeyAlternateName(id, 5), () => vault.deleteKey(),
         () => encryption.encrypt(id, 'x'), () => encryption.decrypt(), () => csfle.keyVault({ ...options, keyVaultNamespace: 'x' }),
       ].map(attempt)`,
    );
    assert.deepEqual(
      value.map(({ message }) => message),
      [
        'KeyVault.createKey does not support providing masterKey as string anymore. For AWS please use createKey("aws", { region: ..., key: ... })',
        'KeyVault.createKey requires masterKey to be given as second argument if KMS is not local: ' +
          'createKey("aws", { region: ..., key: ... }, keyAltNames)',
        'KeyVault.createKey requires masterKey to be given as second argument if KMS is not local',
        'KeyVault.createKey was supplied with an array for the masterKey and keyAltNames - either specify keyAltNames as second argument ' +
          'or set undefined for masterKey',
        'Missing required argument at position 0 (KeyVault.createKey)',
        'Missing required argument at position 0 (KeyVault.getKey)',
        'Argument at position 0 must be of type string, got number instead (KeyVault.getKeyByAltName)',
        'Missing required argument at position 1 (KeyVault.addKeyAlternateName)',
        'Argument at position 1 must be of type string, got number instead (KeyVault.removeKeyAlternateName)',
        'Missing required argument at position 0 (KeyVault.deleteKey)',
        'Missing required argument at position 2 (ClientEncryption.encrypt)',
        'Missing required argument at position 0 (ClientEncryption.decrypt)',
        "Invalid keyVaultNamespace 'x'",
      ],
    );
    assert.deepEqual([...new Set(value.map(({ code }) => code))], ['ARGUMENT_INVALID']);
  });

  it('fails with stable codes', async () => {
    const { prelude } = newVault();
    const value = await evaluate(
      `${prelude} const vault = csfle.keyVault(options); const encryption = csfle.clientEncryption(options); const id = vault.createKey('local', ['taken']);
       const closed = csfle.clientEncryption(options); closed.close();
       ({ taken: attempt(() => vault.createKey('local', ['taken'])), absent: attempt(() => encryption.encrypt(UUID(), 'x', '${RANDOM}')),
         absentName: attempt(() => encryption.encrypt(null, 'x', { algorithm: '${RANDOM}', keyAltName: 'no' })),
          both: attempt(() => encryption.encrypt(id, 'x', { algorithm: '${RANDOM}', keyAltName: 'taken' })),
          type: attempt(() => encryption.encrypt(id, 1.5, '${DETERMINISTIC}')),
          expression: attempt(() => encryption.encryptExpression(id, {}, {})), collection: attempt(() => encryption.createEncryptedCollection('a', 'b', {})),
          queryable: attempt(() => encryption.encrypt(id, 1, { algorithm: 'Indexed', contentionFactor: 4 })),
          plaintext: attempt(() => encryption.decrypt('x')),
          provider: attempt(() => vault.createKey('azure', { keyVaultEndpoint: 'a.vault.azure.net', keyName: 'k' })),
          option: attempt(() => csfle.clientEncryption({ ...options, tlsOptions: {} })), closed: attempt(() => closed.decrypt(BinData(6, 'AQ=='))),
          client: attempt(() => csfle.keyVault({ ...options, client: 5 })),
          without: attempt(() => vault.rewrapManyDataKey({}, { masterKey: {} })) })`,
    );
    const codes = Object.fromEntries(Object.entries(value).map(([name, { code }]) => [name, typeof code === 'string' ? code : Number(code)]));
    assert.deepEqual(codes, {
      taken: 11000,
      absent: 'KEY_VAULT_KEY_NOT_FOUND',
      absentName: 'KEY_VAULT_KEY_NOT_FOUND',
      both: 'KEY_REFERENCE_INVALID',
      type: 'VALUE_TYPE_NOT_DETERMINISTIC',
      expression: 'ALGORITHM_QUERYABLE',
      collection: 'ALGORITHM_QUERYABLE',
      queryable: 'ALGORITHM_QUERYABLE',
      plaintext: 'PAYLOAD_NOT_ENCRYPTED',
      provider: 'KMS_PROVIDER_NOT_CONFIGURED',
      option: 'OPTION_INVALID',
      closed: 'HOST_CLOSED',
      client: 'ARGUMENT_INVALID',
      without: 'OPTION_INVALID',
    });
  });

  it('says without a connection what is needed', async () => {
    const { prelude, options } = newVault();
    const value = (await shell.run(`${prelude} attempt(() => csfle.keyVault(options))`, {})).value;
    assert.equal(value.code, 'ARGUMENT_INVALID');
    assert.match(value.message, /client: new Mongo\(uri\)/);
    assert.ok(options);
  });

  it('only warns when the index cannot be made', async () => {
    const { prelude, database, namespace } = newVault();
    const id = new UUID();
    await client
      .db(database)
      .collection('__keyVault')
      .insertMany([1, 2].map(() => ({ _id: new UUID(), keyAltNames: ['same'] })));
    const { code, stdout } = await shell.run(`${prelude} print(csfle.keyVault(options).getKey(UUID('${id}')))`, { uri: services.mongodbUri, json: false });
    assert.equal(code, 0);
    assert.ok(stdout.startsWith(`Warning: Creating 'keyAltNames' index on '${namespace}' failed: `), stdout);
    assert.match(stdout, /\nnull\n$/);
  });

  it('cleans up empty name lists before it makes the index', async () => {
    const { prelude, database } = newVault();
    const keys = client.db(database).collection('__keyVault');
    await keys.insertMany([1, 2].map(() => ({ _id: new UUID(), keyAltNames: [] })));
    await evaluate(`${prelude} csfle.keyVault(options); 0`);
    assert.equal(await keys.countDocuments({ keyAltNames: { $exists: true } }), 0);
    assert.equal(await keys.countDocuments({ updateDate: { $type: 'date' } }), 2);
    assert.ok((await keys.indexes()).some(({ name }) => name === 'keyAltNames_1'));
  });

  it('rewraps keys and leaves their values readable', async () => {
    const { prelude } = newVault();
    const value = await evaluate(
      `${prelude} const encryption = csfle.clientEncryption({ ...options, keyExpirationMS: 1 }); const vault = csfle.keyVault(encryption);
       const id = vault.createKey('local', ['r']);
       const sealed = encryption.encrypt(id, 'kept', '${RANDOM}'); const before = vault.getKey(id); sleep(5);
       const result = vault.rewrapManyDataKey({ keyAltNames: 'r' }, { provider: 'local' });
       const nothing = vault.rewrapManyDataKey({ keyAltNames: 'absent' }); sleep(5);
       ({ result, nothing, changed: !before.keyMaterial.buffer.equals(vault.getKey(id).keyMaterial.buffer), kept: encryption.decrypt(sealed) })`,
    );
    assert.equal(Number(value.result.bulkWriteResult.modifiedCount), 1);
    assert.deepEqual([value.nothing, value.changed, value.kept], [{}, true, 'kept']);
  });

  it('returns values as the classes of the shell, exactly', async () => {
    const { prelude } = newVault();
    const value = await evaluate(
      `${prelude} const encryption = csfle.clientEncryption(options); const id = csfle.keyVault(encryption).createKey('local');
       const classes = db.getMongo()._serviceProvider.bsonLibrary;
       const values = { uuid: UUID(), oid: ObjectId(), long: Long('9007199254740993'), dec: Decimal128('1.5'),
         date: ISODate('2020-01-02T03:04:05.678Z'), bin: BinData(5, 'AAECAw=='), re: /a.b/i, ts: Timestamp({ t: 7, i: 9 }),
         code: Code('f()', { x: Long(1) }), text: 'Ärzte', yes: true, list: [1, { a: Long(2) }], doc: { x: null } };
       const opened = Object.fromEntries(Object.entries(values).map(([name, plain]) => [name, encryption.decrypt(encryption.encrypt(id, plain, '${RANDOM}'))]));
       ({ values, opened, ofShell: [opened.uuid instanceof classes.UUID, opened.oid instanceof classes.ObjectId, opened.long instanceof classes.Long,
         opened.dec instanceof classes.Decimal128, opened.bin instanceof classes.Binary, opened.ts instanceof classes.Timestamp,
         opened.code instanceof classes.Code, opened.list[1].a instanceof classes.Long] })`,
    );
    assert.deepEqual(value.opened, value.values);
    assert.deepEqual([...new Set(value.ofShell)], [true]);
  });

  it('writes what the library reads in Node, and reads what Node wrote', async () => {
    const { prelude, namespace, database } = newVault();
    await evaluate(
      `${prelude} const encryption = csfle.clientEncryption(options); const id = csfle.keyVault(encryption).createKey('local', ['shared']);
       const patients = db.getSiblingDB('${database}').patients;
       patients.insertOne({ _id: 1, ssn: encryption.encrypt(id, '123-45-6789', '${DETERMINISTIC}'),
         visits: [{ note: encryption.encrypt(null, { text: 'well', amount: Long(5) }, { algorithm: '${RANDOM}', keyAltName: 'shared' }) }] });
       patients.insertOne(encryption.encryptDocument({ _id: 2, ssn: '9', visits: [{ note: 'a' }, { note: 'b' }] },
         { fields: { ssn: { algorithm: '${DETERMINISTIC}', keyId: id }, 'visits.note': { algorithm: '${RANDOM}', keyId: id } } })); 0`,
    );
    const encryption = inNode(namespace);
    try {
      const patients = client.db(database).collection('patients');
      const { _id: keyId } = await encryption.getKeyByAltName('shared');
      const ssn = await encryption.encrypt('123-45-6789', { algorithm: DETERMINISTIC, keyId });
      const first = await encryption.decryptDocument(await patients.findOne({ ssn }));
      assert.deepEqual(
        { ...first, visits: [{ note: { ...first.visits[0].note, amount: Number(first.visits[0].note.amount) } }] },
        { _id: 1, ssn: '123-45-6789', visits: [{ note: { text: 'well', amount: 5 } }] },
      );
      assert.equal((await patients.findOne({ _id: 2 })).visits[1].note.sub_type, 6);
      assert.deepEqual(await encryption.decryptDocument(await patients.findOne({ _id: 2 })), { _id: 2, ssn: '9', visits: [{ note: 'a' }, { note: 'b' }] });

      const values = {
        oid: new ObjectId(),
        long: Long.fromString('-9'),
        dec: Decimal128.fromString('7.25'),
        list: [new Int32(1), new Double(2.5)],
        text: 'from Node',
      };
      const fields = { values: { algorithm: RANDOM, keyAltName: 'shared' }, ssn: { algorithm: DETERMINISTIC, keyId } };
      await patients.insertMany(
        await encryption.encryptDocuments(
          [3, 4].map((_id) => ({ _id, ssn: `ssn-${_id}`, values })),
          { fields },
        ),
      );
      const inShell = await evaluate(
        `${prelude} const encryption = csfle.clientEncryption(options); const patients = db.getSiblingDB('${database}').patients;
         const { _id: keyId } = csfle.keyVault(encryption).getKeyByAltName('shared');
         ({ one: encryption.decryptDocument(patients.findOne({ ssn: encryption.encrypt(keyId, 'ssn-3', '${DETERMINISTIC}') })),
           all: encryption.decryptDocuments(patients.find({ _id: { $gt: 2 } }).sort({ _id: 1 })),
           list: encryption.decryptDocuments(patients.find({ _id: { $gt: 2 } }).toArray()).length })`,
      );
      assert.equal(inShell.one.ssn, 'ssn-3');
      assert.deepEqual([inShell.all.map((one) => one.ssn), Number(inShell.list)], [['ssn-3', 'ssn-4'], 2]);
      assert.deepEqual(inShell.one.values, { ...values, list: [new Int32(1), new Double(2.5)] });
    } finally {
      encryption.close();
    }
  });
});
