import { binaryBytes, type Document, isBinary, SUBTYPE_UUID, timeOf } from '../bson.js';
import { uuidText } from '../bytes.js';
import { CsfleError, kindOf } from '../errors.js';
import type { MigrateOptions } from './options.js';
import type { ReportedChoice } from './report.js';

/**
 * Which data keys a re-encryption replaces, whatever wraps them now. Exactly one of the three is set.
 *
 * What tells the keys that it makes from those that it replaces, in each of its runs: with `createdBefore` their creation
 * date, which no rewrap changes; with `keyIds` the list; with `all` the mark that a replacement carries.
 */
export type KeyChoice =
  | { readonly kind: 'created-before'; readonly date: Date }
  | { readonly kind: 'key-ids'; readonly ids: ReadonlySet<string> }
  | { readonly kind: 'all' };

/** Clocks of hosts differ; a creation date further in the future than this is no date of creation. */
const CLOCK_TOLERANCE_MS = 24 * 60 * 60 * 1000;

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

const CHOICES = 'createdBefore (every key made before a date), keyIds (these keys) or all (every key that no re-encryption made)';

/** Reads the choice off the options of the mode `reencrypt`. Errors: `OPTION_INVALID`. */
export function keyChoiceOf(options: MigrateOptions): KeyChoice {
  const { createdBefore, keyIds, all, deleteOldKeys } = options;
  const given = [createdBefore !== undefined, keyIds !== undefined, all !== undefined && all !== false].filter(Boolean).length;
  if (given === 0) throw refused('createdBefore', `the mode reencrypt has to be told which data keys to replace, whatever wraps them now: ${CHOICES}`);
  if (given > 1) throw refused('createdBefore', `the mode reencrypt takes one choice of data keys: ${CHOICES}`);
  if (createdBefore !== undefined) return { kind: 'created-before', date: cutOffOf(createdBefore) };
  if (keyIds !== undefined) return { kind: 'key-ids', ids: idsOf(keyIds) };
  if (all !== true) throw refused('all', `all must be true, found ${kindOf(all)}`);
  // The mark of a replacement names its old key and goes with it. Without it the next run would replace the new keys too.
  if (deleteOldKeys === true)
    throw refused(
      'all',
      'all does not go with deleteOldKeys: once old keys are removed, nothing tells the new keys from them. Choose with createdBefore or keyIds',
    );
  return { kind: 'all' };
}

function cutOffOf(value: unknown): Date {
  const time = timeOf(value);
  if (time === undefined) throw refused('createdBefore', `createdBefore must be a valid Date, found ${kindOf(value)}`);
  if (time > Date.now())
    throw refused(
      'createdBefore',
      `createdBefore is in the future (${new Date(time).toISOString()}): the keys that the run makes would be replaced by the next one`,
    );
  return new Date(time);
}

function idsOf(value: unknown): ReadonlySet<string> {
  if (!Array.isArray(value) || value.length === 0) throw refused('keyIds', `keyIds must be an array of at least one key id, found ${kindOf(value)}`);
  return new Set(
    value.map((id: unknown) => {
      if (isBinary(id, SUBTYPE_UUID)) return uuidText(binaryBytes(id));
      if (typeof id === 'string' && UUID.test(id)) return id.toLowerCase();
      throw refused(
        'keyIds',
        `keyIds takes UUIDs, as binary of subtype 4 or text, found ${typeof id === 'string' ? 'other text' : kindOf(id)}; alternate names move to the new keys, so they name no key for certain`,
      );
    }),
  );
}

/** Whether a key was made before a date; one whose document does not tell counts as made before. */
export function isMadeBefore(document: Document | undefined, date: Date): boolean {
  const time = timeOf(document?.creationDate);
  return time === undefined || time < date.getTime() || time > Date.now() + CLOCK_TOLERANCE_MS;
}

/** The choice as reports show it. */
export function reportedChoice(choice: KeyChoice | null): ReportedChoice | null {
  switch (choice?.kind) {
    case undefined:
      return null;
    case 'created-before':
      return { createdBefore: choice.date.toISOString() };
    case 'key-ids':
      return { keyIds: [...choice.ids] };
    case 'all':
      return { all: true };
  }
}

function refused(option: string, message: string): CsfleError {
  return new CsfleError('OPTION_INVALID', message, { details: { option } });
}
