// Automatic encryption by the official driver on this package, with an analyser in the place of mongocryptd.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startAnalyser } from './analyser.mjs';
import { encryptingPlace, schemaOf } from './encrypting-place.mjs';

const { client, database, encryptionOf, withClient } = await encryptingPlace('dropin');

let analyser;
let keyId;
before(async () => {
  analyser = await startAnalyser();
  keyId = await encryptionOf(client).createDataKey('local');
});
after(() => analyser.stop());

const automatic = (more, work) => withClient(analyser.uri, more, (encrypting) => work(encrypting.db(database)));

test('encrypts what it writes and asks for, and decrypts what it reads', async () => {
  await automatic({ schemaMap: { [`${database}.people`]: schemaOf(keyId) } }, async (db) => {
    await db.collection('people').insertMany([
      { _id: 1, ssn: '457-55-5462', name: 'a' },
      { _id: 2, ssn: '123', name: 'b' },
    ]);
    assert.deepEqual(await db.collection('people').findOne({ ssn: '457-55-5462' }), { _id: 1, ssn: '457-55-5462', name: 'a' });
  });
  const stored = await client.db(database).collection('people').findOne({ _id: 1 });
  assert.deepEqual([stored.ssn.sub_type, stored.ssn.buffer[0], stored.name], [6, 1, 'a']);
  const [insert] = analyser.analysed;
  assert.deepEqual([insert.insert, insert.isRemoteSchema, '$db' in insert], ['people', false, true]);
});

// The test server knows no `encrypt` in a schema, so that one without is what it hands out.
test("takes the server's schema where the application has none", async () => {
  const jsonSchema = { bsonType: 'object', properties: { name: { bsonType: 'string' } } };
  await client.db(database).createCollection('remote', { validator: { $jsonSchema: jsonSchema } });
  await automatic({}, async (db) => {
    for (const _id of [1, 2]) await db.collection('remote').insertOne({ _id, name: 'x' });
    await db.collection('absent').insertOne({ _id: 1, name: 'x' });
  });
  const asked = analyser.analysed
    .filter(({ insert }) => insert === 'remote' || insert === 'absent')
    .map((command) => [command.insert, command.jsonSchema, command.isRemoteSchema]);
  assert.deepEqual(asked, [
    ['remote', jsonSchema, true],
    ['remote', jsonSchema, true],
    ['absent', {}, true],
  ]);
  assert.deepEqual(await client.db(database).collection('remote').findOne({ _id: 1 }), { _id: 1, name: 'x' });
});

test('refuses commands and collections that it cannot encrypt', async () => {
  await automatic({}, (db) =>
    assert.rejects(db.command({ mapreduce: 'people' }), { name: 'MongoCryptError', message: 'command not supported for auto encryption: mapreduce' }),
  );
  const encryptedFields = { fields: [{ path: 'a', bsonType: 'string', keyId }] };
  await automatic({ encryptedFieldsMap: { [`${database}.queryable`]: encryptedFields } }, (db) =>
    assert.rejects(
      db.collection('queryable').insertOne({ a: 'x' }),
      ({ name, cause }) => name === 'MongoCryptError' && cause.code === 'AUTO_ENCRYPTION_QUERYABLE',
    ),
  );
});
