/** Stopping early: signals that follow others, waits that end with them. */

import { CsfleError } from './errors.js';

/** The error that an aborted signal stands for: its own reason when that is a `CsfleError`, else `OPERATION_ABORTED`. */
export function abortError(signal: AbortSignal): CsfleError {
  const reason: unknown = signal.reason;
  return CsfleError.is(reason) ? reason : new CsfleError('OPERATION_ABORTED', 'the operation was aborted', { cause: reason });
}

/** Throws the error of the signal when it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** One signal that is aborted with any of its sources or by itself, until it is released. */
export class AbortScope {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];

  constructor(sources: readonly (AbortSignal | undefined)[]) {
    this.#sources = sources.filter((source) => source !== undefined);
    for (const source of this.#sources) {
      if (source.aborted) this.abort(abortError(source));
      else source.addEventListener('abort', this.#follow, { once: true });
    }
  }

  readonly #follow = (event: Event): void => this.abort(abortError(event.target as AbortSignal));

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: CsfleError): void {
    this.#controller.abort(reason);
  }

  /** Stops following, so that a long-lived source does not hold on to a finished operation. */
  release(): void {
    for (const source of this.#sources) source.removeEventListener('abort', this.#follow);
  }
}

/**
 * Waits for `work`, but no longer than until `signal` is aborted.
 * What `work` still returns after that goes to `late`, which wipes it.
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal, late?: (result: T) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let left = false;
    const leave = (): void => {
      left = true;
      reject(abortError(signal));
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    work.then(
      (result) => {
        signal.removeEventListener('abort', leave);
        if (left) late?.(result);
        else resolve(result);
      },
      (error: unknown) => {
        signal.removeEventListener('abort', leave);
        // The signal's reason wins over the AbortError that it made the work fail with.
        reject(signal.aborted ? abortError(signal) : error);
      },
    );
  });
}

/** Waits `durationMs`, or fails as soon as `signal` is aborted. */
export function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, durationMs);
  });
  return untilAborted(elapsed, signal).finally(() => clearTimeout(timer));
}

/** Lets at most `limit` pieces of work run at a time; the others wait in order. */
export class Limiter {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    throwIfAborted(signal);
    if (this.#running >= this.#limit) await this.#turn(signal);
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

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(admit), 1);
        reject(abortError(signal));
      };
      const admit = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.push(admit);
    });
  }
}
