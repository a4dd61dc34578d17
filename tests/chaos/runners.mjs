// Processes that do jobs: workers of the library that wait for one, and the command.
import { fork, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { commandArguments, commandEnvironment } from './jobs.mjs';

const WORKER = fileURLToPath(new URL('./worker.mjs', import.meta.url));
const COMMAND = fileURLToPath(new URL('../../dist/cli.mjs', import.meta.url));
/** A job that takes longer than this hangs; on a machine with other work an honest one may take a minute. */
export const JOB_TIMEOUT_MS = 120_000;

/** Workers of the library, started beforehand. */
export class Workers {
  #idle = [];
  #all = new Set();
  #spare;

  constructor(spare) {
    this.#spare = spare;
    this.#refill();
  }

  #refill() {
    while (this.#idle.length < this.#spare) this.#idle.push(this.#start());
  }

  #start() {
    const child = fork(WORKER, [], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    const worker = { child, output: '' };
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => {
        worker.output += text;
      });
    worker.ended = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.#all.delete(worker);
        resolve({ code, signal });
      });
    });
    child.on('error', () => {});
    worker.ready = Promise.race([
      new Promise((resolve) => {
        child.once('message', resolve);
      }),
      worker.ended,
    ]);
    this.#all.add(worker);
    return worker;
  }

  /** Starts a job; `{ kill(signal), finished }`. `finished` resolves to `{ ok, code, text, report, hung }`. */
  async run(call) {
    const worker = this.#idle.shift() ?? this.#start();
    this.#refill();
    await worker.ready;
    const { child } = worker;
    const before = worker.output.length;
    const answered = new Promise((resolve) => {
      child.once('message', (answer) => {
        resolve({ answer });
      });
    });
    const timer = setTimeout(() => {
      worker.hung = true;
      child.kill('SIGKILL');
    }, JOB_TIMEOUT_MS);
    child.send(call, () => {});
    const finished = Promise.race([answered, worker.ended]).then(({ answer, code, signal }) => {
      clearTimeout(timer);
      if (answer === undefined) return { ok: false, code: code ?? signal, text: worker.output.slice(before), hung: worker.hung === true };
      const { ok, report, error } = answer;
      if (!worker.doomed) this.#idle.push(worker);
      return { ok: ok === true, code: ok ? 0 : 1, report, error, text: `${JSON.stringify(answer)}${worker.output.slice(before)}`, hung: false };
    });
    return {
      kill: (signal) => {
        worker.doomed = true;
        child.kill(signal);
      },
      finished,
    };
  }

  async stop() {
    this.#spare = 0;
    const ended = [...this.#all].map((worker) => {
      worker.child.kill('SIGKILL');
      return worker.ended;
    });
    await Promise.all(ended);
  }
}

/** How the streams of the command are: `closed` has no reader, `full` is a device without room. */
function streamOf(kind) {
  return kind === 'full' ? openSync('/dev/full', 'w') : 'pipe';
}

/** Starts the command; as `Workers.run`. `fileLimit` is the greatest size of a file in blocks of the shell. */
export function runCommand(job, world, { uri, kmsEndpoint, kmsTimeoutMs, disk, withBackup, json, streams = {}, fileLimit }) {
  const args = [COMMAND, ...commandArguments(job, world, { disk, withBackup, json, kmsTimeoutMs })];
  const [program, given] =
    fileLimit === undefined ? [process.execPath, args] : ['/bin/sh', ['-c', `ulimit -f ${fileLimit}; exec "$@"`, 'sh', process.execPath, ...args]];
  const stdio = ['ignore', streamOf(streams.stdout), streamOf(streams.stderr)];
  const child = spawn(program, given, { cwd: world.folder, env: commandEnvironment(job, { uri, kmsEndpoint }), stdio });
  for (const stream of stdio) if (typeof stream === 'number') closeSync(stream);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) {
    child[name]?.on('data', (text) => {
      output[name] += text;
    });
    child[name]?.on('error', () => {});
    if (streams[name] === 'closed') child[name].destroy();
  }
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, JOB_TIMEOUT_MS);
  const finished = new Promise((resolve) => {
    child.on('error', () => {});
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ ok: code === 0, code: code ?? signal, report: parsed(output.stdout), text: output.stdout + output.stderr, hung });
    });
  });
  return {
    kill: (signal) => {
      child.kill(signal);
    },
    finished,
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
