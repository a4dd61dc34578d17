// docs/http-key-vault.md as its reader follows it: its server over a real MongoDB client, its store in Node and in a real Chromium.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request as send } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Binary, EJSON, Long, UUID } from 'bson';
import { transform } from 'esbuild';
import { MongoClient } from 'mongodb';
import { root } from '../../js/dev/paths.mjs';
import { emulatorCredentials } from '../../js/dev/services.mjs';
import { packedTarball } from '../hosts/projects.mjs';
import { listening } from '../listening.mjs';
import { runInBrowser } from './browser.mjs';
import { fencesOf, markdownFiles, textOf } from './markdown.mjs';
import { openProject } from './project.mjs';
import { filledIn, printsAsSaid } from './runners.mjs';

const PAGE = 'docs/http-key-vault.md';
const SESSION = 'session=of-a-user';
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const fences = fencesOf(textOf(PAGE));
const fenceOf = (kind) => fences.find((fence) => `${fence.language} ${fence.kind}`.startsWith(kind));
const failsWith = (code, status) => (error) => error.code === code && error.details.status === status;

describe(PAGE, { timeout: 300_000 }, () => {
  let project;
  let client;
  let server;
  let serverPort;
  let site;
  let library;
  let store;
  let encryption;
  const vault = () => client.db('encryption').collection('__keyVault');

  before(async () => {
    project = await openProject();
    project.install(await packedTarball());
    client = await MongoClient.connect(project.mongodbUri);
    for (const { language, kind, text } of fences) {
      const [word, file] = kind.split(' ');
      if (language === 'ts' && word === 'file') project.write(file, text);
    }
    const { code } = await transform(fenceOf('ts file').text, { loader: 'ts', format: 'esm', target: 'es2022' });
    project.write('http-key-vault-store.mjs', code);
    project.write('your-sign-in.mjs', `export const isSignedIn = async (request) => request.headers.cookie === ${JSON.stringify(SESSION)};\n`);

    serverPort = await freePort();
    const source = filledIn(fenceOf('js server').text, project).replace('8787', serverPort);
    project.write('key-vault-server.mjs', source);
    server = spawn(process.execPath, ['key-vault-server.mjs'], { cwd: project.folder, stdio: ['ignore', 'pipe', 'inherit'] });
    await Promise.race([
      once(server.stdout, 'data'),
      once(server, 'exit').then(() => {
        throw new Error('the server ended');
      }),
    ]);

    // As a browser would, which has the cookie of the session.
    site = createServer((incoming, outgoing) => forward(incoming, outgoing, SESSION));
    await listening(site);
    const require = createRequire(join(project.folder, 'x.cjs'));
    library = require('csfle-wasm');
    const { HttpKeyVaultStore } = await import(pathToFileURL(join(project.folder, 'http-key-vault-store.mjs')));
    store = new HttpKeyVaultStore(`http://127.0.0.1:${site.address().port}/key-vault`);
    encryption = openEncryption();
  });

  after(async () => {
    encryption?.close();
    await client?.close();
    site?.closeAllConnections();
    site?.close();
    if (server?.kill()) await once(server, 'exit');
    await project?.close();
  });

  const masterKey = () => ({ region: 'us-east-1', key: project.keyArn });

  function openEncryption() {
    const { KMSClient } = createRequire(join(project.folder, 'x.cjs'))('@aws-sdk/client-kms');
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = emulatorCredentials;
    const kms = new KMSClient({ region: 'us-east-1', endpoint: project.kmsEndpoint, credentials: { accessKeyId, secretAccessKey }, maxAttempts: 1 });
    return new library.ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: library.awsKms(kms) }, trustedMasterKeys: [project.keyArn] });
  }

  function forward(incoming, outgoing, cookie) {
    const headers = { ...incoming.headers, ...(cookie === undefined ? {} : { cookie }) };
    const onward = send({ host: '127.0.0.1', port: serverPort, path: incoming.url, method: incoming.method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  }

  /** One request, as a page with this session could make it by hand. Resolves to status and body. */
  async function post(method, body, { headers = {}, verb = 'POST' } = {}) {
    const response = await fetch(`http://127.0.0.1:${serverPort}/key-vault/${method}`, {
      method: verb,
      headers: { cookie: SESSION, 'content-type': 'application/json', ...headers },
      ...(verb === 'GET' ? {} : { body: typeof body === 'string' ? body : EJSON.stringify(body, { relaxed: false }) }),
    });
    return { status: response.status, ...EJSON.parse(await response.text()) };
  }

  const newDocument = (more) => ({
    _id: new UUID(),
    keyMaterial: new Binary(new Uint8Array(184), 0),
    creationDate: new Date(),
    updateDate: new Date(),
    status: 1,
    masterKey: { provider: 'aws', ...masterKey() },
    ...more,
  });

  /** Runs `work`, after which the key vault has to be as it was. */
  async function unchanged(work) {
    const all = () =>
      vault()
        .find({}, { sort: { _id: 1 } })
        .toArray();
    const before = await all();
    await work();
    assert.deepEqual(await all(), before);
  }

  test('the page makes a data key, encrypts and decrypts in a browser', async () => {
    const page = fenceOf('ts page').text;
    const [policy] = markdownFiles().flatMap((path) => fencesOf(textOf(path)).filter(({ language, kind }) => language === 'http' && kind === 'policy'));
    const header = /^Content-Security-Policy: (.+)\n$/.exec(policy.text)[1];
    const output = await runInBrowser(filledIn(page, project), {
      project,
      policy: header,
      loader: 'ts',
      cookie: `${SESSION}; SameSite=Strict; HttpOnly`,
      forward: { '/key-vault/': (incoming, outgoing) => forward(incoming, outgoing) },
    });
    printsAsSaid(page, output);
    assert.equal(await vault().countDocuments({ keyAltNames: 'patients.phone', 'masterKey.key': project.keyArn }), 1);
  });

  test('page and store compile as strict TypeScript', () => {
    project.write('page.ts', fenceOf('ts page').text);
    const compilerOptions = {
      target: 'es2022',
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      module: 'preserve',
      moduleResolution: 'bundler',
      customConditions: ['browser'],
      lib: ['ES2022', 'DOM'],
      types: [],
    };
    project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['page.ts'] }));
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout } = spawnSync(process.execPath, [compiler, '--project', '.'], { cwd: project.folder, encoding: 'utf8' });
    assert.equal(stdout, '');
  });

  test('data keys are made and found, values and documents encrypted and decrypted', async () => {
    const keyId = await encryption.createDataKey('aws', { masterKey: masterKey(), keyAltNames: ['patients.ssn'] });
    const ssn = await encryption.encrypt('457-55-5462', { keyAltName: 'patients.ssn', algorithm: DETERMINISTIC });
    const fields = { ssn: { keyId, algorithm: DETERMINISTIC } };
    const document = await encryption.encryptDocument({ name: 'Ada', ssn: '457-55-5462' }, { fields });
    assert.deepEqual(document.ssn.buffer, ssn.buffer);

    const other = openEncryption();
    assert.equal(await other.decrypt(ssn), '457-55-5462');
    assert.deepEqual(await other.decryptDocument(document), { name: 'Ada', ssn: '457-55-5462' });
    assert.deepEqual((await other.getKey(keyId)).keyAltNames, ['patients.ssn']);
    assert.equal((await other.getKeyByAltName('patients.ssn'))._id.toHexString(), keyId.toHexString());
    assert.equal(await other.getKeyByAltName('patients.none'), null);
    other.close();

    const again = encryption.createDataKey('aws', { masterKey: masterKey(), keyAltNames: ['patients.ssn'] });
    await assert.rejects(again, failsWith('KEY_VAULT_DUPLICATE_KEY', 500));
    await encryption.createDataKey('aws', { masterKey: masterKey() });
  });

  test('calls that list the vault or change a key are refused', async () => {
    const keyId = (await encryption.getKeyByAltName('patients.ssn'))._id;
    await unchanged(async () => {
      await assert.rejects(encryption.getKeys().toArray(), failsWith('ARGUMENT_INVALID', 403));
      for (const call of [
        () => encryption.addKeyAltName(keyId, 'other'),
        () => encryption.removeKeyAltName(keyId, 'patients.ssn'),
        () => encryption.rewrapManyDataKey({ _id: keyId }, { proof: false }),
      ])
        await assert.rejects(call, { code: 'KEY_VAULT_NOT_WRITABLE' });
      await assert.rejects(encryption.deleteKey(keyId), { code: 'KEY_VAULT_RETIREMENT_UNSUPPORTED' });
    });
  });

  test('filters of another shape are refused', async () => {
    const id = new UUID();
    const filters = [
      {},
      [],
      null,
      '"x"',
      { _id: { $ne: id } },
      { _id: { $in: [id] } },
      { _id: 'x' },
      { _id: new Binary(new Uint8Array(16), 0) },
      { _id: id, $where: 'true' },
      { $where: 'sleep(1000)' },
      { $expr: { $eq: [1, 1] } },
      { keyAltNames: { $exists: true } },
      { keyAltNames: /./ },
      { keyAltNames: ['a'] },
      { keyAltNames: 'a'.repeat(201) },
      { 'masterKey.provider': 'aws' },
      { $or: [] },
      { $or: [{ _id: { $in: [id] } }] },
      { $or: [{ _id: { $in: [id] } }, {}] },
      { $or: [{ _id: { $in: [id], $exists: true } }, { keyAltNames: { $in: [] } }] },
      { $or: [{ _id: { $in: [id] } }, { keyAltNames: { $in: [/./] } }] },
      { $or: [{ _id: { $in: [id] } }, { keyAltNames: { $in: [] } }, {}] },
      { $or: [{ _id: { $in: Array(1001).fill(id) } }, { keyAltNames: { $in: [] } }] },
    ];
    for (const filter of filters) assert.deepEqual(await post('find', filter), { status: 403, code: 'ARGUMENT_INVALID' }, EJSON.stringify(filter));
    const allowed = await post('find', { $or: [{ _id: { $in: [id] } }, { keyAltNames: { $in: ['patients.ssn'] } }] });
    assert.equal(allowed.result.length, 1);
  });

  test('key documents of another form are refused, and none replaces one that is there', async () => {
    const present = await vault().findOne({ keyAltNames: 'patients.ssn' });
    await unchanged(async () => {
      for (const document of [
        newDocument({ masterKey: { provider: 'local' } }),
        newDocument({ masterKey: { ...newDocument().masterKey, endpoint: 'kms.attacker.example' } }),
        newDocument({ masterKey: { provider: 'aws', region: 'us-east-1', key: 'alias/other' } }),
        newDocument({ _id: 'x' }),
        newDocument({ keyMaterial: new Binary(new Uint8Array(5000), 0) }),
        newDocument({ keyMaterial: 'x' }),
        newDocument({ status: 'x' }),
        newDocument({ creationDate: Long.fromNumber(1) }),
        newDocument({ keyAltNames: 'a' }),
        newDocument({ keyAltNames: [{ $gt: '' }] }),
        newDocument({ more: 1 }),
        [newDocument()],
      ])
        assert.deepEqual(await post('insert', document), { status: 403, code: 'ARGUMENT_INVALID' }, EJSON.stringify(document));
      assert.deepEqual(await post('insert', newDocument({ _id: present._id })), { status: 500, code: 'KEY_VAULT_DUPLICATE_KEY' });
    });
  });

  test('a request without a session, to another path, of another type, malformed or too long changes nothing', async () => {
    await unchanged(async () => {
      const body = { keyAltNames: 'patients.ssn' };
      assert.equal((await post('find', body, { headers: { cookie: 'session=guessed' } })).status, 401);
      for (const method of ['delete', 'deleteOne', 'rewrapIf', 'retireKey', 'purgeRetiredKey', 'find/', '__proto__', '../key-vault', 'find?x=1'])
        assert.equal((await post(method, body)).status, 400, method);
      assert.equal((await post('find', body, { headers: { 'content-type': 'text/plain' } })).status, 400);
      assert.equal((await post('find', body, { verb: 'GET' })).status, 400);
      assert.equal((await post('find', body, { verb: 'DELETE' })).status, 400);
      assert.equal((await post('find', '{')).status, 500);
      assert.equal((await post('find', { _id: new Binary(new Uint8Array(15), 4) })).status, 500);
      assert.equal((await post('find', '['.repeat(90_000))).status, 500);
      assert.equal((await post('find', JSON.stringify({ keyAltNames: 'a'.repeat(100_000) }))).status, 413);
      assert.equal((await post('find', body)).result.length, 1);
    });
  });
});

async function freePort() {
  const server = createServer();
  const port = await listening(server);
  server.close();
  await once(server, 'close');
  return port;
}
