// Mistakes of the caller: found before anything crosses into WebAssembly, named without showing values.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as bson from 'bson';
import { Binary, ObjectId } from 'bson';
import { ClientEncryption, MemoryKeyVaultStore, migrate, purgeRetiredKeys, restoreBackup, restoreRetiredKeys, retireKeys } from 'csfle-wasm';
import { DETERMINISTIC, failsWith, keyBytes, localEncryption, padKms, RANDOM } from './fixtures.mjs';

const store = new MemoryKeyVaultStore();
const kmsProviders = { local: { key: keyBytes('local') } };
const construct =
  (options, client = null) =>
  () =>
    new ClientEncryption(client, { keyVaultStore: store, kmsProviders, ...options });
const encryption = localEncryption({ store });
const keyId = await encryption.createDataKey('local', { keyAltNames: ['name'] });

test('a local master key may be bytes, a Buffer, a BSON binary or base64 text', async () => {
  const key = keyBytes('forms');
  const value = await (async () => {
    const vault = new MemoryKeyVaultStore();
    const one = localEncryption({ store: vault, kmsProviders: { local: { key } } });
    const id = await one.createDataKey('local');
    return { vault, encrypted: await one.encrypt('x', { algorithm: RANDOM, keyId: id }) };
  })();
  const text = key.toString('base64');
  for (const form of [new Uint8Array(key), new Binary(key), new Binary(key, 6), text, `${text}\n`, text.replace(/(.{64})/g, '$1\n'), text.replace(/=+$/, '')]) {
    const other = localEncryption({ store: value.vault, kmsProviders: { local: { key: form } } });
    assert.equal(await other.decrypt(value.encrypted), 'x');
    other.close();
  }
  assert.deepEqual(key, keyBytes('forms'), 'the bytes of the caller stay');
});

test('a local master key of another length is refused with the length found', async () => {
  for (const [key, length] of [
    [Buffer.alloc(95), 95],
    [new Uint8Array(0), 0],
    [new Binary(Buffer.alloc(97)), 97],
    [Buffer.alloc(32, 7).toString('base64'), 32],
    ['', 0],
  ]) {
    const error = await failsWith('ARGUMENT_INVALID', construct({ kmsProviders: { local: { key } } }));
    assert.equal(error.details.length, length);
    assert.equal(error.details.provider, 'local');
  }
  for (const key of [undefined, null, 5, {}, 'not base64!', [1, 2]]) await failsWith('ARGUMENT_INVALID', construct({ kmsProviders: { local: { key } } }));
  await failsWith('ARGUMENT_INVALID', construct({ kmsProviders: { local: null } }));
});

test('a provider identifier that is none is KMS_PROVIDER_UNRECOGNIZED', async () => {
  const kms = padKms('x');
  for (const id of ['', 'a', 'loc', 'AWS', 'aws:', 'aws:e u', 'ibm']) await failsWith('KMS_PROVIDER_UNRECOGNIZED', construct({ kmsProviders: { [id]: kms } }));
  await failsWith('KMS_PROVIDER_UNRECOGNIZED', construct({ kmsProviders: { 'local:': { key: keyBytes('x') } } }));
});

test('what is neither callbacks nor credentials of the drivers is refused with what to pass instead', async () => {
  for (const provider of [
    { accessKeyId: 'AKIASECRET' },
    { secretAccessKey: 'do not show' },
    { accessKeyId: 'AKIASECRET', secretAccessKey: 'do not show', region: 'us-east-1' },
    'aws',
    null,
    { encrypt() {} },
  ]) {
    const error = await failsWith('ARGUMENT_INVALID', construct({ kmsProviders: { aws: provider } }));
    assert.match(error.message, /awsKms/);
    assert.doesNotMatch(JSON.stringify(error), /AKIASECRET|do not show/);
  }
});

