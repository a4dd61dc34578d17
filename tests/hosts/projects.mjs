// Projects of applications, which npm itself installs as their owners would: real packages, and this one from its tarball. `npm test`
// names a folder where all test files share them; a test file by itself makes its own. Both are gone afterwards.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MongoCrypt } from 'csfle-wasm';
import { withLock } from '../../js/dev/lock.mjs';
import { root } from '../../js/dev/paths.mjs';
import { pinned } from '../tools/versions.mjs';
import { versions } from './versions.mjs';

export const alias = 'mongodb-client-encryption';
export const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
export const tarballName = `${manifest.name}-${manifest.version}.tgz`;

/** What every application of `application/` prints. */
export const printed = { library: MongoCrypt.libmongocryptVersion, stored: 'Binary 6', read: 'hello', explicit: 'hello' };

let place = process.env.TEST_PROJECTS;
function projects() {
  if (place === undefined) {
    place = realpathSync(mkdtempSync(join(tmpdir(), 'csfle-projects-')));
    process.on('exit', () => rmSync(place, { recursive: true, force: true }));
  }
  return place;
}

/** Runs a program to its end: resolves to `{ code, stdout, stderr }`. */
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 300_000, ...options });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'])
      child[name].setEncoding('utf8').on('data', (chunk) => {
        output[name] += chunk;
      });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...output }));
  });
}

/** The same, where anything but success fails the test: resolves to what it printed. */
export async function succeed(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, options);
  assert.equal(code, 0, `${command} ${args.join(' ')}\n${stdout}\n${stderr}`);
  return stdout;
}

/** npm as it comes, but quiet, and content with what its cache has. */
export const npm = (folder, ...args) =>
  run('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder, shell: process.platform === 'win32' });

/** Once: the tarball that a clone makes, in a folder where projects find it as a neighbour. Resolves to its path. */
export async function packedTarball() {
  const folder = projects();
  const path = join(folder, tarballName);
  await withLock(join(folder, 'tarball.lock'), async () => {
    if (!existsSync(path)) await succeed('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: root, shell: process.platform === 'win32' });
  });
  return path;
}

/** The line of package.json. */
export const ours = { [alias]: `file:../${tarballName}` };

/** A folder beside the tarball with this package.json and nothing else. */
export async function makeProject(name, manifestOf) {
  await packedTarball();
  const folder = join(projects(), name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ name: 'application', private: true, ...manifestOf }, undefined, 2)}\n`);
  return folder;
}

/** Once for all test files: a project that is installed, with the applications in it. Nobody changes it. */
export async function sharedProject(name, manifestOf, ...flags) {
  const folder = join(projects(), name);
  await withLock(join(projects(), `${name}.lock`), async () => {
    if (existsSync(join(folder, 'complete'))) return;
    await makeProject(name, manifestOf);
    const { code, stderr } = await npm(folder, 'install', ...flags);
    assert.equal(code, 0, stderr);
    cpSync(join(root, 'tests', 'hosts', 'application'), folder, { recursive: true });
    writeFileSync(join(folder, 'complete'), '');
  });
  return folder;
}

/** The project of one changed line: the driver and this package. */
export const driverProject = () => sharedProject('driver', { dependencies: { mongodb: manifest.devDependencies.mongodb, ...ours } });

/** The same with the driver of the version before, for which npm has to be told. */
export const previousDriverProject = () =>
  sharedProject('driver-6', { dependencies: { mongodb: versions.previousDriver, ...ours }, overrides: { [alias]: `$${alias}` } });

/** npm's mongosh on this package. Without scripts: those of other packages in its tree fetch what is not on npm. */
export const mongoshProject = () => sharedProject('mongosh', { dependencies: { mongosh: pinned.mongosh, ...ours } }, '--ignore-scripts');

/** The program of the shell in a project. */
export const mongoshOf = (folder) => join(folder, 'node_modules', 'mongosh', 'bin', 'mongosh.js');

/** The files below a folder, as paths with `/`. */
export const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .replaceAll('\\', '/'),
    )
    .sort();
