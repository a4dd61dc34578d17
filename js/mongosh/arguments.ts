/** Argument checks with the messages of the shell's own methods. */

import { CsfleError } from '../index.js';

/** A kind of argument: anything but undefined, or what `typeof` says. */
export type ArgumentKind = 'any' | 'string' | 'object';

/**
 * Checks arguments by position.
 * Errors: `ARGUMENT_INVALID` with the position and the method, in the words of the shell.
 */
export function requireArguments(method: string, values: readonly unknown[], kinds: readonly ArgumentKind[]): void {
  for (const [position, kind] of kinds.entries()) {
    const value = values[position];
    if (value === undefined) {
      throw new CsfleError('ARGUMENT_INVALID', `Missing required argument at position ${position} (${method})`, { details: { method, position } });
    }
    if (kind !== 'any' && typeof value !== kind) {
      throw new CsfleError('ARGUMENT_INVALID', `Argument at position ${position} must be of type ${kind}, got ${typeof value} instead (${method})`, { details: { method, position } });
    }
  }
}
