// npm run differential -- [--json] [--steps N] [--seed S]
//
// The same random requests to this library and to libmongocrypt, step by step, at two levels: whole operations of our own
// interface (here), and call by call through the interface that the drivers use (tests/mongocrypt/random). Compared are the
// outcome, the bytes, states and statuses, the class of an error, and its text where the reference's is matched. With `--json`
// one document goes to stdout: {steps, mismatches, operations: {...}, contexts: {...}}. The exit code is 1 when there is a
// mismatch. The same seed repeats the run.
import { pathToFileURL } from 'node:url';
import { testPython } from '../env.mjs';
import { DIFFERENCES as CONTEXT_DIFFERENCES } from '../mongocrypt/random/differences.mjs';
import { runConversations } from '../mongocrypt/random/run.mjs';
import { OPERATIONS } from './differential-operations.mjs';
import { DIFFERENCES, explains } from './differences.mjs';
import { Random } from './generate.mjs';
import { knownCodesFor } from './outcomes.mjs';
import { MASTER_KEYS, Pair, providersOf } from './pair.mjs';

/** About a minute and a half on two cores. */
const DEFAULT_STEPS = 170_000;
/** How many of the steps are calls on contexts. */
const CONTEXT_SHARE = 0.65;
const SHOWN = 20;

/**
 * Codes whose messages are libmongocrypt's own words. The others say more than it does (offsets, lengths, which key), or
 * come from the JavaScript layer, which names its arguments.
 */
const MATCHED_MESSAGES = new Set([
  'ALGORITHM_QUERYABLE',
  'ALGORITHM_UNSUPPORTED',
  'CRYPTO_AUTHENTICATION_FAILED',
  'KEY_ALT_NAME_INVALID',
  'KEY_VAULT_DUPLICATE_KEY',
  'KEY_VAULT_FIELD_INVALID',
  'KEY_VAULT_FIELD_MISSING',
  'KEY_VAULT_FIELD_UNKNOWN',
  'KEY_VAULT_UNEXPECTED_KEY',
  'KEY_VAULT_VERSION_UNSUPPORTED',
  'KMS_ENDPOINT_INVALID',
  'KMS_PROVIDER_NOT_CONFIGURED',
  'KMS_PROVIDER_UNRECOGNIZED',
  'MASTER_KEY_INVALID',
  'PAYLOAD_IS_MARKING',
  'PAYLOAD_IS_QUERYABLE',
  'PAYLOAD_KIND_UNKNOWN',
  'VALUE_TYPE_NOT_DETERMINISTIC',
  'VALUE_TYPE_NOT_ENCRYPTABLE',
]);

/** What is wrong between two answers, or undefined. */
function compareAnswers(theirs, ours) {
  if (theirs.ok !== ours.ok) return theirs.ok ? 'only the package refuses' : 'only libmongocrypt refuses';
  if (theirs.ok) return undefined;
  const codes = knownCodesFor(theirs.message);
  if (!codes) return 'libmongocrypt says something outcomes.mjs does not know';
  if (!codes.includes(ours.code)) return 'the errors are of different kinds';
  // Bytes that are not UTF-8 cannot be compared as text.
  if (MATCHED_MESSAGES.has(ours.code) && !theirs.message.includes('\ufffd') && theirs.message !== ours.message) return 'the messages differ';
  return undefined;
}

/** Runs `steps` steps and returns what was found. */
export async function runDifferential({ steps, seed = 1, onStep = () => {} } = {}) {
  const rng = new Random(seed);
  const pair = await Pair.start(providersOf(rng));
  const keys = [];
  for (const provider of Object.keys(MASTER_KEYS)) {
    for (const maker of ['ours', 'theirs']) keys.push(await pair.dataKey(maker, provider, [`${provider} by ${maker}`]));
  }
  pair.setVault(keys.map(({ document }) => document));
  const report = {
    steps: 0,
    seed,
    mismatches: 0,
    operations: {},
    refused: 0,
    differences: Object.fromEntries(DIFFERENCES.map(({ name }) => [name, 0])),
    details: [],
  };
  const weighted = Object.entries(OPERATIONS).flatMap(([name, { weight }]) => Array(weight).fill(name));
  try {
    while (report.steps < steps) {
      const operation = rng.pick(weighted);
      await oneStep(report, operation, { rng, pair, keys });
      onStep(report);
    }
  } finally {
    await pair.stop();
  }
  return report;
}

