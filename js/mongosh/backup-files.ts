/** Files of backups and passphrases in the shell: those of js/node, with the errors and warnings of the shell. */

import { CsfleError } from '../index.js';
import { FileError, chmodCommand } from '../node/files.js';
import { readPassphraseFile } from '../node/backup-files.js';
import { printWarning, type ShellInstanceState } from './shell.js';

/** A passphrase in the shell. */
export interface ShellPassphrase {
  /** A file with the passphrase on one line, mode 600. */
  readonly passphraseFile?: string | undefined;
  /** The passphrase itself, from `passwordPrompt()` for example: what is typed stays in the history. */
  readonly passphrase?: string | undefined;
}

/** A passphrase that was given, with what has to be wiped when the work ends. */
export interface GivenPassphrase {
  readonly passphrase: string | Uint8Array;
  wipe(): void;
}

/** The passphrase that was given, or undefined. Of a file it is bytes. */
export function passphraseOf({ passphraseFile, passphrase }: ShellPassphrase, state: ShellInstanceState | undefined): GivenPassphrase | undefined {
  if (passphraseFile !== undefined) {
    const bytes = withFile(() => readPassphraseFile(passphraseFile));
    return { passphrase: bytes, wipe: () => bytes.fill(0) };
  }
  if (typeof passphrase === 'string' && state?.isInteractive === true)
    void printWarning(state, 'A passphrase that was typed into a command stays in the history of the shell. Use passwordPrompt(), or passphraseFile.');
  return passphrase === undefined ? undefined : { passphrase, wipe: () => undefined };
}

/** Runs `work`; an error about a file becomes `ARGUMENT_INVALID`. */
export function withFile<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    const { code, message, path } = cause;
    throw new CsfleError('ARGUMENT_INVALID', code === 'FILE_EXPOSED' ? `${message}; run: ${chmodCommand(path)}` : message, { details: { file: path }, cause });
  }
}
