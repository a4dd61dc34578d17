/** Files of sealed backups, of schemas and of passphrases, for the command and the shell. */

import { isUtf8 } from 'node:buffer';
import { createFileSync, FileError, readRegularFileSync } from './files.js';

const MIB = 1024 * 1024;
// 256 MiB of content, and what chunks and header add.
const LONGEST_BACKUP = 300 * MIB;
const LONGEST_SCHEMA = 16 * MIB;
const LONGEST_PASSPHRASE_FILE = 4096;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** A name for a backup of the key vault `namespace`, in the working folder. */
export function backupName(namespace: string, purpose = ''): string {
  const time = new Date().toISOString().replace(/[-:.]/g, '');
  return `${namespace.replace(/[^\w.-]/g, '_')}${purpose}-${time}.csfle-backup`;
}

/** Writes a new file of mode 600, never over another. Errors: those of `createFile`. */
export function writeNewFile(path: string, bytes: Uint8Array): void {
  createFileSync(path, bytes, { mode: 0o600 });
}

/** Reads a backup. Errors: those of `readRegularFile`. */
export function readBackupFile(path: string): Uint8Array {
  return readRegularFileSync(path, { maxBytes: LONGEST_BACKUP });
}

/** As `readBackupFile`; undefined when there is no such file. */
export function existingBackupFile(path: string): Uint8Array | undefined {
  try {
    return readBackupFile(path);
  } catch (error) {
    if (error instanceof FileError && error.code === 'FILE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Schema files as they are. Errors: those of `readRegularFile`. */
export function readSchemaFiles(paths: readonly string[]): readonly { readonly name: string; readonly bytes: Uint8Array }[] {
  return paths.map((path) => ({ name: path, bytes: readRegularFileSync(path, { maxBytes: LONGEST_SCHEMA }) }));
}

/**
 * The bytes of a passphrase that is alone in a file of mode 600, without the end of its line, which editors add. It is never
 * made a string, which could not be overwritten: the caller wipes the bytes.
 * Errors: those of `readRegularFile`; `FILE_EXPOSED`, `FILE_MALFORMED` for what is no UTF-8.
 */
export function readPassphraseFile(path: string): Uint8Array {
  const bytes = readRegularFileSync(path, { maxBytes: LONGEST_PASSPHRASE_FILE, ownerOnly: true });
  try {
    if (!isUtf8(bytes)) throw new FileError('FILE_MALFORMED', path, `${path} is no UTF-8 text; a passphrase file holds the passphrase on one line`);
    let length = bytes.length;
    if (bytes[length - 1] === LINE_FEED) length -= bytes[length - 2] === CARRIAGE_RETURN ? 2 : 1;
    return bytes.slice(0, length);
  } finally {
    bytes.fill(0);
  }
}
