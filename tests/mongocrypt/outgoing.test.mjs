// What leaves is checked against the schema, whatever the query analyser replies. crate/core/tests/mongocrypt_outgoing.rs has
// the cases and 100,000 mutated replies; here the same rule is tested through the interface that the driver calls.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Binary, deserialize, Int32, serialize } from 'bson';
import { MongoCrypt } from 'csfle-wasm';
import { Random } from '../interop/generate.mjs';
import { keyDocument, keyId, localKey, marking } from './samples.mjs';

const TOKEN = 'tok3n-457-55-5462';
const RUNS = 3000;
const encrypt = {};
const schema = { bsonType: 'object', properties: { ssn: { encrypt }, a: { bsonType: 'object', properties: { b: { encrypt } } } } };
const key = Buffer.from(keyDocument(1), 'base64');
const open = (more = { schemaMap: serialize({ 'db.c': schema }) }) =>
  new MongoCrypt({ kmsProviders: serialize({ local: { key: localKey } }), errorWrapper: (error) => error, ...more });
const marked = (v) => marking({ a: new Int32(2), ki: keyId(1), v });
const queryable = (v) => new Binary(Buffer.concat([Buffer.from([3]), serialize({ v })]), 6);
const codeOf = (work) => {
  try {
    return work();
  } catch ({ code }) {
    return code;
  }
};

/** What is sent, or the message of the refusal. */
function run(crypt, command, reply) {
  const context = crypt.makeEncryptionContext('db', serialize(command));
  if (context.state === 2) {
    context.addMongoOperationResponse(serialize(reply));
    context.finishMongoOperation();
  }
  if (context.state === 3) {
    context.addMongoOperationResponse(key);
    context.finishMongoOperation();
  }
  const sent = context.finalize();
  return context.state === 6 ? { sent } : { refused: context.status.message };
}

const insert = { insert: 'c', documents: [{ _id: 1, ssn: TOKEN, a: { b: TOKEN }, name: 'bob' }], $db: 'db' };
const commands = [
  insert,
  { find: 'c', filter: { ssn: TOKEN, name: 'bob' }, $db: 'db' },
  { update: 'c', updates: [{ q: { ssn: { $in: [TOKEN] } }, u: { $set: { 'a.b': TOKEN, n: 1 } } }], $db: 'db' },
  { aggregate: 'c', pipeline: [{ $match: { $or: [{ ssn: TOKEN }] } }, { $group: { _id: 1, n: { $sum: 1 } } }], cursor: {}, $db: 'db' },
];

const isTree = (item) => Array.isArray(item) || (item !== null && typeof item === 'object' && item._bsontype === undefined);
const mapped = (item, work) => {
  if (!isTree(item)) return work(item);
  return Array.isArray(item)
    ? item.map((inner) => mapped(inner, work))
    : Object.fromEntries(Object.entries(item).map(([name, inner]) => [name, mapped(inner, work)]));
};
const honest = ({ $db, ...command }) => mapped(command, (item) => (item === TOKEN ? marked(item) : item));

function places(tree, found = []) {
  for (const name of Object.keys(tree)) {
    found.push([tree, name]);
    if (isTree(tree[name])) places(tree[name], found);
  }
  return found;
}

/** Changes a reply's command at a random place. */
function mutate(rng, command) {
  const all = places(command);
  if (all.length === 0) return;
  const [holder, name] = rng.pick(all);
  const hidden = () =>
    rng.pick([
      TOKEN,
      `x${TOKEN}`,
      queryable(TOKEN),
      { $eq: TOKEN },
      [TOKEN],
      { [TOKEN]: 1 },
      new Binary(Buffer.from(TOKEN)),
      new Binary(Buffer.concat([Buffer.alloc(18, 2), Buffer.from(TOKEN.padEnd(64))]), 6),
      marked(TOKEN),
      marked('x'),
      new RegExp(TOKEN),
    ]);
  rng.pick([
    () => {
      holder[name] = hidden();
    },
    () => {
      holder[name] = { [name]: holder[name] };
    },
    () => {
      delete holder[name];
    },
    () => {
      if (Array.isArray(holder)) holder.push(hidden());
      else holder[rng.pick(['name', 'comment', 'x', '$comment', 'ssn', 'lsid', TOKEN])] = hidden();
    },
    () => {
      const [other, there] = rng.pick(places(command));
      [holder[name], other[there]] = [other[there], holder[name]];
    },
    () => {
      if (holder[name]?._bsontype === 'Binary') holder[name] = new Binary(Buffer.concat([Buffer.from([rng.below(24)]), holder[name].buffer.subarray(1)]), 6);
    },
  ])();
}

