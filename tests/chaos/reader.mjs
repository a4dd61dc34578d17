// The Node end of reader.py.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('./reader.py', import.meta.url));

/** Starts the reader. `{ look(request), stop() }`; a reader that fails throws. */
export function startReader(python) {
  const child = spawn(python, ['-u', SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
  const waiting = new Map();
  let next = 1;
  let complaint = '';
  child.stderr.on('data', (text) => {
    complaint += text;
  });
  child.stdin.on('error', () => {});
  const ended = new Promise((resolve) => {
    child.on('close', () => {
      for (const { reject } of waiting.values()) reject(new Error(`reader.py ended: ${complaint}`));
      resolve();
    });
  });
  child.on('error', (error) => {
    complaint += error.message;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, ...answer } = JSON.parse(line);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (answer.broken) reject(new Error(`reader.py: ${answer.broken}`));
    else resolve(answer);
  });
  return {
    look(request) {
      const id = next;
      next += 1;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        child.stdin.write(`${JSON.stringify({ id, ...request })}\n`);
      });
    },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