async function oneStep(report, operation, context) {
  const step = report.steps;
  report.steps += 1;
  report.operations[operation] = (report.operations[operation] ?? 0) + 1;
  const { theirs, ours, input = {}, check } = await OPERATIONS[operation].run(context);
  if (!theirs.ok) report.refused += 1;
  let what = compareAnswers(theirs, ours);
  if (what === undefined && theirs.ok) what = await check?.();
  if (what === undefined) return;
  const difference = what.difference ?? explains({ operation, theirs, ours, input })?.name;
  if (difference) {
    if (!(difference in report.differences)) throw new Error(`differences.mjs does not list ${difference}`);
    report.differences[difference] += 1;
    return;
  }
  report.mismatches += 1;
  if (report.details.length < SHOWN) {
    report.details.push({
      step,
      operation,
      what,
      input: input.what,
      libmongocrypt: theirs.ok ? 'ok' : theirs.message,
      package: ours.ok ? 'ok' : `${ours.code}: ${ours.message}`,
    });
  }
}

function option(args, name, fallback) {
  const at = args.findIndex((argument) => argument === `--${name}` || argument.startsWith(`--${name}=`));
  if (at < 0) return fallback;
  const text = args[at].includes('=') ? args[at].split('=')[1] : args[at + 1];
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new RangeError(`--${name} needs a whole number, found ${text}`);
  return number;
}

async function main(args) {
  const steps = option(args, 'steps', DEFAULT_STEPS);
  const seed = option(args, 'seed', 1);
  const json = args.includes('--json');
  const started = performance.now();
  const done = { operations: 0, contexts: 0 };
  let shown = started;
  const countIn = (level) => (report) => {
    done[level] = report.steps;
    if (json || !process.stderr.isTTY || performance.now() - shown < 1000) return;
    shown = performance.now();
    process.stderr.write(`\r${done.operations + done.contexts} of ${steps} steps`);
  };
  const forContexts = Math.ceil(steps * CONTEXT_SHARE);
  // Each of the two waits for its own libmongocrypt most of the time.
  const [operations, contexts] = await Promise.all([
    runDifferential({ steps: steps - forContexts, seed, onStep: countIn('operations') }),
    runConversations({ python: await testPython(), steps: forContexts, seed, onStep: countIn('contexts') }),
  ]);
  const seconds = Number(((performance.now() - started) / 1000).toFixed(1));
  const total = { steps: operations.steps + contexts.steps, seed, seconds, mismatches: operations.mismatches + contexts.mismatches };
  if (json) console.log(JSON.stringify({ ...total, operations, contexts }, null, 2));
  else printReport({ ...total, operations, contexts });
  process.exitCode = total.mismatches > 0 ? 1 : 0;
}

const listed = (counts) =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');

function printReport({ steps, seed, seconds, mismatches, operations, contexts }) {
  if (process.stderr.isTTY) process.stderr.write('\r');
  console.log(`${steps} steps in ${seconds} s (seed ${seed}): ${mismatches} mismatches`);
  console.log(`${operations.steps} operations, of which both sides refused ${operations.refused}: ${listed(operations.operations)}`);
  printFindings(operations, DIFFERENCES);
  console.log(`${contexts.steps} calls in ${contexts.conversations} conversations: ${listed(contexts.calls)}; contexts: ${listed(contexts.contexts)}`);
  printFindings(contexts, CONTEXT_DIFFERENCES);
}

function printFindings({ differences, details }, known) {
  for (const { name, reason } of known) console.log(`  ${differences[name]} times ${name}. ${reason}`);
  for (const detail of details) console.log(`  MISMATCH ${JSON.stringify(detail)}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
