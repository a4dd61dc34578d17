// The kept filters and updates, on the server at hand or that of MONGODB_URI, and against what the core makes today.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { computed, vectors } from '../vectors/conditional-writes/vectors.mjs';

const text = (value) => bson.EJSON.stringify(value, { relaxed: false });
// Inside operators an update may only hold names that a path can; a pipeline stores any.
const stores = (document) => [{ $replaceWith: { $literal: document } }];

describe('vectors of conditional writes', { timeout: 120_000 }, () => {
  let client;
  let collection;
  before(async () => {
    client = await new MongoClient((await testServices()).mongodbUri).connect();
    collection = client.db(`vec_${randomUUID().slice(0, 8)}`).collection('documents');
  });
  after(async () => {
    await client.db(collection.dbName).dropDatabase();
    await client.close();
  });

  const all = vectors();
  it('there are some, of documents that match and of documents that do not', () => {
    assert.ok(all.length >= 25);
    assert.ok(all.flatMap(({ cases }) => cases).some(({ matches }) => !matches));
  });

  for (const { name, before: read, filter, update, cases } of all) {
    it(name, async () => {
      assert.equal(text(await computed(read)), text({ filter, update }), 'the core makes the same');
      for (const { stored, matches, result } of cases) {
        await collection.deleteMany({});
        await collection.insertOne({ _id: stored._id });
        await collection.updateOne({ _id: stored._id }, stores(stored));
        const { matchedCount } = await collection.updateOne(filter, update);
        assert.equal(matchedCount, matches ? 1 : 0, text(stored));
        const [found] = await collection.find({}, { raw: true }).toArray();
        assert.equal(Buffer.from(found).toString('hex'), Buffer.from(bson.serialize(result)).toString('hex'));
      }
    });
  }
});
