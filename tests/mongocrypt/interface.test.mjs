// The classes as their original has them: what hangs where, what may be replaced, and what a call on the wrong object does.
import assert from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, test } from 'node:test';
import * as package_ from 'csfle-wasm';
import { Binary, deserialize, serialize, setInternalBufferSize } from 'bson';

const { cryptoCallbacks, MongoCrypt, MongoCryptContext } = package_;
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const local = serialize({ local: { key: Buffer.alloc(96) } });
const errorWrapper = (error) => error;
const open = (more = {}) => new MongoCrypt({ kmsProviders: local, errorWrapper, ...more });
const keyId = Buffer.alloc(16, 1);
const explicit = (crypt, more = {}) =>
  crypt.makeExplicitEncryptionContext(serialize({ v: 'x' }), { keyId, algorithm: DETERMINISTIC, expressionMode: false, ...more });
const methods = [
  'nextMongoOperation',
  'addMongoOperationResponse',
  'finishMongoOperation',
  'nextKMSRequest',
  'provideKMSProviders',
  'finishKMSRequests',
  'finalize',
];
const makers = [
  'makeEncryptionContext',
  'makeExplicitEncryptionContext',
  'makeDecryptionContext',
  'makeExplicitDecryptionContext',
  'makeDataKeyContext',
  'makeRewrapManyDataKeyContext',
];
const ownNames = (object) => Object.getOwnPropertyNames(object).toSorted();

describe('shape', () => {
  test('of what is exported', () => {
    assert.deepEqual([typeof MongoCrypt, typeof MongoCryptContext], ['function', 'function']);
    assert.equal('MongoCryptKMSRequestCtor' in package_ || 'MongoCryptKMSRequest' in package_, false);
    assert.deepEqual(Object.keys(cryptoCallbacks), [
      'randomHook',
      'sha256Hook',
      'signRsaSha256Hook',
      'aes256CbcEncryptHook',
      'aes256CbcDecryptHook',
      'aes256CtrEncryptHook',
      'aes256CtrDecryptHook',
      'hmacSha512Hook',
      'hmacSha256Hook',
    ]);
  });

  test('of MongoCrypt: methods and a status on the prototype, the rest on the object', () => {
    assert.deepEqual(ownNames(MongoCrypt.prototype), ['constructor', ...makers, 'status'].toSorted());
    const crypt = open();
    assert.deepEqual(Object.keys(crypt).toSorted(), ['cryptSharedLibVersionInfo', 'cryptoHooksProvider', 'errorWrapper', 'mc']);
    assert.deepEqual(crypt.status, { type: 0, code: 0 });
  });

  test('of MongoCryptContext: methods and getters on the prototype, an inner context on the object', () => {
    assert.deepEqual(ownNames(MongoCryptContext.prototype), ['constructor', ...methods, 'state', 'status'].toSorted());
    const context = explicit(open());
    assert.deepEqual(Object.keys(context), ['context', 'errorWrapper']);
    assert.equal(context.context.state, 3);
    for (const name of methods) assert.equal(typeof context.context[name], 'function', name);
  });

  test('of a request: everything on its prototype', () => {
    const crypt = new MongoCrypt({ kmsProviders: serialize({ aws: { accessKeyId: 'a', secretAccessKey: 'b' } }), errorWrapper });
    const request = crypt.makeDataKeyContext(serialize({ provider: 'aws', region: 'r', key: 'k' }), {}).nextKMSRequest();
    assert.deepEqual(Object.keys(request), []);
    assert.deepEqual(ownNames(Object.getPrototypeOf(request)), [
      'addResponse',
      'bytesNeeded',
      'constructor',
      'endpoint',
      'fail',
      'kmsProvider',
      'message',
      'status',
      'uSleep',
    ]);
  });
});

