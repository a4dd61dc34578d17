/** Help and method manners in the shell's own style: `.help` and `.help()`, implicit await, Ctrl+C, errors with a code. */

import { CsfleError } from '../index.js';
import { visible } from '../node/text.js';
import { printsJson, type ShellInstanceState } from './shell.js';
import { inShell } from './words.js';

/** What the shell calls to print a value, and under --json to serialise it. */
export const AS_PRINTABLE: unique symbol = Symbol.for('@@mongosh.asPrintable') as never;
/** What the shell reads to choose a format for a value. */
export const SHELL_API_TYPE: unique symbol = Symbol.for('@@mongosh.shellApiType') as never;
/** A method that tells the wrapper which session it runs in. */
export const INSTANCE_STATE: unique symbol = Symbol('csfle-wasm.instanceState') as never;

/** Marks an error that is in the words of the shell already: calls of each other's methods pass it on. */
const SAID = Symbol('csfle-wasm.said');
const SYNTHETIC_PROMISE = Symbol.for('@@mongosh.syntheticPromise');
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/** The help of one method. */
export interface MethodHelp {
  /** How it is called, with parameter names. */
  readonly usage: string;
  /** What it does, in a sentence or a few. */
  readonly description: string;
  /** A page that says more. */
  readonly docs?: string;
  /** True for a method that returns its result at once; others return promises that the shell awaits. */
  readonly synchronous?: boolean;
}

/** The help of a class: all its public methods by name. */
export interface ClassHelp {
  /** The name of the class as the shell shows it. */
  readonly name: string;
  readonly description: string;
  readonly docs?: string;
  readonly methods: Readonly<Record<string, MethodHelp>>;
  /** Objects with methods of their own, with a sentence about each. */
  readonly objects?: Readonly<Record<string, string>>;
}

interface HelpEntry {
  readonly name?: string;
  readonly description: string;
}

/** A help text. The shell prints it as it prints its own. */
export class Help {
  constructor(
    readonly help: string,
    readonly docs: string | undefined,
    readonly attr: readonly HelpEntry[],
  ) {}

  [AS_PRINTABLE](): { help: string; docs: string | undefined; attr: readonly HelpEntry[] } {
    const { help, docs, attr } = this;
    return { help, docs, attr };
  }

  get [SHELL_API_TYPE](): string {
    return 'Help';
  }
}

/** What a class needs so that `shellClass` can dress it. */
interface ShellObject {
  [INSTANCE_STATE](): ShellInstanceState | undefined;
}

type Method = (this: ShellObject, ...args: unknown[]) => unknown;

/**
 * Dresses a class for the shell: each public method gets its help, and each that is not synchronous a promise that typed
 * code awaits by itself; the class gets `help()`. Throws when methods and help do not match, which a load shows at once.
 */
export function shellClass(shown: { readonly prototype: ShellObject }, help: ClassHelp): void {
  const prototype: object = shown.prototype;
  const undocumented = Object.getOwnPropertyNames(prototype).find((name) => name !== 'constructor' && !Object.hasOwn(help.methods, name));
  if (undocumented !== undefined) throw new Error(`${help.name}.${undocumented} has no help`);
  for (const [name, methodHelp] of Object.entries(help.methods)) {
    const method = (prototype as Record<string, unknown>)[name];
    if (typeof method !== 'function') throw new Error(`${help.name}.${name} has help but does not exist`);
    const dressed = methodHelp.synchronous === true ? synchronousMethod(method as Method) : awaitedMethod(method as Method);
    Object.defineProperty(dressed, 'name', { value: name, configurable: true });
    attachHelp(dressed, new Help(methodHelp.usage, methodHelp.docs, [{ description: methodHelp.description }]));
    Object.defineProperty(prototype, name, { value: dressed, configurable: true, writable: true });
  }
  // A bundler may have renamed the class.
  Object.defineProperty(shown, 'name', { value: help.name, configurable: true });
  Object.defineProperty(prototype, SHELL_API_TYPE, { value: help.name, configurable: true });
  Object.defineProperty(prototype, INSPECT, { value: inspectWithoutMethods, configurable: true });
  const overview = Object.entries(help.methods).map(([name, { description }]) => ({ name, description: firstSentence(description) }));
  const objects = Object.entries(help.objects ?? {}).map(([name, description]) => ({ name, description }));
  attachHelp(prototype, new Help(help.description, help.docs, [...overview, ...objects]));
}

/**
 * Makes the methods of an object of such a class properties of its own. Tab completion in the shell offers for objects with a
 * shell type nothing but own enumerable properties.
 */
