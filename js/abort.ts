/** Stopping early: scopes that end with others, waits that end with a scope, and a bound on what runs at a time. */

import { CsfleError } from './errors.js';

/** The error that an aborted signal stands for: its own reason when that is a `CsfleError`, else `OPERATION_ABORTED`. */
function abortError(signal: AbortSignal): CsfleError {
  const reason: unknown = signal.reason;
  return CsfleError.is(reason) ? reason : new CsfleError('OPERATION_ABORTED', 'the operation was aborted', { cause: reason });
}

/** Throws the error of the signal when it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/**
 * A span of work that can be stopped: by itself, with the scope it belongs to, or by a signal of the caller.
 *
 * Scopes know each other directly. Chained AbortSignals would do the same, but hosts warn of a leak when many operations
 * listen to one signal.
 */
export class AbortScope {
  readonly #parent: AbortScope | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #listeners = new Set<(reason: CsfleError) => void>();
  #reason: CsfleError | undefined;

  constructor(parent?: AbortScope, signal?: AbortSignal) {
    this.#parent = parent;
    this.#signal = signal;
    if (parent !== undefined && parent.#reason !== undefined) this.#reason = parent.#reason;
    else if (signal?.aborted) this.#reason = abortError(signal);
    else {
      if (parent !== undefined) parent.#listeners.add(this.abort);
      signal?.addEventListener('abort', this.#onSignal, { once: true });
    }
  }

  readonly #onSignal = (): void => {
    if (this.#signal !== undefined) this.abort(abortError(this.#signal));
  };

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  /** Ends the scope and all that belong to it; the first reason stays. */
  readonly abort = (reason: CsfleError): void => {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const listeners = [...this.#listeners];
    this.release();
    for (const listener of listeners) listener(reason);
  };

  throwIfAborted(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Calls `listener` when the scope ends; returns how to stop listening. A scope that ended calls it at once. */
  onAbort(listener: (reason: CsfleError) => void): () => void {
    if (this.#reason !== undefined) {
      listener(this.#reason);
      return () => undefined;
    }
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops following, so that a long-lived parent or signal does not hold on to finished work. */
  release(): void {
    if (this.#parent !== undefined) this.#parent.#listeners.delete(this.abort);
    this.#signal?.removeEventListener('abort', this.#onSignal);
    this.#listeners.clear();
  }
}

/**
 * Waits for `work`, but no longer than the scope lasts.
 * What `work` still returns after that goes to `late`, which wipes it.
 */
export function within<T>(scope: AbortScope, work: Promise<T>, late?: (result: T) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stop = scope.onAbort(reject);
    work.then(
      (result) => {
        stop();
        if (scope.aborted) late?.(result);
        resolve(result);
      },
      (error: unknown) => {
        stop();
        reject(error);
      },
    );
  });
}

/** Waits `durationMs`, or fails as soon as the scope ends. */
export function pause(durationMs: number, scope: AbortScope): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, durationMs);
  });
  return within(scope, elapsed).finally(() => clearTimeout(timer));
}

/** Lets at most `limit` pieces of work run at a time; the others wait in order. */
export class Limiter {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Runs `work` when its turn comes; a scope that ends takes it out of the line. */
  async run<T>(work: () => Promise<T>, scope: AbortScope = new AbortScope()): Promise<T> {
    scope.throwIfAborted();
    if (this.#running >= this.#limit) await this.#turn(scope);
    else this.#running += 1;
    try {
      return await work();
    } finally {
      // The place passes to the next in line without ever being free, so that no newcomer overtakes.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #turn(scope: AbortScope): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const admit = (): void => {
        stop();
        resolve();
      };
      const stop = scope.onAbort((reason) => {
        this.#waiting.splice(this.#waiting.indexOf(admit), 1);
        reject(reason);
      });
      this.#waiting.push(admit);
    });
  }
}
