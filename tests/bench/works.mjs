// What is measured. Every work first proves that both sides do the same, then hands out the functions to race.
import assert from 'node:assert/strict';

export const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

const VALUE_LENGTHS = [11, 1024, 65_536, 1_048_576];
const FIELDS = 1500;

/**
 * The works in order of printing: `{work, unit, ours, theirs}` with functions for the two sides.
 * Unit `docs/s` grows with speed, `us` shrinks with it.
 */
export async function prepareWorks(context) {
  return [...documentWorks(context), ...VALUE_LENGTHS.flatMap((length) => valueWorks(context, length)), ...(await apiWorks(context))];
}

/** MongoDB's published benchmark: one document of 1500 deterministic strings, `key0001: "value 0001"`. */
function plainDocument() {
  const number = (at) => String(at).padStart(4, '0');
  return Object.fromEntries(Array.from({ length: FIELDS }, (_, at) => [`key${number(at)}`, `value ${number(at)}`]));
}

function documentWorks({ bson, ours, theirs }) {
  const plain = bson.serialize(plainDocument());
  const rules = ours.rules(Object.keys(plainDocument()), DETERMINISTIC);
  const messages = Object.values(plainDocument()).map((v) => theirs.input(bson.serialize({ v })));
  const sealed = sealFieldByField({ bson, theirs });

  assertSameBytes(ours.encryptDocument(plain, rules), sealed, 'the document encrypted by us and by libmongocrypt');
  assertSameBytes(ours.decryptDocument(sealed), plain, 'our decrypted document');
  const theirSealed = theirs.input(sealed);
  theirs.decryptDocument(theirSealed);
  assertSameBytes(theirs.result(), plain, 'their decrypted document');

  return [
    {
      work: 'decrypt-1500',
      unit: 'docs/s',
      ours: () => ours.decryptDocument(sealed),
      theirs: () => theirs.decryptDocument(theirSealed),
    },
    {
      // Without query analysis the C library encrypts value by value; this is what a driver's user does.
      work: 'bulk-encrypt-1500',
      unit: 'docs/s',
      ours: () => ours.encryptDocument(plain, rules),
      theirs: () => {
        for (const message of messages) theirs.encrypt(message, DETERMINISTIC);
      },
    },
  ];
}

function sealFieldByField({ bson, theirs }) {
  const sealed = {};
  for (const [name, v] of Object.entries(plainDocument())) {
    theirs.encrypt(theirs.transient(bson.serialize({ v })), DETERMINISTIC);
    sealed[name] = bson.deserialize(theirs.result()).v;
  }
  return bson.serialize(sealed);
}

function valueWorks({ bson, ours, theirs }, length) {
  const message = bson.serialize({ v: 'x'.repeat(length) });
  const theirMessage = theirs.input(message);
  theirs.encrypt(theirMessage, DETERMINISTIC);
  const sealed = theirs.result();
  const theirSealed = theirs.input(sealed);

  assertSameBytes(ours.encrypt(message, DETERMINISTIC), sealed, `${length} bytes encrypted`);
  assertSameBytes(ours.decrypt(sealed), message, `${length} bytes decrypted by us`);
  theirs.decrypt(theirSealed);
  assertSameBytes(theirs.result(), message, `${length} bytes decrypted by libmongocrypt`);
  theirs.decrypt(theirs.transient(ours.encrypt(message, RANDOM)));
  assertSameBytes(theirs.result(), message, `${length} bytes: our random value decrypted by libmongocrypt`);
  theirs.encrypt(theirMessage, RANDOM);
  assertSameBytes(ours.decrypt(theirs.result()), message, `${length} bytes: their random value decrypted by us`);

  return [
    {
      work: `explicit-encrypt-${length}`,
      unit: 'us',
      ours: () => ours.encrypt(message, DETERMINISTIC),
      theirs: () => theirs.encrypt(theirMessage, DETERMINISTIC),
    },
    {
      work: `explicit-encrypt-random-${length}`,
      unit: 'us',
      ours: () => ours.encrypt(message, RANDOM),
      theirs: () => theirs.encrypt(theirMessage, RANDOM),
    },
    {
      work: `explicit-decrypt-${length}`,
      unit: 'us',
      ours: () => ours.decrypt(sealed),
      theirs: () => theirs.decrypt(theirSealed),
    },
  ];
}

/**
 * The same works with JavaScript objects at both ends. The C side gets the serialising around it that any caller with
 * objects needs, and is spared the promises that ours awaits.
 */
async function apiWorks({ bson, client, theirs, keyId }) {
  const text = 'x'.repeat(11);
  const key = new bson.UUID(keyId);
  const options = { algorithm: DETERMINISTIC, keyId: key };
  const theirEncrypt = (value) => {
    theirs.encrypt(theirs.transient(bson.serialize({ v: value })), DETERMINISTIC);
    return bson.deserialize(theirs.resultView(), { promoteBuffers: false }).v;
  };
  const theirDecrypt = (value) => {
    theirs.decrypt(theirs.transient(bson.serialize({ v: value })));
    return bson.deserialize(theirs.resultView()).v;
  };
  const theirDecryptDocument = (document) => {
    theirs.decryptDocument(theirs.transient(bson.serialize(document)));
    return bson.deserialize(theirs.resultView());
  };

  const sealed = await client.encrypt(text, options);
  assertSameBytes(sealed.buffer, theirEncrypt(text).buffer, 'a value encrypted through the public API');
  assert.equal(await client.decrypt(sealed), text);
  assert.equal(theirDecrypt(sealed), text);
  const sealedDocument = bson.deserialize(sealFieldByField({ bson, theirs }));
  assert.deepEqual(await client.decryptDocument(sealedDocument), plainDocument());
  assert.deepEqual(theirDecryptDocument(sealedDocument), plainDocument());

  const asynchronous = true;
  return [
    {
      work: 'decrypt-1500-api',
      unit: 'docs/s',
      asynchronous,
      ours: () => client.decryptDocument(sealedDocument),
      theirs: () => theirDecryptDocument(sealedDocument),
    },
    {
      work: 'explicit-encrypt-11-api',
      unit: 'us',
      asynchronous,
      ours: () => client.encrypt(text, options),
      theirs: () => theirEncrypt(text),
    },
    {
      work: 'explicit-decrypt-11-api',
      unit: 'us',
      asynchronous,
      ours: () => client.decrypt(sealed),
      theirs: () => theirDecrypt(sealed),
    },
  ];
}

function assertSameBytes(found, expected, what) {
  assert.equal(Buffer.compare(Buffer.from(found), Buffer.from(expected)), 0, `${what}: the bytes differ`);
}
