// What two libraries did at one step of a script, compared: states, statuses, bytes, and all that a request shows.
import { document, field, fields, TYPE, value } from '../../interop/raw-bson.mjs';
import { explains, explainsRefusal } from './differences.mjs';
import { bytesOf, identitiesOf, isSame, sameBut } from './findings.mjs';
import { opened } from './opened.mjs';
import { isNow, masked } from './messages.mjs';

const MOST_SLEEP_US = 20_000_000;

/** A key document without its dates, which must be the same one and about now. */
function undated(text) {
  const bytes = bytesOf(text);
  const [created, updated] = ['creationDate', 'updateDate'].map((name) => field(bytes, name));
  if (created?.type !== TYPE.date || !updated?.equals(created)) return { wrong: 'dates' };
  const instant = Number(Buffer.from(created.bytes).readBigInt64LE());
  return {
    result: document(fields(bytes).map(([name, item]) => [name, name.endsWith('Date') ? value.null() : item])),
    wrong: isNow(instant) ? undefined : 'date',
  };
}

function comparableRequest(request, awsSecrets) {
  const { text, wrong } = masked(Buffer.from(request.message, 'base64').toString('latin1'), awsSecrets);
  const isSleepRight = Number.isSafeInteger(request.sleep) && request.sleep >= 0 && request.sleep <= MOST_SLEEP_US;
  return { ...request, message: text, sleep: isSleepRight ? request.sleep > 0 : request.sleep, ...(wrong && { wrong }) };
}

/** An outcome with nothing in it that may differ from one run to the next. */
export function comparable(outcome, name, kind, world) {
  if (outcome === null || outcome.result === null || outcome.result === undefined) return outcome;
  if (name === 'nextRequest') return { ...outcome, result: comparableRequest(outcome.result, world.awsSecrets) };
  if (name === 'finalize' && kind === 'dataKey' && outcome.result !== '') {
    const { result, wrong } = undated(outcome.result);
    return { ...outcome, result: result === undefined ? outcome.result : Buffer.from(result).toString('base64'), ...(wrong && { wrong }) };
  }
  return outcome;
}

/**
 * Compares two answers to a script, `{ outcomes }` or `{ refused }` where the library was not made. Returns how many steps were compared,
 * by name, the listed differences that were met, by name, and the first mismatch. `world` has the keys: `awsSecrets` by access key id, and
 * `open(wrapped, masterKey)`. After a difference that parts the two libraries, and after a mismatch, nothing is compared.
 */
export function compareAnswers(script, theirs, ours, world) {
  const report = { steps: {}, differences: [], mismatch: undefined };
  if (theirs.refused !== undefined || ours.refused !== undefined) {
    report.steps.new = 1;
    if (theirs.refused === ours.refused) return report;
    const finding = { options: script.options, theirs: theirs.refused, ours: ours.refused };
    const difference = explainsRefusal(finding);
    if (difference) report.differences.push(difference.name);
    else report.mismatch = finding;
    return report;
  }
  const history = new History();
  for (const [index, step] of script.steps.entries()) {
    history.begin(step);
    const [name] = step;
    const [their, our] = [theirs, ours].map(({ outcomes }) => comparable(outcomes[index], name, history.kind, world));
    history.end(step, their, our);
    if (!['sleep', 'use', 'cached'].includes(name)) report.steps[name] = (report.steps[name] ?? 0) + 1;
    if (isSame(their, our) || isSameInside(their, our, name, world)) continue;
    const difference = explains({ step, name, theirs: their, ours: our, history, world });
    if (difference === undefined) {
      report.mismatch = { index, step, theirs: their, ours: our };
      return report;
    }
    report.differences.push(difference.name);
    if (!difference.goesOn) return report;
  }
  return report;
}

/** Whether two results differ in nothing but in initialisation vectors and key ids that were drawn in another order. */
function isSameInside(theirs, ours, name, world) {
  return (
    name === 'finalize' &&
    Boolean(theirs?.result) &&
    Boolean(ours.result) &&
    sameBut(theirs, ours, 'result') &&
    Buffer.compare(opened(theirs.result, world), opened(ours.result, world)) === 0
  );
}

/** What a script has done so far, for the differences that depend on it. */
class History {
  contexts = [];
  #current = -1;
  /** Which of the references that were asked for last libmongocrypt found in its cache. */
  #isFound = false;
  /** The master keys that the keys of an id or a name were fed with, in hex. */
  #masterKeys = new Map();

  begin([name, argument]) {
    if (name === 'make') {
      this.contexts.push({ how: argument, requests: [], roundStart: 0, fed: [], served: [], identities: new Set() });
      this.#current = this.contexts.length - 1;
    } else if (name === 'use') this.#current = argument;
  }

  get context() {
    return this.contexts[this.#current];
  }
  get kind() {
    return this.context?.how.kind;
  }

  end([name, ...args], theirs, ours) {
    const { context } = this;
    if (name === 'cached') this.#isFound = [...theirs.ids, ...theirs.names].some((found) => found !== null);
    if (context === undefined) return;
    if (name === 'nextRequest') this.#offered(context, theirs?.result, ours?.result);
    if (name === 'finishRequests') context.roundStart = context.requests.length;
    if (['answer', 'chunk', 'fail'].includes(name)) this.#progress(context.requests[args[0]], name, args[1], theirs, ours);
    if (name === 'feed') this.#fed(context, args[0]);
  }

  #offered(context, theirs, ours) {
    if (!theirs && !ours) return;
    // One that is sent again has nothing to wait for any more.
    for (const earlier of context.requests) if (ours?.sleep && earlier.ours?.message === ours.message) earlier.progress = undefined;
    context.requests.push({ theirs, ours, received: '' });
  }

  #progress(request, name, data, theirs, ours) {
    if (request === undefined) return;
    if (name !== 'fail') request.received += Buffer.from(data, 'base64').toString('latin1');
    request.progress = {
      theirs: theirs?.result,
      ours: ours?.result,
      before: { theirs: request.progress?.theirs?.status, ours: request.progress?.ours?.status },
    };
  }

  #fed(context, text) {
    const { ids, names, masterKey } = identitiesOf(bytesOf(text));
    const identities = [...ids.map((id) => `id ${Buffer.from(id).toString('hex')}`), ...names.map((name) => `name ${name}`)];
    // What it was fed before it does not look for in its cache.
    const isServed = context.how.kind === 'rewrap' && this.#isFound && !identities.some((key) => context.identities.has(key));
    this.#isFound = false;
    const shown = masterKey && Buffer.from(masterKey).toString('hex');
    const isLocal = masterKey !== undefined && Buffer.from(masterKey).includes('local');
    const known = identities.flatMap((key) => this.#masterKeys.get(key) ?? []);
    const document = { ids, identities, isServed, isAsBefore: isLocal && known.every((other) => other === shown) };
    if (isServed) context.served.push(document);
    context.fed.push(text);
    context.last = document;
    for (const key of identities) {
      context.identities.add(key);
      this.#masterKeys.set(key, [...(this.#masterKeys.get(key) ?? []), shown]);
    }
  }
}
