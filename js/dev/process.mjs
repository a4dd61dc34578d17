// Running other programs from the developer scripts. Node built-ins only: it runs before `npm ci`.
import { spawn, spawnSync } from 'node:child_process';
import { root, toolEnvironment } from './paths.mjs';

// A failure whose message is all its reader needs: printed without a stack.
export class ScriptFailure extends Error {}

// Runs to the end; the program's output is kept back and shown only when it fails.
export function runQuietly(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env: toolEnvironment(), stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => reject(new ScriptFailure(`${command}: ${error.message}`)));
    child.on('close', (status, signal) => {
      const text = Buffer.concat(output).toString('utf8');
      if (status === 0) resolve(text);
      else reject(new ScriptFailure(`${command} ${args.join(' ')} ended with ${signal ?? status}:\n${text.trimEnd()}`));
    });
  });
}

// What a short command prints, or undefined when it is absent or fails.
export function answerOf(command, args) {
  const { status, stdout } = spawnSync(command, args, { cwd: root, env: toolEnvironment(), encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim() : undefined;
}

// Runs with the caller's own terminal; `toStderr` keeps our stdout free for a document. Resolves to the exit code.
export function runInForeground(command, args, { env = {}, toStderr = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...toolEnvironment(), ...env },
      stdio: ['inherit', toStderr ? 2 : 'inherit', 'inherit'],
    });
    // The terminal sends Ctrl-C to both of us. The child decides how to end; we go with its exit code.
    const wait = () => {};
    const pass = () => child.kill('SIGTERM');
    process.on('SIGINT', wait).on('SIGTERM', pass);
    const settle = (finish) => (value, signal) => {
      process.off('SIGINT', wait).off('SIGTERM', pass);
      finish(value, signal);
    };
    child.on(
      'error',
      settle((error) => reject(new ScriptFailure(`${command}: ${error.message}`))),
    );
    child.on(
      'close',
      settle((status, signal) => resolve(signal === null ? status : (signalCodes[signal] ?? 1))),
    );
  });
}

const signalCodes = { SIGINT: 130, SIGTERM: 143 };

// Wraps a script's main: its exit code, and failures told without a stack.
export async function runScript(name, main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof ScriptFailure)) throw error;
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exitCode = 1;
  }
}
