// The real mongosh as a test drives it: the package as an installation lays it out, a home folder of its own, one process per
// script, results as extended JSON.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EJSON } from 'bson';
import { testPython } from '../../env.mjs';

const require = createRequire(import.meta.url);
const timeoutMs = 60_000;

// Makes a folder as `npm install csfle-wasm` leaves it: the package and its one peer, no native addon; the AWS SDK only if
// asked for; `files` by name are written into it. Resolves to { folder, load, run(script, options), evaluate(script, options), home(),
// remove() }.
export async function installForShell({ awsSdk = false, files = {} } = {}) {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'csfle-mongosh-')));
  const installed = join(folder, 'node_modules', 'csfle-wasm');
  const built = dirname(require.resolve('csfle-wasm/mongosh'));
  await mkdir(join(installed, 'dist'), { recursive: true });
  for (const file of ['csfle.mongosh.js', 'mongosh.cjs', 'node.cjs', 'csfle.wasm', 'csfle.wasm.cjs'])
    await cp(join(built, file), join(installed, 'dist', file));
  await cp(require.resolve('csfle-wasm/package.json'), join(installed, 'package.json'));
  await symlink(dirname(dirname(require.resolve('bson'))), join(folder, 'node_modules', 'bson'));
  if (awsSdk) {
    // Not its own folder, which has no dependencies beside it, but a link: they resolve from where it really is.
    await mkdir(join(folder, 'node_modules', '@aws-sdk'));
    await symlink(dirname(dirname(require.resolve('@aws-sdk/client-kms'))), join(folder, 'node_modules', '@aws-sdk', 'client-kms'));
  }
  const home = join(folder, 'home');
  await mkdir(home);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content, { mode: 0o600 });
  const load = `load(${JSON.stringify(join(installed, 'dist', 'csfle.mongosh.js'))});`;

  return {
    folder,
    load,
    // Runs a script and resolves to { code, stdout, stderr, value }, `value` being what its last expression returned.
    run: (script, options) => runShell(script, { cwd: folder, home, ...options }),
    // Runs a script that has to succeed, and resolves to its value.
    async evaluate(script, options) {
      const { code, stdout, stderr, value } = await runShell(script, { cwd: folder, home, ...options });
      assert.equal(code, 0, `${stdout}\n${stderr}`);
      return value;
    },
    // Types at the prompt on a terminal, as typeInShell().
    type: (steps, options) => typeInShell(steps, { cwd: folder, home, ...options }),
    home: () => contentsOf(home),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

const tools = createRequire(new URL('../../tools/package.json', import.meta.url));
const ownProgram = join(dirname(tools.resolve('mongosh/package.json')), tools('mongosh/package.json').bin.mongosh);

// `json` asks for the last value as extended JSON; `input` is typed at the prompt instead of evaluating a script; `whileRunning(child)` may
// send signals, and ends the input itself with `endsInput: false`; `program` is another installation's.
export async function runShell(script, { uri, cwd, home, json = true, input, args = [], env = {}, program = ownProgram, whileRunning, endsInput = true }) {
  const output = json && input === undefined ? ['--json=canonical'] : [];
  const evaluate = script === undefined ? [] : ['--eval', script];
  const child = spawn(process.execPath, [program, '--quiet', ...(uri === undefined ? ['--nodb'] : [uri]), ...output, ...args, ...evaluate], {
    cwd,
    env: { ...process.env, ...env, HOME: home, USERPROFILE: home },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: timeoutMs,
  });
  whileRunning?.(child);
  if (endsInput) child.stdin.end(input ?? '');
  else child.stdin.write(input);
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), new Promise((resolve) => child.on('close', resolve))]);
  const value = json && code === 0 && input === undefined ? parse(stdout, stderr) : undefined;
  return { code, stdout, stderr, value };
}

// Types at the prompt of a shell on a terminal: steps { keys, until, again }, as terminal.py takes them. Resolves to what each step showed.
export async function typeInShell(steps, { uri, cwd, home, args = [], env = {}, program = ownProgram }) {
  const script = fileURLToPath(new URL('./terminal.py', import.meta.url));
  const shell = [process.execPath, program, '--quiet', ...(uri === undefined ? ['--nodb'] : [uri]), ...args];
  const child = spawn(await testPython(), [script, ...shell], {
    cwd,
    env: { ...process.env, TERM: 'xterm', ...env, HOME: home, USERPROFILE: home },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 2 * timeoutMs,
  });
  const first = { keys: '', until: '> ' };
  child.stdin.end(JSON.stringify([first, ...steps]));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (stdout === '') throw new Error(`nothing was typed: ${stderr}`);
  const [, ...shown] = JSON.parse(stdout);
  assert.equal(shown.length, steps.length, `the last of these did not end as expected:\n${shown.join('\n---\n')}`);
  return shown;
}

function parse(stdout, stderr) {
  try {
    return stdout.trim() === '' ? undefined : EJSON.parse(stdout, { relaxed: false });
  } catch (cause) {
    throw new Error(`not one JSON document:\n${stdout}\n${stderr}`, { cause });
  }
}

async function text(stream) {
  let all = '';
  for await (const chunk of stream.setEncoding('utf8')) all += chunk;
  return all;
}

// Everything below a folder as one text, byte for byte: what the shell keeps of a session.
async function contentsOf(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return (await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name), 'latin1')))).join('\n');
}

// Shell code that calls `f` and returns how it failed.
export const attempt = `const attempt = (f) => { try { f(); return 'no error'; } catch (error) { return { code: error.code, message: error.message }; } };`;
