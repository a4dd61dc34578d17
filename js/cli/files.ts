import type { Document, MigrationSchema } from '../index.js';
import { createFile, FileError, type FileErrorCode, readRegularFile, replaceFile } from '../node/files.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';
import { chmodRemedy } from './key-file.js';

const LARGEST_SCHEMA_BYTES = 64 * 1024 * 1024;

/**
 * A schema in a file of extended JSON. Writing keeps what was there in `<file>.before-migration`, or, where another run kept something
 * else under that name, in the first free one of `<file>.before-migration.2`, `.3` and so on.
 */
export function schemaFile(path: string, { EJSON }: DriverBson): MigrationSchema {
  let known: Uint8Array | undefined;
  const parse = (bytes: Uint8Array, of: string): Document => {
    const text = decodedText(bytes, of);
    const lossy = numberThatIsNotKept(text);
    if (lossy !== undefined)
      throw new FileError(
        'FILE_MALFORMED',
        of,
        `${of} holds the number ${lossy}, which would become another one: write it as {"$numberLong": "..."} or {"$numberDecimal": "..."}`,
      );
    try {
      return EJSON.parse(text, { relaxed: false }) as Document;
    } catch (cause) {
      throw new FileError('FILE_MALFORMED', of, `${of} is no extended JSON`, undefined, { cause });
    }
  };
  return {
    name: `schema file ${path}`,
    read() {
      return withFile(async () => {
        known = await readSchemaBytes(path);
        return parse(known, path);
      }, 'Key ids are written as {"$binary": {"base64": "...", "subType": "04"}} or {"$uuid": "..."}.');
    },
    async write(rewritten) {
      await withFile(async () => {
        const before = known ?? (await readSchemaBytes(path));
        // Relaxed numbers unless the file spells their types out, which relaxed ones would lose.
        const relaxed = !/"\$number(?:Int|Long|Double)"/.test(decodedText(before, path));
        const after = new TextEncoder().encode(`${EJSON.stringify(rewritten, undefined, 2, { relaxed })}\n`);
        await keepOriginal(path, before, parse);
        await replaceFile(path, after, { expected: before });
        known = after;
      }, `The original is in ${path} or ${path}.before-migration: nothing is lost. Correct this, and run the migration again.`);
    },
  };
}

function readSchemaBytes(path: string): Promise<Uint8Array> {
  return readRegularFile(path, { maxBytes: LARGEST_SCHEMA_BYTES });
}

/** Keeps the original under a name of its own. A file that is no whole schema, or a link, is refused: somebody else put it there. */
async function keepOriginal(path: string, before: Uint8Array, parse: (bytes: Uint8Array, of: string) => Document): Promise<void> {
  for (let number = 1; ; number += 1) {
    const kept = `${path}.before-migration${number === 1 ? '' : `.${number}`}`;
    try {
      return await createFile(kept, before);
    } catch (error) {
      if (!(error instanceof FileError) || error.code !== 'FILE_EXISTS') throw error;
    }
    const there = await readRegularFile(kept, { maxBytes: LARGEST_SCHEMA_BYTES, followLinks: false });
    parse(there, kept);
    if (Buffer.compare(there, before) === 0) return;
  }
}

/** The first number of a JSON text that JavaScript numbers do not hold, if there is one. */
function numberThatIsNotKept(text: string): string | undefined {
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    if (token.startsWith('"')) continue;
    const isKept = /^-?\d+$/.test(token) ? Number.isSafeInteger(Number(token)) : Number.isFinite(Number(token));
    if (!isKept) return token;
  }
  return undefined;
}

const REMEDIES: Readonly<Partial<Record<FileErrorCode, string>>> = {
  FILE_EXISTS: 'Choose another name: nothing that is there is overwritten.',
  FILE_NOT_FOUND: 'Check the path.',
  FILE_NOT_REGULAR: 'Give the path of a regular file: FIFOs, devices and folders are refused, because reading them may never end.',
  FILE_TOO_LARGE: 'Check the path: no such file of this command is that long.',
  FILE_CHANGED: 'Another program wrote the file meanwhile: run the command again.',
  FILE_UNREADABLE: 'Check the path, its owner and its permissions.',
  FILE_UNWRITABLE: 'Check the path, its permissions and the space on the disk. What was there before is there still.',
};

/** Runs `work`; an error about a file becomes the command's own: `CLI_FILE_EXISTS`, `CLI_KEY_FILE_EXPOSED`, `CLI_FILE_INVALID`. */
export async function withFile<T>(work: () => Promise<T> | T, remedyOfContents = 'Check the path.'): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    const { code, message, path } = cause;
    if (code === 'FILE_EXPOSED') throw new CliError('CLI_KEY_FILE_EXPOSED', message, chmodRemedy(path), undefined, { cause });
    throw new CliError(code === 'FILE_EXISTS' ? 'CLI_FILE_EXISTS' : 'CLI_FILE_INVALID', message, REMEDIES[code] ?? remedyOfContents, undefined, { cause });
  }
}

/** Bytes of a file as text. Bytes that are no UTF-8 would be lost where the text is written back, so they are refused. */
export function decodedText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FileError('FILE_MALFORMED', path, `${path} is no UTF-8 text`, undefined, { cause });
  }
}
