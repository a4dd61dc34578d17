// A random conversation with our library, written down as a script for the other one. Our library's state says which call
// comes next; now and then it is another one. Up to three contexts are under way at the same time.
import { randomDocument } from '../../interop/generate.mjs';
import { document, value } from '../../interop/raw-bson.mjs';
import { OurSession, toBase64 } from '../reference.mjs';
import { analysis, collectionInfos, schemaMapOf } from './commands.mjs';
import { identitiesOf } from './findings.mjs';
import { KmsReplies } from './kms-replies.mjs';
import { randomMake } from './makes.mjs';
import { wantedBy, World } from './world.mjs';

const [FAILED, COLLINFO, MARKINGS, KEYS, KMS, READY, DONE, CREDENTIALS] = [0, 1, 2, 3, 4, 5, 6, 7];
const LONGEST = 70;
const MOST_AT_ONCE = 3;

const nameDocument = (name) => toBase64(document([['keyAltName', value.string(name)]]));
const bytesOf = (text) => new Uint8Array(Buffer.from(text, 'base64'));

export class Conversation {
  #session;
  #live = [];
  #made = 0;
  #current;
  outcomes = [];

  /** `seed` is for the random bytes that the libraries draw. */
  constructor(rng, seed) {
    this.rng = rng;
    this.world = new World(rng);
    this.replies = new KmsReplies(this.world);
    this.trouble = rng.pick([0, 0.15, 0.3, 0.6]);
    this.disorder = rng.pick([0, 0, 0.05, 0.15, 0.4]);
    this.contexts = rng.between(1, 6);
    // A millisecond is over before every call then: nothing is found in the cache of keys.
    this.expiring = rng.chance(0.01);
    /** Whether the two caches of keys may have been parted: a rewrap was fed. */
    this.rewraps = false;
    const schemaMap = schemaMapOf(this.world);
    const options = {
      kmsProviders: toBase64(this.world.providers()),
      ...(schemaMap && { schemaMap: toBase64(schemaMap) }),
      ...(rng.chance(0.1) && { bypassQueryAnalysis: true }),
      ...(this.expiring ? { keyExpirationMS: 1 } : rng.chance(0.2) && { keyExpirationMS: rng.pick([0, 600_000]) }),
    };
    this.script = { seed, options, steps: [] };
  }

  /** Goes on to the end. Leaves `script` and `outcomes`, or `refused`. */
  run() {
    try {
      this.#session = new OurSession(this.script);
    } catch (error) {
      this.refused = error.message;
      return this;
    }
    while (this.script.steps.length < LONGEST) {
      if (this.#made < this.contexts && this.#live.length < MOST_AT_ONCE && (this.#live.length === 0 || this.rng.chance(0.15))) this.#make();
      else if (this.#live.length === 0) break;
      else this.#goOn(this.rng.pick(this.#live));
    }
    return this;
  }

  #step(name, ...args) {
    const step = [name, ...args];
    this.script.steps.push(step);
    const outcome = this.#session.step(step);
    this.outcomes.push(outcome);
    return outcome;
  }

  #make() {
    if (this.rng.chance(0.08)) this.world.rewrapElsewhere();
    if (this.expiring) this.#step('sleep', 5);
    else if (this.rewraps) this.#compareCaches();
    const how = randomMake(this.world);
    const outcome = this.#step('make', how);
    const index = this.#made;
    this.#made += 1;
    this.#current = index;
    if (outcome.refused === undefined) this.#live.push({ index, kind: how.kind, state: outcome.state, plan: [], offered: 0, answers: [], needed: {} });
  }

  call(context, name, ...args) {
    if (this.#current !== context.index) {
      this.#step('use', context.index);
      this.#current = context.index;
    }
    if (this.expiring && name === 'feed') this.#step('sleep', 5);
    else if (!this.expiring) this.#beforeKeysAreLookedUp(context, name, args);
    const outcome = this.#step(name, ...args);
    if (outcome.state !== context.state) context.plan = [];
    // Keys that were unwrapped before another one failed are cached.
    if (name === 'finishRequests' && outcome.state === FAILED && context.state === KMS && !this.expiring) this.#compareCaches();
    context.state = outcome.state;
    return outcome;
  }

