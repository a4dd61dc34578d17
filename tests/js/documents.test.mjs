// Whole documents: bytes and objects, what changes and what must not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  DBRef,
  Decimal128,
  deserialize,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  serialize,
  Timestamp,
  UUID,
} from 'bson';
import { MemoryKeyVaultStore } from 'csfle-wasm';
import { DETERMINISTIC, failsWith, localEncryption, RANDOM } from './fixtures.mjs';

const store = new MemoryKeyVaultStore();
const encryption = localEncryption({ store });
const keyId = await encryption.createDataKey('local', { keyAltNames: ['documents'] });
const random = { algorithm: RANDOM, keyId };
const deterministic = { algorithm: DETERMINISTIC, keyAltName: 'documents' };
const isEncrypted = (value) => value?._bsontype === 'Binary' && value.sub_type === 6;

const exotic = () => ({
  int: new Int32(1),
  double: new Double(1),
  long: Long.fromString('9223372036854775807'),
  decimal: Decimal128.fromString('1.50'),
  symbol: new BSONSymbol('s'),
  code: new Code('f()', { a: new Int32(1) }),
  regexp: new BSONRegExp('a', 'x'),
  id: new ObjectId(),
  timestamp: new Timestamp({ t: 1, i: 2 }),
  min: new MinKey(),
  max: new MaxKey(),
  uuid: new UUID(),
  binary: new Binary(Buffer.from('abc'), 0x80),
  date: new Date(0),
  js: /a/i,
  ref: new DBRef('c', new ObjectId()),
  nothing: null,
  bytes: Buffer.from('raw'),
  bool: true,
  text: 'x',
  big: 5n,
});

test('encryptDocument encrypts the named paths, through arrays, and leaves everything else as it was', async () => {
  const document = { ...exotic(), ssn: '1', medical: [{ code: 'A', note: 'n' }, { code: 'B' }], nested: { deep: { value: [1, 2] } } };
  const encrypted = await encryption.encryptDocument(document, {
    fields: { ssn: deterministic, 'medical.code': random, 'nested.deep.value': random, absent: { ...random, optional: true } },
  });
  assert.ok(
    isEncrypted(encrypted.ssn) && isEncrypted(encrypted.medical[0].code) && isEncrypted(encrypted.medical[1].code) && isEncrypted(encrypted.nested.deep.value),
  );
  assert.equal(encrypted.medical[0].note, 'n');
  assert.deepEqual(Object.keys(encrypted), Object.keys(document));
  for (const name of Object.keys(exotic())) assert.equal(encrypted[name], document[name], `${name} is the very value`);
  const decrypted = await encryption.decryptDocument(encrypted);
  assert.deepEqual(decrypted, document);
  for (const name of Object.keys(exotic())) assert.equal(decrypted[name], document[name]);
  assert.equal(document.ssn, '1', 'the input is not changed');
});

test('decryptDocument gives values as deserializeOptions say, and keeps wrapped numbers that were not encrypted', async () => {
  const encrypted = await encryption.encryptDocument({ a: new Double(1), b: new Double(2), c: Long.fromNumber(3) }, { fields: { b: random, c: random } });
  const plain = await encryption.decryptDocument(encrypted);
  assert.deepEqual([plain.a._bsontype, plain.b, plain.c], ['Double', 2, 3]);
  const exact = localEncryption({ store, deserializeOptions: { promoteValues: false } });
  const kept = await exact.decryptDocument(encrypted);
  assert.deepEqual([kept.a._bsontype, kept.b._bsontype, kept.c._bsontype], ['Double', 'Double', 'Long']);
  exact.close();
});

test('bytes in give bytes out, and everything that was not encrypted is the same byte for byte', async () => {
  const document = { ...exotic(), ssn: '1', list: [{ x: new Int32(7) }] };
  const bytes = serialize(document);
  const encrypted = await encryption.encryptDocument(bytes, { fields: { ssn: random, 'list.x': random } });
  assert.ok(encrypted instanceof Uint8Array);
  const seen = deserialize(encrypted, { promoteValues: false });
  assert.ok(isEncrypted(seen.ssn) && isEncrypted(seen.list[0].x));
  assert.deepEqual(Buffer.from(await encryption.decryptDocument(encrypted)), Buffer.from(bytes));
  assert.deepEqual(Buffer.from(await encryption.decryptDocument(bytes)), Buffer.from(bytes), 'nothing encrypted, nothing changed');
});

