/** Backups of key documents as lines of canonical extended JSON: what `mongoimport` and `csfle keys restore` read back. */

import { createFile, FileError, readRegularFile } from './files.js';

type Document = Readonly<Record<string, unknown>>;

/** The part of a BSON library in use here. */
export interface ExtendedJson {
  stringify(value: Document, options: { readonly relaxed: boolean }): string;
  parse(text: string): unknown;
}

/** A backup is read whole. */
const LARGEST_BACKUP_BYTES = 256 * 1024 * 1024;

/**
 * Writes a backup that is on the disk when this returns.
 *
 * A file that is there already is never overwritten. With `target`, the master key that a run wraps under or null, a backup of the same run
 * is left as it is and counts as written: one that holds every wrapping that the run may change still, which is each one that is not
 * under the target yet. So a run that was stopped goes on with the same words.
 * Errors: `FILE_EXISTS` for any other file, `FILE_UNWRITABLE`.
 */
export async function writeKeyBackup(path: string, documents: readonly Document[], json: ExtendedJson, target?: Document | null): Promise<void> {
  try {
    await createFile(path, new TextEncoder().encode(documents.map((document) => `${lineOf(document, json)}\n`).join('')));
  } catch (error) {
    if (!(error instanceof FileError) || error.code !== 'FILE_EXISTS' || target === undefined) throw error;
    if (!(await isOfSameRun(path, documents, json, target))) throw error;
  }
}

/** The documents of a backup. Errors: those of `readRegularFile`; `FILE_MALFORMED`, naming the line. */
export async function readKeyBackup(path: string, json: ExtendedJson, followLinks = true): Promise<readonly Document[]> {
  const text = decodedText(await readRegularFile(path, { maxBytes: LARGEST_BACKUP_BYTES, followLinks }), path);
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [json.parse(line) as Document];
    } catch (cause) {
      throw new FileError('FILE_MALFORMED', path, `line ${index + 1} of ${path} is no extended JSON`, undefined, { cause });
    }
  });
}

/** Bytes of a file as text. Bytes that are no UTF-8 would be lost where the text is written back, so they are refused. */
export function decodedText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FileError('FILE_MALFORMED', path, `${path} is no UTF-8 text`, undefined, { cause });
  }
}

async function isOfSameRun(path: string, documents: readonly Document[], json: ExtendedJson, target: Document | null): Promise<boolean> {
  let kept: readonly Document[];
  try {
    kept = await readKeyBackup(path, json, false);
  } catch {
    // A link, a folder, something else altogether, or a backup that is not whole.
    return false;
  }
  const wrappings = new Set(kept.map((document) => wrappingOf(document, json)));
  const under = target === null ? undefined : masterKeyText(target, json);
  return documents.every((document) => wrappings.has(wrappingOf(document, json)) || masterKeyText(document['masterKey'], json) === under);
}

function lineOf(document: Document, json: ExtendedJson): string {
  return json.stringify(document, { relaxed: false });
}

function wrappingOf({ _id, keyMaterial, masterKey }: Document, json: ExtendedJson): string {
  return lineOf({ _id, keyMaterial, masterKey }, json);
}

// Fields in one order: who wrote the key document may have had another one.
function masterKeyText(masterKey: unknown, json: ExtendedJson): string {
  const fields = Object.entries((masterKey ?? {}) as Document).sort(([one], [other]) => (one < other ? -1 : 1));
  return lineOf(Object.fromEntries(fields), json);
}
