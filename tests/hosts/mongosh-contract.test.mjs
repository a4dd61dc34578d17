// What csfle expects of a shell, with a shell of our own making in this process: another major version of BSON, Ctrl+C, errors.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';

const require = createRequire(import.meta.url);
const bson = require('bson');
const csfle = require('csfle-wasm/mongosh');
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const CLASSES = ['Binary', 'UUID', 'ObjectId', 'Long', 'Timestamp', 'Double', 'Int32', 'Decimal128', 'MinKey', 'MaxKey', 'BSONRegExp', 'BSONSymbol', 'Code', 'DBRef'];
const masterKey = randomBytes(96);

// A Mongo of the shell with the few methods that are used, over an array of key documents.
function fakeMongo({ classes = bson, provider = {}, state } = {}) {
  const keys = [];
  return {
    keys,
    getDB: () => ({}),
    _instanceState: state,
    _serviceProvider: {
      bsonLibrary: Object.fromEntries(CLASSES.map((name) => [name, classes[name]])),
      find: () => ({ toArray: async () => keys }),
      insertOne: async (_database, _collection, document) => void keys.push(document),
      getIndexes: async () => [{ key: { keyAltNames: 1 } }],
      ...provider,
    },
  };
}

const optionsFor = (client) => ({ client, keyVaultNamespace: 'encryption.__keyVault', kmsProviders: { local: { key: masterKey } } });

describe('csfle against a shell', () => {
  it('works with the classes of a shell that carries another major version of BSON', async () => {
    const version = Symbol.for('@@mdb.bson.version');
    const classes = Object.fromEntries(CLASSES.map((name) => [name, class extends bson[name] { get [version]() { return 6; } }]));
    const mongo = fakeMongo({ classes });
    const encryption = csfle.clientEncryption(optionsFor(mongo));
    const id = await (await csfle.keyVault(encryption)).createKey('local');
    assert.ok(id instanceof classes.UUID && mongo.keys[0].keyMaterial instanceof classes.Binary);
    const value = { id: new classes.ObjectId(), list: [new classes.Decimal128('1.5'), new Map([['inner', new classes.Binary(Buffer.from([1]), 5)]])], ['__proto__']: 1 };
    assert.throws(() => bson.serialize(value), { name: 'BSONVersionError' }, 'the case is one that needs the exchange');
    const opened = await encryption.decrypt(await encryption.encrypt(id, value, RANDOM));
    assert.ok(opened.id instanceof classes.ObjectId && opened.list[0] instanceof classes.Decimal128 && opened.list[1].inner instanceof classes.Binary);
    assert.deepEqual([opened.id.toHexString(), opened.list[0].toString(), opened.list[1].inner.buffer[0]], [value.id.toHexString(), '1.5', 1]);
    assert.equal(Object.getOwnPropertyDescriptor(opened, '__proto__').value, 1);
    encryption.close();
  });

  it('says which class a shell lacks', () => {
    const { Decimal128: _absent, ...classes } = bson;
    assert.throws(() => csfle.clientEncryption(optionsFor(fakeMongo({ classes }))), { code: 'HOST_BSON_MISSING', details: { member: 'Decimal128' } });
  });

  it('marks what the shell awaits, and nothing else', async () => {
    const synthetic = Symbol.for('@@mongosh.syntheticPromise');
    const opening = csfle.keyVault(optionsFor(fakeMongo()));
    assert.equal(opening[synthetic], true);
    const vault = await opening;
    const creating = vault.createKey('local');
    assert.equal(creating[synthetic], true);
    await creating;
    assert.equal(vault.close() instanceof Promise, false);
    assert.equal(csfle.clientEncryption(optionsFor(fakeMongo())) instanceof Promise, false);
  });

  it('ends with the interruption of the shell on Ctrl+C, and listens no longer', async () => {
    const interruption = new Error('execution was interrupted');
    const listeners = new Set();
    const interrupted = {
      checkpoint: () => {},
      asPromise() {
        let listener;
        const promise = new Promise((_, reject) => {
          listener = reject;
        });
        listeners.add(listener);
        promise.catch(() => {});
        return { promise, destroy: () => void listeners.delete(listener) };
      },
    };
    const mongo = fakeMongo({ state: { interrupted } });
    const vault = await csfle.keyVault(optionsFor(mongo));
    await vault.createKey('local');
    assert.equal(listeners.size, 0);
    mongo._serviceProvider.find = () => ({ toArray: () => new Promise(() => {}) });
    const pending = vault.rewrapManyDataKey({});
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(listeners.size > 0);
    for (const listener of [...listeners]) listener(interruption);
    await assert.rejects(pending, interruption);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(listeners.size, 0, 'the rewrap itself ended too');
    interrupted.checkpoint = () => { throw interruption; };
    await assert.rejects(vault.getKeyByAltName('x'), interruption);
  });

  it('keeps the error of the server as the cause', async () => {
    const refused = Object.assign(new Error('not allowed'), { name: 'MongoServerError', code: 13 });
    const vault = await csfle.keyVault(optionsFor(fakeMongo({ provider: { insertOne: async () => { throw refused; } } })));
    await assert.rejects(vault.createKey('local'), (error) => error.code === 'KEY_VAULT_NOT_WRITABLE' && error.cause === refused && error.codeName === error.code && error.errInfo.remedy === error.remedy);
  });
});
