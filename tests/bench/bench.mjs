// `npm run bench` and `npm run bench -- --json`: our WebAssembly against MongoDB's C library, in one process and one run.
import { cpus, release, totalmem } from 'node:os';
import * as bson from 'bson';
import Table from 'cli-table3';
import { ClientEncryption, MemoryKeyVaultStore } from 'csfle-wasm';
import { openBoundary, wasmPath } from '../hosts/boundary.mjs';
import { gzipBytes, instantiateMs } from './artifact.mjs';
import { keyDocumentBytes, keyId, localMasterKey } from './key-document.mjs';
import { LibMongoCrypt, openLibrary } from './libmongocrypt.mjs';
import { race } from './measure.mjs';
import { Ours } from './ours.mjs';
import { prepareWorks } from './works.mjs';

const USAGE = 'usage: npm run bench -- [--json] [--only TEXT]   (TEXT: measure works whose name contains it)';

async function main(args) {
  const { json, only } = parse(args);
  const log = (line) => json || console.error(line);
  const library = await openLibrary();
  const keyDocument = keyDocumentBytes(bson);
  const theirs = new LibMongoCrypt(library, {
    kmsProviders: bson.serialize({ local: { key: new bson.Binary(localMasterKey) } }),
    keyDocument,
    keyId,
  });
  const ours = new Ours(await openBoundary(), { bson, masterKey: localMasterKey, keyDocument, keyId });
  const store = new MemoryKeyVaultStore();
  await store.insert(bson.deserialize(keyDocument));
  const client = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local: { key: localMasterKey } } });
  try {
    const works = (await prepareWorks({ bson, ours, theirs, client, keyId })).filter(({ work }) => work.includes(only));
    log('both sides agree on every byte; measuring');
    const ffiCall = await race({ call: { run: () => library.trivial(3) } }, { rounds: 5 });
    const rows = [];
    for (const work of works) {
      rows.push(await measured(work));
      log(`  ${work.work}`);
    }
    rows.push(...artifactRows().filter(({ work }) => work.includes(only)));
    print({ machine: machine(library, ffiCall.call.median), rows }, json);
  } finally {
    client.close();
    ours.close();
    theirs.close();
  }
}

function parse(args) {
  const json = args.includes('--json');
  const at = args.indexOf('--only');
  const known = args.every((arg, index) => arg === '--json' || arg === '--only' || (at >= 0 && index === at + 1));
  if (!known || (at >= 0 && args[at + 1] === undefined)) {
    console.error(USAGE);
    process.exit(2);
  }
  return { json, only: at >= 0 ? args[at + 1] : '' };
}

/** `ratio` is how many times faster we are, whichever way the unit grows. */
async function measured({ work, unit, ours, theirs, asynchronous }) {
  const us = await race({ ours: { run: ours, asynchronous }, theirs: { run: theirs } });
  const inUnit = (microseconds) => round(unit === 'us' ? microseconds : 1e6 / microseconds);
  return {
    work,
    ours: inUnit(us.ours.median),
    theirs: inUnit(us.theirs.median),
    unit,
    ratio: round(us.theirs.median / us.ours.median),
    oursSpread: round(us.ours.spread),
    theirsSpread: round(us.theirs.spread),
  };
}

/** Costs of the artifact alone: there is no counterpart to compare with. */
function artifactRows() {
  const instantiate = instantiateMs(wasmPath);
  const alone = { theirs: null, ratio: null, theirsSpread: null };
  return [
    { work: 'instantiate', ours: round(instantiate.median), unit: 'ms', oursSpread: round(instantiate.spread), ...alone },
    { work: 'gzip-size', ours: gzipBytes(wasmPath), unit: 'bytes', oursSpread: 0, ...alone },
  ];
}

function machine(library, ffiCallUs) {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch} ${release()}`,
    node: process.versions.node,
    v8: process.versions.v8,
    openssl: process.versions.openssl,
    opponent: `libmongocrypt ${library.version}`,
    // What one call into C costs by itself; an explicit operation of theirs makes ten of them.
    ffiCallNs: round(ffiCallUs * 1000),
    clock: 'processor time of the process',
    date: new Date().toISOString(),
  };
}

function print(report, json) {
  if (json) {
    console.log(JSON.stringify(report, null, 2));
    return;
  }
  const { machine: on, rows } = report;
  console.log(`${on.cpu}, ${on.cores} cores, Node ${on.node}; against ${on.opponent} with OpenSSL ${on.openssl}`);
  console.log(`one foreign call costs ${on.ffiCallNs} ns; an explicit operation of theirs makes about ten\n`);
  const table = new Table({
    head: ['work', 'ours', 'theirs', 'unit', 'ratio', 'spread'],
    colAligns: ['left', 'right', 'right', 'left', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) {
    table.push([row.work, amount(row.ours), amount(row.theirs), row.unit, row.ratio === null ? '' : `${row.ratio.toFixed(2)}x`, spread(row)]);
  }
  console.log(table.toString());
  console.log('ratio above 1: ours is faster. spread: distance of the quartiles over the median, ours / theirs.');
  console.log('times are processor time of this process, so a busy machine does not count.');
  console.log('-api: JavaScript objects at both ends instead of BSON bytes.');
}

const amount = (value) => (value === null ? '-' : value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 2 : 0 }));
const percent = (share) => (share === null ? '-' : `${Math.round(share * 100)}%`);
const spread = (row) => `${percent(row.oursSpread)} / ${percent(row.theirsSpread)}`;
const round = (value) => Number(value.toPrecision(5));

await main(process.argv.slice(2));
