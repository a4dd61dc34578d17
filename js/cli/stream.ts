/** Standard output and standard error as places that may go away: a pipe whose reader leaves, a full disk, a terminal that is gone. */

import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';

/** A stream that takes text until it fails, and from then on nothing. It never throws and never blocks the work. */
export class TextStream {
  readonly #stream: NodeJS.WriteStream;
  #lostCode: string | undefined;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    stream.on('error', (error: NodeJS.ErrnoException) => this.#lose(error));
    // A pipe whose reader stands still would stop this process, signals included, in the middle of a migration.
    (stream as { _handle?: { setBlocking?(blocking: boolean): void } })._handle?.setBlocking?.(false);
  }

  get isTTY(): boolean {
    return this.#stream.isTTY === true && this.#lostCode === undefined;
  }

  /** The system's code of the failure that ended the stream, such as `ENOSPC`; undefined while it works. */
  get lostCode(): string | undefined {
    return this.#lostCode;
  }

  /** The stream itself, for libraries that draw on it; what fails there is caught here. */
  get raw(): NodeJS.WriteStream {
    return this.#stream;
  }

  write(text: string): void {
    if (this.#lostCode !== undefined) return;
    try {
      this.#stream.write(text);
    } catch (error) {
      this.#lose(error as NodeJS.ErrnoException);
    }
  }

  /** Resolves when a reader has taken so much that more may be written, or when there is none any more. */
  async drained(signal: AbortSignal): Promise<void> {
    if (!this.#stream.writableNeedDrain || this.#lostCode !== undefined || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        for (const event of ['drain', 'error', 'close'] as const) this.#stream.off(event, done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      for (const event of ['drain', 'error', 'close'] as const) this.#stream.on(event, done);
      signal.addEventListener('abort', done);
    });
  }

  /** Resolves when everything is written, or cannot be. */
  async finished(): Promise<void> {
    // Streams tell of a failure one turn later.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#lostCode !== undefined || this.#stream.writableLength === 0) return;
    await new Promise<void>((resolve) => {
      this.#stream.once('error', () => resolve());
      this.#stream.write('', () => resolve());
    });
  }

  #lose(error: NodeJS.ErrnoException): void {
    this.#lostCode ??= error?.code ?? 'unknown error';
  }
}

/** Standard output. */
export const standardOutput = new TextStream(process.stdout);
/** Standard error. */
export const standardError = new TextStream(process.stderr);

// Node restores the settings of its terminal when it ends, and aborts when the terminal is gone: the exit code would be lost. A
// descriptor that is closed is left alone.
const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
process.on('exit', () => {
  for (const descriptor of terminals) {
    if (isatty(descriptor)) continue;
    try {
      closeSync(descriptor);
    } catch {
      // It is closed already.
    }
  }
});
