// Runs the real `csfle` as a child process, and slows AWS KMS down where a test needs time to interfere.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { listening } from '../../listening.mjs';

const manifest = createRequire(import.meta.url).resolve('csfle-wasm/package.json');
const program = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin.csfle);

// Everything a test may have set is left out unless it says so.
const cleanEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(MONGODB_URI|CSFLE_|AWS_ENDPOINT|NODE_OPTIONS|FORCE_COLOR)/.test(name)));

// Where backups go that are given no name.
const folder = mkdtempSync(join(tmpdir(), 'csfle-command-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

// Starts the command; resolves to { code, signal, stdout, stderr }. `whileRunning(child)` may send signals.
export function csfle(args, { env = {}, input, whileRunning, cwd = folder } = {}) {
  const child = spawn(process.execPath, [program, ...args], {
    cwd,
    env: { ...cleanEnvironment(), ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'])
    child[stream].setEncoding('utf8').on('data', (text) => {
      output[stream] += text;
    });
  whileRunning?.(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
}

// Calls `react` once, as soon as the standard error of a running command matches.
export function onceOnStderr(child, pattern, react) {
  let text = '';
  const look = (more) => {
    text += more;
    if (!pattern.test(text)) return;
    child.stderr.off('data', look);
    react();
  };
  child.stderr.on('data', look);
}

// A proxy before the KMS that holds each call back for `delayMs`, and tells `onCall` of it.
export async function slowKms(endpoint, { delayMs, onCall = () => {} }) {
  const target = new URL(endpoint);
  let calls = 0;
  const timers = new Set();
  const server = createServer((incoming, outgoing) => {
    calls += 1;
    onCall(calls, String(incoming.headers['x-amz-target']));
    const timer = setTimeout(() => {
      timers.delete(timer);
      // The caller has left: a request without its end would wait for ever.
      if (outgoing.destroyed) return;
      const { url: path, method, headers } = incoming;
      const forwarded = request({ host: target.hostname, port: target.port, path, method, headers }, (reply) => {
        outgoing.writeHead(reply.statusCode, reply.headers);
        reply.pipe(outgoing);
      });
      forwarded.on('error', () => outgoing.destroy());
      outgoing.on('close', () => forwarded.destroy());
      incoming.pipe(forwarded);
    }, delayMs);
    timers.add(timer);
  });
  await listening(server);
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    close: () =>
      new Promise((resolve) => {
        timers.forEach(clearTimeout);
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
}

// A KMS that refuses every call with a message of the test's choice.
export async function refusingKms(message) {
  const server = createServer((incoming, outgoing) => {
    incoming.resume();
    outgoing.writeHead(400, { 'content-type': 'application/x-amz-json-1.1' });
    outgoing.end(JSON.stringify({ __type: 'AccessDeniedException', message }));
  });
  await listening(server);
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
}

// A proxy before the server that holds back the first message which `isMeant`, and everything after it, until `resume()`.
export async function stallingServer(uri, isMeant, onStall) {
  const target = new URL(uri);
  const sockets = new Set();
  let stalled = false;
  let resumed = false;
  const held = [];
  const server = createTcpServer((incoming) => {
    const outgoing = connect(Number(target.port), target.hostname);
    for (const socket of [incoming, outgoing]) {
      sockets.add(socket);
      socket
        .on('error', () => {})
        .on('close', () => {
          sockets.delete(socket);
          incoming.destroy();
          outgoing.destroy();
        });
    }
    outgoing.on('data', (bytes) => {
      if (stalled) held.push(() => incoming.write(bytes));
      else incoming.write(bytes);
    });
    incoming.on('data', (bytes) => {
      if (!stalled && !resumed && isMeant(bytes)) {
        stalled = true;
        onStall();
      }
      if (stalled) held.push(() => outgoing.write(bytes));
      else outgoing.write(bytes);
    });
  });
  await listening(server);
  return {
    resume() {
      stalled = false;
      resumed = true;
      for (const write of held.splice(0)) write();
    },
    uri: Object.assign(new URL(uri), { port: String(server.address().port) }).href,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(resolve);
      }),
  };
}
