// The memory search of memory-scan.test.mjs for the interface of mongodb-client-encryption: credentials, tokens, keys, the
// answers of every kind of KMS, and the application's values. Nothing may be left once every handle was freed.
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { Binary, deserialize, Int32, serialize } from 'bson';
import { item, number, structure, TYPE } from '../mongocrypt/ttlv.mjs';
import { openBoundary } from './boundary.mjs';
import { scan } from './memory/scan.mjs';
import { formsOfKey, formsOfText } from './memory/secrets.mjs';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const now = 1_700_000_000_000;
const read = (bytes) => deserialize(bytes, { promoteValues: false, promoteBuffers: false });
const text = (name) => `${name}-${randomBytes(24).toString('hex')}`;
const http = (status, body) => Buffer.from(`HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
const json = (object) => http(200, JSON.stringify(object));

const words = Object.fromEntries(
  ['secretAccessKey', 'sessionToken', 'clientSecret', 'azureToken', 'gcpToken', 'givenToken', 'value', 'field', 'marked'].map((name) => [name, text(name)]),
);
const localKey = randomBytes(96);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
const materials = Object.fromEntries(['local', 'aws', 'azure', 'gcp', 'kmip'].map((name) => [name, randomBytes(96)]));
const kmipSecret = randomBytes(96);

const providers = serialize({
  local: { key: new Binary(localKey) },
  aws: { accessKeyId: 'id', secretAccessKey: words.secretAccessKey, sessionToken: words.sessionToken },
  azure: { tenantId: 't', clientId: 'c', clientSecret: words.clientSecret },
  'azure:given': { accessToken: words.givenToken },
  gcp: { email: 'a@b.c', privateKey: new Binary(pkcs8) },
  kmip: { endpoint: 'kmip.test' },
});
const masterKeys = {
  local: { provider: 'local' },
  aws: { provider: 'aws', region: 'eu-central-1', key: 'k' },
  azure: { provider: 'azure', keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' },
  gcp: { provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' },
  kmip: { provider: 'kmip', keyId: 'id' },
};

const kmipAnswer = (bytes) =>
  structure(
    0x42007b,
    structure(
      0x42000f,
      number(0x42007f, TYPE.enumeration, 0),
      structure(0x42007c, structure(0x420085, structure(0x420040, structure(0x420045, item(0x420043, TYPE.bytes, bytes))))),
    ),
  );

/** What each KMS answers to a message. */
function answerTo(message, endpoint) {
  if (endpoint.startsWith('kmip.')) return kmipAnswer(kmipSecret);
  const body = message.subarray(message.indexOf('\r\n\r\n') + 4).toString();
  if (endpoint.startsWith('login.')) return json({ access_token: words.azureToken, expires_in: 3600 });
  if (endpoint.startsWith('oauth2.')) return json({ access_token: words.gcpToken, expires_in: 3600 });
  const wrappedFor = (name) => Buffer.concat([Buffer.from(name.padEnd(96)), Buffer.alloc(64)]);
  const sent = JSON.parse(body);
  if (endpoint.includes('amazonaws')) {
    return sent.Plaintext ? json({ CiphertextBlob: wrappedFor('aws').toString('base64') }) : json({ Plaintext: materials.aws.toString('base64') });
  }
  if (endpoint.includes('azure')) {
    const isWrap = message.includes('/wrapkey');
    return json({ value: (isWrap ? wrappedFor('azure') : materials.azure).toString('base64url') });
  }
  return sent.plaintext ? json({ ciphertext: wrappedFor('gcp').toString('base64') }) : json({ plaintext: materials.gcp.toString('base64') });
}

describe("after everything of libmongocrypt's interface was freed, the WebAssembly memory", { timeout: 120_000 }, () => {
  let boundary;
  let vault;
  const forms = [
    ...formsOfKey('local master key', localKey),
    ...formsOfKey('secret of KMIP', kmipSecret),
    ...Object.entries(materials).flatMap(([name, material]) => [
      ...formsOfKey(`data key under ${name}`, material),
      ...formsOfText(`data key under ${name}, base64`, material.toString('base64')),
    ]),
    ...Object.entries(words).flatMap(([name, word]) => formsOfText(name, word)),
    // Behind what all keys of Google's have in common.
    { name: 'private key', bytes: pkcs8.subarray(300) },
  ];
  const leftovers = () => scan(boundary.memory.buffer, forms);

  before(async () => {
    boundary = await openBoundary();
  });

  const open = () => boundary.newMongoCrypt(Uint8Array.from(providers), undefined, undefined, false, 60_000);

  /** Runs a context to its end, or to the state `stopAt`; frees it unless it was stopped. */
  function run(context, { stopAt, answer = answerTo, analysis } = {}) {
    for (;;) {
      const state = context.state();
      if (state === stopAt) return undefined;
      if (state === 0 || state === 6) {
        context.free();
        return state;
      }
      if (state === 1) context.finishMongo(now);
      if (state === 2) {
        context.mongoOperation(now);
        context.feedMongo(analysis, now);
        context.finishMongo(now);
      }
      if (state === 3) {
        context.mongoOperation(now);
        for (const key of vault) context.feedMongo(key, now);
        context.finishMongo(now);
      }
      if (state === 4) exchange(context, answer);
      if (state === 5) {
        const result = context.finalize(now);
        context.free();
        return result;
      }
    }
  }

  function exchange(context, answer) {
    for (let wanted = context.signatureWanted(); wanted; wanted = context.signatureWanted()) context.provideSignature(sign('sha256', wanted[1], privateKey));
    for (let number = context.nextKmsRequest(); number !== undefined; number = context.nextKmsRequest()) {
      let rest = answer(Buffer.from(context.kmsMessage(number)), context.kmsEndpoint(number));
      while (rest.length > 0 && context.kmsBytesNeeded(number) > 0) {
        const taken = Math.min(context.kmsBytesNeeded(number), 100);
        context.kmsFeed(number, rest.subarray(0, taken));
        rest = rest.subarray(taken);
      }
    }
    context.finishKms(now);
  }

  const createKey = (crypt, name, how) =>
    run(crypt.createDataKey(serialize(masterKeys[name]), [], serialize({ keyMaterial: new Binary(materials[name]) }), now), how);
  const idOf = (key) => read(key)._id.buffer;
  const encrypt = (crypt, key, value, how) =>
    run(crypt.explicitEncrypt(serialize({ v: value }), Uint8Array.from(idOf(key)), undefined, DETERMINISTIC, false, undefined, false, false, now), how);

  function createKeys(crypt) {
    const keys = Object.fromEntries(Object.keys(masterKeys).map((name) => [name, createKey(crypt, name)]));
    vault = [];
    return keys;
  }

  const marking = (key) => new Binary(Buffer.concat([Buffer.from([0]), serialize({ v: words.marked, a: new Int32(2), ki: new Binary(idOf(key), 4) })]), 6);

  /** Every operation once, each with keys that are not cached. */
  function everything(more = {}) {
    const keys = createKeys(open());
    for (const key of Object.values(keys)) {
      vault = [key];
      const crypt = open();
      const encrypted = encrypt(crypt, key, words.value, more);
      if (encrypted instanceof Uint8Array) {
        run(crypt.explicitDecrypt(encrypted, now), more);
        run(crypt.decrypt(serialize({ a: [read(encrypted).v], field: words.field }), now), more);
      }
      const command = { insert: 'c', documents: [{ a: words.marked, field: words.field }], $db: 'db' };
      const analysis = serialize({
        hasEncryptedPlaceholders: true,
        schemaRequiresEncryption: true,
        result: { insert: 'c', documents: [{ a: marking(key), field: words.field }] },
      });
      run(open().encrypt('db', serialize(command), now), { ...more, analysis });
      run(open().encrypt('db', serialize(command), now), { ...more, analysis: serialize({ schemaRequiresEncryption: false }) });
      for (const target of Object.values(masterKeys)) run(open().rewrap(serialize({}), serialize(target), now), more);
      run(open().rewrap(serialize({}), undefined, now), more);
    }
  }

  const opened = [];
  function freeAll(work) {
    const original = boundary.newMongoCrypt;
    boundary = {
      ...boundary,
      newMongoCrypt: (...options) => {
        const crypt = original(...options);
        opened.push(crypt);
        return crypt;
      },
    };
    try {
      work();
    } finally {
      for (const crypt of opened.splice(0)) crypt.free();
      boundary = { ...boundary, newMongoCrypt: original };
    }
  }

  /** The proof that the search works. */
  it('held the secrets while they were in use', () => {
    freeAll(() => {
      const keys = createKeys(open());
      vault = [keys.azure];
      const crypt = open();
      encrypt(crypt, keys.azure, words.value);
      const waiting = open().encrypt('db', serialize({ insert: 'c', documents: [{ field: words.field }] }), now);
      const found = leftovers().map(({ name }) => name);
      waiting.free();
      for (const name of [
        'local master key: raw',
        'private key',
        'secretAccessKey: text',
        'clientSecret: text',
        'azureToken: text',
        'givenToken: text',
        'data key under azure: MAC key, inner state',
        'field: text',
      ]) {
        assert.ok(found.includes(name), `the search cannot see: ${name}`);
      }
    });
  });

  it('holds none after every operation succeeded', () => {
    freeAll(() => everything());
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after every answer of a KMS was refused', () => {
    const refusals = [
      (message, endpoint) => answerTo(message, endpoint).subarray(0, -1),
      () => http(403, '{"error":"no"}'),
      () => json({ access_token: words.azureToken, expires_in: '1' }),
      () =>
        json({
          Plaintext: materials.aws.subarray(1).toString('base64'),
          value: materials.azure.subarray(1).toString('base64url'),
          plaintext: '!',
          access_token: words.gcpToken,
          expires_in: 9,
        }),
      (message, endpoint) => Buffer.from(answerTo(message, endpoint).toString('latin1').replace('"', '\\'), 'latin1'),
      () => kmipAnswer(kmipSecret.subarray(1)),
      () => http(503, ''),
    ];
    freeAll(() => {
      for (const answer of refusals) everything({ answer });
    });
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after contexts were freed half-way', () => {
    freeAll(() => {
      const keys = createKeys(open());
      vault = Object.values(keys);
      const contexts = [];
      const stop = (context, stopAt, more) => {
        contexts.push(context);
        run(context, { stopAt, ...more });
      };
      for (const name of Object.keys(masterKeys).filter((provider) => provider !== 'local')) {
        stop(open().createDataKey(serialize(masterKeys[name]), [], serialize({ keyMaterial: new Binary(materials[name]) }), now), 4);
        stop(open().rewrap(serialize({}), serialize(masterKeys[name]), now), 4);
        contexts.at(-1).nextKmsRequest();
      }
      for (const key of Object.values(keys)) {
        vault = [key];
        const encrypted = encrypt(open(), key, words.value);
        stop(open().explicitDecrypt(encrypted, now), 5);
        stop(open().decrypt(serialize({ a: read(encrypted).v, field: words.field }), now), 3);
      }
      stop(open().encrypt('db', serialize({ insert: 'c', documents: [{ field: words.field }] }), now), 2);
      contexts.at(-1).mongoOperation(now);
      for (const context of contexts) context.free();
    });
    assert.deepEqual(leftovers(), []);
  });

  it('holds no value of a context whose result was taken, although it lives', () => {
    freeAll(() => {
      const crypt = open();
      const key = createKey(crypt, 'local');
      vault = [key];
      const context = crypt.encrypt('db', serialize({ insert: 'c', documents: [{ a: words.marked, field: words.field }] }), now);
      const analysis = serialize({ hasEncryptedPlaceholders: true, result: { insert: 'c', documents: [{ a: marking(key), field: words.field }] } });
      run(context, { stopAt: 5, analysis });
      assert.ok(context.finalize(now).length > 0);
      assert.deepEqual(
        leftovers().filter(({ name }) => name.startsWith('marked') || name.startsWith('field')),
        [],
      );
      context.free();
    });
  });

  it('holds no value of a context that failed, although it lives', () => {
    freeAll(() => {
      const crypt = open();
      const key = createKey(crypt, 'local');
      vault = [key];
      const encrypted = encrypt(crypt, key, words.value);
      encrypted[encrypted.length - 3] ^= 1;
      const contexts = [
        crypt.decrypt(serialize({ a: read(encrypted).v, field: words.field }), now),
        crypt.encrypt('db', serialize({ insert: 'c', documents: [{ a: words.marked, field: words.field }] }), now),
        crypt.explicitEncrypt(serialize({ v: words.value }), Buffer.alloc(16), undefined, DETERMINISTIC, false, undefined, false, false, now),
      ];
      for (const context of contexts) {
        context.finalize(now);
        assert.equal(context.state(), 0);
      }
      assert.deepEqual(
        leftovers().filter(({ name }) => /^(?:field|value|marked)/.test(name)),
        [],
      );
      for (const context of contexts) context.free();
    });
  });

  it('holds no credentials that were given to a context, once its result was taken', () => {
    freeAll(() => {
      const crypt = boundary.newMongoCrypt(serialize({ aws: {} }), undefined, undefined, false, 60_000);
      const given = () => leftovers().filter(({ name }) => /^(?:secretAccessKey|sessionToken|data key)/.test(name));
      const create = (answer) => {
        const context = crypt.createDataKey(serialize(masterKeys.aws), [], serialize({ keyMaterial: new Binary(materials.aws) }), now);
        assert.equal(context.state(), 7);
        context.provideKmsProviders(providers, now);
        exchange(context, answer);
        return context;
      };
      const finished = create(answerTo);
      assert.ok(given().length > 0);
      assert.ok(finished.finalize(now).length > 0);
      assert.deepEqual(given(), []);
      finished.free();
    });
  });
});
