// Loading: before, while and after init(), bad input, and an instance that trapped. Each test has an instance of its own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import * as bson from 'bson';
import * as nodeEntry from 'csfle-wasm';
import { listening } from '../listening.mjs';
import { keyBytes } from './fixtures.mjs';
import { withTrap } from './trapping-wasm.mjs';

const require = createRequire(import.meta.url);
const wasm = readFileSync(require.resolve('csfle-wasm/csfle.wasm'));
const kmsProviders = { local: { key: keyBytes('local') } };
const algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
let copies = 0;

// A fresh copy of an entry, with no instance yet.
async function fresh(entry) {
  copies += 1;
  return import(`${import.meta.resolve(entry)}?copy=${copies}`);
}

const open = (entry, options = {}) => new entry.ClientEncryption(null, { keyVaultStore: new entry.MemoryKeyVaultStore(), kmsProviders, bson, ...options });
async function fails(work, code) {
  let failure;
  await assert.rejects(
    async () => work(),
    (error) => {
      failure = error;
      return true;
    },
  );
  assert.equal(failure.code, code, failure.stack);
  return failure;
}

const requests = [];
let server;
let origin;
before(async () => {
  server = createServer((request, response) => {
    requests.push(request.url);
    const answers = {
      '/csfle.wasm': [200, 'application/wasm', wasm],
      '/plain': [200, 'application/octet-stream', wasm],
      '/html': [200, 'application/wasm', '<!doctype html>'],
    };
    const [status, type, body] = answers[request.url] ?? [404, 'text/plain', 'no'];
    response.writeHead(status, { 'content-type': type }).end(body);
  });
  await listening(server);
  origin = `http://127.0.0.1:${server.address().port}`;
});
after(() => server?.close());

test('Node needs no init(), and ESM and CommonJS share one instance', async () => {
  await nodeEntry.init();
  const commonjs = require('csfle-wasm');
  assert.equal(commonjs.ClientEncryption, nodeEntry.ClientEncryption);
  assert.equal(commonjs.CsfleError, nodeEntry.CsfleError);
  open(nodeEntry).close();
});

test('before init() everything says so', async () => {
  for (const name of ['csfle-wasm/slim', browserEntry()]) {
    const entry = await fresh(name);
    await fails(() => open(entry), 'HOST_NOT_INITIALIZED');
    await fails(() => entry.errorCodes(), 'HOST_NOT_INITIALIZED');
    await fails(() => entry.version(), 'HOST_NOT_INITIALIZED');
  }
});

test('init() runs once: concurrent calls share a promise, later ones do nothing', async () => {
  const browser = await fresh(browserEntry());
  requests.length = 0;
  const url = `${origin}/csfle.wasm`;
  await Promise.all([browser.init(url), browser.init(url), browser.init(wasm)]);
  await browser.init(url);
  assert.deepEqual(requests, ['/csfle.wasm']);
  const encryption = open(browser);
  const keyId = await encryption.createDataKey('local');
  assert.equal(await encryption.decrypt(await encryption.encrypt(5, { keyId, algorithm })), 5);
  encryption.close();
});

test('while init() runs, calls say that it has not finished', async () => {
  const slim = await fresh('csfle-wasm/slim');
  const running = slim.init(wasm);
  await fails(() => open(slim), 'HOST_NOT_INITIALIZED');
  await running;
  open(slim).close();
});

test('bytes, an ArrayBuffer, a Response with and without the right type, and a module all start it', async () => {
  const inputs = [
    () => wasm,
    () => new Uint8Array(wasm).buffer,
    () => fetch(`${origin}/csfle.wasm`),
    async () => fetch(`${origin}/plain`),
    () => new WebAssembly.Module(wasm),
  ];
  for (const input of inputs) {
    const slim = await fresh('csfle-wasm/slim');
    await slim.init(await input());
    assert.equal(slim.version(), nodeEntry.version());
  }
  for (const input of [`${origin}/csfle.wasm`, new URL('/plain', origin)]) {
    const browser = await fresh(browserEntry());
    await browser.init(input);
    assert.equal(browser.version(), nodeEntry.version());
  }
});

test('the slim entry needs an input and fetches nothing', async () => {
  const slim = await fresh('csfle-wasm/slim');
  for (const wrong of [undefined, null, `${origin}/csfle.wasm`, new URL(origin)]) await fails(() => slim.init(wrong), 'ARGUMENT_INVALID');
});

test('the slim entry brings no BSON library', async () => {
  const slim = await fresh('csfle-wasm/slim');
  await slim.init(wasm);
  await fails(() => open(slim, { bson: undefined }), 'HOST_BSON_MISSING');
  await fails(() => open(slim, { bson: { serialize() {} } }), 'HOST_BSON_MISSING');
});

test('what cannot be loaded is HOST_WASM_FAILED, and the next init() may succeed', async () => {
  const browser = await fresh(browserEntry());
  for (const bad of [`${origin}/absent`, `${origin}/html`, 'http://127.0.0.1:9/csfle.wasm', new Uint8Array([0, 97, 115, 109]), wasm.subarray(0, 1000)]) {
    const error = await fails(() => browser.init(bad), 'HOST_WASM_FAILED');
    if (bad === `${origin}/absent`) assert.equal(error.details.status, 404);
    await fails(() => open(browser), 'HOST_NOT_INITIALIZED');
  }
  await browser.init(wasm);
  open(browser).close();
});

test('an instance that trapped is dead: INTERNAL now and for every later call, and nothing hangs or leaks a stack', async () => {
  const { UUID } = bson;
  const encrypting = (one) => one.encrypt(1, { keyId: new UUID(), algorithm });
  const creating = (one) => one.createDataKey('local');
  const traps = {
    machine_step: encrypting,
    engine_encrypt: encrypting,
    machine_provideKeys: encrypting,
    machine_output: creating,
    engine_createDataKey: creating,
  };
  for (const [trapping, work] of Object.entries(traps)) {
    const slim = await fresh('csfle-wasm/slim');
    await slim.init(withTrap(wasm, trapping));
    const encryption = open(slim);
    const other = open(slim);
    const dead = async (work) => {
      let failure;
      await assert.rejects(
        async () => work(),
        (error) => {
          failure = error;
          return true;
        },
      );
      assert.equal(failure.code, 'INTERNAL', `${trapping}: ${failure.stack}`);
      return failure;
    };
    const first = await dead(() => work(encryption));
    assert.equal(first.cause.name, 'RuntimeError');
    for (const later of [() => creating(encryption), () => encrypting(other), () => open(slim), () => slim.version()]) {
      assert.equal((await dead(later)).details.dead, true);
    }
    encryption.close();
    other.close();
    await slim.init(wasm);
    await dead(() => open(slim));
  }
});

// The browser's bundle is behind the condition "browser", which Node does not set.
function browserEntry() {
  return new URL('./browser.mjs', import.meta.resolve('csfle-wasm/csfle.wasm')).href;
}