describe('whatever the analyser replies', () => {
  test('an honest one gets its command sent', () => {
    for (const command of commands) {
      const { sent } = run(open(), command, { hasEncryptionPlaceholders: true, schemaRequiresEncryption: true, result: honest(command) });
      assert.deepEqual(Object.keys(deserialize(sent)), Object.keys(command));
      assert.ok(!sent.includes(TOKEN));
    }
  });

  test(`no value of an encrypted path is in what is sent: ${RUNS} replies`, (t) => {
    const rng = new Random(5);
    const counts = { sent: 0, refused: 0 };
    const crypt = open();
    for (let at = 0; at < RUNS; at += 1) {
      const command = rng.pick(commands);
      const result = honest(command);
      for (let times = rng.between(0, 2); times >= 0; times -= 1) mutate(rng, result);
      const flags = rng.pick([{}, {}, {}, { schemaRequiresEncryption: false }, { hasEncryptedPlaceholders: false }]);
      let reply;
      try {
        reply = serialize({ ...flags, result });
      } catch {
        continue;
      } // Circular.
      const { sent, refused } = run(crypt, command, deserialize(reply, { promoteValues: false, bsonRegExp: true }));
      if (sent) assert.ok(!sent.includes(TOKEN), `reply ${at}`);
      else assert.ok(!refused.includes(TOKEN));
      counts[sent ? 'sent' : 'refused'] += 1;
    }
    t.diagnostic(JSON.stringify(counts));
    assert.ok(counts.sent > 0 && counts.refused > RUNS / 2);
  });

  test('a placeholder of Queryable Encryption is refused, alone and beside a marking', () => {
    const lies = [{ ssn: queryable(TOKEN) }, { ssn: marked(TOKEN), a: { b: queryable(TOKEN) } }];
    for (const lie of lies) {
      const { refused } = run(open(), insert, { hasEncryptionPlaceholders: true, result: { insert: 'c', documents: [{ ...insert.documents[0], ...lie }] } });
      assert.match(refused, /^the command was not sent: /);
    }
  });
});

describe('encryptedFieldsMap', () => {
  const made = (fields) => codeOf(() => open({ encryptedFieldsMap: serialize({ 'db.c': fields }) }).makeEncryptionContext('db', serialize(insert)).state);

  test('cannot switch the schema of a collection off', () => {
    for (const fields of [{}, { escCollection: 'x' }, { fields: 1 }, { fields: {} }, { fields: null }, 1])
      assert.equal(made(fields), 'SCHEMA_INVALID', JSON.stringify(fields));
    assert.equal(made({ fields: [] }), 1);
  });

  test('with an empty list leaves the schema of the server in force', () => {
    const context = open({ encryptedFieldsMap: serialize({ 'db.c': { fields: [] } }) }).makeEncryptionContext('db', serialize(insert));
    context.addMongoOperationResponse(serialize({ name: 'c', type: 'collection', options: { validator: { $jsonSchema: schema } } }));
    context.finishMongoOperation();
    assert.deepEqual(deserialize(context.nextMongoOperation()).jsonSchema, schema);
    context.addMongoOperationResponse(serialize({ schemaRequiresEncryption: false }));
    context.finishMongoOperation();
    assert.equal(context.finalize().length, 0);
    assert.match(context.status.message, /^the command was not sent: /);
  });
});
