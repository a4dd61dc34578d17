// How long the three caches keep what they have: data keys, descriptions of collections, tokens. The clock is a stand-in.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MongoCrypt } from 'csfle-wasm';
import { Binary, serialize } from 'bson';
import { DETERMINISTIC, keyDocument, localKey } from './samples.mjs';

const START = 1_700_000_000_000;
const errorWrapper = (error) => error;
const key = Buffer.from(keyDocument(1), 'base64');
const open = (more = {}) => new MongoCrypt({ kmsProviders: serialize({ local: { key: new Binary(localKey) } }), errorWrapper, ...more });
const encrypt = (crypt) =>
  crypt.makeExplicitEncryptionContext(serialize({ v: 'x' }), { keyId: Buffer.alloc(16, 1), algorithm: DETERMINISTIC, expressionMode: false });

/** A clock that stands where it is put. */
function clock(context) {
  context.mock.timers.enable({ apis: ['Date'], now: START });
  return { at: (afterMs) => context.mock.timers.setTime(START + afterMs) };
}

describe('data keys', () => {
  function learn(crypt) {
    const context = encrypt(crypt);
    context.addMongoOperationResponse(key);
    context.finishMongoOperation();
    assert.equal(context.state, 5);
  }
  const isKept = (crypt) => encrypt(crypt).state === 5;
  const never = Number.MAX_SAFE_INTEGER - START;

  // `kept`: the last millisecond at which it is there.
  for (const [name, options, kept] of [
    ['a minute where nothing is said', {}, 60_000],
    ['a millisecond', { keyExpirationMS: 1 }, 1],
    ['a number in a text', { keyExpirationMS: '1000' }, 1000],
    ['a fraction, cut', { keyExpirationMS: 10.9 }, 10],
    ['for ever with 0', { keyExpirationMS: 0 }, never],
    ['for ever with -0.5', { keyExpirationMS: -0.5 }, never],
    ['for ever with undefined', { keyExpirationMS: undefined }, never],
    ['for ever with null', { keyExpirationMS: null }, never],
    ['for ever with NaN', { keyExpirationMS: Number.NaN }, never],
    ['for ever with what is no number', { keyExpirationMS: 'soon' }, never],
    ['for ever with Infinity', { keyExpirationMS: Number.POSITIVE_INFINITY }, never],
    ['for ever with more than 64 bits', { keyExpirationMS: 1e30 }, never],
  ]) {
    test(`are kept ${name}`, (context) => {
      const time = clock(context);
      const crypt = open(options);
      learn(crypt);
      time.at(kept);
      assert.equal(isKept(crypt), true);
      if (kept === never) return;
      time.at(kept + 1);
      assert.equal(isKept(crypt), false);
    });
  }

  test('count from when they came, not from when they were used, and come again', (context) => {
    const time = clock(context);
    const crypt = open({ keyExpirationMS: 1000 });
    learn(crypt);
    time.at(900);
    assert.equal(isKept(crypt), true);
    time.at(1001);
    assert.equal(isKept(crypt), false);
    learn(crypt);
    time.at(2001);
    assert.equal(isKept(crypt), true);
  });

  test('that expired under way are still there for the context that has them', (context) => {
    const time = clock(context);
    const crypt = open({ keyExpirationMS: 1 });
    learn(crypt);
    const waiting = encrypt(crypt);
    time.at(1_000_000);
    assert.ok(waiting.finalize().length > 0);
  });

  test('are given up when the clock is set back', (context) => {
    const time = clock(context);
    const crypt = open();
    learn(crypt);
    time.at(-1);
    assert.equal(isKept(crypt), false);
  });
});

