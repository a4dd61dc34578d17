// Whole documents: what a server returns, decrypted by both sides, compared as bytes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { allowsDeterministic, Random, randomDocument, randomValue } from './generate.mjs';
import { codesFor } from './outcomes.mjs';
import { accept, HEX, Pair } from './pair.mjs';
import { binary, concat, document, field, fields, TYPE, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM } from './reference.mjs';
import { rewrittenDocument } from './rewriting.mjs';
import { ENCRYPTABLE } from './samples.mjs';

let pair;
let keys;

before(async () => {
  pair = await Pair.start();
  keys = [];
  for (const provider of ['local', 'aws', 'kmip']) keys.push(await pair.dataKey('theirs', provider, [provider]));
  pair.setVault(keys.map((key) => key.document));
});
after(() => pair?.stop());

const seal = (item, key = keys[0], kind = RANDOM) => value.encrypted(encryptValue(item, { kind, keyId: key.keyId, material: key.material }));

async function decryptedAlike(bytes, expected) {
  const theirs = accept(await pair.theirs.decryptDocument(bytes), 'libmongocrypt');
  const ours = accept(await pair.ours.decryptDocument(bytes), 'the package');
  // libmongocrypt rewrites some values on the way (differences.mjs, values-kept-exactly).
  assert.equal(HEX(rewrittenDocument(ours.output)), HEX(rewrittenDocument(theirs.output)));
  if (expected) assert.equal(HEX(ours.output), HEX(expected));
}

test('a document with every type under every key, in both algorithms', async () => {
  const build = (put) =>
    document(
      Object.entries(ENCRYPTABLE).flatMap(([type, { deterministic, values }]) =>
        values.flatMap((item, index) => {
          const key = keys[index % keys.length];
          return [[`${type} ${index}`, put(item, key, RANDOM)], ...(deterministic ? [[`${type} ${index} d`, put(item, key, DETERMINISTIC)]] : [])];
        }),
      ),
    );
  await decryptedAlike(
    build(seal),
    build((item) => item),
  );
});

test('values in nested documents and arrays', async () => {
  const build = (put) =>
    document([
      [
        'a',
        value.object(
          document([
            ['b', value.object(document([['c', put(value.string('deep'))]]))],
            ['same', value.int(1)],
          ]),
        ),
      ],
      ['list', value.array([put(value.int(1)), value.array([put(value.int(2)), value.null()]), value.object(document([['x', put(value.long(3n))]]))])],
      ['', put(value.bool(true))],
      ['a.b', put(value.string('dotted name'))],
      ['$set', put(value.string('name with a dollar'))],
      ['twice', put(value.int(1))],
      ['twice', put(value.int(2))],
    ]);
  await decryptedAlike(
    build(seal),
    build((item) => item),
  );
});

test('nesting close to the 200 levels of the server', async () => {
  const build = (put) => {
    let inner = document([['v', put(value.string('bottom'))]]);
    for (let level = 0; level < 140; level += 1)
      inner = document([[level % 2 ? 'd' : 'x', level % 3 ? value.object(inner) : value.array([value.object(inner)])]]);
    return inner;
  };
  await decryptedAlike(
    build(seal),
    build((item) => item),
  );
});

test('a document without encrypted values comes back as it was', async () => {
  const rng = new Random(3);
  for (let round = 0; round < 50; round += 1) {
    const plain = randomDocument(rng);
    await decryptedAlike(plain, plain);
  }
});

test('code with scope is not entered', async () => {
  const inner = document([['hidden', seal(value.int(1))]]);
  const bytes = document([
    ['code', value.javascriptWithScope('x', inner)],
    ['seen', seal(value.int(2))],
  ]);
  await decryptedAlike(
    bytes,
    document([
      ['code', value.javascriptWithScope('x', inner)],
      ['seen', value.int(2)],
    ]),
  );
});

test('an encrypted document that holds encrypted values is opened once', async () => {
  const inner = document([['again', seal(value.string('inner'))]]);
  await decryptedAlike(document([['outer', seal(value.object(inner))]]), document([['outer', value.object(inner)]]));
});

test('subtype-6 values of no decryptable kind pass through', async () => {
  const foreign = [0, 3, 5, 8, 10, 12, 13, 18, 19, 200, 255].map((kind) => value.encrypted(concat([kind], new Uint8Array(40))));
  const bytes = document([...foreign.map((item, index) => [`f${index}`, item]), ['empty', value.encrypted(new Uint8Array())], ['mine', seal(value.int(1))]]);
  await decryptedAlike(bytes, document(fields(bytes).map(([name, item]) => [name, name === 'mine' ? value.int(1) : item])));
});

test('random documents with values of all keys at any depth', async () => {
  const rng = new Random(4);
  let sealed = 0;
  for (let round = 0; round < 300; round += 1) {
    const leaf = () => {
      if (!rng.chance(0.3)) return undefined;
      const item = randomValue(rng, 2);
      sealed += 1;
      return seal(item, rng.pick(keys), allowsDeterministic(item) && rng.chance(0.5) ? DETERMINISTIC : RANDOM);
    };
    await decryptedAlike(randomDocument(rng, 4, leaf));
  }
  assert.ok(sealed > 300, `only ${sealed} encrypted values were generated`);
});

test('one value that fails fails the whole document, with the same kind of error', async () => {
  const good = seal(value.string('good'));
  const flipped = (item, at) => {
    const payload = binary(item).content.slice();
    payload.set([payload.at(at) ^ 1], at < 0 ? payload.length + at : at);
    return value.encrypted(payload);
  };
  const absent = value.encrypted(concat([RANDOM], new Uint8Array(16).fill(9), [TYPE.int], new Uint8Array(64)));
  for (const bad of [
    flipped(good, -1),
    flipped(good, 18),
    flipped(good, 17),
    absent,
    value.encrypted(Uint8Array.of(1)),
    value.encrypted(new Uint8Array(18).fill(2)),
  ]) {
    const bytes = document([
      ['a', good],
      ['b', bad],
    ]);
    const theirs = await pair.theirs.decryptDocument(bytes);
    const ours = await pair.ours.decryptDocument(bytes);
    assert.equal(theirs.ok, false);
    assert.ok(codesFor(theirs.message).includes(ours.code), `${ours.code} for ${theirs.message}`);
  }
});

test("the filter of a document names each key once, in libmongocrypt's order", async () => {
  const [{ Theirs }, { Ours }] = await Promise.all([import('./theirs.mjs'), import('./ours.mjs')]);
  const [theirs, ours] = [await Theirs.open(pair.peer, pair.providers), await Ours.open(pair.providers)];
  for (const side of [theirs, ours]) side.vault = keys.map((key) => key.document);
  const bytes = document([0, 1, 0, 2, 1].map((index, at) => [`f${at}`, seal(value.int(at), keys[index])]));
  const expected = accept(await theirs.decryptDocument(bytes)).filters;
  assert.deepEqual(accept(await ours.decryptDocument(bytes)).filters.map(HEX), expected.map(HEX));
  assert.equal(fields(field(field(field(expected[0], '$or').bytes, '0').bytes, '_id').bytes)[0][0], '$in');
  await theirs.close();
  ours.close();
});
