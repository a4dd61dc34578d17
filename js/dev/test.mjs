// `npm test`: set-up, then every check there is. All checks run even when one fails, so that one run tells everything; the
// closing summary has a line for each.
//
//   npm test                              everything
//   npm test -- tests/js/x.test.mjs bulk  only the test files whose path contains one of the words; no Rust checks
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { cargoBin, root, vectorsFolder } from './paths.mjs';
import { ScriptFailure, runInForeground, runScript } from './process.mjs';
import { createCmk, emulatorCredentials, startServices } from './services.mjs';
import { setUp } from './setup.mjs';

const note = (text) => process.stderr.write(`test: ${text}\n`);
const node = (file, ...args) => ({ command: process.execPath, args: [join(root, file), ...args] });
const cargo = (...args) => ({ command: cargoBin('cargo'), args });

const rustChecks = [
  { name: 'cargo fmt', ...cargo('fmt', '--all', '--check') },
  { name: 'cargo clippy', ...cargo('clippy', '--workspace', '--all-targets', '--quiet', '--', '-D', 'warnings') },
  { name: 'cargo clippy (wasm)', ...cargo('clippy', '--package', 'csfle-wasm', '--target', 'wasm32-unknown-unknown', '--quiet', '--', '-D', 'warnings') },
  { name: 'cargo doc', ...cargo('doc', '--workspace', '--no-deps', '--quiet'), env: { RUSTDOCFLAGS: '-D warnings' } },
  { name: 'cargo test', ...cargo('test', '--package', 'csfle-core', '--quiet') },
];
const lint = { name: 'lint', ...node('js/dev/lint.mjs') };
// Compiles the TypeScript and holds the size budget too.
const build = { name: 'build', ...node('js/build.mjs') };

await runScript('test', async () => {
  const words = process.argv.slice(2);
  const files = testFiles(words);
  if (files.length === 0) throw new ScriptFailure(`no test file matches ${words.join(' ')}`);
  const found = await setUp(['rust', 'packages', 'testTools', 'services', 'python', 'chromium']);
  const results = [];
  if (words.length === 0) for (const check of [...rustChecks, lint]) results.push(await perform(check));
  const built = await perform(build);
  results.push(built);
  results.push(built.failed ? { name: 'node tests', failed: true, detail: 'not run: no build' } : await runTests(files, found));
  summarise(results);
  return results.some(({ failed }) => failed) ? 1 : 0;
});

function testFiles(words) {
  const paths = readdirSync(join(root, 'tests'), { recursive: true })
    .filter((path) => path.endsWith('.test.mjs') && !path.split(sep).includes('node_modules'))
    .map((path) => join('tests', path).split(sep).join('/'))
    .sort();
  return words.length === 0 ? paths : paths.filter((path) => words.some((word) => path.includes(word.replace(/^\.\//, ''))));
}

async function perform({ name, command, args, env }) {
  note(name);
  const started = performance.now();
  const status = await runInForeground(command, args, { env });
  return { name, failed: status !== 0, seconds: secondsSince(started) };
}

// One server, one emulator and one CMK for all test files.
async function runTests(files, { services: venv, python, chromium }) {
  note(`node tests (${files.length} files)`);
  const started = performance.now();
  const scratch = mkdtempSync(join(tmpdir(), 'csfle-test-'));
  const services = await startServices({ venv, log: note });
  try {
    const keyArn = (await createCmk(services.kmsEndpoint)).arn;
    const outcome = join(scratch, 'outcome.jsonl');
    const status = await runInForeground(process.execPath, [
      ...['--test', '--test-concurrency=2', '--test-timeout=600000'],
      ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
      ...[`--test-reporter=${join(root, 'js', 'dev', 'test-reporter.mjs')}`, `--test-reporter-destination=${outcome}`],
      ...files,
    ], {
      env: {
        ...emulatorCredentials,
        TEST_MONGODB_URI: services.mongodbUri,
        TEST_KMS_ENDPOINT: services.kmsEndpoint,
        TEST_KMS_KEY_ARN: keyArn,
        TEST_PYTHON: python,
        TEST_CHROMIUM: chromium,
        TEST_PROJECTS: scratch,
        CSFLE_VECTORS: vectorsFolder(),
        AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
      },
    });
    return { name: 'node tests', failed: status !== 0, seconds: secondsSince(started), ...readOutcome(outcome) };
  } finally {
    await services.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function readOutcome(path) {
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  const { passed, failed, skipped } = lines.at(-1).counts;
  const place = (file) => (file === undefined ? '' : ` (${relative(root, file)})`);
  return {
    detail: `${passed} passed, ${failed} failed, ${skipped} skipped`,
    more: lines.flatMap((line) => {
      if (line.failed !== undefined) return [`failed: ${line.failed}${place(line.file)}`];
      return line.skipped === undefined ? [] : [`skipped: ${line.skipped}${place(line.file)}: ${line.reason}`];
    }),
  };
}

function summarise(results) {
  const lines = results.flatMap(({ name, failed, seconds, detail, more = [] }) => {
    const time = seconds === undefined ? '' : `${seconds.toFixed(1)} s`.padStart(9);
    return [
      `  ${failed ? 'FAILED' : 'passed'}  ${name.padEnd(22)}${time}${detail === undefined ? '' : `   ${detail}`}`,
      ...more.map((text) => `            ${text}`),
    ];
  });
  process.stdout.write(`\nSummary\n${lines.join('\n')}\n`);
}

function secondsSince(started) {
  return (performance.now() - started) / 1000;
}
