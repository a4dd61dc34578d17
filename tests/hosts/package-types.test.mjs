// The packed tarball's types, as each way of TypeScript to find modules finds them; and the package by its path.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { pathToFileURL } from 'node:url';
import { root } from '../../js/dev/paths.mjs';
import { consumerProject } from './consumer.mjs';

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
