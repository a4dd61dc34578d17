/** What the command reads of backup files and writes from them. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type BackupContents,
  type BackupSchema,
  CsfleError,
  describeSealedBackup,
  type Document,
  isSealedBackup,
  type MigrationFailure,
  type SealedBackup,
} from '../index.js';
import { readSchemaFiles, writeNewFile } from '../node/backup-files.js';
import type { DriverBson } from './connection.js';
import { CliError, EXIT_FAILED } from './failure.js';
import { decodedText, withFile } from './files.js';
import { printableError } from './output.js';
import { masterKeyText } from './report-view.js';

const NO_BACKUP = 'Give a file that csfle backup create or --backup-file wrote.';

/** Schema files as they are. */
export function schemasOf(paths: readonly string[]): Promise<readonly BackupSchema[]> {
  return withFile(() => readSchemaFiles(paths));
}

/** Stores a backup under a new name. What the library is told of a failure says no more than the path and the reason of the system. */
export async function storeBackup(file: string, { bytes }: SealedBackup): Promise<void> {
  try {
    await withFile(() => writeNewFile(file, bytes));
  } catch (cause) {
    if (!(cause instanceof CliError)) throw cause;
    throw new CsfleError('HOST_CALLBACK_FAILED', cause.message, { cause });
  }
}

/**
 * The key documents of a file that `keys backup` and `migrate --backup-file` wrote before backups were sealed: one line of extended
 * JSON each. Errors: `CLI_FILE_INVALID`, naming the line.
 */
export async function plainBackup(path: string, bytes: Uint8Array, { EJSON }: DriverBson): Promise<readonly Document[] | undefined> {
  if (isSealedBackup(bytes)) return undefined;
  const text = await withFile(() => decodedText(bytes, path), NO_BACKUP);
  if (!text.trimStart().startsWith('{')) throw new CliError('CLI_FILE_INVALID', `${path} is no backup`, NO_BACKUP);
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [EJSON.parse(line, { relaxed: false }) as Document];
    } catch (cause) {
      throw new CliError('CLI_FILE_INVALID', `line ${index + 1} of ${path} is no extended JSON`, NO_BACKUP, undefined, { cause });
    }
  });
}

// What is wrong with a backup itself, or with what is to open it.
const OF_FILE = /^BACKUP_(NOT_RECOGNIZED|VERSION_UNSUPPORTED|HEADER_INVALID|LIMIT_EXCEEDED|KEY_WRONG|KEY_MISSING|CHUNK_DAMAGED|CONTENT_INVALID)$/;

/** What a backup is sealed under, as its header says; undefined where it cannot be read. */
export function sealOf(bytes: Uint8Array): string | undefined {
  try {
    const description = describeSealedBackup(bytes);
    return description.method === 'passphrase' ? 'a passphrase' : `the master key ${masterKeyText(description.masterKey)}`;
  } catch {
    return undefined;
  }
}

/** Works with a backup; an error about it names its file and, as far as it can be read, what it is sealed under. */
export async function ofBackup<T>(file: string, bytes: Uint8Array, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!CsfleError.is(error) || !OF_FILE.test(error.code)) throw error;
    const seal = sealOf(bytes);
    const { code, message, details, cause } = error;
    throw new CsfleError(code, `${file}: ${message}${seal === undefined ? '' : `; it is sealed under ${seal}`}`, {
      details: { ...details, file },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** A file that is to be written from a backup. */
export interface FileOfBackup {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Which files are to be written. */
export interface FilesWanted {
  readonly execute: boolean;
  readonly schemasTo?: string;
  readonly localKeyTo?: string;
}

/**
 * The files that were asked for: schema files in a folder, and the local master key. Errors, all before anything is written:
 * `CLI_FILE_INVALID`, `CLI_OPTION_INVALID`, `CLI_FILE_EXISTS`.
 */
export function filesOf(contents: BackupContents, { execute, schemasTo, localKeyTo }: FilesWanted): readonly FileOfBackup[] {
  const files = schemasTo === undefined ? [] : contents.schemas.map(({ name, bytes }) => ({ path: placeIn(schemasTo, name), bytes }));
  if (localKeyTo !== undefined) {
    const local = contents.localMasterKeys.find(({ provider }) => provider === 'local') ?? contents.localMasterKeys[0];
    if (local === undefined) throw new CliError('CLI_OPTION_INVALID', 'the backup holds no local master key', 'Leave --local-key-to out.', EXIT_FAILED);
    files.push({ path: localKeyTo, bytes: local.key });
  }
  const taken = files.find(({ path }, index) => (execute && existsSync(path)) || files.findIndex((other) => other.path === path) < index);
  if (taken !== undefined)
    throw new CliError(
      'CLI_FILE_EXISTS',
      `${taken.path} is there already, or is the name of two files of the backup`,
      'Choose another place: nothing that is there is overwritten.',
    );
  return files;
}

/** Writes them. One that cannot be written is among the failures, and keeps no other from being written. */
export async function writeFiles(files: readonly FileOfBackup[]): Promise<{ readonly written: readonly string[]; readonly failures: readonly FileFailure[] }> {
  const written: string[] = [];
  const failures: FileFailure[] = [];
  for (const { path, bytes } of files) {
    try {
      await withFile(() => writeNewFile(path, bytes));
      written.push(path);
    } catch (error) {
      const { code, message, remedy } = printableError(error);
      failures.push({ kind: 'file', id: path, code, message, remedy });
    }
  }
  return { written, failures };
}

/** A file of a backup that could not be written, in the form of the library's failures. */
export interface FileFailure extends Pick<MigrationFailure, 'id' | 'message' | 'remedy'> {
  readonly kind: 'file';
  readonly code: ReturnType<typeof printableError>['code'];
}

// Its last name, so that nothing is written elsewhere.
function placeIn(folder: string, name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? '';
  if (last === '' || last === '.' || last === '..' || last.includes('\0'))
    throw new CliError(
      'CLI_FILE_INVALID',
      `the backup has a schema file without a usable name: ${JSON.stringify(name)}`,
      'Read it with the library: readBackup().',
    );
  return join(folder, last);
}
