// `snippet install csfle` in the real mongosh, with index and packages from loopback, and what the snippet says of errors of others.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { deserialize } from 'bson';
import { MongoClient } from 'mongodb';
import { brotliDecompressSync } from 'node:zlib';
import { root } from '../../js/dev/paths.mjs';
import { testServices } from '../env.mjs';
import { startRegistry } from './mongosh/registry.mjs';
import { runShell, typeInShell } from './mongosh/shell.mjs';
import { manifest, mongoshOf, mongoshProject, packedTarball, succeed } from './projects.mjs';

const require = createRequire(import.meta.url);
const snippetFolder = join(root, 'js', 'mongosh', 'snippet');
const snippet = JSON.parse(readFileSync(join(snippetFolder, 'package.json'), 'utf8'));
const bsonFolder = dirname(dirname(require.resolve('bson')));
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';

describe('the snippet', { timeout: 300_000, skip: process.platform === 'win32' && 'no pseudo-terminal' }, () => {
  let uri;
  let folder;
  let home;
  let registry;
  const database = `snippet_${randomUUID().slice(0, 8)}`;
  const index = () => join(folder, 'index.bson.br');
  const options = `{ keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local: csfle.localKeyFile('master-key.bin') } }`;

  before(async () => {
    uri = (await testServices()).mongodbUri;
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'csfle-snippet-')));
    home = join(folder, 'home');
    mkdirSync(home);
    writeFileSync(join(folder, 'master-key.bin'), randomBytes(96), { mode: 0o600 });
    const pack = async (of) => {
      const printed = await succeed('npm', ['pack', of, '--ignore-scripts', '--json', '--pack-destination', folder], { cwd: folder });
      return join(folder, JSON.parse(printed)[0].filename);
    };
    await succeed(process.execPath, [join(root, 'js', 'dev', 'snippet-index.mjs'), index()]);
    registry = await startRegistry({
      tarballs: [
        { manifest: snippet, path: await pack(snippetFolder) },
        { manifest, path: await packedTarball() },
        { manifest: JSON.parse(readFileSync(join(bsonFolder, 'package.json'), 'utf8')), path: await pack(bsonFolder) },
      ],
      files: { '/index.bson.br': readFileSync(index()) },
    });
    // Not at the prompt, where the shell has asked for the index of its configuration already.
    const configured = `config.set('snippetIndexSourceURLs', '${registry.url}/index.bson.br'); config.set('snippetRegistryURL', '${registry.url}')`;
    assert.equal((await runShell(configured, { cwd: folder, home })).code, 0);
  });
  after(async () => {
    await registry?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    const client = await MongoClient.connect(uri);
    await client.db(database).dropDatabase();
    await client.close();
  });

  // A cache of its own: npm would not ask for what it has installed before.
  const env = () => ({ npm_config_cache: join(folder, 'npm-cache') });
  const type = (steps, settings) => typeInShell(steps, { cwd: folder, home, env: env(), ...settings });
  // What is shown for each line, with the line itself before it.
  const lines = async (typed, settings) =>
    (
      await type(
        typed.map((line) => ({ keys: `${line}\r`, until: '> ' })),
        settings,
      )
    ).map((text) => text.replaceAll(/\s+/g, ' '));

  it('has the version of the package, and an index with its readme', () => {
    assert.deepEqual(
      [snippet.version, snippet.dependencies['csfle-wasm'], snippet.dependencies.bson],
      [manifest.version, manifest.version, manifest.peerDependencies.bson],
    );
    const { indexFileVersion, index: entries } = deserialize(brotliDecompressSync(readFileSync(index())));
    assert.deepEqual(
      [indexFileVersion, entries.map(({ snippetName, name, version }) => [snippetName, name, version])],
      [1, [['csfle', snippet.name, manifest.version]]],
    );
    assert.equal(entries[0].readme, readFileSync(join(snippetFolder, 'README.md'), 'utf8'));
  });

  it('is installed by `snippet install csfle`, loaded at once and at every start', async () => {
    const [search, , installed, loaded, status] = await type(
      [
        { keys: 'snippet search\r', until: '> ' },
        { keys: 'snippet install csfle\r', until: '\\[Y/n\\]:?' },
        { keys: 'y\r', until: '> ' },
        { keys: 'csfle\r', until: '> ' },
        { keys: `csfle.keyVault(${options}).createKey('local', ['a']); csfle.status(${options}).summary\r`, until: '> ' },
      ],
      { uri },
    );
    assert.match(search, new RegExp(`'csfle' *│ '${manifest.version}'`));
    assert.match(installed, /Finished installing snippets: csfle/);
    assert.match(loaded, /csfle: client-side field level encryption without libmongocrypt/);
    assert.match(status, /every key opens: 1 of 1/);
    // The packages come from loopback, and no others are installed: not the optional peers either.
    const tarballs = registry.asked.filter((one) => one.endsWith('.tgz')).map((one) => one.slice('GET /-/'.length));
    assert.deepEqual([...new Set(tarballs)].sort(), registry.tarballs.map((path) => basename(path)).sort());
    const modules = readdirSync(join(home, '.mongodb', 'mongosh', 'snippets', 'node_modules')).filter((name) => !name.startsWith('.'));
    assert.deepEqual(modules.sort(), ['bson', 'csfle-wasm', snippet.name].sort());

    const [again, ls, help] = await lines(['csfle', 'snippet ls', 'snippet help csfle'], { uri });
    assert.match(again, /csfle: client-side field level encryption without libmongocrypt/);
    assert.match(ls, new RegExp(`mongosh:csfle@${manifest.version}`));
    assert.match(help, /Client-Side Field Level Encryption in mongosh, by WebAssembly/);
  });

  it('adds the csfle command to run to errors about an absent libmongocrypt', async () => {
    const open = (more) =>
      `Mongo('${uri}', { keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local: { key: BinData(0, '${'A'.repeat(128)}') } }${more} })`;
    const [, , explicit, automatic, , api] = await lines(
      [
        'snippet info',
        `const mongo = ${open(', explicitEncryptionOnly: true')}`,
        'mongo.getClientEncryption()',
        `${open(', bypassAutoEncryption: true')}`,
        'mongo._serviceProvider.createClientEncryption = undefined',
        'mongo.getClientEncryption()',
      ],
      { uri },
    );
    const remedy = /run csfle\.clientEncryption\(\{ keyVaultNamespace, kmsProviders \}\) or csfle\.keyVault\(/;
    for (const [text, message] of [
      [explicit, /Optional module `mongodb-client-encryption` not found/],
      [automatic, /Could not load mongodb-client-encryption package/],
      [api, /FLE API is not available/],
    ]) {
      assert.match(text, message);
      assert.match(text, remedy);
    }
  });

  it("adds the csfle command to run to errors of the shell's own ClientEncryption about keys", async () => {
    const project = await mongoshProject();
    const open = (letter) =>
      `Mongo('${uri}', { keyVaultNamespace: '${database}.own', kmsProviders: { local: { key: BinData(0, '${letter.repeat(128)}') } }, explicitEncryptionOnly: true })`;
    const shown = await lines(
      [
        'snippet info',
        `const own = ${open('A')}, other = ${open('B')}`,
        `const sealed = own.getClientEncryption().encrypt(own.getKeyVault().createKey('local'), 'x', '${DETERMINISTIC}')`,
        'other.getClientEncryption().decrypt(sealed)',
        `own.getClientEncryption().encrypt(UUID(), 'x', '${DETERMINISTIC}')`,
        'own.getClientEncryption().decrypt(sealed)',
      ],
      { uri, program: mongoshOf(project) },
    );
    const [, , , wrongMasterKey, absent, right] = shown;
    assert.match(wrongMasterKey, /HMAC validation failure.*\(the master key is not the one .*run csfle\.status\(\{ keyVaultNamespace, kmsProviders \}\)/);
    assert.match(absent, /not all keys requested were satisfied.*\(the key vault does not have .*csfle\.status\(.*restoreKey\(id\).*csfle\.backup\.restore\(/);
    assert.doesNotMatch(right, /csfle\./);
  });

  it('adds nothing to what csfle itself says about a wrong local master key', async () => {
    writeFileSync(join(folder, 'other.bin'), randomBytes(96), { mode: 0o600 });
    const shown = await lines(
      [
        'snippet info',
        `const sealed = csfle.clientEncryption(${options}).encrypt(null, 'x', { keyAltName: 'a', algorithm: '${DETERMINISTIC}' })`,
        `csfle.clientEncryption({ ...${options}, kmsProviders: { local: csfle.localKeyFile('other.bin') } }).decrypt(sealed)`,
      ],
      { uri },
    );
    assert.match(shown[2], /does not open under the local master key of .*other\.bin \(HMAC validation failure\)/);
    assert.doesNotMatch(shown[2], /run csfle\.status/);
  });
});