test('options of the constructor are checked by name and kind', async () => {
  for (const options of [undefined, null, 5]) await failsWith('ARGUMENT_INVALID', () => new ClientEncryption(null, options));
  for (const kms of [undefined, null, 5]) await failsWith('ARGUMENT_INVALID', construct({ kmsProviders: kms }));
  for (const name of ['tlsOptions', 'keyVaultNamespaces', 'autoEncryption']) {
    assert.equal((await failsWith('OPTION_INVALID', construct({ [name]: {} }))).details.option, name);
  }
  construct({ tlsOptions: undefined })().close();
  const numbers = {
    keyExpirationMS: [-1, 1.5, NaN, Infinity, '60000'],
    maxCachedKeys: [0, -1, '5', 2 ** 32],
    kmsConcurrency: [0, 1.5],
    kmsTimeoutMS: [0, -5, Infinity, 2 ** 31],
    kmsRetries: [-1, '3'],
  };
  for (const [name, values] of Object.entries(numbers)) {
    for (const value of values) assert.equal((await failsWith('ARGUMENT_INVALID', construct({ [name]: value }))).details.argument, name);
  }
});

test('a key vault store must have the methods of one', async () => {
  for (const method of ['find', 'insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName']) {
    const partial = Object.fromEntries(
      ['find', 'insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName'].filter((one) => one !== method).map((one) => [one, async () => []]),
    );
    assert.equal((await failsWith('ARGUMENT_INVALID', construct({ keyVaultStore: partial }))).details.method, method);
  }
  const client = { db: () => ({}) };
  await failsWith('ARGUMENT_INVALID', () => new ClientEncryption(client, { kmsProviders }));
  await failsWith('ARGUMENT_INVALID', () => new ClientEncryption(client, { kmsProviders, keyVaultNamespace: 'nodot' }));
  await failsWith('ARGUMENT_INVALID', () => new ClientEncryption({}, { kmsProviders, keyVaultNamespace: 'a.b' }));
});

test('without a key vault only work that needs none is possible', async () => {
  const alone = new ClientEncryption(null, { kmsProviders });
  for (const work of [
    () => alone.createDataKey('local'),
    () => alone.getKey(keyId),
    () => alone.encrypt(1, { algorithm: RANDOM, keyId }),
    async () => alone.getKeys(),
    () => alone.rewrapManyDataKey({}),
  ]) {
    await failsWith('ARGUMENT_INVALID', work);
  }
  assert.deepEqual(await alone.decryptDocument({ a: 1 }), { a: 1 });
  alone.close();
});

test('createDataKey checks its arguments', async () => {
  await failsWith('ARGUMENT_INVALID', () => encryption.createDataKey());
  await failsWith('KMS_PROVIDER_UNRECOGNIZED', () => encryption.createDataKey('ibm'));
  await failsWith('KMS_PROVIDER_NOT_CONFIGURED', () => encryption.createDataKey('aws', { masterKey: { region: 'r', key: 'k' } }));
  await failsWith('KMS_PROVIDER_NOT_CONFIGURED', () => encryption.createDataKey('local:other'));
  for (const names of ['name', 5, {}, ['a', 5], [null]])
    await failsWith('KEY_ALT_NAME_INVALID', () => encryption.createDataKey('local', { keyAltNames: names }));
  await failsWith('KEY_ALT_NAME_INVALID', () => encryption.createDataKey('local', { keyAltNames: ['twice', 'twice'] }));
  for (const length of [0, 95, 97]) {
    const error = await failsWith('KEY_MATERIAL_LENGTH', () => encryption.createDataKey('local', { keyMaterial: Buffer.alloc(length) }));
    assert.equal(error.details.length, length);
  }
  for (const material of ['text', 5, {}]) await failsWith('ARGUMENT_INVALID', () => encryption.createDataKey('local', { keyMaterial: material }));
  await failsWith('OPTION_INVALID', () => encryption.createDataKey('local', { keyAltName: 'singular' }));
  await failsWith('MASTER_KEY_INVALID', () => encryption.createDataKey('local', { masterKey: { key: 'x' } }));
  const aws = localEncryption({ kmsProviders: { aws: padKms('aws') } });
  for (const masterKey of [undefined, {}, { region: 'r' }, { key: 'k' }, { region: 5, key: 'k' }, { region: 'r', key: 'k', extra: 1 }])
    await failsWith('MASTER_KEY_INVALID', () => aws.createDataKey('aws', { masterKey }));
  await failsWith('KMS_ENDPOINT_INVALID', () => aws.createDataKey('aws', { masterKey: { region: 'r', key: 'k', endpoint: 'no-dot' } }));
  aws.close();
});

