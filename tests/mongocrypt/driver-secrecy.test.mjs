// Automatic encryption sends nothing unencrypted when something fails on the way. Every request to the server passes a
// witness that keeps its bytes, to be searched for the plaintext; a plain client looks into the collection in the end.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:net';
import { before, describe, test } from 'node:test';
import { Binary, deserialize, Int32, serialize } from 'bson';
import { listening } from '../listening.mjs';
import { startAnalyser } from './analyser.mjs';
import { encryptingPlace, schemaOf } from './encrypting-place.mjs';
import { analyse } from './marking.mjs';
import { isCommand, readDocument, replyTo } from './wire.mjs';

/** The ways in which a value of an application reaches a command. */
const commands = {
  insertOne: (people, ssn) => people.insertOne({ ssn }),
  insertMany: (people, ssn) => people.insertMany([{ name: 'a' }, { ssn }]),
  bulkWrite: (people, ssn) => people.bulkWrite([{ insertOne: { document: { ssn } } }]),
  updateOne: (people, ssn) => people.updateOne({ ssn }, { $set: { ssn } }, { upsert: true }),
  replaceOne: (people, ssn) => people.replaceOne({ name: 'a' }, { ssn }, { upsert: true }),
  findOneAndUpdate: (people, ssn) => people.findOneAndUpdate({ name: 'a' }, { $set: { ssn } }, { upsert: true }),
  deleteOne: (people, ssn) => people.deleteOne({ ssn }),
  findOne: (people, ssn) => people.findOne({ ssn }),
};

/** What clients sent, and which of it cuts their connection. */
const requests = [];
let cuts = () => false;
const { client, database, encryptionOf, kmsProviders, withClient } = await encryptingPlace('secrecy', {
  onRequest(message) {
    requests.push(Buffer.from(message));
    return isCommand(message) && cuts(readDocument(message));
  },
});
let keyId;
before(async () => {
  keyId = await encryptionOf(client).createDataKey('local');
});

/** Runs `work` with a collection, an analyser and a plaintext of its own. */
async function scene(work) {
  const collection = `people_${randomBytes(4).toString('hex')}`;
  const canary = `canary-${randomBytes(8).toString('hex')}`;
  const analyser = await startAnalyser();
  const withPeople = (more, use) => {
    const schemaMap = { [`${database}.${collection}`]: schemaOf(keyId) };
    return withClient(`${analyser.uri}&socketTimeoutMS=4000`, { schemaMap, ...more }, async (encrypting) => {
      // Without mongocryptd this fails; the commands then say so themselves.
      await encrypting.connect().catch(() => {});
      return use(encrypting.db(database).collection(collection));
    });
  };
  const leaks = () => requests.filter((bytes) => bytes.includes(canary)).length;
  const stored = () => client.db(database).collection(collection).find().toArray();
  try {
    await work({ analyser, canary, leaks, stored, withPeople });
  } finally {
    await analyser.stop();
  }
}

const endsOf = (people, canary) => Promise.allSettled(Object.values(commands).map((command) => command(people, canary)));
const messagesOf = (ends) => new Set(ends.map(({ status, reason }) => (status === 'fulfilled' ? 'it did not fail' : reason.message)));

/** Every command fails with a message that `expected` matches, and nothing of any gets out. */
async function everyCommandFails({ canary, leaks, stored, withPeople }, expected, more = {}) {
  await withPeople(more, async (people) => {
    for (const message of messagesOf(await endsOf(people, canary))) assert.match(message, expected);
  });
  assert.equal(leaks(), 0);
  assert.deepEqual(await stored(), []);
}

test('the witness sees plaintext where there is no encryption, and none where there is', () =>
  scene(async ({ canary, leaks, stored, withPeople }) => {
    await withPeople({}, async (people) => {
      for (const command of Object.values(commands)) await command(people, canary);
    });
    assert.equal(leaks(), 0);
    const found = await stored();
    assert.ok(found.some(({ ssn }) => ssn?.sub_type === 6));
    await withPeople({ bypassAutoEncryption: true }, (people) => people.insertOne({ ssn: canary }));
    assert.equal(leaks(), 1);
  }));

