import { open, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Document, MigrationSchema } from '../index.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';

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
