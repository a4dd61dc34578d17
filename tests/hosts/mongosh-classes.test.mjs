// The shell from npm, unmodified, installed by npm beside this package: its own classes, on this core.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tlsFront } from '../mongocrypt/tls.mjs';
import { startReplyProxy } from '../mongocrypt/reply-proxy.mjs';
import { testPython, testServices } from '../env.mjs';
import { runShell } from './mongosh/shell.mjs';
import { pinned } from '../tools/versions.mjs';
import { alias, filesOf, makeProject, manifest, mongoshOf, mongoshProject, npm, ours, printed } from './projects.mjs';

const { mongodbUri, kmsEndpoint, keyArn, region } = await testServices();
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';

let folder;
before(
  async () => {
    folder = await mongoshProject();
    mkdirSync(join(folder, 'home'), { recursive: true });
  },
  { timeout: 300_000 },
);

const shell = (script, options) =>
  runShell(script, {
    program: mongoshOf(folder),
    cwd: folder,
    home: join(folder, 'home'),
    uri: mongodbUri,
    ...options,
  });

/** What the function returns that is the body of the script, as JSON has it. `attempt` gives a failure's message. */
async function returned(body, options) {
  const { code, value, stdout, stderr } = await shell(
    `
    const attempt = (f) => { try { const result = f(); return result; } catch (error) { return error.message; } };
    JSON.stringify((() => { ${body} })())`,
    options,
  );
  assert.equal(code, 0, stderr + stdout);
  return JSON.parse(value);
}

const localKey = `{ key: BinData(0, "${Buffer.alloc(96, 5).toString('base64')}") }`;
const localProviders = `{ local: ${localKey}, 'local:other': ${localKey} }`;
const open = (name, { providers = localProviders, more = '' } = {}) => `
  const options = { keyVaultNamespace: '${name}.keys', kmsProviders: ${providers}, bypassAutoEncryption: true${more} };
  const m = Mongo('${mongodbUri}', options);
  const db = m.getDB('${name}');
  db.dropDatabase();
  const vault = m.getKeyVault();
  const encryption = m.getClientEncryption();
`;

describe('the installation', () => {
  test('has one package of that name, which needs no overrides', async () => {
    const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')).packages;
    assert.deepEqual(
      Object.entries(lock)
        .filter(([path]) => path.endsWith(`/${alias}`))
        .map(([path, { name, version }]) => [path, name, version]),
      [[`node_modules/${alias}`, 'csfle-wasm', manifest.version]],
    );
    assert.deepEqual(
      filesOf(join(folder, 'node_modules', alias)).filter((path) => /\.node$|\.gyp$/.test(path)),
      [],
    );
  });

  test('is the same with overrides', { timeout: 120_000 }, async () => {
    const other = await makeProject('mongosh-overrides', { dependencies: { mongosh: pinned.mongosh, ...ours }, overrides: { [alias]: `$${alias}` } });
    const { code, stderr } = await npm(other, 'install', '--package-lock-only', '--ignore-scripts');
    assert.equal(code, 0, stderr);
    const of = (project) => JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')).packages;
    assert.deepEqual(of(other)[`node_modules/${alias}`], of(folder)[`node_modules/${alias}`]);
    assert.deepEqual(Object.keys(of(other)).sort(), Object.keys(of(folder)).sort());
  });

  test('names itself in what the shell says of its parts', async () => {
    const { code, stdout } = await shell(undefined, { uri: undefined, json: false, args: ['--build-info'] });
    assert.equal(code, 0);
    const { deps } = JSON.parse(stdout);
    assert.equal(deps.libmongocryptVersion, printed.library);
    assert.equal(deps.libmongocryptNodeBindingsVersion, manifest.version);
  });
});

