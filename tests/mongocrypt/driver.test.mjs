// What applications change one line for: the official driver on this package.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import * as csfle from 'csfle-wasm';
import { testServices } from '../env.mjs';
import { aliasedDriver } from './driver.mjs';

const { mongodbUri: uri } = await testServices();

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const { driver, alias, remove } = aliasedDriver();
const { ClientEncryption, MongoClient } = driver;
const database = `dropin_${randomBytes(4).toString('hex')}`;
const keyVaultNamespace = `${database}.keys`;
const kmsProviders = { local: { key: randomBytes(96) }, 'local:other': { key: randomBytes(96) } };

let client;
before(async () => {
  client = await new MongoClient(uri).connect();
});
after(async () => {
  await client.db(database).dropDatabase();
  await client.close();
  remove();
});
const vault = () => client.db(database).collection('keys');
const encryption = (more = {}) => new ClientEncryption(client, { keyVaultNamespace, kmsProviders, ...more });

test('the driver loads this package under the name of the native one', () => {
  assert.equal(alias.MongoCrypt, csfle.MongoCrypt);
  assert.equal(ClientEncryption.libmongocryptVersion, csfle.MongoCrypt.libmongocryptVersion);
  assert.match(ClientEncryption.libmongocryptVersion, /^1\.\d+\.\d+\+csfle-wasm\./);
});

describe('ClientEncryption', () => {
  test('makes keys that the vault can find, by id and by name', async () => {
    const id = await encryption().createDataKey('local', { keyAltNames: ['made', 'again'] });
    const stored = await encryption().getKey(id);
    assert.deepEqual([stored.masterKey, stored.status, stored.keyAltNames.toSorted()], [{ provider: 'local' }, 0, ['again', 'made']]);
    assert.deepEqual(await encryption().getKeyByAltName('again'), stored);
    assert.ok((await encryption().getKeys().toArray()).some(({ _id }) => _id.equals(id)));
  });

  test('encrypts and decrypts by id and by name, and both libraries read each other', async () => {
    const keyMaterial = randomBytes(96);
    const id = await encryption().createDataKey('local:other', { keyAltNames: ['named'], keyMaterial });
    const one = await encryption().encrypt('secret', { algorithm: DETERMINISTIC, keyId: id });
    const two = await encryption().encrypt('secret', { algorithm: DETERMINISTIC, keyAltName: 'named' });
    assert.equal(one.sub_type, 6);
    assert.deepEqual(one, two);
    assert.equal(await encryption().decrypt(one), 'secret');
    const random = await encryption().encrypt({ a: [1] }, { algorithm: RANDOM, keyId: id });
    assert.deepEqual(await encryption().decrypt(random), { a: [1] });
    const own = new csfle.ClientEncryption(client, { keyVaultNamespace, kmsProviders });
    assert.equal(await own.decrypt(one), 'secret');
    own.close();
  });

  test('changes names and deletes keys', async () => {
    const id = await encryption().createDataKey('local');
    assert.equal((await encryption().addKeyAltName(id, 'later')).keyAltNames, undefined);
    assert.deepEqual((await encryption().removeKeyAltName(id, 'later')).keyAltNames, ['later']);
    assert.equal('keyAltNames' in (await encryption().getKey(id)), false);
    assert.equal((await encryption().deleteKey(id)).deletedCount, 1);
    assert.equal(await encryption().getKey(id), null);
  });

  test('rewraps keys, to another master key and under their own', async () => {
    const id = await encryption().createDataKey('local', { keyAltNames: ['rewrapped'] });
    const value = await encryption().encrypt(7, { algorithm: RANDOM, keyId: id });
    const { bulkWriteResult } = await encryption().rewrapManyDataKey({ _id: id }, { provider: 'local:other' });
    assert.equal(bulkWriteResult.modifiedCount, 1);
    const after = await vault().findOne({ _id: id });
    assert.deepEqual([after.masterKey, after.keyAltNames], [{ provider: 'local:other' }, ['rewrapped']]);
    assert.equal(await encryption().decrypt(value), 7);
    await encryption().rewrapManyDataKey({ _id: id });
    assert.notDeepEqual((await vault().findOne({ _id: id })).keyMaterial, after.keyMaterial);
    assert.equal(await encryption().decrypt(value), 7);
    assert.deepEqual(await encryption().rewrapManyDataKey({ keyAltNames: 'nobody' }), {});
  });

  test('keeps keys for as long as keyExpirationMS says', async () => {
    const id = await encryption().createDataKey('local');
    for (const [keyExpirationMS, isKept] of [
      [1, false],
      [60_000, true],
      [0, true],
    ]) {
      const one = encryption({ keyExpirationMS });
      const value = await one.encrypt('x', { algorithm: RANDOM, keyId: id });
      await vault().updateOne({ _id: id }, { $set: { hidden: 1 } });
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
      // An unknown field makes the key document unusable: only the cache can help.
      const decrypted = await one.decrypt(value).catch((error) => error.message);
      await vault().updateOne({ _id: id }, { $unset: { hidden: 1 } });
      assert.equal(decrypted, isKept ? 'x' : "unrecognized field 'hidden'");
    }
  });

  test('fails with the errors of the driver, and with our code behind them', async () => {
    const id = await encryption().createDataKey('local');
    const isQueryable = ({ name, cause }) => name === 'MongoCryptError' && cause.code === 'ALGORITHM_QUERYABLE';
    const refused = { name: 'MongoCryptError', message: 'BSON type invalid for deterministic encryption' };
    const error = await encryption()
      .encrypt(1.5, { algorithm: DETERMINISTIC, keyId: id })
      .catch((one) => one);
    assert.deepEqual({ name: error.name, message: error.message }, refused);
    assert.equal(error.cause.code, 'VALUE_TYPE_NOT_DETERMINISTIC');
    await assert.rejects(encryption().encrypt(1, { algorithm: 'Indexed', keyId: id }), isQueryable);
    await assert.rejects(encryption().encryptExpression({ a: 1 }, { algorithm: RANDOM, keyId: id }), isQueryable);
    await assert.rejects(encryption().createDataKey('aws', { masterKey: { region: 'r', key: 'k' } }), {
      message: /^requested kms provider required by datakey/,
    });
    await assert.rejects(encryption().encrypt(1, { algorithm: RANDOM, keyAltName: 'nobody' }), { message: /^not all keys requested were satisfied/ });
    assert.throws(() => new ClientEncryption(client, { keyVaultNamespace, kmsProviders: {} }), TypeError);
  });
});

