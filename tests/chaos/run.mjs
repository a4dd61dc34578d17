// `npm run chaos -- --json --faults N [--seed S] [--at I] [--lanes L]`: injects N faults into jobs of the product and has an
// independent reader look for what was lost and what leaked. `--at` repeats the one fault with that index.
import { pathToFileURL } from 'node:url';
import { MongoClient } from 'mongodb';
import { createCmk, startServices } from '../../js/dev/services.mjs';
import { testPython } from '../env.mjs';
import { startKms } from './kms.mjs';
import { startReader } from './reader.mjs';
import { Workers } from './runners.mjs';
import { playScenario } from './scenario.mjs';
import { scenarioAt } from './schedule.mjs';

const USAGE = 'usage: npm run chaos -- [--json] [--faults N] [--seed S] [--at INDEX] [--lanes L]';
const DEFAULT_FAULTS = 300;
const DEFAULT_LANES = 3;
const SHOWN_PER_FINDING = 5;
const FAULTS_PER_LINE = 50;

/**
 * Opens what scenarios need; `close()` ends it. Each lane has a server of its own, because the product looks through all databases of a
 * server before it lets a key go. On the server that MONGODB_URI names there is one lane.
 */
export async function openLab({ lanes = DEFAULT_LANES } = {}) {
  const python = await testPython();
  const { MONGODB_URI, TEST_KMS_ENDPOINT, AWS_ENDPOINT_URL_KMS } = process.env;
  const servers = await Promise.all(Array.from({ length: MONGODB_URI ? 1 : lanes }, () => startServices({ kms: false, env: { MONGODB_URI } })));
  const emulator = await startServices({ mongo: false, env: { AWS_ENDPOINT_URL_KMS: TEST_KMS_ENDPOINT ?? AWS_ENDPOINT_URL_KMS } });
  const emulatorArns = [(await createCmk(emulator.kmsEndpoint)).arn, (await createCmk(emulator.kmsEndpoint)).arn];
  const kms = await startKms({ emulator: emulator.kmsEndpoint, emulatorArns });
  const workers = new Workers(servers.length + 1);
  const places = await Promise.all(
    servers.map(async ({ mongodbUri }) => ({
      client: await new MongoClient(mongodbUri).connect(),
      serverUri: mongodbUri,
      kms,
      emulatorArns,
      reader: startReader(python),
      workers,
    })),
  );
  return {
    lanes: places,
    async close() {
      await Promise.all([workers.stop(), ...places.flatMap(({ client, reader }) => [reader.stop(), client.close()])]);
      await kms.stop();
      await Promise.all([emulator, ...servers].map((service) => service.stop()));
    },
  };
}

/** Plays scenarios until `faults` were injected. `indexes` names them instead. `play` stands in for the playing in tests. */
export async function runChaos(lab, { faults, seed, indexes, play = playScenario, onScenario = () => {} }) {
  const started = performance.now();
  const report = { faults: 0, losses: 0, leaks: 0, jobs: 0, asked: indexes?.length ?? faults, seed, kinds: {}, jobKinds: {}, notInjected: {}, findings: [] };
  const most = indexes?.length ?? 2 * faults + 50;
  let next = 0;
  let underWay = 0;
  const lane = async (place) => {
    while (next < most && (indexes !== undefined || report.faults + underWay < faults)) {
      const scenario = scenarioAt(seed, indexes?.[next] ?? next);
      next += 1;
      underWay += 1;
      const outcome = await play(place, scenario);
      underWay -= 1;
      tally(report, scenario, outcome);
      onScenario(report, scenario, outcome);
    }
  };
  await Promise.all(lab.lanes.map(lane));
  report.found = countsOf(report.findings);
  report.findings.sort((one, other) => one.index - other.index);
  report.seconds = Number(((performance.now() - started) / 1000).toFixed(1));
  report.failed = report.losses + report.leaks > 0 || report.faults < report.asked;
  return report;
}

/** How often each kind of loss and leak was found, and in how many scenarios. */
function countsOf(findings) {
  const counts = {};
  for (const finding of findings) {
    for (const what of Object.keys(finding.what)) {
      const { times = 0, scenarios = 0 } = counts[what] ?? {};
      counts[what] = { times: times + finding.what[what], scenarios: scenarios + 1 };
    }
  }
  return counts;
}