describe('KeyVault and ClientEncryption', () => {
  test('make keys in every form, and find and delete them', async () => {
    const found = await returned(`${open('shell_keys')}
      const material = BinData(0, '${Buffer.alloc(96, 9).toString('base64')}');
      const ids = [
        vault.createKey('local'), vault.createKey('local', ''), vault.createKey('local', ['names']),
        vault.createKey('local', { keyAltNames: ['option'], keyMaterial: material }), vault.createKey('local:other', undefined, ['third']),
        vault.createDataKey('local', { keyMaterial: material }),
      ];
      return {
        kinds: ids.map((id) => id._bsontype + ' ' + id.sub_type),
        index: db.keys.getIndexes().find(({ key }) => 'keyAltNames' in key),
        listed: vault.getKeys().toArray().map(({ status, masterKey, keyAltNames }) => [String(status), masterKey.provider, keyAltNames]),
        found: [vault.getKey(ids[2]).keyAltNames, vault.getKeyByAltName('option')._id.equals(ids[3]), vault.getKeyByAltName('nobody')],
        material: encryption.decrypt(encryption.encrypt(ids[3], 'x', '${DETERMINISTIC}')),
        twice: attempt(() => vault.createKey('local', ['names'])),
        deleted: [vault.deleteKey(ids[0]).deletedCount, vault.deleteKey(ids[0]).deletedCount, vault.getKey(ids[0]), vault.getKeys().toArray().length],
        dropped: db.dropDatabase().ok,
      };`);
    assert.deepEqual(found.kinds, Array(6).fill('Binary 4'));
    assert.equal(found.index.unique, true);
    assert.deepEqual(
      found.listed,
      [
        ['local', null],
        ['local', null],
        ['local', ['names']],
        ['local', ['option']],
        ['local:other', ['third']],
        ['local', null],
      ].map((each) => ['0', ...each]),
    );
    assert.deepEqual(found.found, [['names'], true, null]);
    assert.equal(found.material, 'x');
    assert.match(found.twice, /E11000 duplicate key error/);
    assert.deepEqual(found.deleted, [1, 0, null, 5]);
  });

  test('change alternate names and answer with the document before', async () => {
    const found = await returned(`${open('shell_names')}
      const id = vault.createKey('local', ['one']);
      const names = (old) => old?.keyAltNames ?? (old === null ? 'no key' : 'no names');
      const seen = [
        names(vault.addKeyAlternateName(id, 'two')), names(vault.addKeyAltName(id, 'three')), names(vault.getKey(id)),
        names(vault.removeKeyAlternateName(id, 'one')), names(vault.removeKeyAltName(id, 'three')), names(vault.removeKeyAlternateName(id, 'two')),
        names(vault.getKey(id)),
        names(vault.addKeyAlternateName(UUID(), 'four')),
      ];
      db.dropDatabase();
      return seen;`);
    assert.deepEqual(found, [['one'], ['one', 'two'], ['one', 'two', 'three'], ['one', 'two', 'three'], ['two', 'three'], ['two'], 'no names', 'no key']);
  });

  test('raise for a taken alternate name what csfle raises, which adds its code', async () => {
    const { own, csfle } = await returned(`${open('shell_taken')}
      const id = vault.createKey('local', ['one']);
      vault.createKey('local', ['two']);
      const facts = (error) => Object.fromEntries(Object.getOwnPropertyNames(error).filter((name) => name !== 'stack').map((name) => [name, error[name]]));
      const failure = (f) => { try { f(); return null; } catch (error) { return { kind: error.constructor.name, named: error.name, ...facts(error) }; } };
      const all = (vault) => [() => vault.createKey('local', ['two']), () => vault.createDataKey('local', { keyAltNames: ['two'] }),
        () => vault.addKeyAlternateName(id, 'two'), () => vault.addKeyAltName(id, 'two')].map(failure);
      const opened = require('${alias}/mongosh').keyVault({ ...options, client: m, keyVaultClient: m });
      const found = { own: all(vault), csfle: all(opened) };
      db.dropDatabase();
      return found;`);
    const timeless = ({ $clusterTime: _clusterTime, operationTime: _operationTime, errorResponse: _response, ...facts }) => facts;
    for (const [index, error] of csfle.entries()) {
      const { csfleCode, remedy, errInfo, ...same } = timeless(error);
      assert.deepEqual(same, timeless(own[index]));
      assert.deepEqual(
        [same.kind, same.code, same.keyPattern, csfleCode, errInfo],
        ['MongoServerError', 11000, { keyAltNames: 1 }, 'KEY_VAULT_DUPLICATE_KEY', undefined],
      );
      assert.match(remedy, /^Choose another alternate name/);
    }
    assert.equal(csfle.length, 4);
  });

  const otherName = mongodbUri.replace('127.0.0.1', 'localhost');
  test('share with csfle the connections that were opened with their options', { skip: otherName === mongodbUri && 'a server of one name' }, async () => {
    const found = await returned(`${open('shell_shared')}
      const csfle = require('${alias}/mongosh');
      const id = vault.createKey('local', ['one']);
      // Its key vault is on other servers, under another name of this machine.
      const elsewhere = Mongo('${mongodbUri}', { ...options, keyVaultClient: Mongo('${otherName}') });
      const same = Mongo('${mongodbUri}', { ...options, keyVaultClient: Mongo('${mongodbUri}') });
      const name = (vault) => vault.getKey(id).keyAltNames;
      const seen = [name(csfle.keyVault(m)), name(csfle.keyVault(same)), name(csfle.keyVault({ client: elsewhere, keyVaultClient: db })),
        attempt(() => csfle.keyVault(elsewhere))];
      db.dropDatabase();
      return seen;`);
    assert.deepEqual(found.slice(0, 3), [['one'], ['one'], ['one']]);
    assert.match(found[3], /^this Mongo has its key vault at localhost:\d+: pass keyVaultClient: Mongo\('mongodb:\/\/localhost:\d+\/'\) too$/);
  });

  test('rewrap all keys, some, and none', async () => {
    const found = await returned(`${open('shell_rewrap')}
      const ids = [vault.createKey('local'), vault.createKey('local'), vault.createKey('local:other')];
      const value = encryption.encrypt(ids[0], 'kept', '${DETERMINISTIC}');
      const providers = () => vault.getKeys().toArray().map(({ masterKey }) => masterKey.provider);
      const seen = [
        Number(vault.rewrapManyDataKey({ _id: ids[0] }, { provider: 'local:other' }).bulkWriteResult.modifiedCount), providers(),
        Number(vault.rewrapManyDataKey({ 'masterKey.provider': 'local:other' }).bulkWriteResult.modifiedCount), providers(),
        Number(vault.rewrapManyDataKey({}, { provider: 'local' }).bulkWriteResult.modifiedCount), providers(),
        Object.keys(vault.rewrapManyDataKey({ _id: UUID() }, { provider: 'local' })),
        encryption.decrypt(value),
      ];
      db.dropDatabase();
      return seen;`);
    const [local, other] = ['local', 'local:other'];
    assert.deepEqual(found, [1, [other, local, other], 2, [other, local, other], 3, [local, local, local], [], 'kept']);
  });

  test('encrypt and decrypt values of every kind, and reads are decrypted', async () => {
    const found = await returned(`${open('shell_values')}
      const id = vault.createKey('local', ['values']);
      const values = ['text', '', Int32(7), Long('9007199254740993'), 1.5, Decimal128('1.10'), true, ISODate('2026-01-02T03:04:05Z'),
        ObjectId('0123456789abcdef01234567'), BinData(0, 'AAEC'), /x/i, Timestamp(1, 2), { nested: [1, { a: null }] }, [1, 'two']];
      const sealed = values.map((value) => encryption.encrypt(id, value, 'AEAD_AES_256_CBC_HMAC_SHA_512-Random'));
      db.c.insertMany(sealed.map((value, _id) => ({ _id, value, deep: { list: [value] } })));
      const plain = Mongo('${mongodbUri}').getDB('shell_values').c.find().toArray();
      const seen = {
        stored: [...new Set(plain.flatMap(({ value, deep }) => [value, deep.list[0]]).map(({ sub_type }) => sub_type))],
        explicit: EJSON.stringify(sealed.map((value) => encryption.decrypt(value))) === EJSON.stringify(values),
        automatic: EJSON.stringify(db.c.find().sort({ _id: 1 }).toArray().map(({ value }) => value)) === EJSON.stringify(values),
        deep: EJSON.stringify(db.c.findOne({ _id: 12 }).deep.list[0]),
        equal: encryption.encrypt(id, 'same', '${DETERMINISTIC}').toString('hex') === encryption.encrypt(id, 'same',
          { algorithm: '${DETERMINISTIC}' }).toString('hex'),
      };
      db.dropDatabase();
      return seen;`);
    assert.deepEqual(found, { stored: [6], explicit: true, automatic: true, deep: '{"nested":[1,{"a":null}]}', equal: true });
  });

  test('refuse with a message', async () => {
    const found = await returned(`${open('shell_refusals')}
      const id = vault.createKey('local', ['name']);
      const seen = {
        double: attempt(() => encryption.encrypt(id, 1.5, '${DETERMINISTIC}')),
        both: attempt(() => encryption.encrypt(id, 1, { algorithm: '${DETERMINISTIC}', keyAltName: 'name' })),
        algorithm: attempt(() => encryption.encrypt(id, 1, 'AES')),
        indexed: attempt(() => encryption.encrypt(id, 1, { algorithm: 'Indexed', contentionFactor: 1 })),
        expression: attempt(() => encryption.encryptExpression(id, { $gt: 1 },
          { algorithm: 'Range', queryType: 'range', contentionFactor: 1, rangeOptions: { min: 1, max: 9 } })),
        unknown: attempt(() => encryption.encrypt(UUID(), 1, '${DETERMINISTIC}')),
        provider: attempt(() => vault.createKey('aws', { region: 'r', key: 'k' })),
        masterKey: attempt(() => vault.createKey('local', { keyMaterial: BinData(0, 'AAAA') })),
        without: attempt(() => db.getMongo() && Mongo('${mongodbUri}').getClientEncryption()),
        automatic: attempt(() => Mongo('${mongodbUri}', { ...options, bypassAutoEncryption: false })),
      };
      db.dropDatabase();
      return seen;`);
    const queryable = /^algorithm "(Range|Indexed)" belongs to Queryable Encryption; expected /;
    for (const name of ['indexed', 'expression']) assert.match(found[name], queryable);
    const { indexed: _indexed, expression: _expression, ...others } = found;
    assert.deepEqual(others, {
      double: 'BSON type invalid for deterministic encryption',
      both: '"options" cannot contain both "keyId" and "keyAltName"',
      algorithm: 'unsupported algorithm string "AES"',
      unknown: 'not all keys requested were satisfied. Verify that key vault DB/collection name was correctly specified.',
      provider: 'requested kms provider required by datakey is not configured: `aws`',
      masterKey: 'keyMaterial should have length 96, but has length 3',
      // Of the shell itself.
      without: '[SHAPI-10005] Cannot call getClientEncryption() without field-level encryption options',
      automatic: 'Automatic encryption is only available with Atlas and MongoDB Enterprise',
    });
  });

  test('leave reads encrypted for explicit encryption only, and decrypted with bypassQueryAnalysis', async () => {
    const found = await returned(`${open('shell_modes')}
      db.c.insertOne({ _id: 1, value: encryption.encrypt(vault.createKey('local'), 'seen', '${DETERMINISTIC}') });
      const { bypassAutoEncryption, ...others } = options;
      const [explicit, bypass] = [Mongo('${mongodbUri}', { ...others, explicitEncryptionOnly: true }),
        Mongo('${mongodbUri}', { ...others, bypassQueryAnalysis: true })];
      const seen = [explicit, bypass].map((one) => one.getDB('shell_modes').c.findOne().value).map((value) => value.sub_type ?? value);
      seen.push(explicit.getClientEncryption().decrypt(explicit.getDB('shell_modes').c.findOne().value), bypass.getKeyVault().getKeys().toArray().length);
      db.dropDatabase();
      return seen;`);
    assert.deepEqual(found, [6, 'seen', 'seen', 1]);
  });
});

