// A writer changes documents between the migration's read and its write, in every shape that a filter could mistake for
// the old one. Nothing that it wrote may be lost, and every value must end up migrated.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { driverMigrationCollection } from 'csfle-wasm';
import { DETERMINISTIC, hospital, openLab, RANDOM } from './fixtures.mjs';
import { changes } from './shapes.mjs';

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
      values = {
        X: await encrypt('x', DETERMINISTIC, place.keys.ssn),
        Y: await encrypt('y', RANDOM, place.keys.plain),
        Z: await encrypt({ z: 1 }, RANDOM, place.keys.notes),
      };
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
            if (written === 1)
              await collection.bulkWrite([{ updateOne: { filter: { _id: 1 }, update: [{ $replaceWith: { $literal: { _id: 1, ...theirs } } }] } }]);
            return inner.write(batch);
          },
        };
        const report = await place.migrate({
          mode,
          collections: [interfered],
          execute: true,
          ...(mode === 'decrypt' ? { confirmPlaintext: true, from: undefined } : { keyFilter: { 'masterKey.provider': 'local' } }),
        });
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
          for (const key of Object.values(place.keys))
            assert.equal(
              left.some((value) => Buffer.from(value.buffer).includes(key.buffer)),
              false,
            );
        }
      });
    }
  });
}
