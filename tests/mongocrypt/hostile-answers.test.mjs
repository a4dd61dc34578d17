import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MongoCrypt } from 'csfle-wasm';
import { Binary, serialize, setInternalBufferSize } from 'bson';
import { runHostileAnswers } from './hostile-answers.mjs';
import { encrypted, localKey } from './samples.mjs';

test('no answer of a KMS traps, throws, tells a secret or stops the library', async (context) => {
  const ends = await runHostileAnswers({ cases: 4000, seed: 1 });
  context.diagnostic(JSON.stringify(ends));
  // Enough of both, so that no stage goes without its share.
  for (const [name, count] of Object.entries(ends)) assert.ok(count > 200, `${name}: ${count}`);
});

// Compared one with another, so many would take minutes.
test('a reply may name very many keys', () => {
  setInternalBufferSize(60 << 20);
  const crypt = new MongoCrypt({ kmsProviders: serialize({ local: { key: new Binary(localKey) } }), errorWrapper: (error) => error });
  const one = encrypted(1).buffer;
  const values = Array.from({ length: 250_000 }, (_, index) => {
    const value = Buffer.from(one);
    value.writeUInt32LE(index, 1);
    return new Binary(value, 6);
  });
  const reply = serialize({ values });
  const started = performance.now();
  const context = crypt.makeDecryptionContext(reply);
  assert.equal(context.state, 3);
  assert.ok(context.nextMongoOperation().length > 250_000 * 21);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 20, `it took ${seconds} s`);
});
