import { EXIT_INTERRUPTED } from './failure.js';

/**
 * Turns the first SIGINT into an abort, so that the write in flight is finished; the second one ends the process at once,
 * which is safe too: every write is conditional and the next run goes on.
 */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #onSignal: () => void;

  constructor(note: (text: string) => void) {
    this.#onSignal = () => {
      if (this.#controller.signal.aborted) {
        // A progress bar may have hidden the cursor.
        if (process.stderr.isTTY) process.stderr.write('\u001b[?25h\n');
        process.exit(EXIT_INTERRUPTED);
      }
      note('stopping after the write in flight; press Ctrl-C again to stop at once');
      this.#controller.abort();
    };
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get happened(): boolean {
    return this.#controller.signal.aborted;
  }

  release(): void {
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }
}
