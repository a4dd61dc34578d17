// The surface of `mongodb-client-encryption`: options, arguments, getters, and who throws what.
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { describe, test } from 'node:test';
import { cryptoCallbacks, MongoCrypt, MongoCryptContext } from 'csfle-wasm';
import { Binary, serialize } from 'bson';

const providers = serialize({ local: { key: Buffer.alloc(96) }, aws: {} });
const errorWrapper = (error) => error;
const open = (more = {}) => new MongoCrypt({ kmsProviders: providers, errorWrapper, ...more });
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const keyId = Buffer.alloc(16, 1);
const value = serialize({ v: 'x' });
const explicit = (crypt, more = {}) => crypt.makeExplicitEncryptionContext(value, { keyId, algorithm: DETERMINISTIC, expressionMode: false, ...more });
const typeError = (message) => ({ name: 'TypeError', message });

describe('new MongoCrypt()', () => {
  test('refuses options with the words of the original, and does not wrap its errors', () => {
    const wrapping = { errorWrapper: () => new Error('wrapped') };
    for (const options of [undefined, null, 1, 'x', {}]) assert.throws(() => new MongoCrypt(options), typeError('no kms provider set'));
    for (const name of ['kmsProviders', 'schemaMap', 'encryptedFieldsMap']) {
      assert.throws(() => open({ [name]: 3, ...wrapping }), typeError(`Parameter \`options.${name}\` must be a Uint8Array.`));
    }
    assert.throws(() => open({ kmsProviders: undefined, ...wrapping }), typeError('no kms provider set'));
    assert.throws(() => open({ logger: undefined }), { name: 'Error', message: 'Storing non-function as callback logger' });
    assert.throws(() => open({ cryptSharedLibSearchPaths: 3 }), typeError('Option `cryptSharedLibSearchPaths` must be an array'));
    assert.throws(() => open({ cryptSharedLibPath: '/x' }), typeError(/^A crypt_shared override path was specified \[\/x\]/));
    assert.throws(() => open({ keyExpirationMS: -1 }), typeError('Option `keyExpirationMS` must be a non-negative number'));
    for (const keyExpirationMS of [-1e30, '-2', -1.5])
      assert.throws(() => open({ keyExpirationMS }), typeError('Option `keyExpirationMS` must be a non-negative number'));
    for (const keyExpirationMS of [1n, Symbol('x')]) assert.throws(() => open({ keyExpirationMS }), TypeError);
    assert.throws(
      () => open({ kmsProviders: serialize({ x: {} }) }),
      ({ name, code }) => name === 'TypeError' && code === 'KMS_PROVIDER_UNRECOGNIZED',
    );
  });

  test('takes every option there is', () => {
    const options = {
      schemaMap: serialize({}),
      encryptedFieldsMap: serialize({}),
      logger: () => {},
      cryptoCallbacks,
      cryptSharedLibSearchPaths: ['$SYSTEM'],
      cryptSharedLibPath: '/x',
      bypassQueryAnalysis: true,
      keyExpirationMS: '1000',
    };
    assert.ok(open(options) instanceof MongoCrypt);
    assert.ok(open({ schemaMap: undefined, encryptedFieldsMap: undefined, keyExpirationMS: undefined }) instanceof MongoCrypt);
  });

  test('says what it is', () => {
    const crypt = open();
    assert.deepEqual(Object.keys(crypt).toSorted(), ['cryptSharedLibVersionInfo', 'cryptoHooksProvider', 'errorWrapper', 'mc']);
    assert.deepEqual([crypt.cryptSharedLibVersionInfo, crypt.cryptoHooksProvider, crypt.errorWrapper], [null, null, errorWrapper]);
    assert.deepEqual(crypt.mc.status, { type: 0, code: 0 });
    assert.match(MongoCrypt.libmongocryptVersion, /^1\.21\.0\+csfle-wasm\.\d/);
  });
});

