import type { BsonBinary, Document } from '../../bson.js';
import type { AssessedKey } from '../../wasm.js';
import type { Census } from '../census.js';
import { idText } from '../engine.js';
import type { KeyReason, MigrationCheck, ValuesNotChosen } from '../report.js';
import type { MigrationRun } from '../run-state.js';

/** One key, what becomes of it, and why. */
export interface ChosenKey extends AssessedKey {
  readonly reason: KeyReason;
}

/** What is known when keys are chosen: the whole vault, and what the named collections hold. */
export interface Look {
  readonly documents: readonly Document[];
  readonly censuses: readonly Census[];
  /** The ids that `keyFilter` matches; undefined without a filter. */
  readonly matched: ReadonlySet<string> | undefined;
}

/** What a mode asks for. */
export interface Mode {
  /** Says of each key of the vault what becomes of it. */
  choose(run: MigrationRun, look: Look): readonly ChosenKey[];
  /** Whether the choice makes sense, and what it leaves. */
  checks(run: MigrationRun, look: Look, keys: readonly ChosenKey[]): readonly MigrationCheck[];
  /** Whether values under a key are asked to be replaced. */
  wantsValues(run: MigrationRun, keys: readonly ChosenKey[]): (keyId: string) => boolean;
}

/** Reads the whole vault, and which of it `keyFilter` matches. */
export async function readVault(run: MigrationRun): Promise<Pick<Look, 'documents' | 'matched'>> {
  const documents = await run.engine.find({}, run.signal);
  const { keyFilter } = run.options;
  if (keyFilter === undefined) return { documents, matched: undefined };
  const matched = await run.engine.find(keyFilter, run.signal);
  return { documents, matched: new Set(matched.map(({ _id }) => idText(_id))) };
}

/** Whether `keyFilter` leaves a key out. */
export function isFilteredOut({ matched }: Look, id: string): boolean {
  return matched !== undefined && !matched.has(id);
}

/** Whether the master key of a document has at least the fields of `from`, as the core matches them. */
export function isUnder(run: MigrationRun, document: Document | undefined, from: Document): boolean {
  const masterKey = (document?.masterKey ?? {}) as Document;
  return Object.entries(from).every(([field, expected]) => {
    const found: unknown = masterKey[field];
    // A flag is stored only when it is set.
    if (found === undefined || found === null) return expected === false;
    return run.engine.same({ v: found }, { v: expected });
  });
}

/** The documents of keys by their id. */
export function byId(documents: readonly Document[]): ReadonlyMap<string, Document> {
  return new Map(documents.map((document) => [idText(document._id), document]));
}

/** The documents of the keys that are to be migrated. */
export function toMigrate(documents: readonly Document[], keys: readonly ChosenKey[]): readonly Document[] {
  const known = byId(documents);
  return keys
    .filter(({ disposition }) => disposition === 'migrate')
    .map(({ id }) => known.get(id))
    .filter((key): key is Document & { readonly _id: BsonBinary } => key !== undefined);
}

/** What the collections hold under keys that are neither asked for nor the result of what was asked for. */
export function valuesNotChosen(censuses: readonly Census[], keys: readonly ChosenKey[], isWanted: (keyId: string) => boolean): readonly ValuesNotChosen[] {
  const values = new Map<string, number>();
  for (const census of censuses) for (const [keyId, count] of census.byKey) if (!isWanted(keyId)) values.set(keyId, (values.get(keyId) ?? 0) + count);
  const known = new Map(keys.map((key) => [key.id, key]));
  return [...values].flatMap(([keyId, count]) => {
    const reason = known.get(keyId)?.reason;
    if (reason === 'replacement' || reason === 'made-later') return [];
    return [{ keyId, values: count, ...(reason === undefined ? {} : { reason }) }];
  });
}

/** Of an empty key vault no mode can say anything, and a misspelt one looks the same: it is a failure unless the caller allows it. */
export function emptyVaultCheck({ options }: MigrationRun): MigrationCheck {
  const detail = 'the key vault has no data key';
  return keysChosen(options.allowEmpty === true ? undefined : detail, detail);
}

/** The check that keeps a run from saying that it did what it was asked, because it found nothing to do. */
export function keysChosen(detail: string | undefined, otherwise: string): MigrationCheck {
  const common = { name: 'keys-chosen', required: true } as const;
  if (detail === undefined) return { ...common, ok: true, detail: otherwise };
  return { ...common, ok: false, detail, code: 'MIGRATION_NO_KEYS_CHOSEN' };
}
