// The packed tarball's types, as each way of TypeScript to find modules finds them; and the package by its path.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import test, { after, before } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../../js/dev/paths.mjs';
import { consumerProject } from './consumer.mjs';
import { previousDriverProject } from './projects.mjs';

// The compiler of this project knows node10 no more. The shell brings an older one, which does.
const current = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const older = join(root, 'tests', 'tools', 'node_modules', 'typescript', 'bin', 'tsc');
// Packages of tests/tools.
const require = createRequire(join(root, 'tests', 'tools', 'package.json'));
const tool = (name) => import(pathToFileURL(require.resolve(name)));
let project;
let remove;
before(() => {
  ({ folder: project, remove } = consumerProject('csfle-types-'));
});
after(() => remove());

// What only Node's entry has, so that another entry's types are found out; and a mistake, so that no types at all are.
const consumers = {
  'csfle-wasm': `import { ClientEncryption, CsfleError, init, migrate, MongoCrypt, type MigrationReport } from 'csfle-wasm';
    export const version: string = MongoCrypt.libmongocryptVersion;
    export const code: string = new CsfleError('INTERNAL', '').code;
    export const report: Promise<MigrationReport> = migrate(null as never);
    export const made: ClientEncryption | undefined = undefined;
    export const ready: Promise<void> = init(new URL('https://example.org/csfle.wasm'));
    // @ts-expect-error
    migrate(5);`,
  'csfle-wasm/slim': `import { ClientEncryption, init } from 'csfle-wasm/slim';
    export const ready: Promise<void> = init(new Uint8Array());
    // @ts-expect-error
    new ClientEncryption(5);`,
  'csfle-wasm/mongosh': `import csfle = require('csfle-wasm/mongosh');
    const { localKeyFile } = csfle;
    const itself: typeof csfle = csfle.csfle;
    export const status: Promise<csfle.ShellStatus> = itself.status();
    export const file: csfle.LocalKeyFile = localKeyFile('master-key.bin', { create: true });
    // @ts-expect-error
    csfle.absent();
    // @ts-expect-error
    csfle.localKeyFile(5);`,
  // As the type of what mongosh loads, and with its types by name.
  'csfle-wasm/mongosh by import': `import csfle from 'csfle-wasm/mongosh';
    import type { ShellEncryptionOptions } from 'csfle-wasm/mongosh';
    const options: ShellEncryptionOptions = { keyVaultNamespace: 'a.b', kmsProviders: { aws: csfle.awsKms() } };
    export const encryption = csfle.clientEncryption(options);
    // @ts-expect-error
    csfle.clientEncryption(5);`,
};
const settings = {
  node10: { module: 'commonjs', moduleResolution: 'node10', esModuleInterop: true },
  node16: { module: 'node16', moduleResolution: 'node16' },
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'preserve', moduleResolution: 'bundler' },
};

for (const [resolution, options] of Object.entries(settings)) {
  for (const [entry, source] of Object.entries(consumers)) {
    test(`${resolution} finds the types of ${entry}`, (t) => {
      // A module of ES: the entry slim has no other form.
      const extension = entry.endsWith('/mongosh') || resolution === 'node10' ? 'ts' : 'mts';
      const file = `${entry.replaceAll(/[/ ]/g, '-')}-${resolution}.${extension}`;
      writeFileSync(join(project, file), source);
      writeFileSync(
        join(project, `${file}.json`),
        JSON.stringify({
          compilerOptions: { target: 'es2022', strict: true, noEmit: true, types: ['node'], skipLibCheck: false, ...options },
          files: [file],
        }),
      );
      const compiler = resolution === 'node10' && existsSync(older) ? older : current;
      const { status, stdout } = spawnSync(process.execPath, [compiler, '--project', `${file}.json`], { cwd: project, encoding: 'utf8' });
      if (/TS5107|TS5108|TS6046/.test(stdout)) return t.skip(`this compiler has no moduleResolution ${resolution} any more`);
      assert.equal(status, 0, stdout);
    });
  }
}

