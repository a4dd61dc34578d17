// DROP-IN.md as its reader follows it: npm itself resolves the manifests, offline, and the official driver runs on what it installed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MongoCrypt } from 'csfle-wasm';
import { serialize } from 'bson';
import { root } from '../../js/dev/paths.mjs';
import { fencesOf, proseOf, textOf } from './markdown.mjs';
import { manifest, openProject } from './project.mjs';
import { runnerOf } from './runners.mjs';

const name = 'mongodb-client-encryption';
const driver = JSON.parse(textOf('node_modules/mongodb/package.json'));
const tarball = `csfle-wasm-${manifest.version}.tgz`;

describe('the snippets of DROP-IN.md', { timeout: 300_000 }, () => {
  const all = fencesOf(textOf('DROP-IN.md'));
  const of = (kind) => JSON.parse(all.find((fence) => fence.language === 'json' && fence.kind === kind).text);
  const { before: old, after: changed, shell } = Object.fromEntries(['before', 'after', 'shell'].map((kind) => [kind, of(kind)]));
  let project;

  before(async () => {
    project = await openProject();
    project.write('master-key.bin', randomBytes(96));
    pack(root, project.folder);
    pack(join(root, 'node_modules', 'bson'), project.folder);
    // What the driver itself depends on is not at hand as tarballs: it is linked, and its peers are what is resolved here.
    const copy = join(project.folder, 'driver');
    cpSync(realpathSync(join(root, 'node_modules', 'mongodb')), copy, { recursive: true });
    const { dependencies: _linked, devDependencies: _unused, scripts: _none, ...rest } = driver;
    writeFileSync(join(copy, 'package.json'), JSON.stringify(rest));
    pack(copy, project.folder);
  });
  after(() => project?.close());

  // The manifest with the packages from where they are.
  const install = async ({ dependencies, ...more }) => {
    const local = { ...dependencies, [name]: `file:${tarball}`, mongodb: `file:mongodb-${driver.version}.tgz`, bson: `file:bson-${manifest.devDependencies.bson}.tgz` };
    project.write('package.json', JSON.stringify({ name: 'hospital', private: true, type: 'module', dependencies: local, ...more }));
    return project.shell('npm install --ignore-scripts --no-audit --no-fund');
  };
  const runs = {
    'json before': ({ text }) => {
      assert.deepEqual(JSON.parse(text).dependencies, { mongodb: `^${driver.version}`, [name]: driver.peerDependencies[name] });
    },
    'json after': async () => {
      assert.deepEqual({ ...changed.dependencies, [name]: '' }, { ...old.dependencies, [name]: '' });
      assert.equal(changed.dependencies[name].split('/').at(-1), tarball);
      const { overrides, ...without } = changed;
      const refused = await install(without);
      assert.notEqual(refused.code, 0, 'npm takes it without overrides by now: DROP-IN.md can say so');
      assert.match(refused.stderr, /ERESOLVE/);
      const { code, stderr } = await install({ ...without, overrides });
      assert.equal(code, 0, stderr);
      assert.equal(JSON.parse(project.read(`node_modules/${name}/package.json`)).name, 'csfle-wasm');
      for (const dependency of Object.keys(driver.dependencies).filter((one) => one !== 'bson')) project.link(dependency, realpathSync(join(root, 'node_modules', dependency)));
    },
    // What `npm install` has to do is done above, where the tarballs are; other commands run as they are.
    'sh project': (fence, context) => (fence.text === 'npm install\n' ? undefined : runnerOf(fence).run(fence, context)),
    'json shell': () => {
      assert.deepEqual(shell.overrides, changed.overrides);
      assert.deepEqual(shell.dependencies, { mongosh: manifest.devDependencies.mongosh, [name]: changed.dependencies[name] });
    },
    // The shell of this repository, whose modules stay where they are, with what `overrides` does.
    'js shell': async (fence, context) => {
      await project.shell(`export NODE_OPTIONS='--require ${fileURLToPath(new URL('../mongocrypt/alias.cjs', import.meta.url))}'`);
      return runnerOf({ ...fence, kind: 'mongosh' }).run(fence, context);
    },
  };

  let failed = false;
  for (const fence of all) {
    test(`line ${fence.line}: ${fence.language} ${fence.kind}`, { timeout: 180_000 }, async (t) => {
      if (failed) return t.skip('an earlier snippet failed');
      failed = true;
      const run = runs[`${fence.language} ${fence.kind}`] ?? runnerOf(fence).run;
      await run(fence, { project });
      failed = false;
    });
  }
});

