// Runs the real `csfle` as a child process, and slows AWS KMS down where a test needs time to interfere.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const manifest = createRequire(import.meta.url).resolve('csfle-wasm/package.json');
const program = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin.csfle);

// Everything a test may have set is left out unless it says so.
const cleanEnvironment = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(MONGODB_URI|CSFLE_|AWS_ENDPOINT|NODE_OPTIONS|FORCE_COLOR)/.test(name)));

// Starts the command; resolves to { code, signal, stdout, stderr }. `whileRunning(child)` may send signals.
export function csfle(args, { env = {}, input, whileRunning } = {}) {
  const child = spawn(process.execPath, [program, ...args], { env: { ...cleanEnvironment(), ...env }, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) child[stream].setEncoding('utf8').on('data', (text) => { output[stream] += text; });
  whileRunning?.(child);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...output }));
  });
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
      const forwarded = request({ host: target.hostname, port: target.port, path: incoming.url, method: incoming.method, headers: incoming.headers }, (reply) => {
        outgoing.writeHead(reply.statusCode, reply.headers);
        reply.pipe(outgoing);
      });
      forwarded.on('error', () => outgoing.destroy());
      incoming.pipe(forwarded);
    }, delayMs);
    timers.add(timer);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    close: () => new Promise((resolve) => { timers.forEach(clearTimeout); server.closeAllConnections(); server.close(resolve); }),
  };
}
