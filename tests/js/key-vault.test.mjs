// Key vault stores: the one in memory, and the one over the driver with what a server can say.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ClientEncryption, driverKeyVaultStore, MemoryKeyVaultStore } from 'csfle-wasm';
import { Binary, BSONRegExp, Decimal128, Double, Int32, Long, MongoClient, ObjectId, UUID } from 'mongodb';
import { testServices } from '../env.mjs';
import { failsWith } from './fixtures.mjs';

const database = `js_key_vault_${process.pid}`;
let client;

before(async () => {
  const { mongodbUri } = await testServices();
  client = await new MongoClient(mongodbUri).connect();
});

after(async () => {
  await client?.db(database).dropDatabase();
  await client?.close();
});

const keyDocument = (names, more = {}) => ({
  _id: new UUID(),
  ...(names.length === 0 ? {} : { keyAltNames: names }),
  keyMaterial: new Binary(Buffer.alloc(160, 3)),
  creationDate: new Date(1000),
  updateDate: new Date(1000),
  status: 0,
  masterKey: { provider: 'aws', region: 'r', key: 'k' },
  ...more,
});

async function driverStore(name) {
  const collection = client.db(database).collection(name);
  await collection.createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  return driverKeyVaultStore(client, `${database}.${name}`);
}

// Both stores behave the same.
for (const [kind, open] of [
  ['memory', async () => new MemoryKeyVaultStore()],
  ['driver', driverStore],
]) {
  test(`${kind}: find, insert and retireKey`, async () => {
    const store = await open('basics');
    const [one, two] = [keyDocument(['a', 'b']), keyDocument([])];
    await store.insert(one);
    await store.insert(two);
    assert.deepEqual(await store.find({ _id: one._id }), [one]);
    assert.deepEqual(await store.find({ keyAltNames: 'b' }), [one]);
    assert.deepEqual(await store.find({ keyAltNames: { $exists: false } }), [two]);
    assert.deepEqual((await store.find({ $or: [{ _id: { $in: [two._id] } }, { keyAltNames: { $in: ['a', 'zz'] } }] })).length, 2);
    assert.deepEqual(await store.find({ 'masterKey.region': 'r', status: 0, $and: [{ _id: two._id }] }), [two]);
    assert.deepEqual(await store.find({ 'masterKey.endpoint': null, _id: { $eq: one._id } }), [one]);
    assert.deepEqual(await store.find({ keyAltNames: ['a', 'b'] }), [one]);
    assert.deepEqual(await store.find({ keyAltNames: ['b', 'a'] }), []);
    assert.deepEqual(
      await store.find({
        creationDate: new Date(1000),
        updateDate: { $in: [new Date(1000)] },
        masterKey: { provider: 'aws', region: 'r', key: 'k' },
        keyAltNames: { $exists: true },
      }),
      [one],
    );
    assert.deepEqual(await store.find({ masterKey: { region: 'r', provider: 'aws', key: 'k' } }), [], 'documents compare with their order');
    const note = { reason: 'a test', requestedBy: 'key-vault.test.mjs' };
    const entry = await store.retireKey(one._id, note);
    assert.deepEqual([entry.keyId, entry.document._id, entry.document.keyMaterial].map(String), [one._id, one._id, one.keyMaterial].map(String));
    assert.deepEqual(
      (await store.retiredKeys(one._id)).map(({ retiredId }) => String(retiredId)),
      [String(entry.retiredId)],
    );
    assert.equal(await store.retireKey(one._id, note), null);
    assert.deepEqual(await store.find({}), [two]);
  });

  test(`${kind}: a known id and a taken name are KEY_VAULT_DUPLICATE_KEY`, async () => {
    const store = await open('duplicates');
    const one = keyDocument(['a']);
    await store.insert(one);
    await failsWith('KEY_VAULT_DUPLICATE_KEY', () => store.insert({ ...keyDocument([]), _id: one._id }));
    await failsWith('KEY_VAULT_DUPLICATE_KEY', () => store.insert(keyDocument(['b', 'a'])));
    const two = keyDocument([]);
    await store.insert(two);
    await failsWith('KEY_VAULT_DUPLICATE_KEY', () => store.addKeyAltName(two._id, 'a'));
    assert.deepEqual(await store.find({}), [one, two]);
  });

  test(`${kind}: rewrapIf compares material and master key and sets updateDate`, async () => {
    const store = await open('rewrap');
    const key = keyDocument(['a']);
    await store.insert(key);
    const next = { keyMaterial: new Binary(Buffer.alloc(160, 4)), masterKey: { provider: 'local' } };
    const expected = { keyMaterial: key.keyMaterial, masterKey: key.masterKey };
    assert.equal(await store.rewrapIf(key._id, { ...expected, keyMaterial: next.keyMaterial }, next), false);
    assert.equal(await store.rewrapIf(key._id, { ...expected, masterKey: { ...key.masterKey, key: 'other' } }, next), false);
    assert.equal(await store.rewrapIf(new UUID(), expected, next), false);
    assert.deepEqual(await store.find({}), [key]);
    assert.equal(await store.rewrapIf(key._id, expected, next), true);
    const [{ updateDate, ...rest }] = await store.find({});
    const { updateDate: _old, ...unchanged } = key;
    assert.deepEqual(rest, { ...unchanged, ...next });
    assert.ok(Math.abs(updateDate - Date.now()) < 60_000);
    assert.equal(await store.rewrapIf(key._id, expected, next), false, 'a second time it is another wrapping');
  });

  test(`${kind}: names are added and removed without touching updateDate`, async () => {
    const store = await open('names');
    const key = keyDocument([]);
    await store.insert(key);
    assert.deepEqual(await store.addKeyAltName(key._id, 'x'), key);
    assert.deepEqual((await store.addKeyAltName(key._id, 'x')).keyAltNames, ['x']);
    assert.deepEqual((await store.addKeyAltName(key._id, '$y')).keyAltNames, ['x']);
    assert.deepEqual((await store.removeKeyAltName(key._id, 'x')).keyAltNames, ['x', '$y']);
    assert.deepEqual((await store.removeKeyAltName(key._id, '$y')).keyAltNames, ['$y']);
    assert.deepEqual(await store.find({}), [key]);
    assert.equal(await store.addKeyAltName(new UUID(), 'x'), null);
    assert.equal(await store.removeKeyAltName(new UUID(), 'x'), null);
  });

  test(`${kind}: capabilities say that it can be written and has its unique index`, async () => {
    const store = await open('capable');
    assert.deepEqual(await store.capabilities(), { writable: true, uniqueIndex: true });
  });
}