test('a provider inside masterKey does not override the argument', async () => {
  const id = await encryption.createDataKey('local', { masterKey: { provider: 'aws' } });
  assert.deepEqual((await encryption.getKey(id)).masterKey, { provider: 'local' });
});

test('encrypt checks how the key is named', async () => {
  const algorithm = RANDOM;
  for (const options of [
    { algorithm },
    { algorithm, keyId, keyAltName: 'name' },
    { algorithm, keyId: 'text' },
    { algorithm, keyId: new ObjectId() },
    { algorithm, keyId: new Binary(Buffer.alloc(16), 0) },
    { algorithm, keyId: new Binary(Buffer.alloc(15), 4) },
    { algorithm, keyId: null },
  ]) {
    await failsWith('KEY_REFERENCE_INVALID', () => encryption.encrypt(1, options));
  }
  for (const keyAltName of [5, {}, ['name']])
    await assert.rejects(
      () => encryption.encrypt(1, { algorithm, keyAltName }),
      (error) => /^(KEY_ALT_NAME_INVALID|KEY_REFERENCE_INVALID|OPTION_INVALID)$/.test(error.code),
    );
  for (const options of [undefined, null, 'x']) await failsWith('ARGUMENT_INVALID', () => encryption.encrypt(1, options));
  await encryption.encrypt(1, { algorithm, keyId, keyAltName: undefined });
});

test('encrypt checks the algorithm and refuses options of Queryable Encryption', async () => {
  for (const algorithm of [undefined, '', 'AES', 5, null])
    await assert.rejects(
      () => encryption.encrypt(1, { algorithm, keyId }),
      (error) => /^(ALGORITHM_UNSUPPORTED|OPTION_INVALID)$/.test(error.code),
    );
  for (const algorithm of ['Indexed', 'Unindexed', 'Range', 'String'])
    await failsWith('ALGORITHM_QUERYABLE', () => encryption.encrypt(1, { algorithm, keyId }));
  for (const more of [{ contentionFactor: 1 }, { queryType: 'equality' }, { rangeOptions: {} }])
    await failsWith('OPTION_INVALID', () => encryption.encrypt(1, { algorithm: RANDOM, keyId, ...more }));
  await encryption.encrypt(1, { algorithm: RANDOM.toLowerCase(), keyId });
});

test('key ids of every method must be UUIDs, names strings', async () => {
  for (const id of [undefined, null, 'text', keyId.toHexString(), new ObjectId(), new Binary(Buffer.alloc(16), 3), Buffer.alloc(16)]) {
    for (const work of [
      (one) => encryption.getKey(one),
      (one) => encryption.deleteKey(one),
      (one) => encryption.addKeyAltName(one, 'x'),
      (one) => encryption.removeKeyAltName(one, 'x'),
    ]) {
      await failsWith('KEY_REFERENCE_INVALID', () => work(id));
    }
  }
  for (const name of [undefined, null, 5, ['x']]) {
    for (const work of [
      (one) => encryption.getKeyByAltName(one),
      (one) => encryption.addKeyAltName(keyId, one),
      (one) => encryption.removeKeyAltName(keyId, one),
    ])
      await failsWith('KEY_ALT_NAME_INVALID', () => work(name));
  }
});

test('rewrapManyDataKey checks its arguments', async () => {
  for (const filter of [undefined, null, 'x']) await failsWith('ARGUMENT_INVALID', () => encryption.rewrapManyDataKey(filter));
  await failsWith('OPTION_INVALID', () => encryption.rewrapManyDataKey({}, { providr: 'local' }));
  await failsWith('KMS_PROVIDER_NOT_CONFIGURED', () => encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: { region: 'r', key: 'k' } }));
  await failsWith('MASTER_KEY_INVALID', () => encryption.rewrapManyDataKey({}, { provider: 'aws' }));
});

