// Every published test file through the official driver on this package, with the exact commands that they expect on the wire.
import { jsonFiles, vectorsFolder } from '../published.mjs';
import { SUBSTITUTE } from '../accounts.mjs';
import { skippedSuite } from '../corpus.mjs';
import { databasesOf, plaintextsOf, withDatabases, withMaterial } from '../restate.mjs';
import { Skip, Suite } from '../suite.mjs';
import { serverUri } from '../unified.mjs';
import { runUnifiedTest } from '../unified-runner.mjs';
import { runCorpusThroughDriver } from './corpus.mjs';
import { runLegacyTest } from './legacy.mjs';
import { runProseThroughDriver } from './prose.mjs';
import { startDriverWorld, unusable } from './world.mjs';

/** What fails on the test server alone, by how it fails there. On MongoDB itself these run. */
const SERVER_FAULTS = [
  {
    description: 'geo operators succeed on unencrypted, error on encrypted',
    failure: 'find: was expected to fail',
    reason: 'the test server answers $near without a geo index, where MongoDB says "unable to find index"',
  },
];

const FORMATS = { unified: runUnifiedTest, legacy: runLegacyTest };

const FOLDERS = [...Object.keys(FORMATS), 'corpus', 'external', 'limits'];

/** Runs all files; `open` tells only which side is under test. `only` limits them, for a look at one. */
export async function runThroughDriver(open, { only = /./ } = {}) {
  const missing = FOLDERS.map((name) => vectorsFolder('driver-specs', name).missing).find(Boolean);
  const uri = serverUri();
  const reason = missing ?? (uri ? unusable(uri) : 'no server: TEST_MONGODB_URI is not set');
  if (reason) return [skippedSuite('driver', reason)];
  if (open.side !== 'csfle-wasm') return [skippedSuite('driver', 'the alias is this package')];
  const published = Object.keys(FORMATS).flatMap((format) =>
    [...jsonFiles(vectorsFolder('driver-specs', format).folder)].map(([name, file]) => ({ format, name, file })),
  );
  const plaintexts = plaintextsOf(published.map(({ file }) => file));
  const world = await startDriverWorld(uri);
  const databases = new Set(['db', 'keyvault'].map((name) => world.prefix + name));
  try {
    const suites = [];
    for (const { format, name, file } of published) {
      const suite = new Suite(`driver/${format}/${name}`);
      if (!only.test(suite.name)) continue;
      suites.push(await runFile(suite, world, FORMATS[format], file, { plaintexts, databases }));
    }
    if (only.test('driver/corpus')) suites.push(...(await runCorpusThroughDriver(world)));
    if (only.test('driver/prose')) suites.push(...(await runProseThroughDriver(world)));
    return suites;
  } finally {
    await world.drop(databases);
    await world.stop();
  }
}

async function runFile(suite, world, runTest, published, { plaintexts, databases }) {
  const isQueryable = JSON.stringify(published).includes('"encryptedFields"');
  const file = isQueryable ? published : withDatabases(withMaterial(published, plaintexts, SUBSTITUTE), world.prefix);
  if (!isQueryable) for (const name of databasesOf(file)) databases.add(name);
  for (const test of file.tests) {
    if (isQueryable) {
      suite.skip(test.description, 'Queryable Encryption, which this package refuses by name');
      continue;
    }
    await suite.case(test.description, () =>
      world
        .judge(() => runTest(world, file, test))
        .catch((error) => {
          const fault = SERVER_FAULTS.find((one) => one.description === test.description && one.failure === error.message);
          throw fault ? new Skip(fault.reason) : error;
        }),
    );
  }
  return suite;
}
