// A writer changes documents between the migration's read and its write, in every shape that a filter could mistake for
// the old one. Nothing that it wrote may be lost, and every value must end up migrated.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { driverMigrationCollection } from 'csfle-wasm';
import { DETERMINISTIC, hospital, openLab, RANDOM } from './fixtures.mjs';

// Each: what is read, and what a writer makes of it. X, Y, Z are encrypted values; X is deterministic, and so is its equal.
const changes = {
  'a value becomes an array that contains it': ({ X, Y }) => [{ tags: X }, { tags: [X, 'NEW', Y] }],
  'a value becomes an array of it alone': ({ X }) => [{ tags: X }, { tags: [X] }],
  'an array becomes its value': ({ X }) => [{ tags: [X] }, { tags: X }],
  'an array becomes an array within an array': ({ X, Y }) => [{ tags: [X, Y] }, { tags: [[X, 'NEW'], Y] }],
  'an element becomes an array that contains it': ({ X, Y }) => [{ tags: [X, Y] }, { tags: [X, [Y, 'NEW', X]] }],
  'an array gets another order': ({ X, Y, Z }) => [{ tags: [X, Y, Z] }, { tags: [Z, X, Y, 'NEW'] }],
  'an array loses its first element': ({ X, Y, Z }) => [{ tags: [X, Y, Z] }, { tags: [Y, Z] }],
  'an array gets a first element': ({ X, Y }) => [{ tags: [X, Y] }, { tags: ['NEW', X, Y] }],
  'a document becomes an array of documents': ({ X }) => [{ a: { b: X } }, { a: [{ b: X, n: 'NEW' }] }],
  'an array of documents becomes a document': ({ X }) => [{ a: [{ b: X }] }, { a: { b: X, 0: 'NEW' } }],
  'a document in an array of documents': ({ X, Y }) => [{ a: { b: { c: X }, d: Y } }, { a: { b: [{ c: X }, 'NEW'], d: Y } }],
  'an array becomes a document with numbers as names': ({ X, Y }) => [{ list: [X, Y] }, { list: { 0: X, 1: Y, n: 'NEW' } }],
  'a document with numbers as names becomes an array': ({ X, Y }) => [{ list: { 0: X, 1: Y } }, { list: [X, Y, 'NEW'] }],
  'numbers as names within the elements of an array': ({ X, Y }) => [{ list: [X, Y] }, { list: [{ 1: Y }, { 0: X }] }],
  'a value becomes null': ({ X, Y }) => [{ a: X, b: Y }, { a: null, b: Y }],
  'a value is removed': ({ X, Y }) => [{ a: X, b: Y }, { b: Y }],
  'a field is renamed': ({ X }) => [{ a: { b: X } }, { c: { b: X } }],
  'a value changes its subtype': ({ X, Y }) => [{ a: X, b: Y }, { a: new bson.Binary(X.buffer, 0), b: Y }],
  'names with dots beside a number of another type': ({ X }) => [{ 'a.b': X, n: new bson.Int32(1) }, { 'a.b': X, n: new bson.Double(1) }],
  'names with dots beside a zero of another sign': ({ X }) => [{ 'a.b': X, n: new bson.Double(0) }, { 'a.b': X, n: new bson.Double(-0) }],
  'names with dots that become paths': ({ X, Y }) => [{ 'a.b': X, c: Y }, { a: { b: X }, c: Y }],
  'paths that become names with dots': ({ X, Y }) => [{ a: { b: X }, c: Y }, { 'a.b': X, c: Y }],
  'names with dollars in an array that moves': ({ X, Y }) => [{ a: [{ $x: X }, { $x: Y }] }, { a: [{ $x: Y }, { $x: X, n: 'NEW' }] }],
  'names with dollars whose array becomes a document': ({ X }) => [{ a: [{ $x: X }] }, { a: { 0: { $x: X }, n: 'NEW' } }],
  'an empty name whose value becomes an array': ({ X }) => [{ a: { '': X } }, { a: { '': [X, 'NEW'] } }],
  'other fields around odd names': ({ X, Y }) => [{ 'a.b': { '': X, $c: [1, Y, 2] }, n: 1 }, { n: 2, 'a.b': { more: 3, '': X, $c: [1, Y, 2, 'NEW'] } }],
};

// Every binary of a document.
function census(value) {
  if (value?._bsontype === 'Binary') return [value];
  return typeof value === 'object' && value !== null && value._bsontype === undefined ? Object.values(value).flatMap(census) : [];
}

for (const mode of ['reencrypt', 'decrypt']) {
  describe(`a writer between read and write of the mode ${mode}`, { timeout: 300_000 }, () => {
    let lab;
    let place;
    let values;
    before(async () => {
      lab = await openLab();
      place = await hospital(lab, { documents: 0 });
      const encrypt = (value, algorithm, keyId) => place.encryption.encrypt(value, { algorithm, keyId });
      values = { X: await encrypt('x', DETERMINISTIC, place.keys.ssn), Y: await encrypt('y', RANDOM, place.keys.plain), Z: await encrypt({ z: 1 }, RANDOM, place.keys.notes) };
    });
    after(() => lab.close());

    for (const [name, change] of Object.entries(changes)) {
      it(name, async () => {
        const collection = lab.client.db(place.database).collection('changing');
        await collection.deleteMany({});
        const [old, theirs] = change(values);
        await collection.insertOne({ _id: 1, ...old });
        await collection.insertOne({ _id: 2, ...old });
        const inner = driverMigrationCollection({ client: lab.client, namespace: `${place.database}.changing` });
        let written = 0;
        const interfered = {
          ...inner,
          async write(batch) {
            written += 1;
            if (written === 1) await collection.bulkWrite([{ updateOne: { filter: { _id: 1 }, update: [{ $replaceWith: { $literal: { _id: 1, ...theirs } } }] } }]);
            return inner.write(batch);
          },
        };
        const report = await place.migrate({ mode, collections: [interfered], execute: true, ...(mode === 'decrypt' ? { confirmPlaintext: true, from: undefined } : { keyFilter: { 'masterKey.provider': 'local' } }) });
        assert.deepEqual(report.failures, []);
        assert.equal(report.ok, true);
        assert.equal(report.collections[0].valuesLeft, 0);
        const decrypted = (document) => place.encryption.decryptDocument(bson.serialize(document));
        const stored = await collection.find({}, { raw: true }).sort({ _id: 1 }).toArray();
        for (const [index, expected] of [theirs, old].entries()) {
          const is = await place.encryption.decryptDocument(Uint8Array.from(stored[index]));
          const wanted = await decrypted({ _id: index + 1, ...expected });
          assert.equal(Buffer.from(is).toString('hex'), Buffer.from(wanted).toString('hex'), `document ${index + 1}`);
          const left = census(bson.deserialize(stored[index], { promoteValues: false })).filter((value) => value.sub_type === 6);
          for (const key of Object.values(place.keys)) assert.equal(left.some((value) => Buffer.from(value.buffer).includes(key.buffer)), false);
        }
      });
    }
  });
}