export function offerMethods(object: object): void {
  const prototype = Object.getPrototypeOf(object) as Readonly<Record<string, unknown>>;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    const value = prototype[name];
    if (name !== 'constructor') Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  }
}

// Inside arrays and documents an object prints as if its methods were on the prototype alone.
function inspectWithoutMethods(this: object, _depth: number, options: object, inspect: (value: unknown, options: object) => string): string {
  const fields = Object.fromEntries(Object.entries(this).filter(([, value]) => typeof value !== 'function'));
  return `${this.constructor.name} ${inspect(fields, options)}`;
}

/** Marks a promise as one that the shell awaits without being told. */
export function awaitedByShell<T>(promise: Promise<T>): Promise<T> {
  return Object.defineProperty(promise, SYNTHETIC_PROMISE, { value: true });
}

/**
 * Runs `work` with a signal that Ctrl+C in the shell aborts. The caller gets the shell's own interruption at once; `work`
 * sees the signal and stops where it may.
 */
export async function interruptible<T>(state: ShellInstanceState | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interruption = state?.interrupted?.asPromise();
  interruption?.promise.catch(() => controller.abort());
  try {
    return await work(controller.signal);
  } finally {
    interruption?.destroy();
  }
}

/** How long Ctrl+C waits for the write in flight. */
const PATIENCE_MS = 10_000;

/**
 * As `interruptible`, for work that finishes its write and has something to say then: on Ctrl+C the shell waits for that, before it
 * closes the connections that the write needs.
 */
export async function finishing<T>(
  state: ShellInstanceState | undefined,
  work: (signal: AbortSignal) => Promise<T>,
  onInterrupted: (result: T) => Promise<void>,
): Promise<T> {
  const { interrupted } = state ?? {};
  if (interrupted?.withOverrideInterruptBehavior === undefined) return interruptible(state, work);
  const controller = new AbortController();
  let running: Promise<T> | undefined;
  return interrupted.withOverrideInterruptBehavior(
    () => (running = work(controller.signal)),
    async () => {
      controller.abort();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, PATIENCE_MS);
      });
      // What fails has no report.
      await Promise.race([late, running?.then(onInterrupted).catch(() => undefined)]);
      clearTimeout(timer);
    },
  );
}

function awaitedMethod(method: Method): Method {
  return function (...args) {
    const state = this[INSTANCE_STATE]();
    return awaitedByShell(untilInterrupted(state, () => method.apply(this, args)));
  };
}

async function untilInterrupted(state: ShellInstanceState | undefined, call: () => unknown): Promise<unknown> {
  state?.interrupted?.checkpoint();
  const interruption = state?.interrupted?.asPromise();
  try {
    const result = Promise.resolve(call());
    return await (interruption === undefined ? result : Promise.race([interruption.promise, result]));
  } catch (error) {
    throw forShell(error, state);
  } finally {
    interruption?.destroy();
    // A loop of calls never leaves the microtask queue otherwise, and Ctrl+C would wait for its end. The shell's own
    // methods do the same.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function synchronousMethod(method: Method): Method {
  return function (...args) {
    try {
      return method.apply(this, args);
    } catch (error) {
      throw forShell(error, this[INSTANCE_STATE]());
    }
  };
}

// The shell prints the enumerable fields `codeName` and `errInfo`, after the error's name and below its message. Not
// under --json, which prints every field, `code`, `details` and `remedy` among them.
function forShell(error: unknown, state: ShellInstanceState | undefined): unknown {
  if (!CsfleError.is(error) || SAID in error) return error;
  const { code, details } = error;
  Object.assign(error, inShell.error({ code, message: error.message, remedy: error.remedy, details }));
  Object.defineProperty(error, SAID, { value: true });
  if (!printsJson(state)) {
    const shown = Object.fromEntries(Object.entries(error.details).map(([name, value]) => [name, typeof value === 'string' ? visible(value) : value]));
    Object.assign(error, { message: visible(error.message), codeName: error.code, errInfo: { remedy: error.remedy, ...shown } });
  }
  return error;
}

// `x.help` without parentheses prints too, as in the shell: the function passes for the help text through its prototype.
function attachHelp(target: object, help: Help): void {
  const show = (): Help => help;
  Object.setPrototypeOf(show, help);
  Object.defineProperty(target, 'help', { value: show, configurable: true });
}

function firstSentence(text: string): string {
  return /^.*?\.(?=\s|$)/s.exec(text)?.[0] ?? text;
}