test('bundlers for browsers find the types of the entry for browsers', () => {
  writeFileSync(
    join(project, 'browser.ts'),
    `import { ClientEncryption, init, MemoryKeyVaultStore } from 'csfle-wasm';
    import type { Binary, UUID } from 'bson';
    await init(new URL('https://example.org/csfle.wasm'));
    const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: { local: { key: new Uint8Array(96) } } });
    const keyId: UUID = await encryption.createDataKey('local');
    export const value: Binary = await encryption.encrypt('x', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
    // @ts-expect-error what the driver asks for is there in Node only
    import { MongoCrypt } from 'csfle-wasm';`,
  );
  writeFileSync(
    join(project, 'browser.json'),
    JSON.stringify({
      compilerOptions: { target: 'es2022', lib: ['ES2022', 'DOM'], strict: true, noEmit: true, types: [], customConditions: ['browser'], ...settings.bundler },
      files: ['browser.ts'],
    }),
  );
  const { status, stdout } = spawnSync(process.execPath, [current, '--project', 'browser.json'], { cwd: project, encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});

test('declarations import the required peer and nothing else', () => {
  const folder = join(project, 'node_modules', 'csfle-wasm', 'dist');
  const imported = Object.fromEntries(
    readdirSync(folder)
      .filter((name) => /\.d\.[cm]ts$/.test(name))
      .map((name) => [name, [...readFileSync(join(folder, name), 'utf8').matchAll(/(?:\bfrom|import\() ?'([^']+)'/g)].map(([, specifier]) => specifier)]),
  );
  assert.deepEqual(imported, {
    'browser.d.mts': ['bson'],
    'mongosh.d.cts': ['./node.cjs'],
    'node.d.cts': ['bson'],
    'node.d.mts': ['./node.cjs', './node.cjs'],
    'slim.d.mts': [],
  });
});

const drivers = {
  7: () => join(root, 'node_modules'),
  6: async () => join(await previousDriverProject(), 'node_modules'),
};
for (const [major, place] of Object.entries(drivers)) {
  test(`results are assignable to the types of the driver ${major}, and documents are inferred`, { timeout: 180_000 }, async () => {
    const mongodb = join(await place(), 'mongodb');
    // The driver's own.
    const bson = join(dirname(createRequire(join(realpathSync(mongodb), 'package.json')).resolve('bson')), '..');
    const consumer = consumerProject('csfle-driver-types-', { mongodb, bson });
    try {
      for (const name of ['mongodb', 'bson']) {
        const { version } = JSON.parse(readFileSync(join(consumer.folder, 'node_modules', name, 'package.json'), 'utf8'));
        assert.match(version, new RegExp(`^${major}\\.`), name);
      }
      const files = ['driver.ts', 'decrypted.ts'];
      for (const file of files) copyFileSync(join(root, 'tests', 'js', 'typings', file), join(consumer.folder, file));
      writeFileSync(
        join(consumer.folder, 'tsconfig.json'),
        JSON.stringify({
          compilerOptions: { target: 'es2022', strict: true, noEmit: true, types: ['node'], ...settings.nodenext },
          files,
        }),
      );
      consumer.run(process.execPath, [current, '--project', '.']);
    } finally {
      consumer.remove();
    }
  });
}

test('the manifest leads readers that know no exports to what exports say', () => {
  const folder = join(project, 'node_modules', 'csfle-wasm');
  const { main, types, typesVersions, exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  assert.deepEqual([main, types], [exports['.'].node.require.default, exports['.'].node.require.types]);
  assert.deepEqual(typesVersions['*'], { slim: [exports['./slim'].types], mongosh: [exports['./mongosh'].types] });
  for (const path of [main, types, ...Object.values(typesVersions['*']).flat()]) readFileSync(join(folder, path));
});

test('declarations export as values exactly what the code exports', async () => {
  const folder = join(project, 'node_modules', 'csfle-wasm', 'dist');
  const exported = {
    node: Object.keys(require(join(folder, 'node.cjs'))),
    browser: Object.keys(await import(pathToFileURL(join(folder, 'browser.mjs')))),
    slim: Object.keys(await import(pathToFileURL(join(folder, 'slim.mjs')))),
  };
  for (const [entry, names] of Object.entries(exported)) {
    const text = readFileSync(join(folder, `${entry}.d.${entry === 'node' ? 'cts' : 'mts'}`), 'utf8');
    const [, declared] = /^export \{([^}]*)\};$/m.exec(text);
    assert.deepEqual(
      declared
        .split(',')
        .map((name) => name.trim())
        .filter(Boolean),
      names.sort(),
      entry,
    );
  }
});

test('publint finds nothing in the package', async () => {
  const { publint } = await tool('publint');
  const { messages } = await publint({ pkgDir: join(project, 'node_modules', 'csfle-wasm'), strict: true, pack: false });
  assert.deepEqual(messages, []);
});

test('attw finds nothing, but that slim is a module of ES only', { timeout: 120_000 }, async () => {
  const { checkPackage, createPackageFromTarballData } = await tool('@arethetypeswrong/core');
  const tarball = readFileSync(
    join(
      project,
      readdirSync(project).find((name) => name.endsWith('.tgz')),
    ),
  );
  // csfle.wasm is no module.
  const { problems, entrypoints } = await checkPackage(createPackageFromTarballData(tarball), { excludeEntrypoints: ['./csfle.wasm'] });
  assert.deepEqual(Object.keys(entrypoints).sort(), ['.', './mongosh', './package.json', './slim']);
  // A module of ES only: require() of it works from Node 20.19 on.
  const known = { kind: 'CJSResolvesToESM', entrypoint: './slim', resolutionKind: 'node16-cjs' };
  assert.deepEqual(problems, [known]);
});

test('the package is required by its absolute path', () => {
  assert.equal(typeof createRequire(join(project, 'x.cjs'))(join(project, 'node_modules', 'csfle-wasm')).ClientEncryption, 'function');
});
