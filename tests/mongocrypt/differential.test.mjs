// The same scripts on libmongocrypt and on our classes, call by call: the same states, statuses, filters, commands, messages
// and results, except for the listed differences (random/differences.mjs). `npm run differential` does the same with random
// conversations; these are the ones that somebody thought of.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { unwrapKey } from '../interop/reference.mjs';
import { testPython } from '../env.mjs';
import { autoEncryption } from './auto-encrypt-scripts.mjs';
import { kmsConversations } from './kms-scripts.mjs';
import { compareAnswers } from './random/compare.mjs';
import { Reference, runOurs } from './reference.mjs';
import { localKey, materialOf } from './samples.mjs';
import { conversations, libraries } from './scripts.mjs';

/** The differences that scripts are there to show, by the name of the script. */
const shown = new Map([
  ['reply malformed further in', 'malformed-documents'],
  ['mixed providers, a token first', 'no-wait-for-tokens'],
  ['azure: no token', 'body-not-quoted'],
  ['azure: token without end', 'tokens-read-at-once'],
  ['decrypt: type0', 'types-of-ciphertexts'],
]);

/** The keys of the scripts. */
const world = {
  awsSecrets: new Map([['id', 'secret']]),
  given: [],
  keys: Array.from({ length: 10 }, (_, byte) => ({ id: Buffer.alloc(16, byte), material: materialOf(byte) })),
  open(wrapped) {
    try {
      return unwrapKey(localKey, wrapped);
    } catch {
      return undefined;
    }
  },
};

let reference;
before(async () => {
  reference = new Reference(await testPython());
});
after(() => reference.stop());

async function compared(script) {
  return compareAnswers(script, await reference.run(script), runOurs(script), world);
}

for (const [name, scripts] of Object.entries({ libraries, conversations, kmsConversations, autoEncryption })) {
  test(`${name}: ${scripts.length} scripts`, async () => {
    const mismatches = [];
    for (const script of scripts) {
      const { mismatch } = await compared(script);
      if (mismatch) mismatches.push({ script: script.name, ...mismatch });
    }
    assert.deepEqual(mismatches, []);
  });
}

test('the differences that scripts are there to show are still there', async () => {
  const scripts = [...conversations, ...kmsConversations];
  for (const [name, difference] of shown) {
    const { differences } = await compared(scripts.find((script) => script.name === name));
    assert.ok(differences.includes(difference), `${name}: ${differences}`);
  }
});