test('memory: documents go in and out as copies', async () => {
  const key = keyDocument(['a']);
  const store = new MemoryKeyVaultStore([key]);
  key.keyAltNames.push('b');
  const [found] = await store.find({});
  assert.deepEqual(found.keyAltNames, ['a']);
  found.masterKey.region = 'changed';
  found.keyAltNames.push('c');
  assert.deepEqual((await store.find({}))[0].masterKey.region, 'r');
  assert.deepEqual((await store.find({}))[0].keyAltNames, ['a']);
  const next = { keyMaterial: key.keyMaterial, masterKey: { provider: 'local' } };
  assert.equal(await store.rewrapIf(key._id, { keyMaterial: key.keyMaterial, masterKey: key.masterKey }, next), true);
  next.masterKey.provider = 'changed';
  assert.equal((await store.find({}))[0].masterKey.provider, 'local');
});

test('memory: numbers compare by value, other BSON types by theirs', async () => {
  const id = new ObjectId();
  const store = new MemoryKeyVaultStore([
    keyDocument([], { a: new Int32(5), b: Long.fromNumber(7), c: new Double(1.5), d: id, e: Decimal128.fromString('1'), f: true }),
  ]);
  for (const filter of [
    { a: 5 },
    { a: new Double(5) },
    { a: Long.fromNumber(5) },
    { b: 7 },
    { b: new Int32(7) },
    { c: 1.5 },
    { d: new ObjectId(id.toHexString()) },
    { e: Decimal128.fromString('1') },
    { f: true },
    { a: { $exists: true }, z: { $exists: new Int32(0) } },
  ]) {
    assert.equal((await store.find(filter)).length, 1, JSON.stringify(filter));
  }
  for (const filter of [{ a: 6 }, { a: '5' }, { d: new ObjectId() }, { f: 1 }, { a: null }, { keyMaterial: new Binary(Buffer.alloc(160, 3), 5) }]) {
    assert.equal((await store.find(filter)).length, 0, JSON.stringify(filter));
  }
});

