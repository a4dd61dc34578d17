import type { BsonBinary, Document } from '../../bson.js';
import { CsfleError } from '../../errors.js';
import type { RetiringStore } from '../../key-vault/retirement.js';
import { counted } from '../counted.js';
import { idText, type Replacement } from '../engine.js';
import { isMadeBefore, type KeyChoice } from '../key-choice.js';
import { keyMarker, replacedKeyId } from '../markers.js';
import type { KeyReason, MigrationCheck } from '../report.js';
import { altNamesOf, type MigrationRun } from '../run-state.js';
import { byId, type ChosenKey, isFilteredOut, isUnder, keysChosen, type Look, type Mode } from './mode.js';

/** Goes by age or id of a key, whatever wraps it now: wrapping a data key anew leaves it as exposed as it was. */
export const REENCRYPT: Mode = {
  choose(run, look) {
    const documents = byId(look.documents);
    return run.engine.assess(look.documents, null, run.target).keys.map((key): ChosenKey => {
      const document = documents.get(key.id);
      const chosen = reasonOf(choiceOf(run), key.id, document);
      const isLeftOut = isFilteredOut(look, key.id) || (run.from !== null && !isUnder(run, document, run.from));
      const reason = chosen === 'chosen' && isLeftOut ? 'left-out' : chosen;
      // Its document does not tell for certain what it is; by age it counts as old.
      if (key.disposition === 'malformed') return { ...key, reason: reason === 'chosen' ? 'malformed' : reason };
      return { ...key, reason, disposition: reason === 'chosen' ? 'migrate' : reason === 'replacement' ? 'done' : 'other' };
    });
  },

  checks(run, look, keys) {
    const checks = [keysChosenCheck(run, look, keys), keysUnderTargetCheck(run, look, keys)];
    const missing = idsNotInVault(run, look.documents);
    if (missing.length > 0)
      checks.push({
        name: 'keys-chosen',
        ok: false,
        required: false,
        detail: `the key vault does not have ${counted(missing.length, 'key that was', 'keys that were')} asked for: ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ', ...' : ''}`,
        code: 'KEY_VAULT_KEY_NOT_FOUND',
      });
    return checks;
  },

  wantsValues(run, keys) {
    const wanted = new Set(keys.filter(({ reason }) => reason === 'chosen' || reason === 'malformed').map(({ id }) => id));
    // A value under a key that was retired since is still to be replaced, once that key is restored.
    return (keyId) => wanted.has(keyId) || run.replacedBefore.has(keyId);
  },
};

function choiceOf({ choice }: MigrationRun): KeyChoice {
  if (choice === null) throw new CsfleError('INTERNAL', 'the mode reencrypt has no choice of keys');
  return choice;
}

function reasonOf(choice: KeyChoice, id: string, document: Document | undefined): KeyReason {
  const replaced = altNamesOf(document)
    .map(replacedKeyId)
    .filter((old) => old !== undefined);
  switch (choice.kind) {
    case 'created-before':
      if (isMadeBefore(document, choice.date)) return 'chosen';
      return replaced.length > 0 ? 'replacement' : 'made-later';
    case 'key-ids':
      if (choice.ids.has(id)) return 'chosen';
      return replaced.some((old) => choice.ids.has(old)) ? 'replacement' : 'not-named';
    case 'all':
      return replaced.length > 0 ? 'replacement' : 'chosen';
  }
}

/** The ids that were asked for, that no key of the vault has, and that no earlier run replaced. */
export function idsNotInVault({ choice, replacedBefore }: MigrationRun, documents: readonly Document[]): readonly string[] {
  if (choice?.kind !== 'key-ids') return [];
  const known = byId(documents);
  return [...choice.ids].filter((id) => !known.has(id) && !replacedBefore.has(id));
}

/**
 * Which of the ids that were asked for belong to retired keys in whose place a key of the vault is, if need be by way of
 * other retired keys: an earlier run did what was asked for.
 */
export async function findReplacedBefore(run: MigrationRun, documents: readonly Document[]): Promise<ReadonlySet<string>> {
  const done = new Set<string>();
  const missing = idsNotInVault(run, documents);
  const { store } = run.engine;
  if (missing.length === 0 || store.retiredKeys === undefined) return done;
  const retired = await run.engine.whileReading(() => (store as RetiringStore).retiredKeys(), run.signal);
  const known = byId(documents);
  const next = new Map<string, Set<string>>();
  for (const { keyId, replacedBy } of retired)
    if (replacedBy !== undefined) next.set(idText(keyId), (next.get(idText(keyId)) ?? new Set()).add(idText(replacedBy)));
  for (const id of missing) {
    const seen = new Set([id]);
    for (const at of seen) for (const to of next.get(at) ?? []) seen.add(to);
    if ([...seen].some((at) => known.has(at))) done.add(id);
  }
  return done;
}

/** The choice in words: `2 keys, made before ...`. */
function choiceText(choice: KeyChoice): string {
  switch (choice.kind) {
    case 'created-before':
      return `made before ${choice.date.toISOString()}`;
    case 'key-ids':
      return 'named by id';
    case 'all':
      return 'not made by a re-encryption';
  }
}

