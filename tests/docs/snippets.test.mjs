// Runs every snippet of the README and of the pages in docs/ as it is written, in one project folder: first the installation and the
// walk-through, in the order in which a reader follows them, then the other pages.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { ClientEncryption } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { root } from '../../js/dev/paths.mjs';
import { fencesOf, markdownFiles, textOf } from './markdown.mjs';
import { openProject } from './project.mjs';
import { runnerOf, runners } from './runners.mjs';

const namespace = 'encryption.__keyVault';

// Each page needs the state that the pages before it left.
const walkThrough = [
  'README.md',
  'docs/typescript.md',
  'docs/migrate.md',
  'docs/reencrypt.md',
  'docs/removing-keys.md',
  'docs/decrypt-to-plaintext.md',
  'docs/backups.md',
];
// A page with a test file of its own name, such as `drop-in.test.mjs` for DROP-IN.md, is executed there.
const withOwnTest = markdownFiles().filter((path) => existsSync(join(root, 'tests', 'docs', `${basename(path, '.md').toLowerCase()}.test.mjs`)));
const pages = [...walkThrough, ...markdownFiles().filter((path) => path.startsWith('docs/') && ![...walkThrough, ...withOwnTest].includes(path))];

describe('the snippets of the README and of docs', { timeout: 600_000 }, () => {
  const isInstallation = ({ language, kind }) => language === 'sh' && ['clone', 'install'].includes(kind);
  const state = {};
  let project;
  let client;
  let vault;

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

  // A snippet needs the state that the snippets before it left, on its page and in the walk-through. After a failure they are skipped.
  const failedPages = new Set();
  const walkThroughFailed = () => walkThrough.some((page) => failedPages.has(page));
  for (const page of pages) {
    const all = fencesOf(textOf(page));
    let lastOutput;
    for (const fence of [...all.filter(isInstallation), ...all.filter((fence) => !isInstallation(fence))]) {
      test(`${page}:${fence.line}: ${fence.language} ${fence.kind}`, { timeout: 180_000 }, async (t) => {
        if (walkThroughFailed() || failedPages.has(page)) return t.skip('an earlier snippet failed');
        failedPages.add(page);
        const { run, file } = runnerOf(fence);
        const output = await run({ ...fence, file }, { project, state, keyIdOf, lastOutput });
        lastOutput = output ?? lastOutput;
        failedPages.delete(page);
      });
    }
  }

  test('every page of the walk-through exists and has a snippet', () => {
    assert.deepEqual(
      walkThrough.filter((page) => fencesOf(textOf(page)).length === 0),
      [],
    );
  });

  test('nothing but wrapping and unwrapping under the one key was asked of AWS KMS', (t) => {
    if (failedPages.size > 0) return t.skip('a snippet failed');
    const { calls } = project.kms;
    assert.deepEqual([...new Set(calls.map(({ operation }) => operation))].sort(), ['Decrypt', 'Encrypt']);
    assert.deepEqual([...new Set(calls.map(({ KeyId }) => KeyId))], [project.keyArn]);
    assert.deepEqual(
      calls.filter((call) => 'EncryptionContext' in call),
      [],
    );
  });

  test('the walk-through left what it says', async (t) => {
    if (failedPages.size > 0) return t.skip('a snippet failed');
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
test('npm run demo shows the migration that the README describes', { timeout: 180_000 }, async () => {
  const { stdout, status } = await new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'js', 'dev', 'demo.mjs')], { cwd: root }, (error, stdout) => resolve({ stdout, status: error?.code ?? 0 }));
  });
  assert.equal(status, 0, stdout);
  assert.match(stdout, /2,000 patients/);
  const [, held, proofs] = /proofs +(\d+) of (\d+) held/.exec(stdout);
  assert.equal(held, proofs);
});

describe('the snippets of other documents', () => {
  for (const path of markdownFiles().filter((one) => ![...pages, ...withOwnTest].includes(one))) {
    test(`${path} has fences that something runs`, () => {
      for (const fence of fencesOf(textOf(path))) {
        // A snippet that needs a project folder belongs in the README, in docs/ or in DROP-IN.md, where it is executed.
        assert.equal(`${fence.language} ${fence.kind}`, 'sh scripts', `line ${fence.line}`);
        runners['sh scripts'](fence);
      }
    });
  }
});