describe('stand-ins', () => {
  const wrapping = (error) => new RangeError('wrapped', { cause: error });
  const broken = (names, getters) =>
    Object.defineProperties(
      {},
      Object.fromEntries([
        ...names.map((name) => [
          name,
          {
            value() {
              throw new Error(name);
            },
          },
        ]),
        ...getters.map((name) => [
          name,
          {
            get() {
              throw new Error(name);
            },
          },
        ]),
      ]),
    );

  test('in the place of the inner context have their errors wrapped', () => {
    const context = new MongoCryptContext(broken(methods, ['status', 'state']), wrapping);
    for (const name of methods)
      assert.throws(
        () => context[name](new Uint8Array(3)),
        ({ message, cause }) => message === 'wrapped' && cause.message === name,
        name,
      );
    for (const name of ['status', 'state'])
      assert.throws(
        () => context[name],
        ({ message, cause }) => message === 'wrapped' && cause.message === name,
        name,
      );
  });

  test('in the place of the inner object have their errors wrapped', () => {
    const crypt = open({ errorWrapper: wrapping });
    crypt.mc = broken(makers, ['status']);
    for (const name of makers)
      assert.throws(
        () => crypt[name](new Uint8Array(3), new Uint8Array(3)),
        ({ message, cause }) => message === 'wrapped' && cause.message === name,
        name,
      );
    assert.throws(
      () => crypt.status,
      ({ message, cause }) => message === 'wrapped' && cause.message === 'status',
    );
  });

  test('get what was handed in, and their results are handed out', () => {
    const context = new MongoCryptContext(
      {
        addMongoOperationResponse(...given) {
          this.seen = given;
        },
        finalize: () => 'result',
        state: 5,
      },
      errorWrapper,
    );
    context.addMongoOperationResponse('anything');
    assert.deepEqual([context.context.seen, context.finalize(), context.state], [['anything'], 'result', 5]);
  });

  test('may be proxies and subclasses', () => {
    class Observed extends MongoCrypt {
      makeDecryptionContext(buffer) {
        this.made = (this.made ?? 0) + 1;
        return super.makeDecryptionContext(buffer);
      }
    }
    const crypt = new Observed({ kmsProviders: local, errorWrapper });
    assert.equal(new Proxy(crypt, {}).makeDecryptionContext(serialize({ a: 1 })).state, 5);
    assert.equal(crypt instanceof MongoCrypt && crypt.made, 1);
    const context = new Proxy(explicit(crypt), {});
    assert.ok(context instanceof MongoCryptContext);
    context.finishMongoOperation();
    assert.match(context.status.message, /^not all keys requested were satisfied/);
  });

  test('on no object at all are a TypeError', () => {
    for (const name of methods) assert.throws(() => MongoCryptContext.prototype[name].call(undefined), TypeError, name);
    for (const name of makers) assert.throws(() => MongoCrypt.prototype[name].call(undefined), TypeError, name);
    const { context } = explicit(open());
    for (const name of methods) assert.throws(() => context[name].call({}, new Uint8Array(1)), TypeError, name);
  });
});

describe('options', () => {
  test("count when they are the object's own", () => {
    assert.throws(() => new MongoCrypt(Object.create({ kmsProviders: local, errorWrapper })), { name: 'TypeError', message: 'no kms provider set' });
    assert.ok(new MongoCrypt(Object.create({ logger: 1, keyExpirationMS: -1 }, { kmsProviders: { value: local, enumerable: true } })));
  });

  test("are complained about in the binding's order", () => {
    const message = (options) => {
      try {
        new MongoCrypt(options);
      } catch (error) {
        return error.message;
      }
      return undefined;
    };
    assert.equal(message({ schemaMap: 1, logger: 1 }), 'Parameter `options.schemaMap` must be a Uint8Array.');
    assert.equal(message({ logger: 1, cryptSharedLibSearchPaths: 1, keyExpirationMS: -1 }), 'Storing non-function as callback logger');
    assert.equal(message({ cryptSharedLibSearchPaths: 1, keyExpirationMS: -1 }), 'Option `cryptSharedLibSearchPaths` must be an array');
    assert.equal(message({ cryptSharedLibPath: '/x', keyExpirationMS: -1 }), 'Option `keyExpirationMS` must be a non-negative number');
    assert.equal(message({ cryptSharedLibPath: '/x' }), 'no kms provider set');
    assert.match(message({ cryptSharedLibPath: undefined, kmsProviders: local }), /^A crypt_shared override path was specified \[undefined\]/);
  });

  test('of explicit encryption are required, and texts are made of what is there', () => {
    const crypt = open();
    const value = serialize({ v: 'x' });
    for (const options of [undefined, null]) {
      assert.throws(() => crypt.makeExplicitEncryptionContext(value, options), { name: 'TypeError', message: 'Cannot convert undefined or null to object' });
      assert.throws(() => crypt.makeDataKeyContext(serialize({ provider: 'local' }), options), {
        name: 'TypeError',
        message: 'Cannot convert undefined or null to object',
      });
    }
    assert.throws(() => crypt.makeExplicitEncryptionContext(value, 1), { message: 'option `expressionMode` is required.' });
    assert.throws(() => explicit(crypt, { expressionMode: 1 }), { message: 'option `expressionMode` is required.' });
    assert.throws(() => explicit(crypt, { algorithm: Symbol('x') }), TypeError);
    assert.throws(() => crypt.makeEncryptionContext(Symbol('x'), serialize({ ping: 1 })), TypeError);
    assert.equal(explicit(crypt, { algorithm: { toString: () => DETERMINISTIC } }).state, 3);
    // biome-ignore lint/suspicious/noSparseArray: what a hole does is the point
    assert.equal(crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyAltNames: [, serialize({ keyAltName: 'a' })] }).state, 5);
    assert.throws(() => crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyAltNames: [undefined] }), /options\.keyAltName\[\]/);
  });
});

