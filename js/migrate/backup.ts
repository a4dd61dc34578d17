/** The sealed backup that a migration takes before its first write. */

import type { BackupKey, BackupMasterKey } from '../backup/key.js';
import { createBackup, type SealedBackup } from '../backup/create.js';
import { readBackup } from '../backup/read.js';
import type { BackupSchema } from '../backup/records.js';
import { sameWrapping, VaultSource } from '../backup/source.js';
import { type Document, deserialize, EXACT_TYPES } from '../bson.js';
import { equalBytes, hexText, wipe } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { RetiringStore } from '../key-vault/retirement.js';
import { sha256 } from '../wasm.js';
import { countCalls, idText } from './engine.js';
import { replacedKeyId } from './markers.js';
import { isRemoteKey } from './proof.js';
import type { PlannedSchema } from './report.js';
import { altNamesOf, type MigrationRun } from './run-state.js';

/** The backup that `migrate()` takes before its first write. */
export interface MigrationBackup {
  /** What it is sealed with. */
  readonly key: BackupKey;
  /** How reports call it, a file name for example. */
  readonly file?: string | undefined;
  /** Stores the backup; what it throws stops the run before the first write. */
  write(backup: SealedBackup): Promise<void> | void;
  /**
   * The bytes of a backup that is there already, or undefined. One of an earlier run of the same migration, which holds every
   * key as it was then, is kept; any other stops the run. After `write`, what was stored is read back and compared.
   */
  read?(): Promise<Uint8Array | undefined> | Uint8Array | undefined;
  /** As in `createBackup()`. */
  readonly collections?: readonly string[] | undefined;
  /** As in `createBackup()`. */
  readonly schemas?: readonly BackupSchema[] | undefined;
}

/** What a report says of the backup. */
export interface MigrationBackupResult {
  readonly file: string | null;
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string;
  readonly keys: number;
  /** Whether it is that of an earlier run. */
  readonly kept: boolean;
  /** What could not be read for it, with the reason, and so is not in it. */
  readonly notRead: readonly string[];
}

/**
 * Takes the backup, or keeps that of an earlier run.
 * Errors: those of `createBackup()`, `readBackup()` and of the caller's functions; `MIGRATION_BACKUP_FAILED` for a backup of
 * something else, and for one that is not read back as it was written.
 */
export async function takeBackup(run: MigrationRun, backup: MigrationBackup): Promise<MigrationBackupResult> {
  const { bson } = run.engine;
  const { signal } = run;
  const key = countedKey(run, backup.key);
  const file = backup.file ?? null;
  const existing = await backup.read?.();
  if (existing !== undefined) {
    const { keys, notRead } = await requireSameRun(run, existing, key, file);
    return { file, sha256: hexText(sha256(existing)), keys, kept: true, notRead };
  }
  const { keyVault } = run.options;
  const made = await createBackup({ keyVault, key, collections: backup.collections, schemas: backup.schemas, signal, bson });
  await backup.write(made);
  const stored = await backup.read?.();
  if (backup.read !== undefined && (stored === undefined || !equalBytes(stored, made.bytes)))
    throw new CsfleError('MIGRATION_BACKUP_FAILED', 'the backup is not read back as it was written');
  return { file, sha256: made.sha256, keys: made.keys, kept: false, notRead: made.notRead };
}

/**
 * Whether carrying a plan out may write anything that a backup holds: keys, schemas such as validators, or markers in alternate
 * names that a re-encryption removes with its old keys.
 */
export function needsBackup(run: MigrationRun, keys: readonly Document[], documents: readonly Document[], schemas: readonly PlannedSchema[]): boolean {
  if (keys.length > 0 || schemas.some(({ changes }) => changes > 0)) return true;
  if (run.options.deleteOldKeys !== true) return false;
  const known = new Set(documents.map(({ _id }) => idText(_id)));
  const marked = documents.flatMap(altNamesOf).map(replacedKeyId);
  return marked.some((old) => old !== undefined && !known.has(old));
}

/** How many KMS calls the backup of a run makes: to wrap its key, and to unwrap it again. */
export function backupKmsCalls(backup: MigrationBackup | undefined): number {
  const masterKey = (backup?.key as Partial<BackupMasterKey> | undefined)?.masterKey;
  return isRemoteKey({ masterKey }) ? 2 : 0;
}

function countedKey(run: MigrationRun, key: BackupKey): BackupKey {
  if (typeof key !== 'object' || key === null || !('kmsProviders' in key)) return key;
  return { ...key, kmsProviders: countCalls(key.kmsProviders, run.engine.calls) };
}

/** Returns how many keys the backup holds and what it lacks, when it holds all that this run could change. */
async function requireSameRun(
  run: MigrationRun,
  existing: Uint8Array,
  key: BackupKey,
  file: string | null,
): Promise<{ readonly keys: number; readonly notRead: readonly string[] }> {
  const { bson } = run.engine;
  const source = new VaultSource(run.options.keyVault, bson);
  const refuse = (reason: string): CsfleError =>
    new CsfleError('MIGRATION_BACKUP_FAILED', `${file ?? 'the backup'} is there already and ${reason}: choose another name`, {
      details: file === null ? {} : { file },
    });
  const contents = await readBackup(existing, key, { bson, signal: run.signal }).catch((cause: unknown) => {
    throw new CsfleError('MIGRATION_BACKUP_FAILED', `${file ?? 'the backup'} is there already and cannot be opened: choose another name`, { cause });
  });
  for (const local of contents.localMasterKeys) wipe(local.key);
  if (contents.manifest.keyVault !== source.namespace) throw refuse('is of another key vault');
  const parse = (bytes: Uint8Array): Document => deserialize(bson, bytes, EXACT_TYPES);
  const kept = new Map(contents.keyDocuments.map(parse).map((document) => [idText(document._id), document]));
  const isDone = doneUnderTarget(run);
  // Removing an old key takes its mark off the new one.
  const { store } = run.engine;
  const retired = store.retiredKeys === undefined ? [] : await run.engine.whileReading(() => (store as RetiringStore).retiredKeys(), run.signal);
  const replacing = new Set(retired.filter(({ keyId }) => kept.has(idText(keyId))).map(({ replacedBy }) => idText(replacedBy)));
  for (const document of (await source.keyDocuments()).map(parse)) {
    const before = kept.get(idText(document._id));
    const isOfThisRun = replacing.has(idText(document._id)) || altNamesOf(document).some((name) => kept.has(replacedKeyId(name) ?? ''));
    const isCovered = before === undefined ? isOfThisRun : sameWrapping(bson, document, before) || isDone(document);
    if (!isCovered) throw refuse(`does not hold key ${idText(document._id)} as it is now`);
  }
  return { keys: kept.size, notRead: contents.manifest.notRead };
}

/** Says of a key document whether an earlier run has wrapped it under the target. */
function doneUnderTarget(run: MigrationRun): (document: Document) => boolean {
  const { to, from, mode } = run;
  if (mode !== 'rewrap' || to === null) return () => false;
  return (document) => run.engine.assess([document], from ?? { provider: 'local' }, to).keys[0]?.disposition === 'done';
}
