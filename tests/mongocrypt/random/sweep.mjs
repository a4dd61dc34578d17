// One answer of a KMS, cut at every byte: a context for each length that arrives, and one to which the bytes come singly.
import { document } from '../../interop/raw-bson.mjs';
import { OurSession, toBase64 } from '../reference.mjs';
import { KmsReplies } from './kms-replies.mjs';
import { World } from './world.mjs';

const KMS = 4;
/** So that one sweep does not take the whole run. */
const LONGEST_ANSWER = 400;

export class Sweep {
  outcomes = [];

  constructor(rng, seed) {
    this.rng = rng;
    this.world = new World(rng);
    this.script = { seed, options: { kmsProviders: toBase64(this.world.providers()) }, steps: [] };
  }

  run() {
    const { rng, world } = this;
    this.session = new OurSession(this.script);
    const how = { kind: 'dataKey', masterKey: toBase64(document(world.masterKey())), keyAltNames: [] };
    let answer;
    const trouble = rng.pick([0, 0, 0.7]);
    for (let length = 0; answer === undefined || length < answer.length; length += 1) {
      const request = this.#begin(how);
      if (request === undefined) return this;
      answer ??= new KmsReplies(world).reply(request, trouble).bytes.slice(0, LONGEST_ANSWER);
      this.#step('answer', 0, toBase64(answer.slice(0, length)));
      this.#step('finishRequests');
    }
    if (this.#begin(how) === undefined) return this;
    for (const byte of answer) this.#step('chunk', 0, toBase64(Uint8Array.of(byte)));
    this.#step('finishRequests');
    return this;
  }

  #begin(how) {
    const { state } = this.#step('make', how);
    return state === KMS ? this.#step('nextRequest').result : undefined;
  }

  #step(...step) {
    this.script.steps.push(step);
    const outcome = this.session.step(step);
    this.outcomes.push(outcome);
    return outcome;
  }
}
