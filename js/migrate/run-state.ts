import { Limiter } from '../abort.js';
import type { ErrorCode } from '../error-codes.js';
import { CsfleError } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { MasterKeyDocument } from '../key-vault.js';
import type { Census } from './census.js';
import type { MigrationCollection } from './collection.js';
import type { MigrationEngine } from './engine.js';
import type { KeyChoice } from './key-choice.js';
import type { MigrateOptions, MigrationMode, MigrationSchema } from './options.js';
import { type MigrationPhase, PhaseProgress } from './progress.js';
import type { MigrationFailure } from './report.js';

export { altNamesIn as altNamesOf } from '../key-vault/retirement.js';

/** What an error of others is called, by what it was thrown over. */
const FOREIGN_CODES: Readonly<Record<MigrationFailure['kind'], ErrorCode>> = {
  key: 'KEY_VAULT_NOT_READABLE',
  document: 'MIGRATION_COLLECTION_FAILED',
  collection: 'MIGRATION_COLLECTION_FAILED',
  schema: 'MIGRATION_SCHEMA_FAILED',
  backup: 'MIGRATION_BACKUP_FAILED',
  check: 'HOST_CALLBACK_FAILED',
};

/** One run: its settled options, its engine, and what failed so far. */
export class MigrationRun {
  readonly failures: MigrationFailure[] = [];
  /** The last census of each collection; undefined from its beginning until it is complete. */
  readonly censuses = new Map<MigrationCollection, Census | undefined>();
  /** Keys that were asked for and that earlier runs replaced and moved to the retired keys. */
  replacedBefore: ReadonlySet<string> = new Set();

  constructor(
    readonly mode: MigrationMode,
    readonly options: MigrateOptions,
    readonly engine: MigrationEngine,
    readonly from: MasterKeyDocument | null,
    readonly to: MasterKeyDocument | null,
    readonly collections: readonly MigrationCollection[],
    readonly otherCollections: readonly MigrationCollection[],
    readonly schemas: readonly MigrationSchema[],
    /** Which keys the mode `reencrypt` replaces; null in the other modes. */
    readonly choice: KeyChoice | null = null,
  ) {}

  get signal(): AbortSignal | undefined {
    return this.options.signal;
  }

  get interrupted(): boolean {
    return this.signal?.aborted ?? false;
  }

  /** Whether an error says no more than that the caller aborted: its own reason, or the library's word for it. */
  isAbort(error: unknown): boolean {
    return this.interrupted && (isAbort(error) || error === this.signal?.reason);
  }

  /** The master key that new wrappings are made under; only the mode `decrypt` has none. */
  get target(): MasterKeyDocument {
    if (this.to === null) throw new CsfleError('INTERNAL', 'this mode has no new master key');
    return this.to;
  }

  progress(phase: MigrationPhase, total: number, namespace?: string): PhaseProgress {
    return new PhaseProgress(this.options.onProgress, phase, total, namespace);
  }

  /** Names what failed and lets the rest go on; an abort is no failure. Returns whether it was recorded. */
  fail(subject: Pick<MigrationFailure, 'kind' | 'id' | 'namespace' | 'keyAltNames'>, error: unknown): boolean {
    if (this.isAbort(error)) return false;
    const known = asCsfleError(error, FOREIGN_CODES[subject.kind], `the work on this ${subject.kind}`);
    this.failures.push({ ...subject, code: known.code, message: known.message, remedy: known.remedy });
    return true;
  }

  /** Whether anything of this kind failed so far. */
  hasFailed(kind: MigrationFailure['kind']): boolean {
    return this.failures.some((failure) => failure.kind === kind);
  }

  /** Runs `work` for each item, a few at a time, and stops taking new ones once the run is interrupted. */
  async forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    const limiter = new Limiter(this.options.kmsConcurrency ?? 8);
    await Promise.all(items.map((item) => limiter.run(async () => (this.interrupted ? undefined : work(item)))));
  }
}

/** Whether an error says no more than that the work was aborted. */
export function isAbort(error: unknown): boolean {
  return CsfleError.is(error) && error.code === 'OPERATION_ABORTED';
}

/** The message of any error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