function keysChosenCheck(run: MigrationRun, look: Look, keys: readonly ChosenKey[]): MigrationCheck {
  const choice = choiceOf(run);
  const number = (reason: KeyReason): number => keys.filter((key) => key.reason === reason).length;
  const chosen = number('chosen') + number('malformed');
  const text = choiceText(choice);
  if (chosen > 0) return keysChosen(undefined, `${counted(chosen, 'key')}, ${text}`);
  const leftOut = number('left-out');
  if (leftOut > 0) return keysChosen(`${counted(leftOut, 'key is', 'keys are')} ${text}, and from and keyFilter leave out every one`, '');
  if (run.replacedBefore.size > 0 && idsNotInVault(run, look.documents).length === 0)
    return keysChosen(undefined, `${counted(run.replacedBefore.size, 'key')}, ${text}: replaced and retired before`);
  if (choice.kind === 'key-ids') return keysChosen('the key vault has none of the keys that were asked for', '');
  const known = byId(look.documents);
  const unknown = new Set(look.censuses.flatMap(({ keyIds }) => keyIds).filter((id) => !known.has(id)));
  if (unknown.size > 0)
    return keysChosen(`no key is ${text}, and the collections hold values under ${counted(unknown.size, 'key')} that the key vault does not have`, '');
  const others = counted(keys.length, 'key there is', 'keys there are');
  return keysChosen(undefined, `no key is ${text}: the ${others} newer or made by a re-encryption`);
}

function underTarget(run: MigrationRun, documents: readonly Document[]): ReadonlySet<string> {
  const { keys } = run.engine.assess(documents, null, run.target);
  return new Set(keys.filter(({ disposition }) => disposition === 'done').map(({ id }) => id));
}

/** Whether keys under the target were not chosen: they keep their data key, which a rewrap did not change. */
function keysUnderTargetCheck(run: MigrationRun, look: Look, keys: readonly ChosenKey[]): MigrationCheck {
  const common = { name: 'keys-under-target', required: false } as const;
  const known = underTarget(run, look.documents);
  const under = keys.filter(({ id }) => known.has(id));
  const kept = under.filter(({ reason }) => reason === 'not-named' || reason === 'left-out');
  const first = kept[0];
  if (first === undefined) {
    const detail =
      under.length === 0
        ? 'no key is under the new master key yet'
        : `${counted(under.length, 'key')} under the new master key: chosen, made later, or made by a re-encryption`;
    return { ...common, ok: true, detail };
  }
  const which = [first.id, ...first.keyAltNames].join(' ');
  return {
    ...common,
    ok: false,
    detail:
      `${counted(kept.length, 'key is', 'keys are')} under the new master key already and not chosen, so each keeps its data key ` +
      `(first ${which}); if another master key that wrapped them before leaked, choose them too`,
  };
}

/**
 * Replacements of earlier runs by the id of the old key. One that is not under the new master key, and is not replaced in
 * its turn, is a fault of that key; so are two for one key.
 */
export async function findReplacements(run: MigrationRun, keys: readonly Document[], faults: Map<string, CsfleError>): Promise<Map<string, BsonBinary>> {
  const replacements = new Map<string, BsonBinary>();
  if (keys.length === 0) return replacements;
  const wanted = byId(keys);
  const found = await run.engine.find({ keyAltNames: { $in: [...wanted.keys()].map(keyMarker) } }, run.signal);
  const done = underTarget(run, found);
  const fail = (old: string, error: CsfleError): void => {
    if (!faults.has(old)) faults.set(old, error);
  };
  for (const document of found) {
    const id = idText(document._id);
    for (const old of altNamesOf(document).map(replacedKeyId)) {
      if (old === undefined || !wanted.has(old)) continue;
      const other = replacements.get(old);
      if (other !== undefined)
        fail(old, new CsfleError('MIGRATION_INDEX_MISSING', `keys ${idText(other)} and ${id} both replace it`, { details: { keyId: id } }));
      replacements.set(old, document._id as BsonBinary);
      // Its marker leaves no room for a second replacement, and to use it would not do what was asked for.
      if (!wanted.has(id) && !done.has(id))
        fail(
          old,
          new CsfleError(
            'MIGRATION_TARGET_INVALID',
            `key ${id} replaces it already and is not under the new master key: name the master key of that one as the target, or wrap it anew first`,
            { details: { keyId: id } },
          ),
        );
    }
  }
  return replacements;
}

/** One old key with the key that takes its place. */
export interface ReplacedKey {
  readonly old: Document;
  readonly replacement: BsonBinary;
}

/**
 * What becomes of values and key ids: a key that replaced another one and is replaced itself passes on to the last.
 */
export function lastReplacements(replaced: readonly ReplacedKey[]): Replacement[] {
  const next = new Map(replaced.map(({ old, replacement }) => [idText(old._id), replacement]));
  return replaced.map(({ old, replacement }) => {
    let to = replacement;
    // As many steps as there are keys, should marks ever form a circle.
    for (let step = 0; step < replaced.length; step += 1) to = next.get(idText(to)) ?? to;
    return { from: old._id as BsonBinary, to };
  });
}

/** Each key before the one that replaced it, so that names pass along. */
export function inOrderOfReplacement(replaced: readonly ReplacedKey[]): readonly ReplacedKey[] {
  const next = new Map(replaced.map(({ old, replacement }) => [idText(old._id), idText(replacement)]));
  const stepsLeft = (id: string): number => {
    let steps = 0;
    for (let at = next.get(id); at !== undefined && steps < replaced.length; at = next.get(at)) steps += 1;
    return steps;
  };
  return [...replaced].sort((a, b) => stepsLeft(idText(b.old._id)) - stepsLeft(idText(a.old._id)));
}
