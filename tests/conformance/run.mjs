// npm run conformance -- [--json] [--subject=libmongocrypt]
//
// Runs the published vectors through the package. With `--json` one document goes to stdout:
// {suites: [{suite, passed, failed, skipped, reasons, skips}]}. The exit code is 1 when a case failed.
import { pathToFileURL } from 'node:url';
import { runCorpus } from './corpus.mjs';
import { runThroughDriver } from './driver/run.mjs';
import { runPublishedKeys } from './keys.mjs';
import { runLimits } from './limits.mjs';
import { runUnified } from './unified.mjs';

/** What runs, in this order. Each takes `open(providers, options)` and returns suites. */
const RUNNERS = [runPublishedKeys, runCorpus, runLimits, runUnified, runThroughDriver];

/** Runs everything; a suite without a single case is an error. */
export async function runConformance(open) {
  const suites = [];
  for (const run of RUNNERS) suites.push(...(await run(open)));
  for (const suite of suites) if (suite.cases === 0) throw new Error(`suite ${suite.name} has no cases`);
  return suites.map((suite) => suite.summary());
}

/** The package, or libmongocrypt to check the vectors and this runner against the oracle. */
export async function sideUnderTest(name) {
  if (name === 'csfle-wasm') {
    const { Ours } = await import('../interop/ours.mjs');
    const open = Object.assign((providers, options) => Ours.open(providers, options), { side: name });
    return { open, stop: async () => {} };
  }
  const [{ Peer }, { Theirs }] = await Promise.all([import('../interop/peer.mjs'), import('../interop/theirs.mjs')]);
  const peer = await Peer.start();
  return { open: (providers, options) => Theirs.open(peer, providers, options), stop: () => peer.stop() };
}

/** A server for the suites that need one, unless the environment names one. Without it they are skipped, with the reason. */
async function ensureServer() {
  if (process.env.TEST_MONGODB_URI || process.env.MONGODB_URI) return () => {};
  try {
    const { startServices } = await import('../../js/dev/services.mjs');
    const services = await startServices({ kms: false });
    process.env.TEST_MONGODB_URI = services.mongodbUri;
    return () => services.stop();
  } catch (error) {
    process.stderr.write(`conformance: no server: ${error.message}\n`);
    return () => {};
  }
}

async function main(args) {
  const subject = args.find((argument) => argument.startsWith('--subject='))?.slice('--subject='.length) ?? 'csfle-wasm';
  const stopServer = await ensureServer();
  const { open, stop } = await sideUnderTest(subject);
  const suites = await runConformance(open).finally(stop).finally(stopServer);
  if (args.includes('--json')) console.log(JSON.stringify({ suites }, null, 2));
  else for (const line of [...suites.flatMap(lines), total(suites)]) console.log(line);
  process.exitCode = suites.some(({ failed }) => failed > 0) ? 1 : 0;
}

function lines({ suite, passed, failed, skipped, reasons = [], failures = [] }) {
  return [
    `${failed ? 'FAIL' : 'ok  '} ${suite}: ${passed} passed, ${failed} failed, ${skipped} skipped`,
    ...reasons.map((reason) => `       skipped ${reason}`),
    ...failures.map((failure) => `       ${failure.case}: ${failure.reason}`),
  ];
}

function total(suites) {
  const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map((kind) => suites.reduce((sum, suite) => sum + suite[kind], 0));
  return `${suites.length} suites: ${passed} passed, ${failed} failed, ${skipped} skipped`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
