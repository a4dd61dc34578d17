import { throwIfAborted } from '../abort.js';
import type { CsfleError } from '../errors.js';
import type { Census } from './census.js';
import { idText } from './engine.js';
import { isOwnName, reservedName } from './markers.js';
import { modeOf } from './modes/index.js';
import { byId, type ChosenKey, readVault, toMigrate, valuesNotChosen } from './modes/mode.js';
import { findReplacements, idsNotInVault, lastReplacements, type ReplacedKey } from './modes/reencrypt.js';
import { valuesElsewhere, valuesInside } from './old-keys.js';
import type { PlanState } from './plan.js';
import type { CollectionResults, MigrationRemaining, SchemaResults } from './report.js';
import { altNamesOf, type MigrationRun } from './run-state.js';
import { planSchemas } from './schema.js';

/**
 * Looks once more at the vault, the censuses and the schemas, and says what of the work asked for is left: not from what
 * the run counted, but from what is there. Null when that cannot be found out, which is then a failure of the run.
 */
export async function lookForRemaining(run: MigrationRun, state: PlanState): Promise<MigrationRemaining | null> {
  if (run.interrupted) return null;
  try {
    return await remainingOf(run, state);
  } catch (error) {
    // What failed before says enough, and most often why this fails too.
    if (run.failures.length === 0) run.fail({ kind: 'check', id: 'last-look' }, error);
    return null;
  }
}

/** Whether nothing that was asked for is left. */
export function isNothingLeft(remaining: MigrationRemaining): boolean {
  const { keys, values, elsewhere, unproven, keyAltNames, schemas } = remaining;
  return (
    keys.length === 0 &&
    values.every((one) => one.values === 0) &&
    (elsewhere ?? []).length === 0 &&
    unproven.length === 0 &&
    keyAltNames === 0 &&
    schemas.length === 0
  );
}

async function remainingOf(run: MigrationRun, state: PlanState): Promise<MigrationRemaining> {
  const mode = modeOf(run.mode);
  const vault = await readVault(run);
  const censuses = run.collections.map((collection) => run.censuses.get(collection));
  const known = censuses.filter((census) => census !== undefined);
  const keys = mode.choose(run, { ...vault, censuses: known });
  const isWantedNow = mode.wantsValues(run, keys);
  // Old keys that this run removed are asked for as well.
  const isWanted = (keyId: string): boolean => state.isWanted(keyId) || isWantedNow(keyId);
  const asked = toMigrate(vault.documents, keys);
  const { replaced, faults } = run.mode === 'reencrypt' ? await replacedKeys(run, asked) : NONE;
  const schemas = await planSchemas(run, lastReplacements(replaced));
  const elsewhere = run.mode === 'reencrypt' ? await valuesElsewhere(run, isWanted) : null;
  const inside = run.mode === 'reencrypt' ? await valuesInside(run, isWanted) : [];
  throwIfAborted(run.signal);
  return {
    keys: [
      ...notDone(run, keys, replaced, faults).map((keyId) => ({ keyId, reason: 'not-done' as const })),
      ...idsNotInVault(run, state.documents).map((keyId) => ({ keyId, reason: 'not-in-vault' as const })),
    ],
    values: run.collections.map(({ namespace }, index) => ({ namespace, values: censuses[index]?.under(isWanted) ?? null })),
    elsewhere,
    unproven: [...run.collections.flatMap(({ namespace }, index) => unprovenIn(namespace, censuses[index], isWanted)), ...inside],
    keyAltNames: namesToMove(vault.documents, replaced).size,
    schemas: [
      ...schemas.schemas.filter(({ changes }) => changes > 0).map(({ name }) => name),
      ...schemas.checks.filter(({ ok }) => !ok).map(({ subject = '' }) => subject),
    ],
    notChosen: valuesNotChosen(known, keys, isWanted),
  };
}

/** What happened to every named collection, with what the last census says; also to those that the run did not come to. */
export function settledCollections(
  run: MigrationRun,
  results: readonly CollectionResults[],
  isWanted: (keyId: string) => boolean,
): readonly CollectionResults[] {
  return run.collections.map((collection, index) => {
    const { namespace } = collection;
    const untouched = { namespace, passes: 0, documentsRewritten: 0, valuesRewritten: 0, documentsFailed: 0 };
    const valuesLeft = run.censuses.get(collection)?.under(isWanted) ?? null;
    return { ...(results[index] ?? untouched), valuesLeft };
  });
}

/** What happened to every schema; nothing to those that the run did not come to. */
export function settledSchemas(run: MigrationRun, results: readonly SchemaResults[]): readonly SchemaResults[] {
  return run.schemas.map(({ name }, index) => results[index] ?? { name, changes: 0, written: false });
}

const NONE: { replaced: readonly ReplacedKey[]; faults: ReadonlyMap<string, CsfleError> } = { replaced: [], faults: new Map() };

async function replacedKeys(run: MigrationRun, asked: Parameters<typeof findReplacements>[1]): Promise<typeof NONE> {
  const faults = new Map<string, CsfleError>();
  const replacements = await findReplacements(run, asked, faults);
  const replaced = asked.flatMap((old) => {
    const replacement = replacements.get(idText(old._id));
    return replacement === undefined ? [] : [{ old, replacement }];
  });
  return { replaced, faults };
}

function notDone(run: MigrationRun, keys: readonly ChosenKey[], replaced: readonly ReplacedKey[], faults: ReadonlyMap<string, CsfleError>): readonly string[] {
  if (run.mode === 'decrypt') return [];
  const done = new Set(replaced.map(({ old }) => idText(old._id)).filter((id) => !faults.has(id)));
  return keys.filter(({ id, disposition, reason }) => (disposition === 'migrate' && !done.has(id)) || reason === 'malformed').map(({ id }) => id);
}

function unprovenIn(namespace: string, census: Census | undefined, isWanted: (keyId: string) => boolean): MigrationRemaining['unproven'] {
  if (census === undefined) return [];
  const { unreadable: documents } = census;
  const values = census.foreignValues + census.inScopes(isWanted);
  return documents + values === 0 ? [] : [{ namespace, documents, values }];
}

/** Names that an old key still has, or that are reserved for a new one. */
function namesToMove(documents: Parameters<typeof byId>[0], replaced: readonly ReplacedKey[]): ReadonlySet<string> {
  const known = byId(documents);
  const names = new Set<string>();
  for (const { old, replacement } of replaced) {
    for (const name of altNamesOf(old)) if (isOwnName(name)) names.add(name);
    for (const name of altNamesOf(known.get(idText(replacement)))) {
      const reserved = reservedName(name);
      if (reserved !== undefined) names.add(reserved);
    }
  }
  return names;
}
