import { EXIT_OF_SIGNAL } from './failure.js';
import { standardError } from './stream.js';

type Signal = keyof typeof EXIT_OF_SIGNAL;
const SIGNALS = Object.keys(EXIT_OF_SIGNAL) as readonly Signal[];

/** How long the write in flight may take after the first signal: a server that never answers does not hold the process. */
const PATIENCE_MS = 30_000;

/**
 * Turns the first SIGINT, SIGTERM or SIGHUP into an abort, so that the write in flight is finished; the second one ends the process at
 * once, and so does a write that is not finished in 30 seconds. That is safe too: every write is conditional and the next run goes on.
 */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #onSignal: (signal: Signal) => void;
  #first: Signal | undefined;

  constructor(note: (text: string) => void) {
    this.#onSignal = (signal) => {
      if (this.#first !== undefined) endAtOnce(signal);
      this.#first = signal;
      setTimeout(() => endAtOnce(signal), PATIENCE_MS).unref();
      note(`stopping after the write in flight, in ${PATIENCE_MS / 1000} seconds at the latest; press Ctrl-C again to stop at once`);
      this.#controller.abort();
    };
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get happened(): boolean {
    return this.#first !== undefined;
  }

  /** The exit code of what was interrupted. */
  get exitCode(): number {
    return EXIT_OF_SIGNAL[this.#first ?? 'SIGINT'];
  }

  /** The deadline of a signal that came stays: output that nobody reads does not hold the process either. */
  release(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }
}

function endAtOnce(signal: Signal): never {
  // A progress bar may have hidden the cursor.
  if (standardError.isTTY) standardError.write('\u001b[?25h\n');
  process.exit(EXIT_OF_SIGNAL[signal]);
}
