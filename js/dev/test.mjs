// `npm test`: set-up, then the checks of a tier. All of them run even when one fails, so that one run tells everything; the
// closing summary has a line for each.
//
//   npm test                              Rust checks, lint, build, and the tests of the library with a few of each host
//   npm run test:hosts                    the other tests of hosts: command, mongosh, bundlers, package managers, browsers, documents
//   npm run test:all                      both
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

// Tests of hosts take most of the time. These are in the first tier too, so that each host is started at least once.
const HOSTS = /^tests\/(hosts|docs)\//;
const OF_EACH_HOST = ['cli-words', 'mongosh', 'package', 'browser', 'one-line'].map((name) => `tests/hosts/${name}.test.mjs`);
const TIERS = {
  library: (path) => !HOSTS.test(path) || OF_EACH_HOST.includes(path),
  hosts: (path) => HOSTS.test(path) && !OF_EACH_HOST.includes(path),
  all: () => true,
};

await runScript('test', async () => {
  const { tier, words } = parsed(process.argv.slice(2));
  const files = testFiles(tier, words);
  if (files.length === 0) throw new ScriptFailure(`no test file matches ${words.join(' ')}`);
  const found = await setUp(['rust', 'packages', 'testTools', 'services', 'python', 'chromium']);
  // Cargo checks the crates while the build, which has a folder of its own, makes the artifacts.
  const isWhole = words.length === 0 && tier !== 'hosts';
  const [checked, [built, ...more]] = await Promise.all([inTurn(isWhole ? rustChecks : []), inTurn(isWhole ? [build, lint] : [build])]);
  const results = [...checked, ...more, built];
  results.push(built.failed ? { name: 'node tests', failed: true, detail: 'not run: no build' } : await runTests(files, found));
  summarise(results);
  return results.some(({ failed }) => failed) ? 1 : 0;
});

function parsed(args) {
  const at = args.indexOf('--tier');
  if (at === -1) return { tier: args.length === 0 ? 'library' : 'all', words: args };
  const tier = args[at + 1];
  if (!Object.hasOwn(TIERS, tier)) throw new ScriptFailure(`--tier: expected ${Object.keys(TIERS).join(', ')}, found ${tier}`);
  return { tier, words: args.toSpliced(at, 2) };
}

function testFiles(tier, words) {
  return readdirSync(join(root, 'tests'), { recursive: true })
    .filter((path) => path.endsWith('.test.mjs') && !path.split(sep).includes('node_modules'))
    .map((path) => join('tests', path).split(sep).join('/'))
    .filter((path) => TIERS[tier](path) && (words.length === 0 || words.some((word) => path.includes(word.replace(/^\.\//, '')))))
    .sort();
}

async function inTurn(checks) {
  const results = [];
  for (const check of checks) results.push(await perform(check));
  return results;
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
    const status = await runInForeground(
      process.execPath,
      [
        ...['--test', '--test-concurrency=2', '--test-timeout=600000'],
        ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
        ...[`--test-reporter=${join(root, 'js', 'dev', 'test-reporter.mjs')}`, `--test-reporter-destination=${outcome}`],
        ...files,
      ],
      {
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
      },
    );
    return { name: 'node tests', failed: status !== 0, seconds: secondsSince(started), ...readOutcome(outcome) };
  } finally {
    await services.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function readOutcome(path) {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const { counts, seconds } = lines.at(-1);
  const { passed, failed, skipped } = counts;
  const place = (file) => (file === undefined ? '' : ` (${relative(root, file)})`);
  return {
    detail: `${passed} passed, ${failed} failed, ${skipped} skipped`,
    more: [
      ...lines.flatMap((line) => {
        if (line.failed !== undefined) return [`failed: ${line.failed}${place(line.file)}`];
        return line.skipped === undefined ? [] : [`skipped: ${line.skipped}${place(line.file)}: ${line.reason}`];
      }),
      ...slowest(seconds).map(([file, time]) => `slow: ${relative(root, file)}, ${time.toFixed(1)} s`),
    ],
  };
}

function slowest(seconds) {
  const long = Object.entries(seconds).filter(([, time]) => time > 20);
  return long.sort(([, one], [, other]) => other - one).slice(0, 10);
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