test('whole documents check theirs', async () => {
  for (const wrong of [undefined, 5, 'x', [[]]]) await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocument(wrong));
  for (const wrong of [null, undefined, {}, 5]) await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocuments(wrong));
  for (const options of [undefined, {}, { fields: null }, { fields: { a: null } }])
    await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument({ a: 1 }, options));
  await failsWith('KEY_REFERENCE_INVALID', () => encryption.encryptDocument({ a: 1 }, { fields: { a: { algorithm: RANDOM, keyId: 'x' } } }));
  await failsWith('ALGORITHM_UNSUPPORTED', () => encryption.encryptDocument({ a: 1 }, { fields: { a: { algorithm: 'x', keyId } } }));
  const circular = {};
  circular.self = circular;
  await failsWith('ARGUMENT_INVALID', () => encryption.encrypt(circular, { algorithm: RANDOM, keyId }));
});

test('a value of another major version of the BSON library is HOST_BSON_MISMATCH', async () => {
  const other = { _bsontype: 'ObjectId', [Symbol.for('@@mdb.bson.version')]: 5, id: Buffer.alloc(12) };
  await failsWith('HOST_BSON_MISMATCH', () => encryption.encrypt(other, { algorithm: DETERMINISTIC, keyId }));
  await failsWith('HOST_BSON_MISMATCH', () => encryption.encryptDocument({ a: { b: other } }, { fields: { c: { algorithm: RANDOM, keyAltName: 'c' } } }));
  await failsWith('HOST_BSON_MISMATCH', () => encryption.rewrapManyDataKey({ _id: other }));
});

test('key ids and ciphertexts of another major version are taken: only their bytes matter', async () => {
  const foreign = (value) => ({
    _bsontype: 'Binary',
    [Symbol.for('@@mdb.bson.version')]: 5,
    sub_type: value.sub_type,
    buffer: value.buffer,
    position: value.position,
  });
  const encrypted = await encryption.encrypt('x', { algorithm: DETERMINISTIC, keyId: foreign(keyId) });
  assert.equal(await encryption.decrypt(foreign(encrypted)), 'x');
  assert.equal((await encryption.getKey(foreign(keyId))).keyAltNames[0], 'name');
});

test('the BSON library can be passed in', async () => {
  let serialized = 0;
  const counting = {
    ...bson,
    serialize: (...args) => {
      serialized += 1;
      return bson.serialize(...args);
    },
  };
  const other = localEncryption({ store, bson: counting });
  const id = await other.createDataKey('local');
  assert.ok(id instanceof bson.UUID);
  assert.ok(serialized > 0);
  other.close();
});

test('bytes of another realm are bytes', async () => {
  const { runInNewContext } = await import('node:vm');
  const foreign = runInNewContext('new Uint8Array(96).fill(1)');
  assert.equal(foreign instanceof Uint8Array, false);
  const other = localEncryption({ kmsProviders: { local: { key: foreign } } });
  const id = await other.createDataKey('local', { keyMaterial: foreign });
  const value = await other.encrypt('x', { algorithm: RANDOM, keyId: id });
  assert.equal(await other.decrypt(value), 'x');
  other.close();
});

test('a ClientEncryption can be disposed of with Symbol.dispose', async () => {
  assert.equal(typeof Symbol.dispose, 'symbol', 'this host has Symbol.dispose');
  const one = localEncryption();
  one[Symbol.dispose]();
  await failsWith('HOST_CLOSED', () => one.createDataKey('local'));
});

