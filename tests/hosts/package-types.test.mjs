// The packed tarball's types, as each way of TypeScript to find modules finds them; and the package by its path.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { consumerProject } from './consumer.mjs';

// The compiler of this project knows node10 no more. The shell brings an older one, which does.
const current = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const older = join(root, 'tests', 'tools', 'node_modules', 'typescript', 'bin', 'tsc');
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
    export const loaded = csfle;
    // @ts-expect-error
    csfle.absent();`,
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
      const file = `${entry.replaceAll('/', '-')}-${resolution}.${extension}`;
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

test('the package is required by its absolute path', () => {
  const require = createRequire(join(project, 'x.cjs'));
  assert.equal(typeof require(join(project, 'node_modules', 'csfle-wasm')).ClientEncryption, 'function');
});