test('many documents keep their order, as objects and as bytes end to end, also across crossings', async () => {
  const big = 'x'.repeat(3_000_000);
  const documents = Array.from({ length: 7 }, (_, index) => ({ _id: index, ssn: String(index), big }));
  const encrypted = await encryption.encryptDocuments(documents, { fields: { ssn: deterministic } });
  assert.ok(encrypted.every(({ ssn }) => isEncrypted(ssn)));
  assert.deepEqual(await encryption.decryptDocuments(encrypted), documents);
  const joined = Buffer.concat(documents.map((document) => serialize(document)));
  const encryptedBytes = await encryption.encryptDocuments(joined, { fields: { ssn: random } });
  assert.deepEqual(Buffer.from(await encryption.decryptDocuments(encryptedBytes)).equals(joined), true);
  assert.deepEqual(await encryption.decryptDocuments([]), []);
  assert.equal((await encryption.decryptDocuments(new Uint8Array(0))).length, 0);
});

test('values that are encrypted already are refused by path, and decrypted ones not traversed again', async () => {
  const once = await encryption.encryptDocument({ a: 1 }, { fields: { a: random } });
  const error = await failsWith('VALUE_TYPE_NOT_ENCRYPTABLE', () => encryption.encryptDocument(once, { fields: { a: random } }));
  assert.equal(error.details.path, 'a');
  const other = await encryption.encryptDocument({ ...once, b: 1 }, { fields: { b: random } });
  assert.equal(other.a, once.a, 'a value that no rule names is the very one passed in');
  const { inner } = await encryption.decryptDocument({ inner: await encryption.encrypt({ ciphertext: once.a }, random) });
  assert.ok(isEncrypted(inner.ciphertext));
});

test('objects that write themselves, maps and odd field names survive', async () => {
  const custom = { toBSON: () => ({ a: 1 }) };
  const odd = JSON.parse('{"__proto__": {"ssn": "1"}, "a.b": {"$c": 1}, "": 2}');
  const encrypted = await encryption.encryptDocument(
    { custom, map: new Map([['k', 'v']]), odd, undef: undefined, ssn: 1 },
    { fields: { ssn: random, 'map.k': random, 'custom.a': random } },
  );
  assert.ok(isEncrypted(encrypted.map.k) && isEncrypted(encrypted.custom.a));
  assert.deepEqual(Object.keys(encrypted.odd), ['__proto__', 'a.b', '']);
  assert.equal(Object.getPrototypeOf(encrypted.odd), Object.prototype);
  const decrypted = await encryption.decryptDocument(encrypted);
  assert.deepEqual(decrypted.map, { k: 'v' });
  assert.deepEqual(decrypted.custom, { a: 1 });
  assert.ok('undef' in decrypted && decrypted.undef === undefined);
});

test('a document that fails names its field, and nothing comes back', async () => {
  const error = await failsWith('VALUE_TYPE_NOT_DETERMINISTIC', () => encryption.encryptDocument({ a: { b: true } }, { fields: { 'a.b': deterministic } }));
  assert.match(JSON.stringify(error), /a\.b/);
  const good = await encryption.encryptDocument({ a: [{ b: 1 }] }, { fields: { 'a.b': random } });
  const spoilt = Buffer.from(good.a[0].b.buffer);
  spoilt[spoilt.length - 1] ^= 1;
  const failure = await failsWith('CRYPTO_AUTHENTICATION_FAILED', () => encryption.decryptDocument({ a: [{ b: new Binary(spoilt, 6) }] }));
  assert.match(JSON.stringify(failure), /a\.0\.b/);
});

test('a document above 16 MiB after encryption is BSON_TOO_LARGE', async () => {
  const document = { ssn: 'x'.repeat(16 * 1024 * 1024 - 60) };
  await failsWith('BSON_TOO_LARGE', () => encryption.encryptDocument(document, { fields: { ssn: random } }));
});