function tally(report, scenario, outcome) {
  const { faultName, job, via, index, seed } = scenario;
  report.jobs += outcome.jobs;
  report.jobKinds[`${job.name}, ${via}`] = (report.jobKinds[`${job.name}, ${via}`] ?? 0) + 1;
  if (outcome.injected) {
    report.faults += 1;
    report.kinds[faultName] = (report.kinds[faultName] ?? 0) + 1;
  } else {
    const { times = 0 } = report.notInjected[faultName] ?? {};
    report.notInjected[faultName] = { times: times + 1, reason: outcome.skipped ?? 'the job ended before its turn came' };
  }
  const { losses, leaks } = outcome;
  report.losses += losses.length;
  report.leaks += leaks.length;
  if (losses.length + leaks.length === 0) return;
  const what = {};
  for (const { what: name } of [...losses, ...leaks]) what[name] = (what[name] ?? 0) + 1;
  report.findings.push({
    index,
    what,
    fault: faultName,
    job: job.name,
    via,
    detail: outcome.detail,
    losses: { count: losses.length, first: losses.slice(0, SHOWN_PER_FINDING) },
    leaks: { count: leaks.length, first: leaks.slice(0, SHOWN_PER_FINDING) },
    repeat: `npm run chaos -- --json --seed ${seed} --at ${index}`,
  });
}

function optionsOf(args) {
  const options = { json: false, faults: DEFAULT_FAULTS, seed: 1, lanes: DEFAULT_LANES };
  // `--name=value` is `--name value`.
  const words = args.flatMap((argument) => argument.split('='));
  while (words.length > 0) {
    const name = words.shift().replace(/^--/, '');
    if (name === 'json') {
      options.json = true;
      continue;
    }
    const value = Number(words.shift());
    if (!['faults', 'seed', 'at', 'lanes'].includes(name) || !Number.isSafeInteger(value) || value < 0) throw new RangeError(USAGE);
    options[name] = value;
  }
  return options;
}

async function main(args) {
  let options;
  try {
    options = optionsOf(args);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 2;
    return;
  }
  const { json, faults, seed, at, lanes } = options;
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])
    process.once(signal, () => process.exit(code));
  const lab = await openLab({ lanes: at === undefined ? Math.max(1, lanes) : 1 });
  try {
    const onScenario = progressOn(process.stderr);
    const { failed, ...report } = await runChaos(lab, { faults, seed, indexes: at === undefined ? undefined : [at], onScenario });
    if (json) console.log(JSON.stringify(report, null, 2));
    else printReport(report);
    process.exitCode = failed ? 1 : 0;
  } finally {
    await lab.close();
  }
}

/** Says how far a run is: on a terminal all the time, elsewhere a line now and then. */
function progressOn(stream) {
  let told = 0;
  let found = 0;
  return ({ faults, asked, losses, leaks, findings }) => {
    // Findings are printed at once, so that an interrupted run has reported them.
    for (; found < findings.length; found += 1) stream.write(`${stream.isTTY ? '\r' : ''}chaos: FOUND ${JSON.stringify(findings[found])}\n`);
    const text = `${faults} of ${asked} faults, ${losses} losses, ${leaks} leaks`;
    if (stream.isTTY) stream.write(`\r${text}`);
    else if (faults >= told + FAULTS_PER_LINE) {
      told = faults;
      stream.write(`chaos: ${text}\n`);
    }
  };
}

function printReport({ faults, asked, losses, leaks, jobs, seed, seconds, kinds, notInjected, findings }) {
  console.log(`${process.stderr.isTTY ? '\r' : ''}${faults} of ${asked} faults in ${jobs} jobs, ${seconds} s, seed ${seed}: ${losses} losses, ${leaks} leaks`);
  console.log(
    Object.entries(kinds)
      .map(([name, count]) => `${name} ${count}`)
      .join(', '),
  );
  for (const [name, { times, reason }] of Object.entries(notInjected)) console.log(`  not injected: ${name}, ${times} times: ${reason}`);
  for (const finding of findings) console.log(`  FOUND ${JSON.stringify(finding)}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main(process.argv.slice(2));