test('rules that would encrypt nothing are refused', async () => {
  const rule = { algorithm: RANDOM, keyAltName: 'a' };
  class Rules {
    get ssn() {
      return rule;
    }
  }
  for (const fields of [
    {},
    [],
    new Map([['ssn', rule]]),
    new Set(),
    Promise.resolve({ ssn: rule }),
    new Date(),
    new Rules(),
    Object.create({ ssn: rule }),
    { 'visits.$[].note': rule },
    { 'a[].b': rule },
    { 'a.$.b': rule },
  ])
    await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument({ ssn: 'secret' }, { fields }));
  await failsWith('OPTION_INVALID', () => encryption.encryptDocument({ ssn: 'secret' }, { fields: { ssn: rule }, feilds: {} }));
});

test('options that write or destroy accept only true and false, no text', async () => {
  const evidence = { skipNamespaces: ['*'], reason: 'everything is in memory' };
  const common = { keyVault: store, kmsProviders };
  const calls = [
    [['execute', 'all', 'confirmPlaintext', 'deleteOldKeys'], (wrong) => migrate({ ...common, to: { provider: 'local' }, ...wrong })],
    [['execute'], (wrong) => retireKeys({ ...common, keys: [keyId], evidence, ...wrong })],
    [['execute'], (wrong) => purgeRetiredKeys({ ...common, before: new Date(0), evidence, ...wrong })],
    [['withoutTakenNames'], (wrong) => restoreRetiredKeys({ keyVault: store, keys: [keyId], ...wrong })],
    [['execute', 'overwrite', 'allowUnproven', 'fromAnotherKeyVault'], (wrong) => restoreBackup({ keyVault: store, documents: [], ...wrong })],
  ];
  for (const [names, call] of calls)
    for (const name of names)
      for (const value of ['true', 'false', 1, null]) assert.equal((await failsWith('OPTION_INVALID', () => call({ [name]: value }))).details.option, name);
  for (const keys of [undefined, null, 'x', {}]) {
    await failsWith('ARGUMENT_INVALID', () => retireKeys({ ...common, keys, evidence }));
    await failsWith('ARGUMENT_INVALID', () => restoreRetiredKeys({ keyVault: store, keys }));
  }
  for (const id of [undefined, 'x', new Binary(Buffer.alloc(16), 0)])
    await failsWith('KEY_REFERENCE_INVALID', () => restoreRetiredKeys({ keyVault: store, keys: [id] }));
});

test('the error for a misspelt option suggests the most similar option', async () => {
  for (const [misspelt, meant] of [
    ['keyVaultNamspace', 'keyVaultNamespace'],
    ['kmsTimeoutMs', 'kmsTimeoutMS'],
    ['sigal', 'signal'],
    ['trustedMasterKey', 'trustedMasterKeys'],
  ])
    assert.match((await failsWith('OPTION_INVALID', construct({ [misspelt]: 1 }))).message, new RegExp(`did you mean \`${meant}\`\\?`));
  assert.doesNotMatch((await failsWith('OPTION_INVALID', construct({ tlsOptions: 1 }))).message, /did you mean/);
  assert.match((await failsWith('OPTION_INVALID', () => migrate({ keyVault: store, kmsProviders, excute: true }))).message, /did you mean `execute`/);
});

test('methods work detached from their object, and decryptDocument refuses an array or a cursor of documents', async () => {
  const { decryptDocument, encryptDocument, encrypt, decrypt } = localEncryption({ store });
  const fields = { ssn: { algorithm: RANDOM, keyId } };
  const encrypted = await Promise.all([{ ssn: '1' }, { ssn: '2' }].map((one) => encryptDocument(one, { fields })));
  assert.deepEqual(await Promise.all(encrypted.map(decryptDocument)), [{ ssn: '1' }, { ssn: '2' }]);
  assert.equal(await decrypt(await encrypt('x', fields.ssn)), 'x');
  for (const [many, advice] of [
    [encrypted, /decryptDocuments\(documents\)/],
    [{ toArray: async () => encrypted }, /decryptDocuments\(await cursor\.toArray\(\)\)/],
  ])
    assert.match((await failsWith('ARGUMENT_INVALID', () => decryptDocument(many))).message, advice);
  await failsWith('ARGUMENT_INVALID', () => encryptDocument([{ ssn: '1' }], { fields }));
});