test('bytes that are no documents are BSON_MALFORMED', async () => {
  const good = Buffer.from(serialize({ a: 1 }));
  for (const bad of [
    good.subarray(1),
    good.subarray(0, -1),
    Buffer.concat([good, Buffer.from([5, 0, 0])]),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0]),
    Buffer.from([6, 0, 0, 0, 1, 0]),
  ]) {
    await failsWith('BSON_MALFORMED', () => encryption.decryptDocument(bad));
    await failsWith('BSON_MALFORMED', () => encryption.encryptDocuments(bad, { fields: { a: random } }));
  }
});

test('a document without a value at the path of a rule is refused, unless the rule is optional', async () => {
  const plain = { _id: 1, ssn: '1', visits: [] };
  const fails = async (documents, fields) => {
    await assert.rejects(encryption.encryptDocuments(documents, { fields }), (error) => {
      assert.equal(error.code, 'VALUE_PATH_NOT_FOUND');
      assert.deepEqual([error.details.path, error.details.index], [Object.keys(fields)[0], String(documents.length - 1)]);
      assert.match(error.remedy, /optional/);
      return true;
    });
  };
  for (const path of ['ssm', 'ssn.last', '_id.x', 'visit']) {
    await fails([plain], { [path]: random });
    assert.deepEqual(await encryption.encryptDocument(plain, { fields: { [path]: { ...random, optional: true } } }), plain);
  }
  await fails([plain, { _id: 2 }], { ssn: random });
  // Documents cross into WebAssembly 8 MiB at a time: the index counts all of them.
  const large = { ssn: '1', filler: Buffer.alloc(5 * 1024 * 1024) };
  await fails([large, large, { _id: 3 }], { ssn: random });
  const bytes = Buffer.concat([large, large, { _id: 3 }].map((one) => serialize(one)));
  await assert.rejects(encryption.encryptDocuments(bytes, { fields: { ssn: random } }), { code: 'VALUE_PATH_NOT_FOUND', details: { path: 'ssn', index: '2' } });
  assert.deepEqual(await encryption.encryptDocument(plain, { fields: { 'visits.note': random } }), plain, 'an empty array has nothing to encrypt');
  for (const optional of ['true', 1])
    await assert.rejects(encryption.encryptDocument(plain, { fields: { ssn: { ...random, optional } } }), { code: 'OPTION_INVALID' });
  await assert.rejects(encryption.encrypt('x', { ...random, optional: true }), { code: 'OPTION_INVALID' });
});

test('fields of a DBRef are encrypted; functions and symbols, which BSON leaves out, are not in the result', async () => {
  const id = new ObjectId();
  const plain = { med: new DBRef('c', id, 'd', { rec: 'SECRET', other: 1 }), plain: new DBRef('c', id) };
  const encrypted = await encryption.encryptDocument(plain, { fields: { 'med.rec': random } });
  assert.ok(isEncrypted(encrypted.med.fields.rec));
  assert.equal(encrypted.med.collection, 'c');
  assert.equal(encrypted.plain, plain.plain);
  assert.equal((await encryption.decryptDocument(encrypted)).med.fields.rec, 'SECRET');
  const hidden = { ssn: '1', run: () => 'SECRET', mark: Symbol('SECRET') };
  await assert.rejects(encryption.encryptDocument(hidden, { fields: { ssn: random, run: random } }), { code: 'VALUE_PATH_NOT_FOUND' });
  const optional = { ...random, optional: true };
  assert.deepEqual(Object.keys(await encryption.encryptDocument(hidden, { fields: { ssn: random, run: optional, mark: optional } })), ['ssn']);
});

