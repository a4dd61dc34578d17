/** Files of backups: new ones for their owner alone, never over another. */

import { join } from 'node:path';
import { type BackupSchema, type Document, isSealedBackup } from '../index.js';
import { createFile, FileError, readRegularFile } from '../node/files.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';

// 256 MiB of content, and what chunks and header add.
const LONGEST_BACKUP = 300 * 1024 * 1024;
const LONGEST_SCHEMA = 16 * 1024 * 1024;

/** Writes a new file of mode 600. Errors: `CLI_FILE_EXISTS`, `CLI_FILE_INVALID`. */
export async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await createFile(path, bytes, { mode: 0o600 });
  } catch (error) {
    throw fileFailure(error);
  }
}

/** Reads a backup file. Errors: `CLI_FILE_INVALID`. */
export async function readBackupFile(path: string): Promise<Uint8Array> {
  try {
    return await readRegularFile(path, { maxBytes: LONGEST_BACKUP });
  } catch (error) {
    throw fileFailure(error);
  }
}

/** As `readBackupFile`; undefined when there is no such file. */
export async function existingBackupFile(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readRegularFile(path, { maxBytes: LONGEST_BACKUP });
  } catch (error) {
    if (error instanceof FileError && error.code === 'FILE_NOT_FOUND') return undefined;
    throw fileFailure(error);
  }
}

/** Schema files as they are. */
export async function schemasOf(paths: readonly string[]): Promise<readonly BackupSchema[]> {
  return Promise.all(
    paths.map(async (path) => {
      try {
        return { name: path, bytes: await readRegularFile(path, { maxBytes: LONGEST_SCHEMA }) };
      } catch (error) {
        throw fileFailure(error);
      }
    }),
  );
}

/**
 * The key documents of a file that `keys backup` and `migrate --backup-file` wrote before backups were sealed: one line of extended
 * JSON each. Errors: `CLI_FILE_INVALID`, naming the line.
 */
export function plainBackup(path: string, bytes: Uint8Array, { EJSON }: DriverBson): readonly Document[] | undefined {
  if (isSealedBackup(bytes)) return undefined;
  const text = new TextDecoder().decode(bytes);
  if (text.trim() === '' || !text.trimStart().startsWith('{')) {
    throw new CliError('CLI_FILE_INVALID', `${path} is no backup`, 'Give a file that csfle backup create or --backup-file wrote.');
  }
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [EJSON.parse(line, { relaxed: false }) as Document];
    } catch (cause) {
      throw new CliError(
        'CLI_FILE_INVALID',
        `line ${index + 1} of ${path} is no extended JSON`,
        'Give a file that csfle backup create or --backup-file wrote.',
        undefined,
        { cause },
      );
    }
  });
}

/** A name for a backup of the key vault `namespace`, in the current folder. */
export function backupName(namespace: string, purpose = ''): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  return `${namespace.replace(/[^\w.-]/g, '_')}${purpose}-${time}.csfle-backup`;
}

/** The place of a file of a backup in a folder: its last name, so that nothing is written elsewhere. */
export function placeIn(folder: string, name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? '';
  if (last === '' || last === '.' || last === '..' || last.includes('\0'))
    throw new CliError('CLI_FILE_INVALID', `the backup has a schema file without a usable name: ${JSON.stringify(name)}`, 'Read it with the library: readBackup().');
  return join(folder, last);
}

/** An error of js/node/files.ts as one of the command. */
export function fileFailure(error: unknown): unknown {
  if (!(error instanceof FileError)) return error;
  return error.code === 'FILE_EXISTS'
    ? new CliError('CLI_FILE_EXISTS', error.message, 'Choose another name: files are never overwritten.', undefined, { cause: error })
    : new CliError('CLI_FILE_INVALID', error.message, 'Check the path.', undefined, { cause: error });
}
