/** Files of backups and passphrases in the shell: those of js/node, with the errors and warnings of the shell. */

import { CsfleError, describeSealedBackup } from '../index.js';
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

// What is wrong with a backup itself, or with what is to open it.
const OF_FILE = /^BACKUP_(NOT_RECOGNIZED|VERSION_UNSUPPORTED|HEADER_INVALID|LIMIT_EXCEEDED|KEY_WRONG|KEY_MISSING|CHUNK_DAMAGED|CONTENT_INVALID)$/;

/** Works with a backup; an error about it names its file and, as far as it can be read, what it is sealed under. */
export async function ofBackup<T>(file: string, bytes: Uint8Array, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!CsfleError.is(error) || !OF_FILE.test(error.code)) throw error;
    const { code, message, details, cause } = error;
    throw new CsfleError(code, `${file}: ${message}${sealText(bytes)}`, { details: { ...details, file }, ...(cause === undefined ? {} : { cause }) });
  }
}

function sealText(bytes: Uint8Array): string {
  try {
    const description = describeSealedBackup(bytes);
    return `; it is sealed under ${description.method === 'passphrase' ? 'a passphrase' : `the master key ${Object.values(description.masterKey).join(' ')}`}`;
  } catch {
    return '';
  }
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