  #beforeKeysAreLookedUp(context, name, [data]) {
    if (name === 'feed' && context.kind === 'rewrap' && context.state === KEYS) {
      const { ids, names } = identitiesOf(bytesOf(data));
      this.#step('cached', ids.map(toBase64), names.map(nameDocument));
      this.rewraps = true;
    } else if (name === 'finishOperation' && context.state === MARKINGS && this.rewraps) this.#compareCaches();
  }

  /** What is in the caches, of all that there is. */
  #compareCaches() {
    const { keys } = this.world;
    this.#step(
      'cached',
      keys.map(({ id }) => toBase64(id)),
      [...new Set(keys.flatMap(({ names }) => names))].map(nameDocument),
    );
  }

  #goOn(context) {
    const { rng } = this;
    const isOver = context.state === FAILED || context.state === DONE;
    if (isOver ? rng.chance(0.25) : rng.chance(this.disorder)) this.#stray(context);
    else if (isOver) this.#live = this.#live.filter((other) => other !== context);
    else {
      if (context.plan.length === 0) context.plan = this.#planFor(context);
      context.plan.shift()(context);
    }
  }

  /** A call that need not be the right one. */
  #stray(context) {
    const { rng, world } = this;
    const fed = () =>
      rng.pick([
        () => world.stored(rng.pick(world.keys)),
        () => world.damaged(rng.pick(world.keys)),
        () => randomDocument(rng, 1),
        () => Uint8Array.of(5, 0, 0),
        () => collectionInfos(world, NAME_FILTER)[0] ?? NAME_FILTER,
      ])();
    const stray = rng.pick([
      () => this.call(context, 'operation'),
      () => this.call(context, 'feed', toBase64(fed())),
      () => this.call(context, 'finishOperation'),
      () => this.#nextRequest(context),
      () => this.call(context, 'finishRequests'),
      () => this.call(context, 'provide', toBase64(world.provided())),
      () => this.call(context, 'finalize'),
    ]);
    stray();
  }

  #planFor(context) {
    const { rng, world } = this;
    const finish = (done) => this.call(done, 'finishOperation');
    const ask = (context, feed) => {
      // Asked twice, it says the same.
      const outcome = this.call(context, 'operation');
      if (context.state !== FAILED) context.plan = [...feed(bytesOf(outcome.result)).map((data) => (done) => this.call(done, 'feed', toBase64(data))), finish];
    };
    switch (context.state) {
      case COLLINFO:
        return [(at) => ask(at, (filter) => collectionInfos(world, filter))];
      case MARKINGS:
        return [(at) => ask(at, (asked) => (rng.chance(world.oddness / 2) ? [] : [analysis(world, asked)]))];
      case KEYS:
        return [(at) => ask(at, (filter) => this.#keyDocuments(at, filter))];
      case KMS:
        return [(at) => this.#nextRequest(at)];
      case READY:
        return [(at) => this.#finalize(at)];
      case CREDENTIALS:
        return [(at) => this.call(at, 'provide', toBase64(world.provided()))];
      default:
        throw new Error(`state ${context.state}`);
    }
  }

  #keyDocuments(context, filter) {
    const { rng, world } = this;
    let keys = world.keys;
    if (context.kind !== 'rewrap') {
      const { ids, names } = wantedBy(filter);
      const isWanted = (key) => ids.some((id) => Buffer.compare(id, key.id) === 0) || names.some((name) => key.names.includes(name));
      keys = keys.filter(isWanted);
    }
    if (rng.chance(0.3)) keys = keys.toReversed();
    const documents = keys.map((key) => (rng.chance(world.oddness) ? world.damaged(key) : world.stored(key)));
    if (documents.length > 0 && rng.chance(world.oddness)) {
      rng.pick([
        () => documents.push(documents[0]),
        () => documents.pop(),
        () => documents.push(world.stored(rng.pick(world.keys))),
        () => documents.push(Uint8Array.of(5, 0, 0)),
      ])();
    }
    return documents;
  }

  #nextRequest(context) {
    const { rng } = this;
    const { result } = this.call(context, 'nextRequest');
    if (context.state !== KMS) return;
    if (result !== null) {
      const index = context.offered;
      context.offered += 1;
      context.answers.push(this.#delivery(index, this.replies.reply(result, this.trouble)));
      context.plan = [(at) => this.#nextRequest(at)];
      return;
    }
    // All are told of: answers come in any order, each of them from its beginning.
    const rows = context.answers;
    context.answers = [];
    const next = rows.length > 0 ? (at) => this.#nextRequest(at) : (at) => this.call(at, 'finishRequests');
    context.plan = [...interleaved(rng, rows), next];
  }

  /** The calls that bring a reply: whole, in pieces, cut short, or a failure instead. */
  #delivery(index, { bytes }) {
    const { rng } = this;
    const one =
      (name, ...args) =>
      (context) =>
        this.call(context, name, index, ...args);
    if (rng.chance(this.trouble / 3)) return [one('fail')];
    if (rng.chance(this.trouble / 4)) return [one('answer', toBase64(bytes.slice(0, rng.below(bytes.length)))), ...(rng.chance(0.3) ? [one('fail')] : [])];
    const extra = rng.chance(this.disorder / 3) ? [one(rng.pick(['chunk', 'answer']), toBase64(rng.bytes(3)))] : [];
    if (rng.chance(0.6)) return [one('answer', toBase64(bytes)), ...extra];
    const size = bytes.length < 60 && rng.chance(0.2) ? 1 : rng.pick([7, 40, 150, 1000]);
    return [(context) => this.#inChunks(context, index, bytes, size), ...extra];
  }

  /** The next piece, as long as some is wanted; the rest follows. */
  #inChunks(context, index, bytes, size) {
    const { rng } = this;
    const length = rng.chance(0.01) ? bytes.length : Math.min(bytes.length, rng.between(1, size), context.needed[index] ?? 8);
    const { result } = this.call(context, 'chunk', index, toBase64(bytes.slice(0, length)));
    context.needed[index] = result.needed;
    if (context.state !== KMS || result.needed === 0 || length === bytes.length) return;
    context.plan.unshift((at) => this.#inChunks(at, index, bytes.slice(length), size));
  }

  #finalize(context) {
    const { result } = this.call(context, 'finalize');
    if (context.state === DONE) this.world.keep(context.kind, bytesOf(result));
  }
}

/** One row out of several, each of them in its order. */
function interleaved(rng, rows) {
  const out = [];
  const left = rows.map((row) => [...row]);
  while (left.some((row) => row.length > 0)) out.push(rng.pick(left.filter((row) => row.length > 0)).shift());
  return out;
}

const NAME_FILTER = bytesOf('EQAAAAJuYW1lAAIAAABjAAA='); // {name: 'c'}