function pack(folder, destination) {
  const { status, stderr } = spawnSync('npm', ['pack', '--ignore-scripts', '--pack-destination', destination], { cwd: folder, encoding: 'utf8', shell: process.platform === 'win32' });
  assert.equal(status, 0, stderr);
}

describe('what DROP-IN.md says', () => {
  const errorWrapper = (error) => error;
  const open = (kmsProviders, more) => new MongoCrypt({ kmsProviders: serialize(kmsProviders), errorWrapper, ...more });
  const local = { local: { key: Buffer.alloc(96, 1) } };
  const encrypting = (crypt, keyId) => crypt.makeExplicitEncryptionContext(serialize({ v: 'x' }), { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', expressionMode: false });

  test('neither logger nor cryptoCallbacks is ever called', () => {
    const calls = [];
    const cryptoCallbacks = new Proxy({}, { get: (_, hook) => () => calls.push(hook) });
    const crypt = open(local, { logger: (...message) => calls.push(message), cryptoCallbacks });
    const context = crypt.makeDataKeyContext(serialize({ provider: 'local' }), {});
    assert.equal(context.state, 5);
    assert.ok(context.finalize().length > 0);
    assert.throws(() => crypt.makeEncryptionContext('db', serialize({ x: 1 })));
    assert.deepEqual(calls, []);
  });

  test('keyExpirationMS: undefined keeps keys for ever, and is not the default of a minute', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const states = [{}, { keyExpirationMS: undefined }].map((options) => {
      const crypt = open(local, options);
      const document = crypt.makeDataKeyContext(serialize({ provider: 'local' }), {}).finalize();
      const keyId = document.subarray(document.indexOf('_id\0') + 9, document.indexOf('_id\0') + 25);
      const context = encrypting(crypt, keyId);
      context.addMongoOperationResponse(document);
      context.finishMongoOperation();
      assert.equal(context.state, 5, context.status.message);
      t.mock.timers.tick(59_000);
      const soon = encrypting(crypt, keyId).state;
      t.mock.timers.tick(3_600_000);
      return [soon, encrypting(crypt, keyId).state];
    });
    assert.deepEqual(states, [[5, 3], [5, 5]]);
  });

  test('credentials of aws, azure and gcp are asked for when they are not given', () => {
    const masterKeys = {
      aws: { region: 'r', key: 'k' }, azure: { keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' }, gcp: { projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' },
    };
    for (const [provider, masterKey] of Object.entries(masterKeys)) {
      const context = open({ [provider]: {} }).makeDataKeyContext(serialize({ provider, ...masterKey }), {});
      assert.equal(context.state, 7, provider);
      const credentials = provider === 'aws' ? { accessKeyId: 'a', secretAccessKey: 'b' } : { accessToken: 't' };
      context.provideKMSProviders(serialize({ [provider]: credentials }));
      assert.equal(context.state, 4, context.status.message);
      assert.equal(context.nextKMSRequest().kmsProvider, provider);
    }
  });

  test('the entries for browsers do not have these classes', async () => {
    for (const entry of ['browser', 'slim']) {
      const exported = await import(new URL(`../../dist/${entry}.mjs`, import.meta.url));
      assert.ok('ClientEncryption' in exported);
      assert.deepEqual(['MongoCrypt', 'MongoCryptContext', 'cryptoCallbacks'].filter((one) => one in exported), []);
    }
  });

  test('codes and versions are those there are', () => {
    const prose = proseOf(textOf('DROP-IN.md'));
    const { core, js } = JSON.parse(readFileSync(join(root, 'tests', 'vectors', 'error-codes.json'), 'utf8'));
    const codes = [...prose.matchAll(/`((?:ALGORITHM|AUTO|PAYLOAD)_[A-Z_]+)`/g)].map(([, code]) => code);
    assert.equal(codes.length, 3);
    assert.deepEqual(codes.filter((code) => ![...core, ...js].includes(code)), []);
    assert.ok(prose.includes(`\`mongodb\` ${driver.version}, unmodified`));
    assert.ok(prose.includes(`this package is at ${manifest.version}.`));
    assert.ok(prose.includes(`says \`${MongoCrypt.libmongocryptVersion}\``));
    assert.ok(prose.includes(`mongosh ${manifest.devDependencies.mongosh}:`));
  });
});
