// The package in a real Chromium, under a policy that allows WebAssembly and nothing else unusual, with the real AWS SDK.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { Binary, EJSON, Long } from 'bson';
import { awsKms, ClientEncryption, MemoryKeyVaultStore, verifyBackup } from 'csfle-wasm';
import { build } from 'esbuild';
import { startServices } from '../../js/dev/services.mjs';
import { startChromium } from './browser/chromium.mjs';
import { serveSite } from './browser/server.mjs';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const region = 'us-east-1';
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const pagePath = (name) => fileURLToPath(new URL(`./browser/${name}`, import.meta.url));

/** Where the last run of each page can be looked at. */
const shotPath = (name) => join(tmpdir(), 'csfle-browser-test', `${name}.png`);

/** Bundles page code with everything it imports, as a user's bundler does: the package by its public name. */
async function bundlePage(name) {
  const { outputFiles } = await build({
    entryPoints: [pagePath(name)],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'warning',
  });
  return outputFiles[0].contents;
}

describe('in Chromium', { timeout: 120_000 }, () => {
  let services;
  let kmsClient;
  let browser;
  let site;
  let results;
  let complaints;
  let cmks;
  let plain;

  before(async () => {
    await mkdir(dirname(shotPath('page')), { recursive: true });
    browser = await startChromium();
    // `npm test` has an emulator running already.
    services = process.env.TEST_KMS_ENDPOINT ? undefined : await startServices({ mongo: false });
    const kmsEndpoint = process.env.TEST_KMS_ENDPOINT || services.kmsEndpoint;
    kmsClient = new KMSClient({ region, endpoint: kmsEndpoint, credentials });
    cmks = [await createCmk(), await createCmk()];
    const fromNode = await writeInNode();
    site = await serveSite(
      {
        '/': await readFile(pagePath('page.html')),
        '/page.css': await readFile(pagePath('page.css')),
        '/page.js': await bundlePage('page.mjs'),
        '/csfle.wasm': await readFile(fileURLToPath(import.meta.resolve('csfle-wasm/csfle.wasm'))),
        '/config.json': JSON.stringify({ kmsEndpoint, region, firstCmk: cmks[0], secondCmk: cmks[1], credentials, fromNode }),
      },
      { connectTo: [kmsEndpoint] },
    );
    ({ results, complaints } = await visit(site.origin, 'page'));
  });

  after(async () => {
    await Promise.all([browser?.close(), site?.close(), services?.stop()]);
    kmsClient?.destroy();
  });

  async function createCmk() {
    return (await kmsClient.send(new CreateKeyCommand({}))).KeyMetadata.Arn;
  }

  /** A key and a document made by the package under Node, for the page to open. */
  async function writeInNode() {
    const store = new MemoryKeyVaultStore();
    const client = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: awsKms(kmsClient) } });
    const keyId = await client.createDataKey('aws', { masterKey: { region, key: cmks[0] }, keyAltNames: ['from-node'] });
    plain = { _id: 7, name: 'Grace', balance: Long.fromString('9007199254740993'), list: [{ note: 'deep' }], photo: new Binary(new Uint8Array([1, 2, 3])) };
    const document = await client.encryptDocument(plain, {
      fields: {
        name: { algorithm: DETERMINISTIC, keyId },
        balance: { algorithm: RANDOM, keyId },
        'list.note': { algorithm: RANDOM, keyAltName: 'from-node' },
        photo: { algorithm: RANDOM, keyId },
      },
    });
    const [keyDocument] = await store.find({});
    client.close();
    const text = (value) => EJSON.stringify(value, { relaxed: false });
    return { keyDocument: text(keyDocument), document: text(document) };
  }

  async function visit(origin, name) {
    const { page, complaints } = await browser.openPage(`${origin}/`);
    await page.waitForSelector('#state[data-state]', { timeout: 60_000 });
    const results = await page.evaluate(() => globalThis.results);
    await page.screenshot({ path: shotPath(name), fullPage: true });
    await page.close();
    return { results, complaints };
  }

  it('runs every step', (t) => {
    t.diagnostic(`screenshot: ${shotPath('page')}`);
    assert.equal(results.failure, undefined);
  });

  it('says that init() is missing before it was called', () => {
    assert.equal(results['before init'], 'HOST_NOT_INITIALIZED');
    assert.equal(results['slim before init'], 'HOST_NOT_INITIALIZED');
  });

  it('takes init() more than once', () => {
    assert.equal(results['init, twice at once and once more'], 'ready');
  });

  it('creates data keys through the AWS SDK and under a local master key', () => {
    assert.deepEqual(results['data key through the AWS SDK'], { provider: 'aws', region, key: cmks[0] });
    assert.deepEqual(results['data key under a local master key'], { provider: 'local' });
  });

  it('encrypts and decrypts', () => {
    assert.equal(results['deterministic twice gives the same bytes'], true);
    assert.equal(results['decrypt a string'], '457-55-5462');
    assert.deepEqual(results['decrypt a document'], { diagnosis: 'none', visits: [1, 2, 3] });
  });

  it('rewraps from local to AWS and from one CMK to another', () => {
    assert.deepEqual(results['rewrap local to AWS'], { provider: 'aws', region, key: cmks[0] });
    assert.deepEqual(results['rewrap AWS to another CMK'], [cmks[1], cmks[1]]);
    assert.equal(results['values from before the rewraps still decrypt'], true);
  });

  it('makes and verifies backups, and Node opens them', async () => {
    assert.deepEqual([results['back up under a passphrase, and verify'], results['back up under a CMK, and verify']], [3, 3]);
    assert.equal(results['refuse a damaged backup'], 'BACKUP_CHUNK_DAMAGED');
    assert.equal((await verifyBackup(Uint8Array.from(results.backup), { passphrase: 'correct horse' })).keys.length, 3);
  });

  it('decrypts what Node wrote, and Node decrypts what it wrote', async () => {
    assert.deepEqual(
      EJSON.parse(results['decrypt the document Node wrote'], { relaxed: false }),
      EJSON.parse(EJSON.stringify(plain, { relaxed: false }), { relaxed: false }),
    );
    const { keys, document } = EJSON.parse(results.forNode);
    const store = new MemoryKeyVaultStore();
    for (const key of keys) await store.insert(key);
    const client = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: awsKms(kmsClient) } });
    const opened = await client.decryptDocument(document);
    client.close();
    assert.deepEqual(opened, { _id: 1, ssn: '457-55-5462', record: { diagnosis: 'none', visits: [1, 2, 3] } });
  });

  it('refuses a damaged value', () => {
    assert.equal(results['refuse a damaged value'], 'CRYPTO_AUTHENTICATION_FAILED');
  });

  it('runs from the slim entry with bytes and a BSON library of the page', () => {
    assert.equal(results['slim without a BSON library'], 'HOST_BSON_MISSING');
    assert.equal(results['slim with its own bytes'], 'slim');
  });

  it('breaks no policy and leaves no complaint in the console', () => {
    assert.deepEqual(results.violations, []);
    assert.deepEqual(complaints, []);
  });

  it('says so where the policy forbids WebAssembly', async () => {
    const strict = await serveSite(
      {
        '/': await readFile(pagePath('page.html')),
        '/page.css': await readFile(pagePath('page.css')),
        '/page.js': await bundlePage('forbidden.mjs'),
        '/csfle.wasm': await readFile(fileURLToPath(import.meta.resolve('csfle-wasm/csfle.wasm'))),
      },
      { allowWasm: false },
    );
    try {
      const { results: outcome, complaints: heard } = await visit(strict.origin, 'forbidden');
      assert.equal(outcome.code, 'HOST_WASM_FAILED');
      // Both ways in which the test above listens do hear a broken policy.
      assert.ok(outcome.violations.includes('img-src'));
      assert.match(heard.join('\n'), /Content Security Policy/);
    } finally {
      await strict.close();
    }
  });
});
