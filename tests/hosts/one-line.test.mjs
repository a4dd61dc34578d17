// One changed line of package.json, as npm and others resolve it: the unmodified driver, also below an ODM, on this package.
import assert from 'node:assert/strict';
import { closeSync, cpSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { describe } from 'node:test';
import { testServices } from '../env.mjs';
import { alias, driverProject, filesOf, makeProject, manifest, npm, ours, previousDriverProject, printed, run, sharedProject, succeed } from './projects.mjs';
import { versions } from './versions.mjs';

const { mongodbUri } = await testServices();
const mongodb = manifest.devDependencies.mongodb;
const lockOf = (folder) => readFileSync(join(folder, 'package-lock.json'), 'utf8');
const installedVersions = (folder) =>
  Object.fromEntries(Object.entries(JSON.parse(lockOf(folder)).packages).map(([path, { name, version }]) => [path, [name, version].filter(Boolean).join('@')]));

async function prints(folder, file, expected = printed) {
  assert.deepEqual(JSON.parse(await succeed(process.execPath, [file, mongodbUri], { cwd: folder })), expected);
}

describe('npm, without overrides and without flags', { timeout: 300_000 }, () => {
  test('installs the package in the place of the addon, and the driver works on it', async () => {
    const folder = await driverProject();
    const versions = installedVersions(folder);
    assert.equal(versions[`node_modules/${alias}`], `csfle-wasm@${manifest.version}`);
    assert.equal(versions['node_modules/mongodb'], mongodb);
    assert.deepEqual(
      Object.keys(versions).filter((path) => path.endsWith('mongodb') || path.endsWith('bson') || path.endsWith(alias)).length,
      3,
      'one of each',
    );
    const { code, stdout, stderr } = await run('npm', ['ls', '--all'], { cwd: folder, shell: process.platform === 'win32' });
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`${alias}@npm:csfle-wasm@${manifest.version.replaceAll('.', '\\.')}\\n`));
    for (const file of ['app.mjs', 'app.cjs']) await prints(folder, file);
  });

  test('installs the same again from the lock file, and leaves it as it is', async () => {
    const folder = await makeProject('locked', { dependencies: { mongodb, ...ours } });
    cpSync(join(await driverProject(), 'package-lock.json'), join(folder, 'package-lock.json'));
    const lock = lockOf(folder);
    for (const command of ['ci', 'install']) {
      const { code, stderr } = await npm(folder, command);
      assert.equal(code, 0, stderr);
      assert.ok(lockOf(folder) === lock, command);
    }
    assert.deepEqual(filesOf(join(folder, 'node_modules', alias)), filesOf(join(await driverProject(), 'node_modules', alias)));
    rmSync(folder, { recursive: true });
  });

  test('has no script to run and no native file to fetch', async () => {
    const folder = await driverProject();
    assert.deepEqual(
      Object.entries(JSON.parse(lockOf(folder)).packages).filter(([, { hasInstallScript }]) => hasInstallScript),
      [],
    );
    const installed = JSON.parse(readFileSync(join(folder, 'node_modules', alias, 'package.json'), 'utf8'));
    assert.deepEqual(
      ['preinstall', 'install', 'postinstall', 'prepare'].filter((script) => script in installed.scripts),
      [],
    );
    assert.equal(installed.gypfile, undefined);
    const files = filesOf(join(folder, 'node_modules'));
    assert.ok(files.length > 200);
    assert.deepEqual(
      files.filter((path) => isNative(join(folder, 'node_modules', path))),
      [],
    );
    // What a native file looks like, for this test to be able to fail.
    assert.ok(isNative(process.execPath));
  });

  test('installs the same with --ignore-scripts', async () => {
    const folder = await sharedProject('without-scripts', { dependencies: { mongodb, ...ours } }, '--ignore-scripts');
    assert.deepEqual(filesOf(join(folder, 'node_modules')), filesOf(join(await driverProject(), 'node_modules')));
    await prints(folder, 'app.cjs');
  });
});

test('mongoose writes encrypted and reads decrypted, with the driver of its own choice', { timeout: 120_000 }, async () => {
  const folder = await sharedProject('mongoose', { dependencies: { mongoose: versions.mongoose, ...ours } });
  assert.equal(installedVersions(folder)[`node_modules/${alias}`], `csfle-wasm@${manifest.version}`);
  await prints(folder, 'mongoose.mjs', {
    library: printed.library,
    stored: ['Binary 6', 'Binary 6'],
    found: ['457-55-5462', 'healthy', '987-65-4320', '457-55-5462'],
  });
});

test('the driver of the version before asks for another one, and works with overrides', { timeout: 120_000 }, async () => {
  const dependencies = { mongodb: versions.previousDriver, ...ours };
  const refused = await makeProject('driver-6-refused', { dependencies });
  const { code, stderr } = await npm(refused, 'install', '--package-lock-only');
  assert.notEqual(code, 0);
  assert.match(stderr, /ERESOLVE/);
  const folder = await previousDriverProject();
  for (const file of ['app.mjs', 'app.cjs']) await prints(folder, file);
});

/** By name, or by what a file of machine code begins with: ELF, Windows, and the forms of macOS. */
function isNative(path) {
  if (/\.(node|so|dylib|dll|exe|gyp)$|\.so\.\d/.test(path)) return true;
  const start = Buffer.alloc(4);
  const file = openSync(path);
  try {
    readSync(file, start, 0, 4, 0);
  } finally {
    closeSync(file);
  }
  const magic = start.toString('hex');
  return magic === '7f454c46' || magic.startsWith('4d5a') || /^(feedfac[ef]|c[ef]faedfe|cafebabe)$/.test(magic);
}
