import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { driverMigrationCollection } from 'csfle-wasm';
import { failedChecks, failuresOf, hospital, openLab, RANDOM, textOf } from './fixtures.mjs';

const mode = 'decrypt';

describe('decrypt', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  const collectionOf = (place) => ({ client: lab.client, namespace: place.patientsNamespace });
  const run = (place, options = {}) =>
    place.migrate({ mode, from: undefined, collections: [collectionOf(place)], execute: true, confirmPlaintext: true, ...options });
  const storedTexts = async (place) => (await place.patients.find({}, { raw: true }).sort({ _id: 1 }).toArray()).map(textOf);
  const originalTexts = (place) => place.originals.map((original) => textOf(bson.serialize(original)));

  it('does nothing without confirmPlaintext', async () => {
    const place = await hospital(lab);
    const before = await place.dump();
    const report = await run(place, { confirmPlaintext: false });
    assert.equal(report.executed, false);
    assert.deepEqual(failedChecks(report), [{ name: 'plaintext-confirmed', code: 'MIGRATION_CONFIRMATION_MISSING', required: true }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('a plan writes nothing', async () => {
    const place = await hospital(lab);
    const before = await place.dump();
    const report = await run(place, { execute: false });
    assert.equal(report.ok, true);
    assert.equal(report.plan.collections[0].valuesToMigrate, 48);
    assert.deepEqual(await place.dump(), before);
  });

  it('puts every document back byte for byte, keeps the keys, and running twice changes nothing', async () => {
    const place = await hospital(lab);
    const vault = await place.lookAt.vault();
    const report = await run(place);
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.equal(report.collections[0].documentsRewritten, 12);
    assert.equal(report.collections[0].valuesLeft, 0);
    assert.deepEqual(await storedTexts(place), originalTexts(place));
    assert.deepEqual(await place.lookAt.vault(), vault);
    const between = await place.dump();
    const inner = driverMigrationCollection(collectionOf(place));
    const again = await run(place, { collections: [{ ...inner, write: () => assert.fail('a second run writes') }] });
    assert.equal(again.ok, true);
    assert.deepEqual(await place.dump(), between);
  });

  // Symbols are left out: the server of the tests stores them as strings, which the next test is about.
  it('every BSON type comes back as it was', async () => {
    const place = await hospital(lab, { documents: 0 });
    const values = {
      double: new bson.Double(1),
      string: 'text',
      document: new Map([
        ['z', new bson.Int32(1)],
        ['2', 'b'],
        ['1', 'a'],
      ]),
      array: [1, [2, { x: null }]],
      binary: new bson.Binary(Buffer.from([1, 2, 3]), 0),
      old: new bson.Binary(Buffer.from([1, 2, 3]), 2),
      user: new bson.Binary(Buffer.from([4]), 128),
      uuid: new bson.UUID(),
      objectId: new bson.ObjectId(),
      bool: true,
      date: new Date(-5),
      regex: new bson.BSONRegExp('a.b', 'ims'),
      code: new bson.Code('return 1'),
      codeWithScope: new bson.Code(
        'return x',
        new Map([
          ['b', 1],
          ['7', 2],
        ]),
      ),
      int32: new bson.Int32(7),
      timestamp: new bson.Timestamp({ t: 5, i: 6 }),
      int64: bson.Long.fromNumber(7),
      decimal: bson.Decimal128.fromString('1.10'),
    };
    const encrypted = {};
    const bytesOf = (value) => Buffer.from(bson.serialize({ v: value }));
    for (const [name, value] of Object.entries(values)) encrypted[name] = await place.encryption.encrypt(value, { algorithm: RANDOM, keyId: place.keys.plain });
    await place.patients.insertOne({ _id: 1, ...encrypted });
    const report = await run(place);
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    const stored = await place.patients.findOne({ _id: 1 }, { raw: true });
    const plain = bson.serialize({ _id: 1, ...values });
    // Field by field and as bytes, since JavaScript would reorder the keys of an object.
    assert.equal(Buffer.from(stored).toString('hex'), Buffer.from(plain).toString('hex'));
    assert.ok(bytesOf(values.document).length > 0);
  });

  it('a server that does not keep what was written is found out', async () => {
    const place = await hospital(lab, { documents: 2 });
    const inner = driverMigrationCollection(collectionOf(place));
    const collection = {
      ...inner,
      write: async (changes) => {
        const outcome = await inner.write(changes);
        await place.patients.updateOne({ _id: 1 }, { $set: { ssn: 'altered' } });
        return outcome;
      },
    };
    const report = await run(place, { collections: [collection] });
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '1', code: 'MIGRATION_VERIFICATION_FAILED' }]);
  });

  it('a value that the BSON library cannot write back exactly is named, and stays encrypted', async () => {
    const place = await hospital(lab, { documents: 1 });
    // A date beyond the range of JavaScript's Date, as BSON bytes: the library would write something else.
    const document = bson.serialize({ _id: 'far', at: new Date(0) });
    new DataView(document.buffer, document.byteOffset).setBigInt64(document.length - 9, 2n ** 62n, true);
    const encrypted = await place.encryption.encryptDocument(document, { fields: { at: { algorithm: RANDOM, keyId: place.keys.plain } } });
    await place.patients.insertOne(bson.deserialize(encrypted));
    const report = await run(place);
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '"far"', code: 'MIGRATION_DOCUMENT_UNSUPPORTED' }]);
    assert.equal((await place.patients.findOne({ _id: 'far' })).at.sub_type, 6);
    assert.equal(report.collections[0].documentsRewritten, 1);
    assert.equal(report.collections[0].valuesLeft, 1);
  });

  it('a value whose key is lost is named, and the others become plaintext', async () => {
    const place = await hospital(lab, { documents: 3 });
    const lost = await place.encryption.createDataKey('local');
    await place.patients.insertOne({ _id: 'lost', v: await place.encryption.encrypt('x', { algorithm: RANDOM, keyId: lost }) });
    await place.vault.deleteOne({ _id: lost });
    const report = await run(place);
    assert.deepEqual(failuresOf(report), [{ kind: 'document', id: '"lost"', code: 'KEY_VAULT_KEY_NOT_FOUND' }]);
    assert.equal(report.collections[0].documentsRewritten, 3);
    assert.equal(report.collections[0].valuesLeft, 1);
  });

  it('a key that does not open is named with its documents', async () => {
    const place = await hospital(lab, { documents: 2 });
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.notes });
    keyMaterial.buffer[40] ^= 1;
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { keyMaterial } });
    const report = await run(place);
    assert.equal(report.ok, false);
    assert.deepEqual(failuresOf(report)[0], { kind: 'key', id: place.keys.notes.toHexString(true), code: 'CRYPTO_AUTHENTICATION_FAILED' });
    assert.equal(report.keys.failed, 1);
  });

  it('from restricts it to keys under one master key, keyFilter to chosen keys', async () => {
    const place = await hospital(lab, { documents: 3 });
    await place.migrate({ execute: true, keyFilter: { keyAltNames: 'ssn' } });
    const report = await run(place, { from: { provider: 'local' } });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    const document = await place.patients.findOne({ _id: 1 });
    assert.equal(document.ssn.sub_type, 6);
    assert.equal(document.records[0].note, 'note 1');
    const rest = await run(place, { keyFilter: { keyAltNames: 'ssn' } });
    assert.equal(rest.ok, true);
    assert.deepEqual(await storedTexts(place), originalTexts(place));
  });

  it('a stop between batches leaves a collection that still reads, and the next run goes on', async () => {
    const place = await hospital(lab, { documents: 9 });
    const inner = driverMigrationCollection(collectionOf(place));
    let left = 1;
    const collection = {
      ...inner,
      write: async (changes) => {
        if (left === 0) throw Object.assign(new Error('killed'), { name: 'MongoNetworkError' });
        left -= 1;
        return inner.write(changes);
      },
    };
    const stopped = await run(place, { collections: [collection], batchSize: 4 });
    assert.equal(stopped.ok, false);
    await place.readsAs(place.kmsProviders);
    assert.equal((await run(place)).ok, true);
    assert.deepEqual(await storedTexts(place), originalTexts(place));
  });

  it('takes no new master key and needs collections', async () => {
    const place = await hospital(lab, { documents: 0 });
    await assert.rejects(run(place, { to: lab.to }), { code: 'OPTION_INVALID' });
    await assert.rejects(run(place, { collections: [] }), { code: 'OPTION_INVALID' });
  });
});
