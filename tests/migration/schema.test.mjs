import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { driverMigrationCollection } from 'csfle-wasm';
import { failedChecks, failuresOf, hospital, openLab } from './fixtures.mjs';

const ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';

describe('schemas', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const schemaOf = (place) => ({
    bsonType: 'object',
    encryptMetadata: { keyId: [place.keys.notes] },
    properties: { ssn: { encrypt: { bsonType: 'string', algorithm: ALGORITHM, keyId: [place.keys.ssn] } }, name: { bsonType: 'string' } },
  });
  // The server of the tests refuses the keyword `encrypt`, so the validator is kept beside the collection.
  const validated = (place, state) => ({
    ...driverMigrationCollection({ client: lab.client, namespace: place.patientsNamespace }),
    readSchema: async () => structured(state.schema),
    writeSchema: async (schema) => {
      state.writes += 1;
      state.schema = structured(schema);
      state.onWrite?.();
    },
  });
  const structured = (schema) => (schema === null ? null : bson.deserialize(bson.serialize(schema), { promoteValues: false }));
  const keyIds = (schema) => [schema.encryptMetadata.keyId[0], schema.properties.ssn.encrypt.keyId[0]].map((id) => new bson.UUID(id.buffer).toHexString(true));
  const newKeys = async (place) =>
    Object.fromEntries(
      (await place.lookAt.vault()).flatMap(({ _id, keyAltNames = [] }) => keyAltNames.map((name) => [name, new bson.UUID(_id.buffer).toHexString(true)])),
    );

  it('reencrypt puts the new key ids into the validator, after the documents', async () => {
    const place = await hospital(lab, { documents: 3 });
    const state = { schema: schemaOf(place), writes: 0, old: 0 };
    let leftAtWrite;
    state.onWrite = async () => {
      leftAtWrite = (await place.patients.find().toArray()).filter(({ ssn }) => ssn.buffer.subarray(1, 17).equals(place.keys.ssn.buffer)).length;
    };
    const plan = await place.migrate({ mode: 'reencrypt', collections: [validated(place, state)] });
    assert.deepEqual(plan.plan.schemas, [{ name: `validator of ${place.patientsNamespace}`, changes: 2 }]);
    assert.equal(state.writes, 0);
    const report = await place.migrate({ mode: 'reencrypt', collections: [validated(place, state)], execute: true });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(report.schemas, [{ name: `validator of ${place.patientsNamespace}`, changes: 2, written: true }]);
    const names = await newKeys(place);
    assert.deepEqual(keyIds(state.schema), [names.notes, names.ssn]);
    assert.equal(leftAtWrite, 0);
    await place.migrate({ mode: 'reencrypt', collections: [validated(place, state)], execute: true });
    assert.equal(state.writes, 1);
  });

  it('decrypt takes encryption out of the validator before the documents', async () => {
    const place = await hospital(lab, { documents: 3 });
    const state = { schema: schemaOf(place), writes: 0 };
    let encryptedAtWrite;
    state.onWrite = () => {
      encryptedAtWrite = place.patients.countDocuments({ ssn: { $type: 'binData' } });
    };
    const report = await place.migrate({ mode: 'decrypt', from: undefined, collections: [validated(place, state)], execute: true, confirmPlaintext: true });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(state.schema, { bsonType: 'object', properties: { ssn: { bsonType: 'string' }, name: { bsonType: 'string' } } });
    assert.equal(await encryptedAtWrite, 3);
  });

  it('a schema kept elsewhere, or a map of namespaces, is handed back rewritten', async () => {
    const place = await hospital(lab, { documents: 1 });
    const stored = { single: schemaOf(place), map: { [place.patientsNamespace]: schemaOf(place), 'other.things': { bsonType: 'object' } } };
    const schemas = Object.keys(stored).map((name) => ({
      name,
      read: async () => structured(stored[name]),
      write: async (after, before) => {
        assert.ok(before);
        stored[name] = structured(after);
      },
    }));
    const collections = [{ client: lab.client, namespace: place.patientsNamespace }];
    const report = await place.migrate({ mode: 'reencrypt', collections, schemas, execute: true });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    const names = await newKeys(place);
    assert.deepEqual(keyIds(stored.single), [names.notes, names.ssn]);
    assert.deepEqual(Object.keys(stored.map), [place.patientsNamespace, 'other.things']);
    assert.deepEqual(keyIds(stored.map[place.patientsNamespace]), [names.notes, names.ssn]);
  });

  it('a schema that cannot be written, or that others change, is named', async () => {
    const place = await hospital(lab, { documents: 1 });
    const collections = [{ client: lab.client, namespace: place.patientsNamespace }];
    let reads = 0;
    let writes = 0;
    const schemas = [
      {
        name: 'locked',
        read: async () => structured(schemaOf(place)),
        write: async () => {
          throw new Error('read-only');
        },
      },
      {
        name: 'busy',
        read: async () => ({ ...structured(schemaOf(place)), title: `version ${reads++}` }),
        write: async () => {
          writes += 1;
        },
      },
      { name: 'forgetful', read: async () => structured(schemaOf(place)), write: async () => {} },
    ];
    const report = await place.migrate({ mode: 'reencrypt', collections, schemas, execute: true });
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report), [
      { kind: 'schema', id: 'locked', code: 'MIGRATION_SCHEMA_FAILED' },
      { kind: 'schema', id: 'busy', code: 'MIGRATION_SCHEMA_FAILED' },
      { kind: 'schema', id: 'forgetful', code: 'MIGRATION_VERIFICATION_FAILED' },
    ]);
    assert.equal(writes, 0);
  });

  it('a schema that cannot be understood keeps everything from starting', async () => {
    const place = await hospital(lab, { documents: 1 });
    const before = await place.dump();
    const collections = [{ client: lab.client, namespace: place.patientsNamespace }];
    const schemas = [{ name: 'broken', read: async () => ({ properties: { a: { encrypt: 5 } } }), write: async () => assert.fail('must not be written') }];
    const report = await place.migrate({ mode: 'reencrypt', collections, schemas, execute: true });
    assert.equal(report.executed, false);
    assert.deepEqual(failedChecks(report), [{ name: 'schema-rewritable', code: 'SCHEMA_INVALID', required: true }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('a validator of the server keeps its other parts', async () => {
    const place = await hospital(lab, { documents: 1 });
    const database = lab.client.db(place.database);
    await database.command({ collMod: 'patients', validator: { $jsonSchema: { bsonType: 'object' }, name: { $exists: true } } });
    const collection = driverMigrationCollection({ client: lab.client, namespace: place.patientsNamespace });
    assert.deepEqual(await collection.readSchema(), { bsonType: 'object' });
    await collection.writeSchema({ bsonType: 'object', required: ['name'] });
    const [{ options }] = await database.listCollections({ name: 'patients' }).toArray();
    assert.deepEqual(options.validator, { $jsonSchema: { bsonType: 'object', required: ['name'] }, name: { $exists: true } });
  });
});
