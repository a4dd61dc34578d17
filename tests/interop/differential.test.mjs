// A short differential run with every kind of step, so that `npm test` notices when the two sides part. `npm run
// differential` goes on for as long as it is asked to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testPython } from '../env.mjs';
import { DIFFERENCES as CONTEXT_DIFFERENCES } from '../mongocrypt/random/differences.mjs';
import { runConversations } from '../mongocrypt/random/run.mjs';
import { runDifferential } from './differential.mjs';
import { OPERATIONS } from './differential-operations.mjs';
import { DIFFERENCES } from './differences.mjs';

const STEPS = 600;
const CALLS = 12_000;

test(`${STEPS} random requests are answered as libmongocrypt answers them, except for the listed differences`, async () => {
  const report = await runDifferential({ steps: STEPS, seed: 7 });
  assert.equal(report.steps, STEPS);
  assert.deepEqual(report.details, []);
  assert.equal(report.mismatches, 0);
  assert.deepEqual(Object.keys(report.operations).sort(), Object.keys(OPERATIONS).sort(), 'a kind of step did not come up');
  // A run in which everything is refused, or nothing, compares nothing.
  assert.ok(report.refused > STEPS / 10 && report.refused < STEPS * 0.9, `${report.refused} of ${STEPS} refused`);
});

test(`${CALLS} random calls on contexts have the same effect as on libmongocrypt's, except for the listed differences`, async () => {
  const report = await runConversations({ python: await testPython(), steps: CALLS, seed: 7 });
  assert.deepEqual(report.details, []);
  assert.equal(report.mismatches, 0);
  assert.ok(report.steps >= CALLS);
  const calls = ['answer', 'chunk', 'fail', 'feed', 'finalize', 'finishOperation', 'finishRequests', 'make', 'nextRequest', 'operation', 'provide'];
  for (const call of calls) assert.ok(report.calls[call] > 10, `${call}: ${report.calls[call]}`);
  for (const kind of ['dataKey', 'decrypt', 'encrypt', 'explicitDecrypt', 'explicitEncrypt', 'rewrap'])
    assert.ok(report.contexts[kind] > 100, `${kind}: ${report.contexts[kind]}`);
});

test('a difference is found and counted, not passed over', async () => {
  const { run } = OPERATIONS.decrypt;
  // The run is the same in every respect but one: the package's answer is changed on the way.
  OPERATIONS.decrypt.run = async (context) => ({ ...(await run(context)), check: () => 'planted' });
  try {
    const report = await runDifferential({ steps: 60, seed: 8 });
    assert.equal(report.mismatches, report.operations.decrypt);
    assert.ok(report.mismatches > 0);
    assert.equal(report.details[0].what, 'planted');
  } finally {
    OPERATIONS.decrypt.run = run;
  }
});

test('every listed difference says that it is one, and why', () => {
  for (const list of [DIFFERENCES, CONTEXT_DIFFERENCES]) {
    for (const { name, reason } of list) assert.match(reason, /^DIFFERS: .{40,}/, name);
    assert.equal(new Set(list.map(({ name }) => name)).size, list.length);
  }
});