describe('contexts', () => {
  test('name the argument that is no Uint8Array', () => {
    const crypt = open();
    const calls = {
      command: () => crypt.makeEncryptionContext('db', 'x'),
      value: () => crypt.makeExplicitEncryptionContext('x', { expressionMode: false }),
      options: () => crypt.makeDataKeyContext('x', {}),
      filter: () => crypt.makeRewrapManyDataKeyContext('x'),
      keyId: () => explicit(crypt, { keyId: 'x' }),
      keyAltName: () => explicit(crypt, { keyAltName: 'x' }),
      rangeOptions: () => explicit(crypt, { algorithm: 'RANGE', rangeOptions: 'x' }),
      'options.keyAltName[]': () => crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyAltNames: [1] }),
      'options.keyMaterial': () => crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyMaterial: 'x' }),
      buffer: () => explicit(crypt).addMongoOperationResponse({}),
    };
    for (const [name, call] of Object.entries(calls)) assert.throws(call, typeError(`Parameter \`${name}\` must be a Uint8Array.`), name);
    assert.throws(() => crypt.makeDecryptionContext('x'), typeError('Parameter `value` must be a Uint8Array.'));
    assert.throws(() => crypt.makeExplicitDecryptionContext('x'), typeError('Parameter `value` must be a Uint8Array.'));
    assert.throws(() => crypt.makeDataKeyContext(serialize({ provider: 'local' })), TypeError);
    assert.throws(() => explicit(crypt, { algorithm: 'range' }), typeError('`rangeOptions` must be provided if `algorithm` is set to Range'));
    assert.throws(() => explicit(crypt, { expressionMode: undefined }), typeError('option `expressionMode` is required.'));
    assert.throws(() => explicit(crypt, { algorithm: undefined }), typeError('unsupported algorithm string "undefined"'));
    assert.ok(crypt.makeRewrapManyDataKeyContext(serialize({}), 'ignored') instanceof MongoCryptContext);
    assert.ok(crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyAltNames: 'ignored' }) instanceof MongoCryptContext);
  });

  test('that cannot be made throw through errorWrapper, with our code on the error', () => {
    const seen = [];
    const crypt = open({
      errorWrapper: (error) => {
        seen.push(error);
        return new Error('wrapped', { cause: error });
      },
    });
    for (const call of [
      () => crypt.makeEncryptionContext('db', serialize({ x: 1 })),
      () => crypt.makeDecryptionContext(1),
      () => explicit(crypt).provideKMSProviders(1),
    ]) {
      assert.throws(call, { message: 'wrapped' });
    }
    assert.deepEqual(
      seen.map(({ name, code }) => [name, code]),
      [
        ['TypeError', 'AUTO_ENCRYPTION_COMMAND_UNSUPPORTED'],
        ['TypeError', undefined],
        ['TypeError', undefined],
      ],
    );
  });

  test('fail as a state, never as an exception', () => {
    const context = explicit(open({ kmsProviders: serialize({ local: { key: Buffer.alloc(96) } }) }));
    assert.equal(context.state, 3);
    assert.deepEqual(context.finalize(), Buffer.alloc(0));
    assert.deepEqual([context.state, context.status], [0, { type: 1, code: 1, message: 'wrong state' }]);
    assert.deepEqual(context.nextMongoOperation(), Buffer.alloc(0));
    assert.equal(context.nextKMSRequest(), null);
    context.addMongoOperationResponse(new Uint8Array([1, 2, 3]));
    context.addMongoOperationResponse(new Uint8Array(0));
    context.finishMongoOperation();
    context.finishKMSRequests();
    assert.deepEqual([context.state, context.status.message], [0, 'wrong state']);
  });

  test('give Buffers that stay as they are, and take further properties', () => {
    const crypt = open({ kmsProviders: serialize({ local: { key: Buffer.alloc(96) } }) });
    const context = explicit(crypt);
    Object.assign(context, { id: 1, ns: 'a.b', document: {} });
    const filter = context.nextMongoOperation();
    assert.ok(Buffer.isBuffer(filter));
    const before = Buffer.from(filter);
    // Grows the memory that the answer was copied out of.
    crypt.makeDecryptionContext(serialize({ a: Buffer.alloc(8 << 20) })).finalize();
    assert.deepEqual(filter, before);
    filter.fill(0);
    assert.deepEqual(context.nextMongoOperation(), before);
    const key = crypt.makeDataKeyContext(serialize({ provider: 'local' }), {}).finalize();
    assert.ok(Buffer.isBuffer(key) && key.length > 200);
  });

  test('never send a command whose analysis was not fed', () => {
    const crypt = open({ kmsProviders: serialize({ local: { key: Buffer.alloc(96) } }), schemaMap: serialize({ 'db.c': { bsonType: 'object' } }) });
    const context = crypt.makeEncryptionContext('db', serialize({ insert: 'c', documents: [] }));
    assert.equal(context.state, 2);
    context.finishMongoOperation();
    assert.deepEqual([context.state, context.finalize().length], [0, 0]);
  });
});

