// A route handler of Next.js with the driver and this package in the place of mongodb-client-encryption, with no configuration.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import test, { before } from 'node:test';
import { testServices } from '../env.mjs';
import { alias, manifest, ours, printed, sharedProject, succeed } from './projects.mjs';
import { versions } from './versions.mjs';

const { mongodbUri } = await testServices();
const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', MONGODB_URI: mongodbUri };

let project;
let program;
before(
  async () => {
    const dependencies = { mongodb: manifest.devDependencies.mongodb, next: versions.next, react: versions.react, 'react-dom': versions.react, ...ours };
    project = await sharedProject('next', { dependencies });
    program = join(project, 'node_modules', 'next', 'dist', 'bin', 'next');
    await succeed(process.execPath, [program, 'build'], { cwd: project, env });
  },
  { timeout: 300_000 },
);

test('the server that is built answers with what it decrypted', { timeout: 60_000 }, async () => {
  const server = spawn(process.execPath, [program, 'start', '--port', '0', '--hostname', '127.0.0.1'], {
    cwd: project,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(server, 'close');
  try {
    const response = await fetch(`${await addressOf(server)}/seal`);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    assert.deepEqual(JSON.parse(text), printed);
  } finally {
    server.kill();
    await ended;
  }
});

async function addressOf(server) {
  let output = '';
  for (const stream of [server.stdout, server.stderr])
    stream.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
  for (let left = 300; left > 0 && server.exitCode === null; left -= 1) {
    const address = /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0];
    if (address !== undefined && output.includes('Ready')) return address;
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
  }
  throw new Error(`next start:\n${output}`);
}

// A deployment without node_modules copies what Next.js lists for a route.
test('the files that are traced for the route are all that is needed', { timeout: 60_000 }, async () => {
  const route = join(project, '.next', 'server', 'app', 'seal', 'route.js.nft.json');
  const traced = JSON.parse(readFileSync(route, 'utf8')).files.map((path) => relative(project, join(dirname(route), path)).replaceAll('\\', '/'));
  const ofPackage = traced.filter((path) => path.startsWith(`node_modules/${alias}/dist/`)).map((path) => path.split('/').at(-1));
  assert.deepEqual(ofPackage.sort(), ['csfle.wasm', 'csfle.wasm.cjs', 'node.cjs']);
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'csfle-traced-')));
  try {
    for (const path of [...traced.filter((path) => path.startsWith('node_modules/')), 'app.cjs', 'use.cjs']) cpSync(join(project, path), join(folder, path));
    assert.deepEqual(JSON.parse(await succeed(process.execPath, ['app.cjs', mongodbUri], { cwd: folder })), printed);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
