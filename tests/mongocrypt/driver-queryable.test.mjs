// Queryable Encryption through the official driver: what it refuses, and that nothing of such a collection is sent in plain.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Binary } from 'bson';
import { startAnalyser } from './analyser.mjs';
import { encryptingPlace } from './encrypting-place.mjs';
import { isCommand, readDocument } from './wire.mjs';

const encryptedFields = { fields: [{ path: 'ssn', bsonType: 'string', keyId: new Binary(randomBytes(16), 4), queries: [{ queryType: 'equality' }] }] };
const canary = `canary-${randomBytes(8).toString('hex')}`;

const requests = [];
const { client, database, encryptionOf, proxy, withClient } = await encryptingPlace('queryable', {
  onRequest(message) {
    requests.push(Buffer.from(message));
    return false;
  },
});
let analyser;
before(async () => {
  proxy.encryptedFields.set(`${database}.stored`, encryptedFields);
  await client.db(database).createCollection('stored');
  analyser = await startAnalyser();
});
after(() => analyser.stop());

const withDatabase = (more, work) => withClient(analyser.uri, more, (encrypting) => work(encrypting.db(database), encrypting));

const commands = {
  insertOne: (people) => people.insertOne({ ssn: canary }),
  bulkWrite: (people) => people.bulkWrite([{ insertOne: { document: { ssn: canary } } }, { deleteOne: { filter: { ssn: canary } } }]),
  updateOne: (people) => people.updateOne({ ssn: canary }, { $set: { ssn: canary } }, { upsert: true }),
  replaceOne: (people) => people.replaceOne({}, { ssn: canary }, { upsert: true }),
  findOneAndUpdate: (people) => people.findOneAndUpdate({}, { $set: { ssn: canary } }, { upsert: true }),
  deleteMany: (people) => people.deleteMany({ ssn: canary }),
  findOne: (people) => people.findOne({ ssn: canary }),
  countDocuments: (people) => people.countDocuments({ ssn: canary }),
  distinct: (people) => people.distinct('ssn', { ssn: canary }),
  explain: (people) => people.find({ ssn: canary }).explain(),
  createIndex: (people) => people.createIndex({ ssn: 1 }, { partialFilterExpression: { ssn: canary } }),
};
const REFUSED = new RegExp(
  '^collection queryable_\\w+\\.\\w+ uses Queryable Encryption \\(encryptedFields\\), which is not supported: ' +
    'commands on it are refused rather than sent unencrypted$',
);
const isRefused = ({ name, message }) => ['MongoCryptError', 'MongoBulkWriteError'].includes(name) && REFUSED.test(message);

for (const bypassQueryAnalysis of [false, true]) {
  for (const [how, name, more] of [
    ['that the server describes so', 'stored', {}],
    ['of encryptedFieldsMap', 'mapped', { encryptedFieldsMap: { [`${database}.mapped`]: encryptedFields } }],
  ]) {
    test(`no command on a collection ${how} is sent${bypassQueryAnalysis ? ', though analysis is bypassed' : ''}`, async () => {
      await withDatabase({ bypassQueryAnalysis, ...more }, async (db) => {
        for (const [command, run] of Object.entries(commands)) await assert.rejects(run(db.collection(name)), isRefused, command);
      });
      assert.equal(requests.filter((bytes) => bytes.includes(canary)).length, 0);
      assert.deepEqual(await client.db(database).collection(name).find().toArray(), []);
    });
  }
}

test('no aggregation that joins such a collection is sent', async () => {
  await withDatabase({}, async (db) => {
    await client.db(database).createCollection('plain');
    for (const stage of [
      { $lookup: { from: 'stored', as: 'x', pipeline: [{ $match: { ssn: canary } }] } },
      { $unionWith: { coll: 'stored', pipeline: [{ $match: { ssn: canary } }] } },
    ]) {
      await assert.rejects(db.collection('plain').aggregate([stage]).toArray(), isRefused);
    }
  });
  assert.equal(requests.filter((bytes) => bytes.includes(canary)).length, 0);
});

test('no collection of the kind is made through a client that encrypts', async () => {
  await withDatabase({ bypassQueryAnalysis: true }, async (db, encrypting) => {
    await assert.rejects(db.createCollection('made', { encryptedFields }), isRefused);
    const encryption = encryptionOf(encrypting);
    const asked = encryption.createEncryptedCollection(db, 'made', {
      provider: 'local',
      createCollectionOptions: { encryptedFields: { fields: [{ path: 'ssn', bsonType: 'string', keyId: null }] } },
    });
    await assert.rejects(asked, ({ name, cause }) => name === 'MongoCryptCreateEncryptedCollectionError' && isRefused(cause));
  });
  const created = requests
    .filter(isCommand)
    .map(readDocument)
    .filter(({ create }) => create === 'made');
  assert.deepEqual(created, []);
});

test('values of the kind are refused where they are read, with a name for programs', async () => {
  await client
    .db(database)
    .collection('others')
    .insertMany([
      { _id: 1, ssn: new Binary(Buffer.alloc(90, 14), 6) },
      { _id: 2, sent: new Binary(Buffer.alloc(90, 12), 6) },
    ]);
  await withDatabase({ bypassAutoEncryption: true }, async (db, encrypting) => {
    await assert.rejects(
      db.collection('others').findOne({ _id: 1 }),
      ({ name, message, cause }) =>
        name === 'MongoCryptError' &&
        cause.code === 'PAYLOAD_IS_QUERYABLE' &&
        message === 'unsupported FLE blob subtype: 14, of Queryable Encryption, which is not supported',
    );
    assert.equal((await db.collection('others').findOne({ _id: 2 })).sent.buffer[0], 12);
    const encryption = encryptionOf(encrypting);
    const keyId = await encryption.createDataKey('local');
    for (const options of [
      { algorithm: 'Indexed', contentionFactor: 0 },
      { algorithm: 'Unindexed' },
      { algorithm: 'Range', contentionFactor: 0, rangeOptions: { sparsity: 1 } },
    ]) {
      await assert.rejects(encryption.encrypt('x', { keyId, ...options }), ({ cause }) => cause.code === 'ALGORITHM_QUERYABLE');
    }
    await assert.rejects(
      encryption.encrypt('x', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', contentionFactor: 1 }),
      ({ cause }) => cause.code === 'OPTION_INVALID',
    );
  });
});
