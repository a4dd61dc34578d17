// The published vectors through the package, as part of `npm test`. Where the vectors are not there, every suite is
// skipped by name with the reason; a failing case fails its suite.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { vectorsFolder } from './published.mjs';
import { runConformance, sideUnderTest } from './run.mjs';

const { open, stop } = await sideUnderTest('csfle-wasm');
const suites = await runConformance(open);
await stop();

describe('published vectors', () => {
  for (const suite of suites) {
    const nothingRan = suite.passed + suite.failed === 0;
    test(suite.suite, { skip: nothingRan && `${suite.skipped} cases: ${suite.reasons.join('; ')}` }, () => {
      assert.deepEqual(suite.failures ?? [], []);
    });
  }
});

const KNOWN_TO_PASS = { unified: 117, legacy: 56, corpus: 1690, prose: 56 };

test('the driver passes what it is known to pass', { skip: suites.find(({ suite }) => suite === 'driver')?.reasons.join() }, () => {
  for (const [kind, known] of Object.entries(KNOWN_TO_PASS)) {
    const own = suites.filter(({ suite }) => suite.startsWith(`driver/${kind}/`));
    const passed = own.reduce((sum, suite) => sum + suite.passed, 0);
    // A server of someone's own may have no fail points.
    const without = own.flatMap(({ skips = [] }) => skips).filter(({ reason }) => reason.startsWith('the server has no fail points')).length;
    assert.ok(passed >= known - without, `${kind}: ${passed} passed, not ${known}`);
  }
});

test('the corpus has the size it is known to have', { skip: vectorsFolder('driver-specs', 'corpus').missing }, () => {
  const passed = Object.fromEntries(suites.map((suite) => [suite.suite, suite.passed]));
  assert.equal(passed['corpus/local/decrypt'], 142);
  assert.equal(passed['corpus/local/deterministic-bytes'], 53);
  assert.equal(passed['corpus/kmip/decrypt'], 108);
  assert.equal(passed['corpus/kmip/deterministic-bytes'], 36);
  for (const provider of ['local', 'aws', 'azure', 'gcp', 'kmip']) assert.equal(passed[`corpus/${provider}/refused`], 28);
});