describe('requests to a KMS', () => {
  const masterKey = serialize({ provider: 'aws:eu', region: 'eu-central-1', key: 'k' });
  const named = serialize({ 'aws:eu': { accessKeyId: 'a', secretAccessKey: 'b' } });
  const reply = (status, body) => Buffer.from(`HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const begin = () => open({ kmsProviders: named }).makeDataKeyContext(masterKey, {});

  test('say where to send what, and take an answer of the length they ask for', () => {
    const context = begin();
    assert.equal(context.state, 4);
    const request = context.nextKMSRequest();
    assert.equal(context.nextKMSRequest(), null);
    assert.deepEqual([request.kmsProvider, request.endpoint, request.bytesNeeded, request.uSleep], ['aws:eu', 'kms.eu-central-1.amazonaws.com:443', 1024, 0]);
    assert.ok(Buffer.isBuffer(request.message) && request.message.toString().startsWith('POST / HTTP/1.1\r\n'));
    const answer = reply(200, JSON.stringify({ CiphertextBlob: Buffer.alloc(184, 1).toString('base64') }));
    for (let offset = 0; request.bytesNeeded > 0; ) {
      const part = answer.subarray(offset, offset + Math.min(request.bytesNeeded, 7));
      request.addResponse(part);
      offset += part.length;
    }
    assert.deepEqual(request.status, { type: 0, code: 0 });
    context.finishKMSRequests();
    assert.equal(context.state, 5);
    assert.ok(context.finalize().length > 300);
    assert.equal(request.bytesNeeded, 0);
  });

  test('are given again after a failure that may pass, in the same round or in the next, until it is too much', () => {
    const context = begin();
    const first = context.nextKMSRequest();
    first.addResponse(reply(503, ''));
    assert.deepEqual([first.bytesNeeded, first.status.type], [0, 0]);
    const second = context.nextKMSRequest();
    assert.ok(second.uSleep > 0 && second.bytesNeeded === 1024);
    assert.equal(second.fail(), true);
    context.nextKMSRequest().addResponse(reply(503, ''));
    // The driver asks once a round: what waits to be sent again is part of the next one.
    context.finishKMSRequests();
    assert.deepEqual([context.state, context.status], [4, { type: 0, code: 0 }]);
    context.nextKMSRequest().addResponse(reply(503, ''));
    assert.equal(context.nextKMSRequest(), null);
    context.finishKMSRequests();
    assert.deepEqual(
      [context.state, context.status.message],
      [0, 'KMS request failed after maximum of 3 retries: Error in KMS response. HTTP status=503. Empty body.'],
    );
  });

  test('refuse what is no Uint8Array, and survive an empty one', () => {
    const request = begin().nextKMSRequest();
    assert.throws(() => request.addResponse('x'), typeError('Parameter `value` must be a Uint8Array.'));
    request.addResponse(new Uint8Array(0));
    assert.equal(request.status.message, "argument 'bytes' cannot be empty");
  });

  test('for Google are signed with the key of the account', () => {
    const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    const account = (key) => serialize({ gcp: { email: 'a@b.c', privateKey: new Binary(key) } });
    const gcpKey = serialize({ provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' });
    const context = open({ kmsProviders: account(privateKey.export({ format: 'der', type: 'pkcs8' })) }).makeDataKeyContext(gcpKey, {});
    const request = context.nextKMSRequest();
    assert.equal(request.endpoint, 'oauth2.googleapis.com:443');
    const [header, claims, signature] = request.message.toString().split('assertion=')[1].split('.');
    assert.ok(crypto.verify('sha256', Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(decodeURIComponent(signature), 'base64url')));
    request.addResponse(reply(200, JSON.stringify({ access_token: 'token', expires_in: 3600 })));
    context.finishKMSRequests();
    assert.equal(context.state, 4);
    const second = context.nextKMSRequest();
    assert.equal(second.endpoint, 'cloudkms.googleapis.com:443');
    assert.match(second.message.toString(), /Authorization:Bearer token/);
    second.addResponse(reply(200, JSON.stringify({ ciphertext: Buffer.alloc(120).toString('base64') })));
    context.finishKMSRequests();
    assert.equal(context.state, 5);
  });

  test('for Google with a key that is none of RSA in PKCS#8 fail with the words of the original, and harm nothing', () => {
    const gcpKey = serialize({ provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' });
    const account = (key) => serialize({ gcp: { email: 'a@b.c', privateKey: key } });
    const der = (type, options, format = 'pkcs8') => crypto.generateKeyPairSync(type, options).privateKey.export({ format: 'der', type: format });
    const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
    const keys = {
      'nothing of the kind': Buffer.alloc(9),
      'elliptic curve': der('ec', { namedCurve: 'P-256' }),
      ed25519: der('ed25519'),
      'RSA-PSS': der('rsa-pss', { modulusLength: 1024 }),
      'PKCS#1': der('rsa', { modulusLength: 1024 }, 'pkcs1'),
      PEM: Buffer.from(rsa.export({ format: 'pem', type: 'pkcs8' })),
      'half a key': rsa.export({ format: 'der', type: 'pkcs8' }).subarray(0, 300),
    };
    for (const [name, key] of Object.entries(keys)) {
      const context = open({ kmsProviders: account(new Binary(key)) }).makeDataKeyContext(gcpKey, {});
      assert.equal(context.nextKMSRequest(), null, name);
      context.finishKMSRequests();
      assert.deepEqual([context.state, context.status.message], [0, 'error constructing KMS message: Failed to create GCP oauth request signature'], name);
    }
    const pem = rsa.export({ format: 'pem', type: 'pkcs8' });
    assert.throws(
      () => open({ kmsProviders: account(pem) }),
      typeError('Failed to parse KMS provider `gcp`: unable to parse base64 from UTF-8 field privateKey'),
    );
    const text = open({ kmsProviders: account(rsa.export({ format: 'der', type: 'pkcs8' }).toString('base64')) }).makeDataKeyContext(gcpKey, {});
    assert.equal(text.nextKMSRequest().endpoint, 'oauth2.googleapis.com:443');
  });
});

test('cryptoCallbacks write into the buffer they are given', () => {
  const [key, iv, input] = [Buffer.alloc(32, 1), Buffer.alloc(16, 2), Buffer.alloc(32, 3)];
  for (const mode of ['Cbc', 'Ctr']) {
    const [sealed, opened] = [Buffer.alloc(32), Buffer.alloc(32)];
    assert.equal(cryptoCallbacks[`aes256${mode}EncryptHook`](key, iv, input, sealed), 32);
    assert.equal(cryptoCallbacks[`aes256${mode}DecryptHook`](key, iv, sealed, opened), 32);
    assert.deepEqual(opened, input);
    assert.notDeepEqual(sealed, input);
  }
  for (const [name, length] of [
    ['hmacSha512Hook', 64],
    ['hmacSha256Hook', 32],
  ]) {
    const output = Buffer.alloc(length);
    assert.equal(cryptoCallbacks[name](key, input, output), length);
    assert.deepEqual(
      output,
      crypto
        .createHmac(`sha${length * 8}`, key)
        .update(input)
        .digest(),
    );
  }
  const digest = Buffer.alloc(32);
  assert.equal(cryptoCallbacks.sha256Hook(input, digest), 32);
  assert.deepEqual(digest, crypto.createHash('sha256').update(input).digest());
  assert.equal(cryptoCallbacks.randomHook(digest, 32), 32);
  const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signature = Buffer.alloc(256);
  assert.equal(cryptoCallbacks.signRsaSha256Hook(privateKey.export({ format: 'der', type: 'pkcs8' }), input, signature), 256);
  assert.ok(crypto.verify('sha256', input, publicKey, signature));
  assert.ok(cryptoCallbacks.aes256CbcEncryptHook(Buffer.alloc(1), iv, input, digest) instanceof Error);
  assert.ok(cryptoCallbacks.signRsaSha256Hook(Buffer.alloc(1), input, signature) instanceof Error);
  assert.ok(cryptoCallbacks.randomHook(digest, 33) instanceof Error);
  const short = Buffer.alloc(5);
  assert.equal(cryptoCallbacks.sha256Hook(input, short), 32);
  assert.deepEqual(short, crypto.createHash('sha256').update(input).digest().subarray(0, 5));
});

test('input of 256 MiB is taken, and of one byte more is malformed BSON', () => {
  const limit = 256 * 2 ** 20;
  // A document of one binary.
  const document = (length) => {
    const bytes = Buffer.alloc(length);
    bytes.writeInt32LE(length);
    bytes.write('\u0005b\0', 4, 'latin1');
    bytes.writeInt32LE(length - 13, 7);
    return bytes;
  };
  const crypt = open();
  const context = crypt.makeDecryptionContext(document(limit));
  assert.equal(context.finalize().length, limit);
  assert.throws(() => crypt.makeDecryptionContext(document(limit + 1)), { message: /malformed BSON/i });
});