test('memory: an operator it does not know is refused by name', async () => {
  const store = new MemoryKeyVaultStore([keyDocument(['a'])]);
  for (const [filter, operator] of [
    [{ status: { $gt: 0 } }, '$gt'],
    [{ $nor: [{ status: 0 }] }, '$nor'],
    [{ $where: 'true' }, '$where'],
    [{ keyAltNames: { $elemMatch: {} } }, '$elemMatch'],
    [{ keyAltNames: /a/ }, '$regex'],
    [{ keyAltNames: { $in: [new BSONRegExp('a', '')] } }, '$regex'],
  ]) {
    assert.equal((await failsWith('ARGUMENT_INVALID', () => store.find(filter))).details.operator, operator);
  }
  for (const filter of [{ $or: {} }, { $and: [] }, { status: { $in: 5 } }]) await failsWith('ARGUMENT_INVALID', () => store.find(filter));
  await failsWith('ARGUMENT_INVALID', () => store.insert({ _id: 5 }));
  await failsWith('KEY_VAULT_DUPLICATE_KEY', () => new MemoryKeyVaultStore([keyDocument(['a']), keyDocument(['a'])]));
});

test('driver: a vault without the index, or not there at all, says so', async () => {
  await client.db(database).collection('bare').insertOne(keyDocument([]));
  assert.deepEqual(await driverKeyVaultStore(client, `${database}.bare`).capabilities(), { writable: true, uniqueIndex: false });
  assert.deepEqual(await driverKeyVaultStore(client, `${database}.absent`).capabilities(), { writable: true, uniqueIndex: false });
  const collection = client.db(database).collection('not_unique');
  await collection.createIndex({ keyAltNames: 1 });
  assert.equal((await driverKeyVaultStore(client, `${database}.not_unique`).capabilities()).uniqueIndex, false);
});

test('driver: a client that is set to other types or raw bytes reads key documents all the same', async () => {
  const { mongodbUri } = await testServices();
  const key = keyDocument(['a']);
  await client.db(database).collection('types').insertOne(key);
  for (const options of [{ promoteBuffers: true }, { promoteValues: false }, { raw: true }, { useBigInt64: true }]) {
    const other = await new MongoClient(mongodbUri, options).connect();
    assert.deepEqual(await driverKeyVaultStore(other, `${database}.types`).find({ _id: key._id }), [key], JSON.stringify(options));
    assert.deepEqual(await driverKeyVaultStore(other, `${database}.types`).addKeyAltName(key._id, 'a'), key, JSON.stringify(options));
    await other.close();
  }
});

// What a server with users would answer; the one in these tests runs without.
function clientAnswering(answers) {
  const collection = {
    indexes: async () => answers.indexes ?? [],
    find: () => ({
      toArray: async () => {
        throw answers.error;
      },
    }),
    insertOne: async () => {
      throw answers.error;
    },
  };
  return {
    db: () => ({ collection: () => collection, command: async (command) => (command.hello ? { isWritablePrimary: answers.primary ?? true } : answers.status) }),
  };
}
const privileges = (actions, resource = { db: 'a', collection: 'b' }) => ({
  authInfo: {
    authenticatedUsers: [{ user: 'u' }],
    authenticatedUserPrivileges: [
      { resource, actions },
      { resource: { db: 'other', collection: '' }, actions: ['remove'] },
    ],
  },
});

