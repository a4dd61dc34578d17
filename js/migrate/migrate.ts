import { CsfleError } from '../errors.js';
import { type MigrationBackupResult, needsBackup, takeBackup } from './backup.js';
import { executeDecrypt } from './decrypt.js';
import { reportedChoice } from './key-choice.js';
import type { MigrateOptions } from './options.js';
import { makePlan, type PlanState } from './plan.js';
import { type DataResults, executeReencrypt } from './reencrypt.js';
import { isNothingLeft, lookForRemaining, settledCollections, settledSchemas } from './remaining.js';
import { deepFreeze, type KeyResults, type MigrationPlan, type MigrationRemaining, type MigrationReport } from './report.js';
import { executeRewrap } from './rewrap.js';
import { type MigrationRun, messageOf } from './run-state.js';
import { setUp } from './setup.js';

/**
 * Plans a migration, and carries it out when `execute` is true.
 *
 * Shape: the report holds the plan with every check, what was done, and each key and document that failed while the
 * others went on. `ok` says whether everything that was asked for is done and verified, and `remaining` what is not; of a
 * plan, `ok` says whether it can be executed. Running it again changes nothing that is done, and goes on where an earlier run stopped. `rewrap` is undone
 * by the same call with `from` and `to` exchanged, as long as the old master key is there.
 *
 * Units: durations in milliseconds, rates per second.
 * Errors: only what is wrong with the options rejects (`ARGUMENT_INVALID`, `OPTION_INVALID`, `MIGRATION_TARGET_INVALID`,
 * `MASTER_KEY_INVALID`, `KMS_ENDPOINT_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`). Everything later is in the report, under
 * `failures`: a required check that failed, or a backup that failed (`MIGRATION_BACKUP_FAILED`), leaves `executed` false
 * and nothing written. After an abort the report says `interrupted`.
 */
export async function migrate(options: MigrateOptions): Promise<MigrationReport> {
  const startedAt = new Date();
  const startedMs = performance.now();
  const run = setUp(options);
  const wanted = options.execute === true;
  try {
    let plan = EMPTY_PLAN;
    let results = nothingDone(0);
    let remaining: MigrationRemaining | null = null;
    let executed = false;
    const backup: Backups = { sealed: null };
    try {
      const state = await makePlan(run);
      plan = state.plan;
      results = nothingDone(plannedKeys(run, plan));
      executed = wanted && !run.interrupted && mayExecute(run, plan) && (await backedUp(run, state, backup)) && !run.interrupted;
      if (executed) {
        results = withDoneBefore(run, plan, await execute(run, state));
        failMalformed(run, plan);
        remaining = await lookForRemaining(run, state);
        results = {
          ...results,
          collections: settledCollections(run, results.collections, state.isWanted),
          schemas: settledSchemas(run, results.schemas),
        };
      }
    } catch (error) {
      if (!run.isAbort(error)) throw error;
    }
    const { keys, collections, schemas, oldKeys = [] } = results;
    const finished = run.failures.length === 0 && remaining !== null && isNothingLeft(remaining);
    return deepFreeze({
      mode: run.mode,
      executed,
      ok: (wanted ? finished : plan.executable) && !run.interrupted,
      interrupted: run.interrupted,
      from: run.from === null ? null : { ...run.from },
      to: run.to === null ? null : { ...run.to },
      choice: reportedChoice(run.choice),
      plan,
      keys,
      collections,
      schemas,
      oldKeys,
      remaining,
      failures: [...run.failures],
      backup: backup.sealed,
      kmsCalls: { ...run.engine.calls },
      startedAt: startedAt.toISOString(),
      durationMs: Math.round(performance.now() - startedMs),
    });
  } finally {
    run.engine.close();
  }
}

type Results = { readonly keys: KeyResults } & DataResults;

const EMPTY_PLAN: MigrationPlan = {
  executable: false,
  checks: [],
  keys: [],
  counts: { migrate: 0, done: 0, other: 0, malformed: 0 },
  collections: [],
  notChosen: [],
  schemas: [],
  kmsCalls: 0,
};

function nothingDone(planned: number): Results {
  return {
    keys: { planned, migrated: 0, alreadyDone: 0, failed: 0, namesMoved: 0, deleted: 0, verified: 0 },
    collections: [],
    schemas: [],
  };
}

/** Keys that were asked for. A rewrap finds those that it did before under the new master key, and nowhere else. */
function plannedKeys({ mode }: MigrationRun, { counts }: MigrationPlan): number {
  return counts.migrate + (mode === 'rewrap' ? counts.done : 0);
}

function withDoneBefore(run: MigrationRun, plan: MigrationPlan, { keys, ...others }: Results): Results {
  const doneBefore = run.mode === 'rewrap' ? plan.counts.done : 0;
  return { ...others, keys: { ...keys, planned: plannedKeys(run, plan), alreadyDone: keys.alreadyDone + doneBefore } };
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

/** A required check that failed is a failure of the run, and keeps it from writing. */
function mayExecute(run: MigrationRun, plan: MigrationPlan): boolean {
  for (const { name, ok, required, subject, detail, code = 'INTERNAL' } of plan.checks) {
    if (required && !ok) run.fail({ kind: 'check', id: subject === undefined ? name : `${name} (${subject})` }, new CsfleError(code, detail));
  }
  return plan.executable;
}

/**
 * A malformed key document was not migrated, although it was asked for or does not tell whose it is: whoever retires the
 * old master key after a run that says all is well would lose it.
 */
function failMalformed(run: MigrationRun, plan: MigrationPlan): void {
  for (const { id, keyAltNames, reason, code, message } of plan.keys) {
    if (reason !== 'malformed') continue;
    const error = new CsfleError(code ?? 'KEY_VAULT_DOCUMENT_MALFORMED', message ?? 'the key document is malformed');
    run.fail({ kind: 'key', id, keyAltNames }, error);
  }
}

interface Backups {
  sealed: MigrationBackupResult | null;
}

async function backedUp(run: MigrationRun, state: PlanState, backups: Backups): Promise<boolean> {
  const { onBackup, backup } = run.options;
  if (!needsBackup(run, state.keys, state.documents, state.plan.schemas)) return true;
  let id = 'onBackup';
  try {
    await onBackup?.(state.documents);
    id = 'backup';
    if (backup !== undefined) backups.sealed = await takeBackup(run, backup);
    return true;
  } catch (cause) {
    if (run.isAbort(cause)) throw cause;
    run.fail({ kind: 'backup', id }, new CsfleError('MIGRATION_BACKUP_FAILED', `the backup failed: ${messageOf(cause)}`, { cause }));
    return false;
  }
}