test('changes that the caller makes to documents after the call do not affect the result', async () => {
  const fields = { ssn: random, 'visits.note': { ...random, optional: true }, late: { ...random, optional: true } };
  const people = [
    { _id: 1, ssn: 'a', visits: [{ note: 'x' }] },
    { _id: 2, ssn: 'b', visits: [] },
  ];
  const pending = encryption.encryptDocuments(people, { fields });
  people[0].ssn = 'other';
  people[0].visits[0].note = 'plain';
  people[0].visits.push({ note: 'plain' });
  delete people[1].ssn;
  people[1].late = 'plain';
  people.reverse().push({ _id: 3, ssn: 'c' });
  const encrypted = await pending;
  assert.deepEqual(await encryption.decryptDocuments(encrypted), [
    { _id: 1, ssn: 'a', visits: [{ note: 'x' }] },
    { _id: 2, ssn: 'b', visits: [] },
  ]);
  assert.ok(isEncrypted(encrypted[0].ssn) && isEncrypted(encrypted[0].visits[0].note) && isEncrypted(encrypted[1].ssn));
  // One object, used again for each document.
  const one = {};
  const jobs = [];
  for (const [name, ssn] of [
    ['Ada', '1'],
    ['Grace', '2'],
    ['Linus', '3'],
  ]) {
    Object.assign(one, { name, ssn });
    jobs.push(encryption.encryptDocument(one, { fields: { ssn: random } }));
  }
  assert.deepEqual(await encryption.decryptDocuments(await Promise.all(jobs)), [
    { name: 'Ada', ssn: '1' },
    { name: 'Grace', ssn: '2' },
    { name: 'Linus', ssn: '3' },
  ]);
  const reading = encryption.decryptDocuments(encrypted);
  encrypted.reverse();
  assert.deepEqual(
    (await reading).map(({ _id }) => _id),
    [1, 2],
  );
});

test('values that BSON writes as {} are refused, and so are promises, holes, cycles and too deep nesting', async () => {
  class Hidden {
    #value = 'secret';
    get value() {
      return this.#value;
    }
  }
  const lost = [
    Promise.resolve('x'),
    new Set(['x']),
    new ArrayBuffer(3),
    new URL('http://x/'),
    new Error('x'),
    Object('x'),
    Object(5),
    new Hidden(),
    { inner: [Promise.resolve(1)] },
  ];
  for (const value of lost) {
    await failsWith('ARGUMENT_INVALID', () => encryption.encrypt(value, random));
    await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument({ ssn: value }, { fields: { ssn: random } }));
  }
  class Point {
    x = 1;
  }
  for (const value of [{}, [], Object.create(null), new Map([['a', 1]]), new Point(), { a: {} }]) await encryption.encrypt(value, random);
  for (const many of [Promise.resolve({ ssn: '1' }), Promise.resolve([])]) {
    await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocument(many));
    await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument(many, { fields: { ssn: { ...random, optional: true } } }));
  }
  const sparse = [{ a: 1 }];
  sparse[2] = { a: 2 };
  await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocuments(sparse));
  const circular = { ssn: '1' };
  circular.self = circular;
  let deep = {};
  for (let level = 0; level < 20_000; level += 1) deep = { deep };
  for (const document of [circular, { ssn: '1', deep }])
    await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument(document, { fields: { ssn: random } }));
});

test('update operators, dotted names and array indexes on a path are refused, for optional rules too', async () => {
  const optional = { ...random, optional: true };
  const cases = [
    [{ $set: { ssn: '1' } }, 'ssn'],
    [{ 'a.ssn': '1' }, 'a.ssn'],
    [{ v: [{ note: 'x' }] }, 'v.0.note'],
    [{ a: ['x'] }, 'a.0'],
  ];
  for (const [document, path] of cases)
    for (const rule of [random, optional]) await failsWith('VALUE_PATH_AMBIGUOUS', () => encryption.encryptDocument(document, { fields: { [path]: rule } }));
  for (const v of [
    [{ note: 'a' }, { Note: 'b' }],
    [{ note: 'a' }, 'b'],
  ])
    await failsWith('VALUE_PATH_NOT_FOUND', () => encryption.encryptDocument({ v }, { fields: { 'v.note': random } }));
  await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument({ ssn: '1' }, { fields: { '/ssn': optional } }));
});

// With a clock that advances 20 ms whenever it is read, a batch always counts as long: the result does not depend on the speed of the machine.
const withSlowClock = (t) => {
  let now = 0;
  t.mock.method(performance, 'now', () => {
    now += 20;
    return now;
  });
};
// Each of these documents fills one batch of 1 MiB.
const oneBatchEach = Array.from({ length: 8 }, (_, n) => ({ _id: n, ssn: `ssn ${n}`, filler: 'x'.repeat(600_000) }));

