// The package more than once: imported and required, loaded again, in a realm of its own as test runners do it, in threads.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { createContext, Script } from 'node:vm';
import { Worker } from 'node:worker_threads';
import * as imported from 'csfle-wasm';
import { Binary, deserialize, serialize } from 'bson';
import { DETERMINISTIC, encrypted, keyDocument, localKey } from './samples.mjs';

const require = createRequire(import.meta.url);
const file = require.resolve('csfle-wasm');
const kmsProviders = serialize({ local: { key: new Binary(localKey) } });
const key = Buffer.from(keyDocument(1), 'base64');
const stored = serialize({ v: encrypted(1) });

/** Decrypts a value with the classes of one instance. */
function decrypt({ MongoCrypt }, bytes = (value) => value) {
  const context = new MongoCrypt({ kmsProviders: bytes(kmsProviders), errorWrapper: (error) => error }).makeExplicitDecryptionContext(bytes(stored));
  context.addMongoOperationResponse(bytes(key));
  context.finishMongoOperation();
  return deserialize(Uint8Array.from(context.finalize()));
}

function loadAgain() {
  const cached = require.cache[file];
  delete require.cache[file];
  try {
    return require(file);
  } finally {
    require.cache[file] = cached;
  }
}

/** As Jest loads a module: a function of the sandbox's realm, which has its own Uint8Array and its own Error. */
function loadInRealm() {
  const sandbox = createContext({
    Buffer,
    console,
    process,
    setTimeout,
    clearTimeout,
    TextEncoder,
    TextDecoder,
    WebAssembly,
    crypto,
    performance,
    queueMicrotask,
    URL,
    FinalizationRegistry,
  });
  const module = { exports: {} };
  const load = new Script(`(function (module, exports, require, __filename, __dirname) {${readFileSync(file, 'utf8')}\n})`, { filename: file }).runInContext(
    sandbox,
  );
  load.call(module.exports, module, module.exports, createRequire(file), file, dirname(file));
  return { loaded: module.exports, sandbox };
}

describe('another instance', () => {
  test('there is none behind require', () => {
    const required = require('csfle-wasm');
    assert.equal(required.MongoCrypt, imported.MongoCrypt);
    assert.equal(required.MongoCryptContext, imported.MongoCryptContext);
  });

  test('works beside the first one, with classes and caches of its own', () => {
    const second = loadAgain();
    assert.notEqual(second.MongoCrypt, imported.MongoCrypt);
    const [one, other] = [imported, second].map(({ MongoCrypt }) => new MongoCrypt({ kmsProviders, errorWrapper: (error) => error }));
    const options = { keyId: Buffer.alloc(16, 1), algorithm: DETERMINISTIC, expressionMode: false };
    const first = one.makeExplicitEncryptionContext(serialize({ v: 1 }), options);
    first.addMongoOperationResponse(key);
    first.finishMongoOperation();
    assert.equal(one.makeExplicitEncryptionContext(serialize({ v: 1 }), options).state, 5);
    assert.equal(other.makeExplicitEncryptionContext(serialize({ v: 1 }), options).state, 3);
    assert.deepEqual([decrypt(imported), decrypt(second)], [{ v: 'test' }, { v: 'test' }]);
    assert.equal(first instanceof second.MongoCryptContext, false);
  });

  test('works in a realm of its own, with bytes of either', () => {
    const { loaded, sandbox } = loadInRealm();
    const foreign = new Script('(bytes) => Uint8Array.from(bytes)').runInContext(sandbox);
    assert.equal(foreign([1]) instanceof Uint8Array, false);
    assert.deepEqual(decrypt(loaded), { v: 'test' });
    assert.deepEqual(decrypt(loaded, foreign), { v: 'test' });
    assert.deepEqual(decrypt(imported, foreign), { v: 'test' });
    assert.throws(() => new loaded.MongoCrypt({ kmsProviders: 3 }), { name: 'TypeError', message: 'Parameter `options.kmsProviders` must be a Uint8Array.' });
    const context = new loaded.MongoCrypt({ kmsProviders, errorWrapper: (error) => error }).makeDecryptionContext(serialize({ a: 1 }));
    assert.ok(Buffer.isBuffer(context.finalize()));
  });
});

test('threads have an instance each, and bytes of shared memory do', async () => {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { MongoCrypt } = require(workerData.file);
    const crypt = new MongoCrypt({ kmsProviders: workerData.kmsProviders, errorWrapper: (error) => error });
    const context = crypt.makeExplicitDecryptionContext(new Uint8Array(workerData.stored));
    context.addMongoOperationResponse(workerData.key);
    context.finishMongoOperation();
    parentPort.postMessage(context.finalize());
  `;
  const shared = new SharedArrayBuffer(stored.length);
  new Uint8Array(shared).set(stored);
  const results = await Promise.all(
    Array.from(
      { length: 4 },
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(code, { eval: true, workerData: { file, kmsProviders, key, stored: shared } });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  for (const result of results) assert.deepEqual(deserialize(result), { v: 'test' });
});

test('trusted master keys that are set hold for one thread, those of the variable for every thread that inherits it', async (t) => {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { MongoCrypt, setTrustedMasterKeys } = require(workerData.file);
    if (workerData.patterns) setTrustedMasterKeys(workerData.patterns);
    try {
      new MongoCrypt({ kmsProviders: workerData.kmsProviders, errorWrapper: (error) => error }).makeDataKeyContext(workerData.local, {});
      parentPort.postMessage('made');
    } catch (error) {
      parentPort.postMessage(/trust/.test(error.message) ? 'refused' : error.message);
    }
  `;
  const local = serialize({ provider: 'local' });
  const inThread = (env, patterns) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(code, { eval: true, env: { ...process.env, ...env }, workerData: { file, kmsProviders, local, patterns } });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  const makeHere = () => new imported.MongoCrypt({ kmsProviders, errorWrapper: (error) => error }).makeDataKeyContext(local, {});
  t.after(() => imported.setTrustedMasterKeys(undefined));
  imported.setTrustedMasterKeys([]);
  assert.throws(makeHere, /trust/);
  assert.equal(await inThread({}), 'made');
  assert.equal(await inThread({}, []), 'refused');
  assert.equal(await inThread({ CSFLE_TRUSTED_MASTER_KEYS: '[]' }), 'refused');
  // A list that is set does not widen that of the variable.
  assert.equal(await inThread({ CSFLE_TRUSTED_MASTER_KEYS: '[]' }, ['local']), 'refused');
  imported.setTrustedMasterKeys(undefined);
  assert.doesNotThrow(makeHere);
});
