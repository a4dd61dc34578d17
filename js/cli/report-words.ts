/** What happens to a key, and why, in the words of the command. */

import type { KeyReason, MigrationReport, PlannedKey } from '../index.js';

const REASONS: Readonly<Record<KeyReason, string>> = {
  'under-source': 'wrapped anew',
  'under-target': 'done: under the new master key',
  'not-under-source': 'stays: under another master key',
  chosen: 'replaced by a new key',
  'made-later': 'stays: not made before the date',
  'not-named': 'stays: not named',
  'left-out': 'stays: left out by --from or --key',
  replacement: 'done: made by a re-encryption',
  used: 'its values become plaintext',
  'not-used': 'stays: no value uses it',
  malformed: 'stays: malformed',
};

/** What happens to a key, and why. */
export function fateOf(mode: MigrationReport['mode'], { code, reason, replacedBy }: PlannedKey): string {
  if (code !== undefined) return `fails  [${code}]`;
  return mode === 'reencrypt' && replacedBy !== undefined ? `replaced by ${replacedBy}` : REASONS[reason];
}
