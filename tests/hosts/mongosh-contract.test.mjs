// What csfle expects of a shell, with a shell of our own making in this process: another major version of BSON, Ctrl+C, errors.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';

const require = createRequire(import.meta.url);
const bson = require('bson');
const csfle = require('csfle-wasm/mongosh');
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const CLASSES = [
  'Binary',
  'UUID',
  'ObjectId',
  'Long',
  'Timestamp',
  'Double',
  'Int32',
  'Decimal128',
  'MinKey',
  'MaxKey',
  'BSONRegExp',
  'BSONSymbol',
  'Code',
  'DBRef',
];
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

// An id as text, whichever class of binary it is.
const textOf = (id) => (id?.sub_type === 4 ? Buffer.from(id.buffer).toString('hex') : String(id));

// Ctrl+C in the shell: which listeners there are, and that all of them are called.
function interruptions() {
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
  return {
    interrupted,
    interruption,
    listeners,
    interrupt: () => {
      for (const listener of [...listeners]) listener(interruption);
    },
  };
}

const optionsFor = (client) => ({ client, keyVaultNamespace: 'encryption.__keyVault', kmsProviders: { local: { key: masterKey } } });

describe('csfle against a shell', () => {
  it('works with the classes of a shell that carries another major version of BSON', async () => {
    const version = Symbol.for('@@mdb.bson.version');
    const classes = Object.fromEntries(
      CLASSES.map((name) => [
        name,
        class extends bson[name] {
          get [version]() {
            return 6;
          }
        },
      ]),
    );
    const mongo = fakeMongo({ classes });
    const encryption = csfle.clientEncryption(optionsFor(mongo));
    const id = await (await csfle.keyVault(encryption)).createKey('local');
    assert.ok(id instanceof classes.UUID && mongo.keys[0].keyMaterial instanceof classes.Binary);
    const value = {
      id: new classes.ObjectId(),
      list: [new classes.Decimal128('1.5'), new Map([['inner', new classes.Binary(Buffer.from([1]), 5)]])],
      ['__proto__']: 1,
    };
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
    const { interrupted, interrupt, listeners, interruption } = interruptions();
    const mongo = fakeMongo({ state: { interrupted } });
    const vault = await csfle.keyVault(optionsFor(mongo));
    await vault.createKey('local');
    assert.equal(listeners.size, 0);
    mongo._serviceProvider.find = () => ({ toArray: () => new Promise(() => {}) });
    const pending = vault.rewrapManyDataKey({});
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(listeners.size > 0);
    interrupt();
    await assert.rejects(pending, interruption);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(listeners.size, 0, 'the rewrap itself ended too');
    interrupted.checkpoint = () => {
      throw interruption;
    };
    await assert.rejects(vault.getKeyByAltName('x'), interruption);
  });

  it('an interrupted search retires no key, and a key that was retired before the interruption is back', async () => {
    for (const isRetiredFirst of [false, true]) {
      const { interrupted, interrupt, listeners, interruption } = interruptions();
      const collections = { __keyVault: [], '__keyVault.retired': [] };
      const fits = ({ _id, keyId }, wanted) =>
        [
          [_id, wanted._id],
          [keyId, wanted.keyId],
        ].every(([found, given]) => given === undefined || textOf(found) === textOf(given));
      const rows = (name, filter) => (collections[name] ?? []).filter((row) => fits(row, filter));
      let writes = 0;
      const provider = {
        find: (_database, name, filter, { raw } = {}) => ({ toArray: async () => rows(name, filter).map((row) => (raw ? bson.serialize(row) : row)) }),
        insertOne: async (_database, name, document) => {
          writes += 1;
          collections[name].push({ _id: new bson.ObjectId(), ...document });
        },
        updateOne: async (_database, name, filter, { $set }) => {
          const found = rows(name, filter);
          for (const row of found) Object.assign(row, $set);
          return { matchedCount: found.length };
        },
        deleteOne: async (_database, name, filter) => {
          const [found] = rows(name, filter);
          collections[name] = collections[name].filter((row) => row !== found);
          if (isRetiredFirst) interrupt();
          return { deletedCount: found === undefined ? 0 : 1 };
        },
        // The first command of the search; a new key asks for less.
        runCommandWithCheck: async (_database, command) => {
          if (!isRetiredFirst && 'listDatabases' in command) interrupt();
          return { databases: [] };
        },
      };
      const vault = await csfle.keyVault(optionsFor(fakeMongo({ provider, state: { interrupted } })));
      const id = await vault.createKey('local');
      const [key] = collections.__keyVault;
      writes = 0;
      await assert.rejects(vault.deleteKey(id), interruption);
      for (let turn = 0; turn < 200 && listeners.size > 0; turn += 1) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(listeners.size, 0);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual(collections.__keyVault, [key]);
      assert.equal(writes, isRetiredFirst ? 2 : 0, 'the copy, and the key that is back');
      vault.close();
    }
  });

  it('deleteKey takes the limits of KMS calls of its session', async () => {
    const database = [{ name: 'encryption' }];
    const sealed = new bson.Binary(Buffer.from([1, ...new bson.UUID().buffer, 3, ...randomBytes(80)]), 6);
    const keys = [];
    const idsIn = (filter) =>
      filter?.sub_type === 4 ? [textOf(filter)] : typeof filter === 'object' && filter !== null ? Object.values(filter).flatMap(idsIn) : [];
    let calls = 0;
    const provider = {
      find: (_database, name, filter) => {
        const found = name === '__keyVault' ? keys.filter(({ _id }) => idsIn(filter).includes(textOf(_id))) : [];
        return {
          toArray: async () => found,
          async *[Symbol.asyncIterator]() {
            if (name === 'data') yield bson.serialize({ _id: 1, sealed });
          },
        };
      },
      insertOne: async (_database, _collection, document) => void keys.push(document),
      estimatedDocumentCount: async () => 1,
      runCommandWithCheck: async (_database, command) =>
        'listDatabases' in command ? { databases: database } : { cursor: { id: 0, firstBatch: [{ name: 'data', type: 'collection', options: {}, info: {} }] } },
    };
    const aws = {
      encrypt: async ({ plaintext }) => Uint8Array.from(plaintext, (byte) => byte ^ 1),
      decrypt: () => {
        calls += 1;
        return new Promise(() => {});
      },
    };
    const kmsProviders = { local: { key: masterKey }, aws };
    const client = fakeMongo({ provider });
    const vault = await csfle.keyVault({ ...optionsFor(client), kmsProviders, kmsTimeoutMS: 50, kmsRetries: 0 });
    const id = await vault.createKey('local');
    keys.push({
      ...keys[0],
      _id: new bson.UUID(sealed.buffer.subarray(1, 17)),
      masterKey: { provider: 'aws', region: 'eu-central-1', key: 'arn:aws:kms:eu-central-1:111122223333:key/1' },
    });
    await assert.rejects(vault.deleteKey(id), { code: 'KEY_VAULT_KEY_IN_USE' });
    assert.equal(calls > 0 && calls <= 2, true, `${calls} calls: no repetition`);
    vault.close();
  });

  it('keeps the error of the server as the cause', async () => {
    const refused = Object.assign(new Error('not allowed'), { name: 'MongoServerError', code: 13 });
    const vault = await csfle.keyVault(
      optionsFor(
        fakeMongo({
          provider: {
            insertOne: async () => {
              throw refused;
            },
          },
        }),
      ),
    );
    await assert.rejects(
      vault.createKey('local'),
      (error) => error.code === 'KEY_VAULT_NOT_WRITABLE' && error.cause === refused && error.codeName === error.code && error.errInfo.remedy === error.remedy,
    );
  });
});