describe('AWS KMS', () => {
  let front;
  before(async () => {
    front = await tlsFront(await testPython(), kmsEndpoint);
  });
  after(() => front.stop());
  const masterKey = () => `{ region: '${region}', key: '${keyArn}', endpoint: '127.0.0.1:${front.port}' }`;

  test('over tlsOptions: keys, values, named providers, and rewrapping there and back', async () => {
    const providers = `{ local: ${localKey}, aws: { accessKeyId: 'a', secretAccessKey: 'b' }, 'aws:eu': { accessKeyId: 'c', secretAccessKey: 'd' } }`;
    const tls = JSON.stringify({ tlsCAFile: front.certificateFile });
    const found = await returned(`${open('shell_aws', { providers, more: `, tlsOptions: { aws: ${tls}, 'aws:eu': ${tls} }` })}
      const masterKey = ${masterKey()};
      const ids = [vault.createKey('aws', masterKey, ['one']), vault.createKey('aws:eu', { masterKey, keyAltNames: ['two'] }), vault.createKey('local')];
      const values = ids.map((id) => encryption.encrypt(id, 'sealed', '${DETERMINISTIC}'));
      const keys = () => vault.getKeys().toArray().map(({ masterKey: { provider, key } }) => [provider, key === masterKey.key]);
      const fresh = () => { const read = Mongo('${mongodbUri}', options).getClientEncryption(); return values.map((value) => read.decrypt(value)); };
      const seen = [keys(), fresh()];
      seen.push(Number(vault.rewrapManyDataKey({}, { provider: 'aws', masterKey }).bulkWriteResult.modifiedCount), keys(), fresh());
      vault.rewrapManyDataKey({}, { provider: 'local' });
      seen.push(keys(), fresh());
      db.dropDatabase();
      return seen;`);
    const opened = ['sealed', 'sealed', 'sealed'];
    assert.deepEqual(found, [
      [
        ['aws', true],
        ['aws:eu', true],
        ['local', false],
      ],
      opened,
      3,
      Array(3).fill(['aws', true]),
      opened,
      Array(3).fill(['local', false]),
      opened,
    ]);
  });

  // The shell lets a session of these flags connect to Atlas and Enterprise alone, and the driver starts mongocryptd for it.
  test('over the flags of the command line, with a session token', async () => {
    const { hostname, port } = new URL(mongodbUri);
    const programs = join(folder, 'programs');
    mkdirSync(programs);
    symlinkSync(fileURLToPath(new URL('mongosh/mongocryptd.mjs', import.meta.url)), join(programs, 'mongocryptd'));
    const requests = [];
    front.intercept = (socket) => {
      socket.on('data', (chunk) => requests.push(chunk.toString('latin1')));
    };
    const proxy = await startReplyProxy({ host: hostname, port: Number(port) }, (command) =>
      'buildInfo' in command ? (reply) => ({ ...reply, modules: ['enterprise'] }) : undefined,
    );
    try {
      const found = await returned(
        `
        const vault = db.getMongo().getKeyVault();
        const encryption = db.getMongo().getClientEncryption();
        const id = vault.createKey('aws', ${masterKey()}, ['flags']);
        const value = encryption.encrypt(id, 'sealed', '${DETERMINISTIC}');
        const flags = db.getSiblingDB('shell_flags');
        flags.c.insertOne({ _id: 1, value });
        const seen = [vault.getKeyByAltName('flags').masterKey.provider, encryption.decrypt(value), flags.c.findOne({ _id: 1 }).value,
          flags.keys.countDocuments()];
        flags.dropDatabase();
        return seen;`,
        {
          uri: `mongodb://127.0.0.1:${proxy.port}/?directConnection=true`,
          args: [
            '--keyVaultNamespace',
            'shell_flags.keys',
            '--awsAccessKeyId',
            'AKIDFLAG',
            '--awsSecretAccessKey',
            'secret',
            '--awsSessionToken',
            'token-of-the-session',
          ],
          env: { NODE_EXTRA_CA_CERTS: front.certificateFile, PATH: `${programs}${delimiter}${process.env.PATH}` },
        },
      );
      assert.deepEqual(found, ['aws', 'sealed', 'sealed', 1]);
      assert.ok(requests.length > 0);
      for (const request of requests) {
        assert.match(request, /^X-Amz-Security-Token:token-of-the-session\r$/im);
        assert.match(request, /^Authorization: AWS4-HMAC-SHA256 Credential=AKIDFLAG\//m);
      }
    } finally {
      front.intercept = undefined;
      await proxy.stop();
    }
  });
});