describe('bytes', () => {
  const spaced = (bytes, buffer) => {
    const view = new Uint8Array(buffer, 3, bytes.length);
    view.set(bytes);
    return view;
  };

  test('may be any Uint8Array: a part, shared, of a subclass, of another realm', () => {
    class Mine extends Uint8Array {
      get [Symbol.toStringTag]() {
        return 'Mine';
      }
    }
    const crypt = open();
    const reply = serialize({ a: 1 });
    const forms = {
      part: spaced(reply, new ArrayBuffer(reply.length + 9)),
      shared: spaced(reply, new SharedArrayBuffer(reply.length + 9)),
      resizable: spaced(reply, new ArrayBuffer(reply.length + 9, { maxByteLength: 1024 })),
      subclass: Mine.from(reply),
      realm: runInNewContext('Uint8Array.from(bytes)', { bytes: [...reply] }),
      buffer: Buffer.from(reply),
    };
    for (const [name, form] of Object.entries(forms)) {
      assert.deepEqual(crypt.makeDecryptionContext(form).finalize(), Buffer.from(reply), name);
      assert.ok(open({ kmsProviders: form === forms.part ? spaced(local, new ArrayBuffer(999)) : local }), name);
    }
  });

  test('may be nothing else', () => {
    const crypt = open();
    const spoof = Object.defineProperty([5, 0, 0, 0, 0], Symbol.toStringTag, { value: 'Uint8Array' });
    for (const other of [
      new Uint8ClampedArray(5),
      new Int8Array(5),
      new Uint16Array(5),
      new DataView(new ArrayBuffer(5)),
      new ArrayBuffer(5),
      spoof,
      Object.create(Uint8Array.prototype),
      'x',
      null,
      undefined,
      1,
    ]) {
      assert.throws(() => crypt.makeDecryptionContext(other), { name: 'TypeError', message: 'Parameter `value` must be a Uint8Array.' });
    }
    assert.equal(crypt.makeRewrapManyDataKeyContext(serialize({}), new DataView(new ArrayBuffer(5))).state, 3);
  });

  test('that were handed to another thread are empty', () => {
    const reply = Uint8Array.from(serialize({ a: 1 }));
    structuredClone(reply.buffer, { transfer: [reply.buffer] });
    assert.throws(() => open().makeDecryptionContext(reply), { message: 'malformed bson' });
    assert.throws(() => open({ kmsProviders: reply }), { message: 'invalid BSON' });
  });

  test('of no length are an error, never the end of the process', () => {
    const empty = new Uint8Array(0);
    const crypt = open();
    for (const make of [
      () => crypt.makeEncryptionContext('db', empty),
      () => crypt.makeDecryptionContext(empty),
      () => crypt.makeExplicitDecryptionContext(empty),
      () => crypt.makeDataKeyContext(empty, {}),
      () => crypt.makeExplicitEncryptionContext(empty, { keyId, algorithm: DETERMINISTIC, expressionMode: false }),
      () => explicit(crypt, { keyId: empty }),
      () => explicit(crypt, { keyId: undefined, keyAltName: empty }),
      () => crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyMaterial: empty }),
      () => crypt.makeDataKeyContext(serialize({ provider: 'local' }), { keyAltNames: [empty] }),
      () => open({ kmsProviders: empty }),
      () => open({ schemaMap: empty }),
      () => open({ encryptedFieldsMap: empty }),
      () => crypt.makeRewrapManyDataKeyContext(serialize({}), empty),
    ])
      assert.throws(make, { name: 'TypeError' }, String(make));
    for (const method of ['addMongoOperationResponse', 'provideKMSProviders']) {
      const context = explicit(crypt);
      context[method](empty);
      assert.deepEqual([context.state, context.status.type, context.status.code], [0, 1, 1], method);
    }
  });

  test('may be many', () => {
    const crypt = open();
    setInternalBufferSize(60 << 20);
    const text = 'x'.repeat(17 << 20);
    const reply = serialize({ cursor: { firstBatch: [{ text }, { text }, { text }] } });
    assert.equal(Buffer.compare(crypt.makeDecryptionContext(reply).finalize(), reply), 0);
    const command = serialize({ insert: 'c', documents: [{ text }] });
    const context = open({ bypassQueryAnalysis: true }).makeEncryptionContext('db', command);
    context.finishMongoOperation();
    assert.equal(Buffer.compare(context.finalize(), command), 0);
  });
});

