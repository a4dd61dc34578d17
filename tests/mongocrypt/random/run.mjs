// Random conversations with both libraries, batch by batch.
import { Random } from '../../interop/generate.mjs';
import { Reference, ReferenceEnded } from '../reference.mjs';
import { compareAnswers } from './compare.mjs';
import { Conversation } from './conversation.mjs';
import { DIFFERENCES } from './differences.mjs';
import { Sweep } from './sweep.mjs';

const SHOWN = 20;
/** Conversations that wait for libmongocrypt at a time. It works while we go on. */
const AHEAD = 40;
/** One in so many is a sweep, which has a thousand steps and more. */
const SWEEP_EVERY = 500;

const add = (counts, name, more = 1) => {
  counts[name] = (counts[name] ?? 0) + more;
};

/** Runs conversations until `steps` steps have been compared. */
export async function runConversations({ python, steps, seed = 1, shown = SHOWN, onStep = () => {} }) {
  const rng = new Random(seed);
  const reference = new Reference(python);
  const report = {
    shown,
    steps: 0,
    conversations: 0,
    mismatches: 0,
    calls: {},
    contexts: {},
    differences: Object.fromEntries(DIFFERENCES.map(({ name }) => [name, 0])),
    details: [],
  };
  try {
    const waiting = [];
    while (report.steps < steps || waiting.length > 0) {
      while (report.steps < steps && waiting.length < AHEAD) {
        const number = report.conversations;
        report.conversations += 1;
        waiting.push(begin(reference, new Random(rng.uint32() * 2 ** 21 + (rng.uint32() >>> 11)), `${seed}/${number}`, number));
      }
      take(report, await waiting.shift());
      onStep(report);
    }
  } finally {
    await reference.stop();
  }
  return report;
}

async function begin(reference, rng, seed, number) {
  const conversation = new (number % SWEEP_EVERY === SWEEP_EVERY - 1 ? Sweep : Conversation)(rng, seed);
  let trap;
  try {
    conversation.run();
  } catch (error) {
    trap = error;
  }
  const theirs = await outcomesOf(reference, conversation.script);
  return { number, conversation, theirs, trap };
}

/** Where a step ends the process, what came before it, and that. */
async function outcomesOf(reference, script) {
  try {
    return await reference.run(script);
  } catch (error) {
    if (!(error instanceof ReferenceEnded)) throw error;
    const before = await reference.run({ ...script, steps: script.steps.slice(0, error.step) });
    return { outcomes: [...before.outcomes, { ended: error.message }] };
  }
}

function take(report, { number, conversation, theirs, trap }) {
  const { script, world } = conversation;
  const compared = trap
    ? { steps: {}, differences: [], mismatch: { trap: trap.stack, step: script.steps.at(-1) } }
    : compareAnswers(script, theirs, conversation, world);
  for (const [name, count] of Object.entries(compared.steps)) {
    add(report.calls, name, count);
    report.steps += count;
  }
  for (const [name, how] of script.steps) if (name === 'make') add(report.contexts, how.kind);
  for (const name of compared.differences) add(report.differences, name);
  if (compared.mismatch === undefined) return;
  report.mismatches += 1;
  if (report.details.length < report.shown) report.details.push({ conversation: number, ...compared.mismatch });
}