describe('MongoClient with automatic decryption', () => {
  const options = (more = {}) => ({ autoEncryption: { keyVaultNamespace, kmsProviders, bypassAutoEncryption: true, ...more } });
  const withClient = async (clientOptions, work) => {
    const automatic = new MongoClient(uri, clientOptions);
    try {
      return await work(automatic.db(database).collection('people'));
    } finally {
      await automatic.close();
    }
  };

  test('decrypts what it reads, at any depth', async () => {
    const id = await encryption().createDataKey('local');
    const value = await encryption().encrypt('457-55-5462', { algorithm: DETERMINISTIC, keyId: id });
    const inner = await encryption().encrypt(new Date(7), { algorithm: RANDOM, keyId: id });
    await withClient(options(), async (people) => {
      await people.insertOne({ _id: 1, ssn: value, list: [{ inner }] });
      assert.deepEqual(await people.findOne({ ssn: value }), { _id: 1, ssn: '457-55-5462', list: [{ inner: new Date(7) }] });
      assert.deepEqual(await people.aggregate([{ $project: { ssn: 1 } }]).toArray(), [{ _id: 1, ssn: '457-55-5462' }]);
    });
    assert.deepEqual((await client.db(database).collection('people').findOne({ _id: 1 })).ssn, value);
  });

  test('fails a whole reply when a key is missing', async () => {
    const id = await encryption().createDataKey('local');
    const value = await encryption().encrypt('x', { algorithm: RANDOM, keyId: id });
    await client.db(database).collection('people').insertOne({ _id: 2, value });
    await encryption().deleteKey(id);
    await withClient(options(), (people) => assert.rejects(people.findOne({ _id: 2 }), { name: 'MongoCryptError', message: /^not all keys requested/ }));
  });

  test('sends commands as they are with bypassQueryAnalysis', async () => {
    await withClient(options({ bypassAutoEncryption: false, bypassQueryAnalysis: true }), async (people) => {
      await people.insertOne({ _id: 3, plain: 'x' });
      assert.deepEqual(await people.findOne({ _id: 3 }), { _id: 3, plain: 'x' });
    });
  });

  test('asks for automatic encryption get one clear error while there is no analyser', async () => {
    const away = { mongocryptdBypassSpawn: true, mongocryptdURI: 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100' };
    await withClient(options({ bypassAutoEncryption: false, extraOptions: away }), (people) =>
      assert.rejects(people.insertOne({ ssn: 'x' }), { message: /mongocryptd/ }),
    );
    assert.throws(() => new MongoClient(uri, options({ bypassAutoEncryption: false, extraOptions: { cryptSharedLibRequired: true } })), {
      message: /no crypt_shared library loaded/,
    });
    assert.throws(() => new MongoClient(uri, options({ bypassAutoEncryption: false, extraOptions: { cryptSharedLibPath: 'mongo_crypt_v1.so' } })), {
      name: 'TypeError',
      message: /loads no native library/,
    });
  });
});