describe('nothing is sent unencrypted when mongocryptd', { concurrency: true }, () => {
  const GONE = /closed|cleared|interrupted|Topology|ECONNREFUSED|ECONNRESET/;

  test('cannot be reached', () =>
    scene(async (one) => {
      const closed = createServer();
      await listening(closed);
      const { port } = closed.address();
      await new Promise((resolve) => {
        closed.close(resolve);
      });
      const extraOptions = { mongocryptdURI: `mongodb://127.0.0.1:${port}/?directConnection=true`, mongocryptdBypassSpawn: true };
      await everyCommandFails(one, /^Unable to connect to `mongocryptd`|^Topology is closed$/, { extraOptions });
    }));

  test('goes away after the first command', () =>
    scene(async ({ analyser, canary, leaks, stored, withPeople }) => {
      await withPeople({}, async (people) => {
        await people.insertOne({ _id: 1, ssn: canary });
        await analyser.stop();
        for (const message of messagesOf(await endsOf(people, canary))) assert.match(message, GONE);
      });
      assert.equal(leaks(), 0);
      assert.deepEqual(
        (await stored()).map(({ _id, ssn }) => [_id, ssn.sub_type]),
        [[1, 6]],
      );
    }));

  const marked = (change) => (command) => {
    const reply = analyse(command);
    return { ...reply, result: withMarkings(reply.result, change), ok: 1 };
  };
  const requiring = { schemaRequiresEncryption: true, hasEncryptionPlaceholders: true, ok: 1 };
  const faults = {
    'answers an error': [() => ({ ok: 0, errmsg: 'no analysis today', code: new Int32(2) }), /^no analysis today$/],
    'closes the connection': [
      (_command, socket) => {
        socket.destroy();
      },
      GONE,
    ],
    'dies in the middle of its answer': [
      (command, socket, message) => {
        const reply = replyTo(message, { ...analyse(command), ok: 1 });
        socket.end(reply.subarray(0, reply.length - 9));
      },
      GONE,
    ],
    'does not answer': [() => {}, /timed out|cleared|interrupted/],
    'answers without a result': [() => requiring, /^malformed marking, no 'result'$/],
    'answers a result that is no document': [() => ({ ...requiring, result: new Int32(5) }), /^malformed marking, 'result' must be a document$/],
    'names a key that is not there': [marked((marking) => ({ ...marking, ki: new Binary(Buffer.alloc(16, 1), 4) })), /^not all keys requested were satisfied/],
    'names no key': [marked(({ ki: _ki, ...rest }) => rest), /^neither 'ki' nor 'ka' specified$/],
    'names an algorithm that there is not': [marked((marking) => ({ ...marking, a: new Int32(7) })), /^invalid algorithm value: 7$/],
    'marks no value': [marked(({ v: _v, ...rest }) => rest), /^no 'v' specified$/],
    'marks another value': [
      marked((marking) => ({ ...marking, v: 1.5 })),
      /^the command was not sent: the query analyser returned another command than it was asked about/,
    ],
    'says that nothing is encrypted': [
      () => ({ hasEncryptionPlaceholders: false, schemaRequiresEncryption: false, ok: 1 }),
      /^the command was not sent: it holds a value in the clear/,
    ],
    'says more in a marking than is known': [marked((marking) => ({ ...marking, x: 1 })), /^unrecognized field 'x'$/],
  };
  for (const [fault, [behave, expected]] of Object.entries(faults)) {
    test(fault, () =>
      scene(async (one) => {
        one.analyser.behave = behave;
        await everyCommandFails(one, expected);
      }),
    );
  }
});

describe('nothing is sent unencrypted when the key', () => {
  test('does not open under the master key', () =>
    scene((one) => everyCommandFails(one, /^HMAC validation failure$/, { kmsProviders: { local: { key: randomBytes(96) } } })));

  test('is under a master key that is not configured', () =>
    scene((one) => everyCommandFails(one, /^KMS provider `local` is not configured$/, { kmsProviders: { 'local:other': kmsProviders.local } })));

  test('is in another vault', () =>
    scene((one) => everyCommandFails(one, /^not all keys requested were satisfied/, { keyVaultNamespace: `${database}.others` })));
});

describe('nothing is sent unencrypted when the server breaks off', () => {
  const cutAt = (of, more) =>
    scene(async (one) => {
      cuts = of;
      await everyCommandFails(one, /closed|cleared|interrupted/, more).finally(() => {
        cuts = () => false;
      });
    });

  test('the list of collections', () => cutAt((command) => 'listCollections' in command, { schemaMap: undefined }));

  test('the answer of the key vault', () => cutAt((command) => command.find === 'keys'));
});

/** The result with each marking as `change` makes it of the decoded one. */
function withMarkings(item, change) {
  if (item?._bsontype === 'Binary' && item.sub_type === 6) {
    const marking = deserialize(item.value().subarray(1), { promoteValues: false });
    return new Binary(Buffer.concat([Buffer.from([0]), serialize(change(marking))]), 6);
  }
  if (Array.isArray(item)) return item.map((inner) => withMarkings(inner, change));
  if (typeof item !== 'object' || item === null || item._bsontype) return item;
  return Object.fromEntries(Object.entries(item).map(([name, inner]) => [name, withMarkings(inner, change)]));
}