describe('lifetime', () => {
  setFlagsFromString('--expose-gc');
  const collect = async () => {
    for (let round = 0; round < 4; round += 1) {
      runInNewContext('gc')();
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  };

  test('a context outlives its MongoCrypt, and a request its context', async () => {
    const parts = (() => {
      const crypt = new MongoCrypt({
        kmsProviders: serialize({ aws: { accessKeyId: 'a', secretAccessKey: 'b' }, local: { key: Buffer.alloc(96) } }),
        errorWrapper,
      });
      const remote = crypt.makeDataKeyContext(serialize({ provider: 'aws', region: 'r', key: 'k' }), {});
      return {
        crypt: new WeakRef(crypt),
        remote: new WeakRef(remote),
        request: remote.nextKMSRequest(),
        context: crypt.makeDataKeyContext(serialize({ provider: 'local' }), {}),
      };
    })();
    await collect();
    assert.deepEqual([parts.crypt.deref(), parts.remote.deref()], [undefined, undefined]);
    assert.equal(parts.request.bytesNeeded, 1024);
    assert.ok(parts.request.message.length > 300);
    parts.request.addResponse(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
    assert.equal(parts.request.status.type, 1);
    assert.ok(parts.context.finalize().length > 200);
  });

  test('a request of a finished round takes nothing and tells nothing more, and still says whose it was', () => {
    const crypt = new MongoCrypt({ kmsProviders: serialize({ azure: { tenantId: 't', clientId: 'c', clientSecret: 's' } }), errorWrapper });
    const context = crypt.makeDataKeyContext(serialize({ provider: 'azure', keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' }), {});
    const first = context.nextKMSRequest();
    const body = '{"access_token":"token","expires_in":60}';
    first.addResponse(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
    context.finishKMSRequests();
    const second = context.nextKMSRequest();
    assert.deepEqual([second.bytesNeeded, second.endpoint], [1024, 'v.vault.azure.net:443']);
    assert.deepEqual(
      [first.bytesNeeded, first.endpoint, first.kmsProvider, first.status, first.fail()],
      [0, 'login.microsoftonline.com:443', 'azure', { type: 0, code: 0 }, false],
    );
    first.addResponse(Buffer.from('garbage\r\n'));
    assert.deepEqual([second.bytesNeeded, second.status, context.state], [1024, { type: 0, code: 0 }, 4]);
  });

  test('state and status stay what they are after every end', () => {
    const done = open().makeDataKeyContext(serialize({ provider: 'local' }), {});
    const key = done.finalize();
    assert.deepEqual([done.state, done.status], [6, { type: 0, code: 0 }]);
    assert.ok(deserialize(key)._id instanceof Binary);
    assert.deepEqual(done.finalize(), Buffer.alloc(0));
    assert.deepEqual([done.state, done.status.message], [0, 'wrong state']);
    const failed = explicit(open());
    failed.finishMongoOperation();
    const { message } = failed.status;
    for (const name of methods.filter((method) => !['provideKMSProviders'].includes(method))) failed[name](serialize({}));
    assert.deepEqual([failed.state, failed.status.message], [0, message]);
  });
});
