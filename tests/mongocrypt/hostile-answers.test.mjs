import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runHostileAnswers } from './hostile-answers.mjs';

test('no answer of a KMS traps, throws, tells a secret or stops the library', async (context) => {
  const ends = await runHostileAnswers({ cases: 4000, seed: 1 });
  context.diagnostic(JSON.stringify(ends));
  // Enough of both, so that no stage goes without its share.
  for (const [name, count] of Object.entries(ends)) assert.ok(count > 200, `${name}: ${count}`);
});
