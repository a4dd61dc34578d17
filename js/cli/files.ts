import { type FileHandle, open, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Document, MigrationSchema } from '../index.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';

const OWNER_ONLY = 0o600;

/** A key document as canonical extended JSON, one line each: what `mongoimport` and this command read back. */
export function backupLines(documents: readonly Document[], { EJSON }: DriverBson): string {
  return documents.map((document) => `${EJSON.stringify(document, { relaxed: false })}\n`).join('');
}

/**
 * Writes a backup that is on the disk when this returns. An existing file is never overwritten.
 * Errors: `CLI_FILE_EXISTS`, `CLI_FILE_INVALID` when it cannot be written.
 */
export async function writeBackup(path: string, documents: readonly Document[], bson: DriverBson): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, 'wx', OWNER_ONLY);
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw new CliError('CLI_FILE_INVALID', `${path} cannot be written (${code})`, 'Check the path.', undefined, { cause });
    throw new CliError(
      'CLI_FILE_EXISTS',
      `${path} is there already`,
      'Choose another name: backups are never overwritten.',
      undefined,
      { cause },
    );
  }
  try {
    await file.writeFile(backupLines(documents, bson));
    await file.sync();
  } finally {
    await file.close();
  }
  await syncFolderOf(path);
}

// A new name is on the disk only once its folder is.
async function syncFolderOf(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Reads a backup. Errors: `CLI_FILE_INVALID`, naming the line. */
export async function readBackup(path: string, { EJSON }: DriverBson): Promise<readonly Document[]> {
  const text = await readText(path);
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [EJSON.parse(line) as Document];
    } catch (cause) {
      throw new CliError(
        'CLI_FILE_INVALID',
        `line ${index + 1} of ${path} is no extended JSON`,
        'Give a file that --backup-file wrote.',
        undefined,
        { cause },
      );
    }
  });
}

/** A schema in a file of extended JSON. Writing keeps what was there in `<file>.before-migration`. */
export function schemaFile(path: string, { EJSON }: DriverBson): MigrationSchema {
  const kept = `${path}.before-migration`;
  return {
    name: `schema file ${path}`,
    async read() {
      const text = await readText(path);
      try {
        return EJSON.parse(text, { relaxed: false }) as Document;
      } catch (cause) {
        throw new CliError(
          'CLI_FILE_INVALID',
          `${path} is no extended JSON`,
          'Key ids are written as {"$binary": {"base64": "...", "subType": "04"}} or {"$uuid": "..."}.',
          undefined,
          { cause },
        );
      }
    },
    async write(rewritten) {
      const before = await readFile(path);
      try {
        await writeFile(kept, before, { flag: 'wx' });
      } catch (cause) {
        // An earlier run kept the original; it is worth more than what that run wrote.
        if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      }
      const staged = join(dirname(path), `.${basename(path)}.${process.pid}`);
      const file = await open(staged, 'wx');
      try {
        // Relaxed numbers unless the file spells their types out, which relaxed ones would lose.
        const relaxed = !/"\$number(?:Int|Long|Double)"/.test(before.toString('utf8'));
        await file.writeFile(`${EJSON.stringify(rewritten, undefined, 2, { relaxed })}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(staged, path);
      await syncFolderOf(path);
    },
  };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new CliError('CLI_FILE_INVALID', `${path} cannot be read (${code})`, 'Check the path.', undefined, { cause });
  }
}
