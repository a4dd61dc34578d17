// Runs every snippet of the documents as it is written, in order, as one reader would who installs the package and then tries them
// one after the other.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { ClientEncryption } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { root } from '../../js/dev/paths.mjs';
import { fencesOf, markdownFiles, textOf } from './markdown.mjs';
import { openProject } from './project.mjs';
import { runnerOf, runners } from './runners.mjs';

const namespace = 'encryption.__keyVault';

describe('the snippets of README.md', { timeout: 600_000 }, () => {
  const isInstallation = ({ language, kind }) => language === 'sh' && ['clone', 'install'].includes(kind);
  const all = ['README.md', 'docs/typescript.md'].flatMap((path) => fencesOf(textOf(path)).map((fence) => ({ ...fence, path })));
  const fences = [...all.filter(isInstallation), ...all.filter((fence) => !isInstallation(fence))];
  const state = {};
  let project;
  let client;
  let vault;
  let lastOutput;

  before(async () => {
    project = await openProject();
    client = await MongoClient.connect(project.mongodbUri);
    vault = new ClientEncryption(client, { keyVaultNamespace: namespace, kmsProviders: {} });
  });
  after(async () => {
    vault?.close();
    await client?.close();
    await project?.close();
  });

  const keyIdOf = async (name) => (await vault.getKeyByAltName(name))._id.toHexString(true);
  const providers = async () => (await vault.getKeys().toArray()).map(({ masterKey }) => masterKey.provider);

  // Later snippets need what earlier ones left: the first failure fails the run, and those after it would only repeat it.
  let failed = false;
  for (const fence of fences) {
    test(`${fence.path}:${fence.line}: ${fence.language} ${fence.kind}`, { timeout: 180_000 }, async (t) => {
      if (failed) return t.skip('an earlier snippet failed');
      failed = true;
      const { run, file } = runnerOf(fence);
      const output = await run({ ...fence, file }, { project, state, keyIdOf, lastOutput });
      lastOutput = output ?? lastOutput;
      failed = false;
    });
  }

  test('nothing but wrapping and unwrapping under the one key was asked of AWS KMS', (t) => {
    if (failed) return t.skip('a snippet failed');
    const { calls } = project.kms;
    assert.deepEqual([...new Set(calls.map(({ operation }) => operation))].sort(), ['Decrypt', 'Encrypt']);
    assert.deepEqual([...new Set(calls.map(({ KeyId }) => KeyId))], [project.keyArn]);
    assert.deepEqual(
      calls.filter((call) => 'EncryptionContext' in call),
      [],
    );
  });

  test('the walk-through left what it says', async (t) => {
    if (failed) return t.skip('a snippet failed');
    assert.ok((await providers()).length > 2);
    assert.deepEqual(
      (await providers()).filter((provider) => provider === 'local'),
      [],
    );
    assert.deepEqual(
      await client
        .db('hospital')
        .collection('patients')
        .find({}, { projection: { _id: 0 } })
        .sort({ name: 1 })
        .toArray(),
      [
        { name: 'Ada', ssn: '457-55-5462' },
        { name: 'Grace', ssn: '987-65-4320', visits: [{ note: 'healthy' }] },
      ],
    );
    assert.ok(existsSync(join(project.folder, 'schema-map.json.before-migration')));
    assert.notEqual(project.read('schema-map.json'), project.read('schema-map.json.before-migration'));
  });
});

// As `npm run demo` does after set-up and build, which `npm test` has done.
test('npm run demo shows what the first sentence promises', { timeout: 180_000 }, async () => {
  const { stdout, status } = await new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'js', 'dev', 'demo.mjs')], { cwd: root }, (error, stdout) => resolve({ stdout, status: error?.code ?? 0 }));
  });
  assert.equal(status, 0, stdout);
  assert.match(stdout, /2,000 patients/);
  const [, held, proofs] = /proofs +(\d+) of (\d+) held/.exec(stdout);
  assert.equal(held, proofs);
});

// Those of these pages are run by tests of their own.
const withTheirOwn = ['README.md', 'DROP-IN.md', 'docs/http-key-vault.md', 'docs/typescript.md', 'docs/vite.md'];

describe('the snippets of other documents', () => {
  for (const path of markdownFiles().filter((one) => !withTheirOwn.includes(one))) {
    test(`${path} has fences that something runs`, () => {
      for (const fence of fencesOf(textOf(path))) {
        // Anything that needs a folder belongs in the README or in DROP-IN.md, where it is run.
        assert.equal(`${fence.language} ${fence.kind}`, 'sh scripts', `line ${fence.line}`);
        runners['sh scripts'](fence);
      }
    });
  }
});