test('descriptions of collections are kept for a minute, whatever keyExpirationMS says', (context) => {
  const time = clock(context);
  const crypt = open({ keyExpirationMS: 1 });
  const find = () => crypt.makeEncryptionContext('db', serialize({ find: 'c', filter: {} }));
  const asking = find();
  assert.equal(asking.state, 1);
  asking.addMongoOperationResponse(serialize({ name: 'c', type: 'collection', options: { validator: { $jsonSchema: { bsonType: 'object' } } } }));
  asking.finishMongoOperation();
  assert.equal(asking.state, 2);
  time.at(60_000);
  assert.equal(find().state, 2);
  time.at(60_001);
  const again = find();
  assert.equal(again.state, 1);
  again.finishMongoOperation();
  assert.equal(find().state, 2, 'that there is none is remembered too');
  assert.equal(crypt.makeEncryptionContext('other', serialize({ find: 'c' })).state, 1);
});

describe('tokens', () => {
  const kmsProviders = serialize({
    azure: { tenantId: 't', clientId: 'c', clientSecret: 's' },
    'azure:b': {
      tenantId: 't',
      clientId: 'c',
      clientSecret: 's',
    },
    'azure:c': { tenantId: 't', clientId: 'c', clientSecret: 's', identityPlatformEndpoint: 'login.test:444' },
  });
  const vault = (provider, host = 'a.vault.azure.net') => serialize({ provider, keyVaultEndpoint: host, keyName: 'k' });
  const asksForToken = (crypt, masterKey) => crypt.makeDataKeyContext(masterKey, {}).nextKMSRequest().message.includes('grant_type');

  function fetch(crypt, masterKey, expires_in) {
    const context = crypt.makeDataKeyContext(masterKey, {});
    const request = context.nextKMSRequest();
    const body = JSON.stringify({ access_token: 'token', expires_in });
    request.addResponse(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
    context.finishKMSRequests();
    return context;
  }

  for (const [name, expiresIn, keptS] of [
    ['an hour less five seconds', 3600, 3595],
    ['six seconds less five', 6, 1],
    ['a day at most', 2 ** 53, 86_395],
  ]) {
    test(`are kept for ${name}`, (context) => {
      const time = clock(context);
      const crypt = new MongoCrypt({ kmsProviders, errorWrapper, keyExpirationMS: 0 });
      const fetching = fetch(crypt, vault('azure'), expiresIn);
      assert.match(fetching.nextKMSRequest().message.toString(), /Authorization:Bearer token\r\n/);
      time.at(keptS * 1000 - 1);
      assert.equal(asksForToken(crypt, vault('azure')), false);
      time.at(keptS * 1000);
      assert.equal(asksForToken(crypt, vault('azure')), true);
    });
  }

  test('of so short a life are used once and not kept', () => {
    for (const expiresIn of [5, 1, 0]) {
      const crypt = new MongoCrypt({ kmsProviders, errorWrapper });
      assert.match(fetch(crypt, vault('azure'), expiresIn).nextKMSRequest().message.toString(), /Authorization:Bearer token\r\n/);
      assert.equal(asksForToken(crypt, vault('azure')), true);
    }
  });

  test('without a usable life are refused', () => {
    for (const expiresIn of [-1, 1.5, '3600', 1e30, null, undefined, true, {}]) {
      const context = fetch(new MongoCrypt({ kmsProviders, errorWrapper }), vault('azure'), expiresIn);
      assert.deepEqual([context.state, context.status.message], [0, "OAuth response invalid, no 'expires_in' field."], String(expiresIn));
    }
  });

  test('are for their provider, their endpoint and their scope alone', () => {
    const crypt = new MongoCrypt({ kmsProviders, errorWrapper });
    fetch(crypt, vault('azure'), 3600);
    assert.equal(asksForToken(crypt, vault('azure', 'other.vault.azure.net')), false, 'the scope is the same');
    assert.equal(asksForToken(crypt, vault('azure', 'a.vault.azure.cn')), true);
    assert.equal(asksForToken(crypt, vault('azure:b')), true);
    assert.equal(asksForToken(crypt, vault('azure:c')), true);
    assert.equal(asksForToken(new MongoCrypt({ kmsProviders, errorWrapper }), vault('azure')), true, 'another client has its own');
  });
});
