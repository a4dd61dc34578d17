// The same one line with other package managers, and the same program on other runtimes.
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { testServices } from '../env.mjs';
import { driverProject, makeProject, manifest, ours, printed, sharedProject, succeed } from './projects.mjs';
import { versions } from './versions.mjs';

const { mongodbUri } = await testServices();

let tool;
before(
  async () => {
    const { bun, deno, pnpm, yarn } = versions;
    const tools = await sharedProject('tools', { dependencies: { bun, deno, pnpm, yarn } });
    tool = (name, args, cwd) => succeed(join(tools, 'node_modules', '.bin', name), args, { cwd, shell: process.platform === 'win32' });
  },
  { timeout: 120_000 },
);

const prints = (output) => assert.deepEqual(JSON.parse(output), printed);

for (const [name, ...args] of [
  ['pnpm', 'install', '--store-dir', '.store'],
  ['yarn', 'install', '--non-interactive', '--no-progress', '--cache-folder', '.cache'],
  ['bun', 'install', '--cache-dir', '.cache'],
]) {
  test(`${name} installs the package in the place of the addon`, { timeout: 120_000 }, async () => {
    const folder = await makeProject(`of-${name}`, { dependencies: { mongodb: manifest.devDependencies.mongodb, ...ours } });
    await tool(name, args, folder);
    cpSync(new URL('application', import.meta.url), folder, { recursive: true });
    for (const file of ['app.mjs', 'app.cjs']) prints(await succeed(process.execPath, [file, mongodbUri], { cwd: folder }));
    rmSync(folder, { recursive: true });
  });
}

for (const [name, ...args] of [
  ['bun', 'run'],
  ['deno', 'run', '--allow-all'],
]) {
  test(`the driver works on the package in ${name}`, { timeout: 60_000 }, async () => {
    const folder = await driverProject();
    for (const file of ['app.mjs', 'app.cjs']) prints(await tool(name, [...args, file, mongodbUri], folder));
  });
}
