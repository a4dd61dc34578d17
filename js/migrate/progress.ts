/** Progress as one frozen value per tick: a bar, a log line and a test share the same snapshot. */

/** What a migration is doing. */
export type MigrationPhase =
  | 'check-keys'
  | 'prove-keys'
  | 'census'
  | 'create-keys'
  | 'keys'
  | 'documents'
  | 'verify-documents'
  | 'alternate-names'
  | 'verify-keys'
  | 'evidence'
  | 'delete-keys';

/** One tick. */
export interface MigrationProgress {
  readonly phase: MigrationPhase;
  /** The collection, for the phases that walk one. */
  readonly namespace?: string;
  /** Keys, names or documents dealt with so far, failed ones included. */
  readonly done: number;
  /** How many there will be; for documents an estimate, raised when passed. */
  readonly total: number;
  readonly failed: number;
  readonly ratePerSec: number;
  /** Time left at this rate; null while there is no rate yet. */
  readonly etaMs: number | null;
}

/** Counts within one phase and reports each change. */
export class PhaseProgress {
  readonly #phase: MigrationPhase;
  readonly #namespace: string | undefined;
  readonly #report: ((progress: MigrationProgress) => void) | undefined;
  readonly #startedMs: number = performance.now();
  #total: number;
  #done = 0;
  #failed = 0;

  constructor(report: ((progress: MigrationProgress) => void) | undefined, phase: MigrationPhase, total: number, namespace?: string) {
    this.#report = report;
    this.#phase = phase;
    this.#total = total;
    this.#namespace = namespace;
    this.#tick();
  }

  /** `done` more are dealt with, `failed` of them without success. */
  advance(done: number, failed = 0): void {
    this.#done += done;
    this.#failed += failed;
    this.#total = Math.max(this.#total, this.#done);
    this.#tick();
  }

  /** The phase is over: what was estimated is now known. */
  finish(): void {
    if (this.#total === this.#done) return;
    this.#total = this.#done;
    this.#tick();
  }

  #tick(): void {
    if (this.#report === undefined) return;
    const elapsedMs = performance.now() - this.#startedMs;
    const ratePerSec = elapsedMs > 0 ? Math.round((this.#done / elapsedMs) * 10_000) / 10 : 0;
    const etaMs = this.#done === 0 ? null : Math.round((elapsedMs / this.#done) * (this.#total - this.#done));
    const where = this.#namespace === undefined ? {} : { namespace: this.#namespace };
    report(
      this.#report,
      Object.freeze({
        phase: this.#phase,
        ...where,
        done: this.#done,
        total: this.#total,
        failed: this.#failed,
        ratePerSec,
        etaMs,
      }),
    );
  }
}

/** Tells the caller. What its function throws, at once or later, is no reason to stop work on data. */
function report(call: (progress: MigrationProgress) => unknown, progress: MigrationProgress): void {
  try {
    const answer = call(progress);
    if (typeof (answer as PromiseLike<unknown> | undefined)?.then === 'function') void Promise.resolve(answer).catch(() => undefined);
  } catch {
    // As above.
  }
}