test('driver: missing privileges and a secondary are found without writing', async () => {
  const ask = (answers) => driverKeyVaultStore(clientAnswering(answers), 'a.b').capabilities();
  assert.match((await ask({ primary: false, status: {} })).reason, /primary/);
  const lacking = await ask({ status: privileges(['find', 'insert']) });
  assert.equal(lacking.writable, false);
  assert.match(lacking.reason, /update, remove/);
  for (const resource of [{ db: 'a', collection: 'b' }, { db: 'a', collection: '' }, { db: '', collection: '' }, { anyResource: true }]) {
    assert.equal((await ask({ status: privileges(['find', 'insert', 'update', 'remove'], resource) })).writable, true);
  }
  assert.equal((await ask({ status: privileges(['anyAction'], { anyResource: true }) })).writable, true);
  assert.equal((await ask({ status: privileges(['find', 'insert', 'update', 'remove'], { db: 'z', collection: '' }) })).writable, false);
});

test('driver: what the server refuses is KEY_VAULT_NOT_READABLE or KEY_VAULT_NOT_WRITABLE with its error as cause', async () => {
  const error = Object.assign(new Error('not authorized'), { name: 'MongoServerError', code: 13 });
  const store = driverKeyVaultStore(clientAnswering({ error }), 'a.b');
  const unreadable = await failsWith('KEY_VAULT_NOT_READABLE', () => store.find({}));
  assert.equal(unreadable.cause, error);
  assert.equal(unreadable.retryable, false);
  assert.equal((await failsWith('KEY_VAULT_NOT_WRITABLE', () => store.insert({}))).cause, error);
  const network = Object.assign(new Error('gone'), { name: 'MongoNetworkError' });
  assert.equal((await failsWith('KEY_VAULT_NOT_READABLE', () => driverKeyVaultStore(clientAnswering({ error: network }), 'a.b').find({}))).retryable, true);
  const mismatch = Object.assign(new Error('bson'), { name: 'BSONVersionError' });
  await failsWith('HOST_BSON_MISMATCH', () => driverKeyVaultStore(clientAnswering({ error: mismatch }), 'a.b').insert({}));
});

test('driver: a namespace that is none, and a client that is none, are refused', async () => {
  for (const namespace of [undefined, '', 'a', '.b', 'a.', 'a\0.b', 5]) await failsWith('ARGUMENT_INVALID', () => driverKeyVaultStore(client, namespace));
  for (const wrong of [null, undefined, {}, 'mongodb://x']) await failsWith('ARGUMENT_INVALID', () => driverKeyVaultStore(wrong, 'a.b'));
  const dotted = driverKeyVaultStore(client, `${database}.with.dots`);
  assert.deepEqual(await dotted.find({}), []);
});

test('driver: reads and writes are of the majority', async () => {
  const seen = [];
  const collection = { find: () => ({ toArray: async () => [] }), insertOne: async () => ({}) };
  const store = driverKeyVaultStore(
    {
      db: (name) => ({
        collection: (...args) => {
          seen.push([name, ...args]);
          return collection;
        },
      }),
    },
    'a.b.c',
  );
  await store.find({});
  await store.insert({});
  for (const call of seen)
    assert.deepEqual(call, ['a', 'b.c', { readConcern: { level: 'majority' }, writeConcern: { w: 'majority' }, readPreference: 'primary' }]);
  assert.equal(seen.length, 2);
});

// ---- the unique index on alternate names

const local = { local: { key: Buffer.alloc(96, 5) } };
const indexOf = (name) =>
  client
    .db(database)
    .collection(name)
    .indexes()
    .then(
      (all) => all.find(({ key }) => 'keyAltNames' in key),
      () => undefined,
    );

