// DROP-IN.md as its reader follows it: npm itself resolves the manifests, and the official driver runs on what it installed.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { MongoCrypt } from 'csfle-wasm';
import { serialize } from 'bson';
import { root } from '../../js/dev/paths.mjs';
import { alias, mongoshOf, mongoshProject, packedTarball } from '../hosts/projects.mjs';
import { versions } from '../hosts/versions.mjs';
import { pinned } from '../tools/versions.mjs';
import { fencesOf, proseOf, textOf } from './markdown.mjs';
import { manifest, openProject } from './project.mjs';
import { runnerOf } from './runners.mjs';

const driver = JSON.parse(textOf('node_modules/mongodb/package.json'));

describe('the snippets of DROP-IN.md', { timeout: 300_000 }, () => {
  const all = fencesOf(textOf('DROP-IN.md'));
  const of = (kind) => JSON.parse(all.find((fence) => fence.language === 'json' && fence.kind === kind).text);
  const changed = of('after');
  let project;

  before(async () => {
    project = await openProject();
    project.write('master-key.bin', randomBytes(96));
    const tarball = await packedTarball();
    const clone = join(dirname(project.folder), 'csfle-wasm');
    mkdirSync(clone);
    cpSync(tarball, join(clone, basename(tarball)));
    // A reader has the packages from where packages are; npm's cache will do where it has them.
    await project.shell('unset npm_config_offline; export npm_config_prefer_offline=true npm_config_audit=false npm_config_fund=false');
  });
  after(() => project?.close());

  const runs = {
    'json before': ({ text }) => {
      assert.deepEqual(JSON.parse(text).dependencies, { mongodb: `^${driver.version}`, [alias]: driver.peerDependencies[alias] });
    },
    'json after': () => {
      const { dependencies, ...more } = changed;
      assert.deepEqual(more, {});
      const { [alias]: line, ...rest } = dependencies;
      const { [alias]: _addon, ...before } = of('before').dependencies;
      assert.deepEqual(rest, before);
      // The oldest driver that the document allows, and not what is newest on the day of the test.
      project.write(
        'package.json',
        JSON.stringify({ name: 'hospital', private: true, type: 'module', dependencies: { mongodb: driver.version, [alias]: line } }),
      );
    },
    'sh project': async (fence, context) => {
      const output = await runnerOf(fence).run(fence, context);
      assert.equal(JSON.parse(project.read(`node_modules/${alias}/package.json`)).name, 'csfle-wasm');
      return output;
    },
    // Installed as it stands by tests/hosts/one-line.test.mjs.
    'json overrides': ({ text }) => {
      assert.deepEqual(JSON.parse(text), {
        dependencies: { ...changed.dependencies, mongodb: `^${versions.previousDriver}` },
        overrides: { [alias]: `$${alias}` },
      });
    },
    'json shell': async ({ text }) => {
      assert.deepEqual(JSON.parse(text), { dependencies: { mongosh: pinned.mongosh, [alias]: changed.dependencies[alias] } });
      project.mongoshProgram = mongoshOf(await mongoshProject());
    },
    'js shell': (fence, context) => runnerOf({ ...fence, kind: 'mongosh' }).run(fence, context),
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

describe('what DROP-IN.md says', () => {
  const errorWrapper = (error) => error;
  const open = (kmsProviders, more) => new MongoCrypt({ kmsProviders: serialize(kmsProviders), errorWrapper, ...more });
  const local = { local: { key: Buffer.alloc(96, 1) } };
  const encrypting = (crypt, keyId) =>
    crypt.makeExplicitEncryptionContext(serialize({ v: 'x' }), { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', expressionMode: false });

  test('neither logger nor cryptoCallbacks is ever called', () => {
    const calls = [];
    const cryptoCallbacks = new Proxy({}, { get: (_, hook) => () => calls.push(hook) });
    const crypt = open(local, { logger: (...message) => calls.push(message), cryptoCallbacks, cryptSharedLibSearchPaths: ['$SYSTEM', '/nowhere'] });
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
    assert.deepEqual(states, [
      [5, 3],
      [5, 5],
    ]);
  });

  test('credentials of aws, azure and gcp are asked for when they are not given', () => {
    const masterKeys = {
      aws: {
        region: 'r',
        key: 'k',
      },
      azure: { keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' },
      gcp: { projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' },
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
      assert.deepEqual(
        ['MongoCrypt', 'MongoCryptContext', 'cryptoCallbacks'].filter((one) => one in exported),
        [],
      );
    }
  });

  test('codes and versions are those there are', () => {
    const prose = proseOf(textOf('DROP-IN.md'));
    const { core, js } = JSON.parse(readFileSync(join(root, 'tests', 'vectors', 'error-codes.json'), 'utf8'));
    const codes = [...prose.matchAll(/`((?:ALGORITHM|AUTO|PAYLOAD)_[A-Z_]+)`/g)].map(([, code]) => code);
    assert.equal(codes.length, 7);
    assert.deepEqual(
      codes.filter((code) => ![...core, ...js].includes(code)),
      [],
    );
    assert.ok(prose.includes(`\`mongodb\` ${driver.version}, unmodified`));
    assert.ok(prose.includes(`counts its own from ${manifest.version}.`));
    assert.ok(prose.includes(`\`"${alias}": "npm:csfle-wasm@^${manifest.version}"\``));
    assert.ok(prose.includes(`says \`${MongoCrypt.libmongocryptVersion}\``));
    assert.ok(prose.includes(`mongosh ${pinned.mongosh}:`));
    const { webpack, esbuild, rollup, vite } = pinned;
    for (const [name, version] of Object.entries({
      webpack,
      esbuild,
      rollup: rollup.split('@').at(-1),
      Vite: vite,
      'Next.js': versions.next,
      Bun: versions.bun,
      bun: versions.bun,
      Deno: versions.deno,
      pnpm: versions.pnpm,
      yarn: versions.yarn,
      mongoose: versions.mongoose,
      'The driver': versions.previousDriver,
      'the driver': versions.previousDriver,
    }))
      assert.ok(prose.includes(`${name} ${version}`), `${name} ${version}`);
  });
});
