// An application with the driver and this package in the place of mongodb-client-encryption, put into one file by each bundler as
// it comes, and run where nothing else is.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { before, describe } from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { testServices } from '../env.mjs';
import { bundlers, libraryBundlers, withEsbuild, withVite } from './bundles/bundlers.mjs';
import { alias, driverProject, printed, run } from './projects.mjs';

const { mongodbUri } = await testServices();
let project;
before(
  async () => {
    project = await driverProject();
  },
  { timeout: 300_000 },
);

/** Calls `use` with an empty folder, away from any node_modules. */
async function inEmptyFolder(use) {
  const folder = mkdtempSync(join(tmpdir(), 'csfle-bundle-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// The size of a minified bundle in DROP-IN.md, in bytes: 1 MB is a million.
const documentedSize = 1e6 * Number(/With the driver it is (\d+\.\d+) MB minified/.exec(readFileSync(join(root, 'DROP-IN.md'), 'utf8'))[1]);

const start = (folder, file) => run(process.execPath, [file, mongodbUri], { cwd: folder });

async function works(folder, file) {
  const { code, stdout, stderr } = await start(folder, file);
  assert.equal(code, 0, stderr.slice(-2000));
  assert.deepEqual(JSON.parse(stdout), printed);
}

describe('a bundle is all there is', { timeout: 600_000 }, () => {
  for (const { name, file, build } of bundlers) {
    test(name, (t) =>
      inEmptyFolder(async (folder) => {
        await build(project, folder);
        const files = readdirSync(folder);
        assert.deepEqual(files, [file]);
        assert.ok(!readFileSync(join(folder, file), 'latin1').includes(project), 'it names the folder that it was built in');
        const { size } = statSync(join(folder, file));
        t.diagnostic(`${size} bytes`);
        if (/minified/.test(name)) assert.ok(Math.abs(size - documentedSize) < documentedSize / 10, `DROP-IN.md: ${documentedSize}, measured: ${size} bytes`);
        await works(folder, file);
      }),
    );
  }
});

for (const { name, build } of libraryBundlers) {
  test(`a program that imports the package itself is bundled by ${name}`, () =>
    inEmptyFolder(async (folder) => {
      await build(project, folder);
      const { code, stdout, stderr } = await start(folder, 'library.mjs');
      assert.equal(code, 0, stderr.slice(-2000));
      assert.equal(stdout, '6 hello\n');
    }));
}

test('what Vite leaves outside is found in node_modules', () =>
  inEmptyFolder(async (folder) => {
    await withVite({ ssr: 'app.mjs', emptyOutDir: false })(project, folder);
    assert.ok(statSync(join(folder, 'app.mjs')).size < 10_000);
    symlinkSync(join(project, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await works(folder, 'app.mjs');
  }));

test('without its banner an ES module of esbuild fails at the driver, whatever else is in it', () =>
  inEmptyFolder(async (folder) => {
    writeFileSync(join(folder, 'alone.mjs'), "import { MongoClient } from 'mongodb';\nnew MongoClient(process.argv[2]);\n");
    await withEsbuild(join(folder, 'alone.mjs'), 'bundle.mjs', { format: 'esm', nodePaths: [join(project, 'node_modules')] })(project, folder);
    const { code, stderr } = await start(folder, 'bundle.mjs');
    assert.notEqual(code, 0, 'it works by now: DROP-IN.md can leave the banner out');
    assert.match(stderr, /Dynamic require of "[\w/]+" is not supported/);
  }));

describe('the wasm that is loaded', () => {
  const loads = async (folder) => {
    const { code, stdout, stderr } = await run(process.execPath, ['-p', `require('${alias}').MongoCrypt.libmongocryptVersion`], { cwd: folder });
    return code === 0 ? stdout.trim() : stderr;
  };
  // The package as it is installed, with files of it gone or replaced.
  const installed = (change) =>
    inEmptyFolder(async (folder) => {
      const copy = join(folder, 'node_modules', alias);
      mkdirSync(copy, { recursive: true });
      cpSync(join(project, 'node_modules', alias), copy, { recursive: true });
      symlinkSync(join(project, 'node_modules', 'bson'), join(folder, 'node_modules', 'bson'), 'junction');
      change((name) => join(copy, 'dist', name));
      return loads(folder);
    });

  test('an installation takes the file, without the module for bundles', async () => {
    assert.equal(await installed((file) => rmSync(file('csfle.wasm.cjs'))), printed.library);
  });

  test('without the file it is the module', async () => {
    assert.equal(await installed((file) => rmSync(file('csfle.wasm'))), printed.library);
    assert.match(
      await installed((file) => {
        rmSync(file('csfle.wasm'));
        rmSync(file('csfle.wasm.cjs'));
      }),
      /Cannot find module '\.\/csfle\.wasm\.cjs'/,
    );
  });

  test('a file of another build is not taken for it, nor is half of one', async () => {
    const empty = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    assert.equal(await installed((file) => writeFileSync(file('csfle.wasm'), empty)), printed.library);
    assert.equal(await installed((file) => writeFileSync(file('csfle.wasm'), readFileSync(file('csfle.wasm')).subarray(0, -1))), printed.library);
  });
});