test('createDataKey creates the unique index once per key vault and client', async (test) => {
  const other = await new MongoClient((await testServices()).mongodbUri, { monitorCommands: true }).connect();
  test.after(() => other.close());
  const commands = [];
  other.on('commandStarted', ({ commandName }) => commands.push(commandName));
  const make = async (name, ...names) => {
    const encryption = new ClientEncryption(other, { keyVaultNamespace: `${database}.${name}`, kmsProviders: local });
    await encryption.createDataKey('local', { keyAltNames: names });
    encryption.close();
  };
  await make('made', 'a');
  const { unique, partialFilterExpression } = await indexOf('made');
  assert.deepEqual([unique, partialFilterExpression], [true, { keyAltNames: { $exists: true } }]);
  await make('made', 'b');
  await make('made');
  await failsWith('KEY_VAULT_DUPLICATE_KEY', () => make('made', 'c', 'a'));
  assert.deepEqual(
    ['listIndexes', 'createIndexes'].map((name) => commands.filter((one) => one === name).length),
    [1, 1],
  );
  // An existing index is not created again, and each key vault is checked once.
  await make('basics');
  assert.deepEqual(
    ['listIndexes', 'createIndexes'].map((name) => commands.filter((one) => one === name).length),
    [2, 1],
  );
});

// A client whose user may do what `allows` says.
function restricted({ allows }) {
  const refuse = async () => {
    throw Object.assign(new Error('not authorized'), { name: 'MongoServerError', code: 13, codeName: 'Unauthorized' });
  };
  return {
    db: (name) => ({
      command: (command) => ('createIndexes' in command && !allows.includes('createIndexes') ? refuse() : client.db(name).command(command)),
      collection: (...given) => {
        const collection = client.db(name).collection(...given);
        return {
          insertOne: (...args) => collection.insertOne(...args),
          indexes: () => (allows.includes('listIndexes') ? collection.indexes() : refuse()),
          find: (...args) => (allows.includes('find') ? collection.find(...args) : { toArray: refuse }),
        };
      },
    }),
  };
}

test('createDataKey without the right to create the index looks the alternate names up before it inserts', async () => {
  const name = 'no_right';
  const open = (...allows) => new ClientEncryption(restricted({ allows }), { keyVaultNamespace: `${database}.${name}`, kmsProviders: local });
  const vault = client.db(database).collection(name);
  const reader = open('find', 'listIndexes');
  await reader.createDataKey('local');
  await reader.createDataKey('local', { keyAltNames: ['a'] });
  await failsWith('KEY_VAULT_DUPLICATE_KEY', () => reader.createDataKey('local', { keyAltNames: ['b', 'a'] }));
  assert.equal(await vault.countDocuments(), 2);
  // Who may not even read cannot tell whether a name is free.
  const blind = open();
  await blind.createDataKey('local');
  await failsWith('KEY_VAULT_NOT_READABLE', () => blind.createDataKey('local', { keyAltNames: ['c'] }));
  assert.equal(await vault.countDocuments(), 3);
  assert.equal(await indexOf(name), undefined);
  // The right was granted later: the next createDataKey uses it.
  const allowed = open('createIndexes');
  await allowed.createDataKey('local', { keyAltNames: ['c'] });
  assert.equal((await indexOf(name)).unique, true);
  for (const one of [reader, blind, allowed]) one.close();
});

test('createDataKey in a vault with a duplicate alternate name changes no key and refuses a third key with that name', async () => {
  const vault = client.db(database).collection('shared');
  await vault.insertMany([keyDocument(['twice']), keyDocument(['twice'])]);
  const encryption = new ClientEncryption(client, { keyVaultNamespace: `${database}.shared`, kmsProviders: local });
  await failsWith('KEY_VAULT_DUPLICATE_KEY', () => encryption.createDataKey('local', { keyAltNames: ['twice'] }));
  await encryption.createDataKey('local', { keyAltNames: ['once'] });
  assert.equal(await vault.countDocuments(), 3);
  encryption.close();
});
