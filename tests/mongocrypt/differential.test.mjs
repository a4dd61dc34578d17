// The same scripts on libmongocrypt and on our classes: the same states, messages, filters, commands and results.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { testPython } from '../env.mjs';
import { autoEncryption } from './auto-encrypt-scripts.mjs';
import { disorders } from './disorder.mjs';
import { kmsConversations } from './kms-scripts.mjs';
import { Reference, runOurs } from './reference.mjs';
import { conversations, libraries } from './scripts.mjs';

// DIFFERS: what is meant to be different, by the name of the script.
const intended = new Map([
  ['reply malformed further in', 'the reference stops looking there, without a word, and leaves ciphertext behind'],
  ['mixed providers, a token first', 'requests that need no token do not wait for those that do'],
  ['azure: no token', 'a body that may hold a token is not quoted'],
  ['decrypt: type0', 'a header that names no type is refused when the context is made, not when its key is there'],
]);

// DIFFERS: libmongocrypt sends a command as it is when its analysis was never fed.
const UNFED = 'no reply of the query analyser was fed: the command may hold values that must be encrypted';

// DIFFERS: rewrapping looks at every document that is fed, cached or not, so that it also sees which are there twice.
const DUPLICATE = 'keys returned have duplicate keyAltNames or _id';

let reference;
before(async () => { reference = new Reference(await testPython()); });
after(() => reference.stop());

// What must be equal: random ciphertexts and signed messages only in their lengths.
function comparable(outcome, step, isRandom) {
  if (outcome?.result === null || outcome?.result === undefined) return outcome;
  const { result } = outcome;
  // DIFFERS: a request whose context has failed is over; libmongocrypt still lets it be fed, or sent again, to no effect.
  if ((step === 'answer' || step === 'fail') && outcome.state === 0) return { ...outcome, result: undefined };
  // DIFFERS: a body that may hold a key is not quoted, and what is wrong with a token is told at once.
  if (step === 'answer') return { ...outcome, result: undefined };
  if (step === 'nextRequest') return { ...outcome, result: { ...result, message: result.message.length } };
  return step === 'finalize' && isRandom ? { ...outcome, result: result.length } : outcome;
}

// Whose results have something random in them.
const isRandom = ({ steps }) => steps.some(([, how]) => how?.kind === 'dataKey' || how?.kind === 'rewrap' || how?.algorithm?.endsWith('-Random'));

const isRewrapping = ({ steps }) => steps.some(([, how]) => how?.kind === 'rewrap');

async function differencesOf(script) {
  const theirs = await reference.run(script);
  const ours = runOurs(script);
  if (theirs.refused !== undefined || ours.refused !== undefined) {
    return theirs.refused === ours.refused ? [] : [{ script: script.name, theirs: theirs.refused, ours: ours.refused }];
  }
  const found = script.steps.flatMap(([step], index) => {
    const [their, our] = [theirs, ours].map(({ outcomes }) => comparable(outcomes[index], step, isRandom(script)));
    return JSON.stringify(their) === JSON.stringify(our) ? [] : [{ script: script.name, index, step, theirs: their, ours: our }];
  });
  // From the first difference on, the two are in different states.
  return found.slice(0, 1).filter(({ ours }) => ours?.message !== UNFED && !(ours?.message === DUPLICATE && isRewrapping(script)));
}

for (const [name, scripts] of Object.entries({ libraries, conversations, kmsConversations, autoEncryption, 'calls in disorder': disorders(400) })) {
  test(`${name}: ${scripts.length} scripts`, async () => {
    const differences = [];
    for (const script of scripts) differences.push(...await differencesOf(script));
    assert.deepEqual(differences.filter(({ script }) => !intended.has(script)), []);
  });
}

test('the intended differences are still there', async () => {
  const known = [...conversations, ...kmsConversations].filter(({ name }) => intended.has(name));
  assert.equal(known.length, intended.size);
  for (const script of known) assert.equal((await differencesOf(script)).length, 1, script.name);
});
