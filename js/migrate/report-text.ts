/** Words for parts of a report that every host prints: the choice of keys, and what is left. */

import { counted } from './counted.js';
import type { MigrationRemaining, MigrationReport, ReportedChoice, ValuesNotChosen } from './report.js';

const IDS_SHOWN = 3;

/** The choice of keys of a re-encryption. */
export function choiceText(choice: ReportedChoice): string {
  if ('createdBefore' in choice) return `made before ${choice.createdBefore}, whatever wraps them now`;
  if ('keyIds' in choice) return `${counted(choice.keyIds.length, 'key')} by id, whatever wraps ${choice.keyIds.length === 1 ? 'it' : 'them'} now`;
  return 'every key that no re-encryption made, whatever wraps it now';
}

/**
 * What is left of what was asked for, a line each, and what stays because nobody asked for it. Without a last look, which a
 * plan does not have, only the latter is known.
 */
export function remainingText({ remaining, plan }: Pick<MigrationReport, 'remaining' | 'plan'>): {
  readonly left: readonly string[];
  readonly stays: string | null;
} {
  const notChosen = remaining?.notChosen ?? plan.notChosen;
  return {
    left: remaining === null ? [] : remainingLines(remaining),
    stays: notChosen.length === 0 ? null : notChosenText(notChosen),
  };
}

/** Values that nobody asked for, as a number with the ids of their keys. */
function notChosenText(notChosen: readonly ValuesNotChosen[]): string {
  const values = notChosen.reduce((sum, one) => sum + one.values, 0);
  const ids = notChosen.slice(0, IDS_SHOWN).map(({ keyId, reason }) => (reason === undefined ? `${keyId}, which the key vault does not have` : keyId));
  const stay = values === 1 ? 'value stays' : 'values stay';
  const were = notChosen.length === 1 ? 'key that was' : 'keys that were';
  return `${values.toLocaleString('en')} ${stay} under ${notChosen.length} ${were} not chosen (${ids.join('; ')}${notChosen.length > IDS_SHOWN ? '; ...' : ''})`;
}

function remainingLines(remaining: MigrationRemaining): readonly string[] {
  const { keys, values, elsewhere, unproven, keyAltNames, schemas } = remaining;
  const ids = (reason: (typeof keys)[number]['reason']): readonly string[] => keys.filter((key) => key.reason === reason).map(({ keyId }) => keyId);
  const shown = (all: readonly string[]): string => `${all.slice(0, IDS_SHOWN).join(', ')}${all.length > IDS_SHOWN ? ', ...' : ''}`;
  const lines: string[] = [];
  const notDone = ids('not-done');
  if (notDone.length > 0) lines.push(`${counted(notDone.length, 'key that was', 'keys that were')} asked for and not done (${shown(notDone)})`);
  const missing = ids('not-in-vault');
  if (missing.length > 0)
    lines.push(`${counted(missing.length, 'key that was', 'keys that were')} asked for and that the key vault does not have (${shown(missing)})`);
  for (const one of values) {
    if (one.values === null) lines.push(`not known how many values of ${one.namespace}, no census after the last change`);
    else if (one.values > 0) lines.push(`${counted(one.values, 'value')} of ${one.namespace} under the keys asked for`);
  }
  for (const one of elsewhere ?? [])
    lines.push(
      one.values === null
        ? `not known how many values of ${one.namespace}`
        : `${counted(one.values, 'value')} of ${one.namespace}, which was not named, under the keys asked for`,
    );
  for (const { namespace, documents, values: count } of unproven) {
    if (documents > 0) lines.push(`${counted(documents, 'document')} of ${namespace} nested too deeply to be looked through`);
    if (count > 0)
      lines.push(
        `${counted(count, 'value')} of ${namespace} inside encrypted documents or arrays, in the scope of code, of Queryable Encryption or of no known kind`,
      );
  }
  if (keyAltNames > 0) lines.push(`${counted(keyAltNames, 'alternate name')} to move to the new keys`);
  for (const name of schemas) lines.push(`the ${name}`);
  return lines;
}
