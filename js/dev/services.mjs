// The two services that tests and the demo talk to: a MongoDB-compatible server and an AWS KMS emulator, each on a free port
// of 127.0.0.1 with a throw-away folder. A real one is used instead when MONGODB_URI or AWS_ENDPOINT_URL_KMS names it.
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, venvProgram } from './paths.mjs';
import { ScriptFailure } from './process.mjs';
import { installServices } from './setup/python.mjs';

const host = '127.0.0.1';
const startTimeoutMs = 30_000;
const startAttempts = 3;

// Starts what is asked for. `venv` (of setUp) saves looking for it again. Resolves to { mongodbUri, kmsEndpoint, stop() };
// what was not asked for is undefined, and so is `kmsEndpoint` when the AWS SDK shall find the real KMS by itself.
export async function startServices({ mongo = true, kms = true, venv, log = () => {}, env = process.env } = {}) {
  const running = [];
  let found = venv;
  const stop = async () => {
    await Promise.all(running.splice(0).map((server) => server.stop()));
  };
  const environment = async () => {
    found ??= (await installServices()).services;
    return found;
  };
  try {
    const [mongodbUri, kmsEndpoint] = await Promise.all([
      mongo ? env.MONGODB_URI || environment().then((folder) => launch(mongoServer(folder))) : undefined,
      kms ? env.AWS_ENDPOINT_URL_KMS || environment().then((folder) => launch(kmsEmulator(folder))) : undefined,
    ]);
    return { mongodbUri, kmsEndpoint, stop };
  } catch (error) {
    await stop();
    throw error;
  }

  async function launch(service) {
    const started = performance.now();
    const server = await startServer(service);
    running.push(server);
    log(`${service.name}: ${server.url} (ready in ${((performance.now() - started) / 1000).toFixed(1)} s)`);
    return server.url;
  }
}

function mongoServer(venv) {
  return {
    name: 'MongoDB-compatible server',
    command: (port, folder) => {
      // An empty configuration of its own: without one the server looks for files in the user's folders.
      const config = join(folder, 'empty.toml');
      writeFileSync(config, '');
      return [
        venvProgram(venv, 'secantusd-py'),
        '--config',
        config,
        '--host',
        host,
        '--port',
        String(port),
        '--storage-path',
        join(folder, 'data'),
        '--log-level',
        'WARNING',
        '--cache-size',
        '256M',
        // For `configureFailPoint`, with which the published tests provoke failures.
        '--enable-test-commands',
      ];
    },
    url: (port) => `mongodb://${host}:${port}/?directConnection=true`,
    async isReady(url) {
      const { MongoClient } = await import('mongodb');
      const client = new MongoClient(url, { serverSelectionTimeoutMS: 500 });
      try {
        return (await client.db('admin').command({ hello: 1 })).isWritablePrimary === true;
      } finally {
        await client.close();
      }
    },
  };
}

function kmsEmulator(venv) {
  return {
    name: 'KMS emulator',
    command: (port) => [venvProgram(venv, 'moto_server'), '-H', host, '-p', String(port)],
    url: (port) => `http://${host}:${port}`,
    isReady: async (url) => (await fetch(`${url}/moto-api/`)).ok,
  };
}

// Starts `{ name, command(port, folder), url(port), isReady(url) }`. Resolves to { url, stop() }.
export async function startServer(service) {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'csfle-service-'));
    const server = guarded(service.command(port, folder), folder);
    const url = service.url(port);
    if (await becomesReady(service, server, url)) return { url, stop: server.stop };
    await server.stop();
    // Another program may have taken the port between our look and the server's.
    if (attempt === startAttempts) throw new ScriptFailure(`the ${service.name} does not start:\n${server.output()}`);
  }
}

// Starts a program under guard.py, which ends it when we end it or end ourselves.
function guarded(command, folder) {
  const guard = join(root, 'js', 'dev', 'guard.py');
  const python = join(command[0], '..', process.platform === 'win32' ? 'python.exe' : 'python');
  const child = spawn(python, [guard, folder, ...command], { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: serverEnvironment() });
  const tail = [];
  const keepTail = (chunk) => {
    tail.push(chunk);
    if (tail.length > 50) tail.shift();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', keepTail);
    stream.unref();
  }
  child.stdin.on('error', () => {});
  child.stdin.unref?.();
  // A script that forgets stop() still ends, and its end stops the server.
  child.unref();
  let hasEnded = false;
  const ended = new Promise((resolve) => {
    child.on('error', (error) => {
      keepTail(Buffer.from(error.message));
      hasEnded = true;
      resolve();
    });
    child.on('close', () => {
      hasEnded = true;
      resolve();
    });
  });
  return {
    hasEnded: () => hasEnded,
    output: () => Buffer.concat(tail).toString('utf8').trim(),
    async stop() {
      child.ref();
      child.stdin.end();
      await ended;
    },
  };
}

// The servers are ours alone: proxies and credentials of the caller are none of their business.
function serverEnvironment() {
  const { PATH, HOME, TMPDIR, SYSTEMROOT, LANG } = process.env;
  return Object.fromEntries(Object.entries({ PATH, HOME, TMPDIR, SYSTEMROOT, LANG, PYTHONUNBUFFERED: '1' }).filter(([, value]) => value !== undefined));
}

async function becomesReady(service, server, url) {
  const deadline = Date.now() + startTimeoutMs;
  while (Date.now() < deadline && !server.hasEnded()) {
    try {
      if (await service.isReady(url)) return true;
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

// The emulator takes any credentials, but the SDK wants some.
export const emulatorCredentials = { AWS_ACCESS_KEY_ID: 'emulator', AWS_SECRET_ACCESS_KEY: 'emulator', AWS_REGION: 'us-east-1' };

// Makes a symmetric key in the emulator. Resolves to { arn, keyId, region }.
export async function createCmk(kmsEndpoint, { region = emulatorCredentials.AWS_REGION } = {}) {
  const { KMSClient, CreateKeyCommand } = await import('@aws-sdk/client-kms');
  const credentials = { accessKeyId: emulatorCredentials.AWS_ACCESS_KEY_ID, secretAccessKey: emulatorCredentials.AWS_SECRET_ACCESS_KEY };
  const client = new KMSClient({ region, endpoint: kmsEndpoint, credentials });
  try {
    const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
    return { arn: KeyMetadata.Arn, keyId: KeyMetadata.KeyId, region };
  } finally {
    client.destroy();
  }
}