test('the four methods for documents let other timers run between two batches', async (t) => {
  withSlowClock(t);
  const fields = { ssn: random };
  const bytes = Buffer.concat(oneBatchEach.map((document) => serialize(document)));
  const encrypted = await encryption.encryptDocuments(oneBatchEach, { fields });
  const encryptedBytes = await encryption.encryptDocuments(bytes, { fields });
  const calls = {
    'encryptDocuments, objects': () => encryption.encryptDocuments(oneBatchEach, { fields }),
    'encryptDocuments, bytes': () => encryption.encryptDocuments(bytes, { fields }),
    'decryptDocuments, objects': () => encryption.decryptDocuments(encrypted),
    'decryptDocuments, bytes': () => encryption.decryptDocuments(encryptedBytes),
  };
  for (const [name, call] of Object.entries(calls)) {
    let runs = 0;
    // Timers of equal delay run in the order in which they were set, so this one runs once in every pause of the library.
    const timer = setInterval(() => {
      runs += 1;
    }, 1);
    await call();
    clearInterval(timer);
    assert.ok(runs >= oneBatchEach.length, `${name}: the timer ran ${runs} times`);
  }
});

test('close() between two batches makes the pending call fail with HOST_CLOSED', async (t) => {
  withSlowClock(t);
  const closing = localEncryption({ store });
  const pending = closing.encryptDocuments(oneBatchEach, { fields: { ssn: random } });
  setTimeout(() => closing.close());
  await failsWith('HOST_CLOSED', () => pending);
});

test('decryptDocument returns null for null, as findOne finds it', async () => {
  assert.equal(await encryption.decryptDocument(null), null);
  await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument(null, { fields: { ssn: random } }));
  await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocuments([null]));
});

/** An async iterable that counts what was read of it and whether it was closed. */
function source(documents) {
  const seen = { read: 0, closed: false };
  async function* read() {
    try {
      for (const document of documents) {
        seen.read += 1;
        yield document;
      }
    } finally {
      seen.closed = true;
    }
  }
  return Object.assign(seen, { iterable: { [Symbol.asyncIterator]: read, toArray: () => assert.fail('a cursor is not read at once') } });
}

test('decryptDocuments gives an async iterable for one, and reads a document when it is asked for one', async () => {
  const people = [
    { _id: 1, ssn: 'a' },
    { _id: 2, ssn: 'b' },
    { _id: 3, ssn: 'c' },
  ];
  const encrypted = await encryption.encryptDocuments(people, { fields: { ssn: random } });
  const all = [];
  for await (const person of encryption.decryptDocuments(source(encrypted).iterable)) all.push(person);
  assert.deepEqual(all, people);

  const partly = source(encrypted);
  for await (const person of encryption.decryptDocuments(partly.iterable)) if (person._id === 2) break;
  assert.deepEqual([partly.read, partly.closed], [2, true]);
});

test('decryptDocuments ends an async iterable with the first failure', async () => {
  const [good] = await encryption.encryptDocuments([{ ssn: 'a' }], { fields: { ssn: random } });
  const bytes = Uint8Array.from(good.ssn.value());
  bytes[bytes.length - 1] ^= 1;
  const failing = source([good, { ssn: new Binary(bytes, 6) }, good]);
  const iterator = encryption.decryptDocuments(failing.iterable);
  assert.deepEqual(await iterator.next(), { value: { ssn: 'a' }, done: false });
  await failsWith('CRYPTO_AUTHENTICATION_FAILED', () => iterator.next());
  assert.deepEqual([failing.read, failing.closed, (await iterator.next()).done], [2, true, true]);

  const broken = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new RangeError('the cursor is gone')) }) };
  await assert.rejects(encryption.decryptDocuments(broken).next(), { name: 'RangeError' });
  await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocuments(source([null]).iterable).next());
  assert.match((await failsWith('ARGUMENT_INVALID', () => encryption.decryptDocument(source([good]).iterable))).message, /decryptDocuments\(cursor\)/);
  await failsWith('ARGUMENT_INVALID', () => encryption.encryptDocument(source([good]).iterable, { fields: { ssn: random } }));
});
