/** What each mode asks for: one place per mode. */

import type { MigrationMode } from '../options.js';
import { DECRYPT } from './decrypt.js';
import type { Mode } from './mode.js';
import { REENCRYPT } from './reencrypt.js';
import { REWRAP } from './rewrap.js';

const MODES: Readonly<Record<MigrationMode, Mode>> = { rewrap: REWRAP, reencrypt: REENCRYPT, decrypt: DECRYPT };

/** The rules of a mode. */
export function modeOf(mode: MigrationMode): Mode {
  return MODES[mode];
}
