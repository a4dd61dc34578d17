import { CsfleError } from '../errors.js';
import { executeDecrypt } from './decrypt.js';
import type { MigrateOptions } from './options.js';
import { makePlan, type PlanState } from './plan.js';
import { type DataResults, executeReencrypt } from './reencrypt.js';
import { deepFreeze, type KeyResults, type MigrationPlan, type MigrationReport } from './report.js';
import { executeRewrap } from './rewrap.js';
import { isAbort, messageOf, type MigrationRun } from './run-state.js';
import { setUp } from './setup.js';

/**
 * Plans a migration, and carries it out when `execute` is true.
 *
 * Shape: the report holds the plan with every check, what was done, and each key and document that failed while the
 * others went on. `ok` says whether everything that was asked for is done and verified; of a plan, whether it can be
 * executed. Running it again changes nothing that is done, and goes on where an earlier run stopped. `rewrap` is undone
 * by the same call with `from` and `to` exchanged, as long as the old master key is there.
 *
 * Units: durations in milliseconds, rates per second.
 * Errors: what is wrong with the options rejects (`ARGUMENT_INVALID`, `OPTION_INVALID`, `MIGRATION_TARGET_INVALID`,
 * `MASTER_KEY_INVALID`, `KMS_ENDPOINT_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`). With `execute`, a required check that
 * failed rejects with `MIGRATION_CHECK_FAILED`, before anything is written; `cause` is the plan.
 * `MIGRATION_BACKUP_FAILED` likewise, when `onBackup` fails. An abort does not reject: the report says `interrupted`.
 */
export async function migrate(options: MigrateOptions): Promise<MigrationReport> {
  const startedAt = new Date();
  const startedMs = performance.now();
  const run = setUp(options);
  try {
    let state: PlanState | undefined;
    let results: Results = nothingDone(0);
    try {
      state = await makePlan(run);
      results = nothingDone(state.keys.length);
      if (options.execute === true && !run.interrupted) {
        refuseFailedChecks(state.plan);
        await backUp(run, state);
        if (!run.interrupted) results = await execute(run, state);
      }
    } catch (error) {
      if (!run.interrupted || !isAbort(error)) throw error;
    }
    const plan = state?.plan ?? EMPTY_PLAN;
    const { keys, collections, schemas } = results;
    const finished = options.execute === true ? run.failures.length === 0 && collections.every(({ valuesLeft }) => valuesLeft === 0) : plan.executable;
    return deepFreeze({
      mode: run.mode,
      executed: options.execute === true,
      ok: finished && !run.interrupted,
      interrupted: run.interrupted,
      from: run.from === null ? null : { ...run.from },
      to: run.to === null ? null : { ...run.to },
      plan,
      keys,
      collections,
      schemas,
      failures: [...run.failures],
      kmsCalls: { ...run.engine.calls },
      startedAt: startedAt.toISOString(),
      durationMs: Math.round(performance.now() - startedMs),
    });
  } finally {
    run.engine.close();
  }
}

type Results = { readonly keys: KeyResults } & DataResults;

const EMPTY_PLAN: MigrationPlan = { executable: false, checks: [], keys: [], counts: { migrate: 0, done: 0, other: 0, malformed: 0 }, collections: [], schemas: [], kmsCalls: 0 };

function nothingDone(planned: number): Results {
  return { keys: { planned, migrated: 0, alreadyDone: 0, failed: 0, namesMoved: 0, deleted: 0, verified: 0 }, collections: [], schemas: [] };
}

async function execute(run: MigrationRun, state: PlanState): Promise<Results> {
  switch (run.mode) {
    case 'rewrap':
      return { keys: await executeRewrap(run, state), collections: [], schemas: [] };
    case 'reencrypt':
      return executeReencrypt(run, state);
    case 'decrypt':
      return executeDecrypt(run, state);
  }
}

function refuseFailedChecks(plan: MigrationPlan): void {
  if (plan.executable) return;
  const failed = plan.checks.filter(({ ok, required }) => required && !ok);
  const names = failed.map(({ name, subject }) => (subject === undefined ? name : `${name} (${subject})`));
  const first = failed[0];
  throw new CsfleError('MIGRATION_CHECK_FAILED', `nothing was written, a required check failed: ${names.join(', ')}: ${first?.detail ?? ''}`, {
    details: { checks: failed.map(({ name }) => name).join(','), ...(first?.code === undefined ? {} : { code: first.code }) },
    cause: deepFreeze(plan),
  });
}

async function backUp(run: MigrationRun, state: PlanState): Promise<void> {
  const { onBackup } = run.options;
  if (onBackup === undefined || state.keys.length === 0) return;
  try {
    await onBackup(state.documents);
  } catch (cause) {
    throw new CsfleError('MIGRATION_BACKUP_FAILED', `nothing was written, the backup failed: ${messageOf(cause)}`, { cause });
  }
}
