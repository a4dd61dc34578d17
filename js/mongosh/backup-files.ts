/** Files of backups and passphrases in the shell. */

import { CsfleError } from '../index.js';
import { createFileSync, FileError, readRegularFileSync } from '../node/files.js';
import { printWarning, type ShellInstanceState } from './shell.js';

/** A passphrase in the shell. */
export interface ShellPassphrase {
  /** A file with the passphrase on one line, mode 600. */
  readonly passphraseFile?: string | undefined;
  /** The passphrase itself, from `passwordPrompt()` for example: what is typed stays in the history. */
  readonly passphrase?: string | undefined;
}

const LONGEST_FILE = 300 * 1024 * 1024;
const LONGEST_PASSPHRASE_FILE = 4096;

/** The passphrase that was given, or undefined. */
export function passphraseOf({ passphraseFile, passphrase }: ShellPassphrase, state: ShellInstanceState | undefined): string | undefined {
  if (passphraseFile === undefined) {
    if (typeof passphrase === 'string' && state?.isInteractive === true)
      void printWarning(state, 'A passphrase that was typed into a command stays in the history of the shell. Use passwordPrompt(), or passphraseFile.');
    return passphrase;
  }
  const bytes = reading(passphraseFile, () => readRegularFileSync(passphraseFile, { maxBytes: LONGEST_PASSPHRASE_FILE, ownerOnly: true }));
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, '');
  } catch {
    throw new CsfleError('ARGUMENT_INVALID', `${passphraseFile} is not UTF-8 text`, { details: { file: passphraseFile } });
  } finally {
    bytes.fill(0);
  }
}

/** Reads a file. Errors: `ARGUMENT_INVALID`. */
export function readFile(file: string): Uint8Array {
  return reading(file, () => readRegularFileSync(file, { maxBytes: LONGEST_FILE }));
}

/** As `readFile`; undefined when there is no such file. */
export function existingFile(file: string): Uint8Array | undefined {
  try {
    return readRegularFileSync(file, { maxBytes: LONGEST_FILE });
  } catch (error) {
    if (error instanceof FileError && error.code === 'FILE_NOT_FOUND') return undefined;
    throw refusal(file, error);
  }
}

/** Writes a new file of mode 600. Errors: `ARGUMENT_INVALID`, also for a file that is there already. */
export function writeNewFile(file: string, bytes: Uint8Array): void {
  reading(file, () => createFileSync(file, bytes, { mode: 0o600 }));
}

/** A name for a backup of the key vault `namespace`, in the working folder. */
export function backupName(namespace: string, purpose = ''): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  return `${namespace.replace(/[^\w.-]/g, '_')}${purpose}-${time}.csfle-backup`;
}

function reading<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw refusal(file, error);
  }
}

function refusal(file: string, error: unknown): unknown {
  return error instanceof FileError ? new CsfleError('ARGUMENT_INVALID', error.message, { details: { file }, cause: error }) : error;
}
