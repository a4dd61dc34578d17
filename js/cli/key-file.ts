import { InvalidArgumentError } from 'commander';
import { chmodCommand, FileError, type FileState, inspectRegularFile, readRegularFile } from '../node/files.js';
import { CliError } from './failure.js';

/** A local master key is as long as a data key: MAC key, encryption key and IV key of 32 bytes each. */
export const MASTER_KEY_BYTES = 96;
// Base64 of 96 bytes has 128 characters; a few line ends around them are fine, anything longer is no key file.
const LONGEST_KEY_FILE = 512;
const RIGHT_FILE = 'Give the file of the local master key that the data keys were wrapped under.';
/**
 * Files of local master keys by provider, such as `local:new`. The one that was given without a name is under the empty name, and
 * serves each local provider that has no file of its own.
 */
export type LocalKeyFiles = Readonly<Record<string, string>>;

/** The file of a local provider, if one was given. */
export function localKeyFileOf(files: LocalKeyFiles | undefined, id: string): string | undefined {
  return files?.[id] ?? files?.[''];
}

/** The local providers that files were given for by name. */
export function namedLocalKeys(files: LocalKeyFiles | undefined): readonly string[] {
  return Object.keys(files ?? {}).filter((id) => id !== '');
}

/** Collects the values of `--local-key-file`: a path, or `local:<name>=<path>`. */
export function collectKeyFile(value: string, before: LocalKeyFiles | undefined): LocalKeyFiles {
  const [, id = '', path = value] = /^(local(?::[^=]*)?)=(.*)$/s.exec(value) ?? [];
  if (id !== '' && !/^local(:\w+)?$/.test(id))
    throw new InvalidArgumentError(`${id} is no name of a local provider: letters, digits and _ are expected, as in local:new=<file>.`);
  if (path === '') throw new InvalidArgumentError('a path is missing.');
  const known = before?.[id];
  if (known !== undefined)
    throw new InvalidArgumentError(
      id === '' ? `${known} is given already: name the provider of one of them, as in local:new=<file>.` : `${id} has the file ${known} already.`,
    );
  return { ...before, [id]: path };
}

/** The command that makes a key file private. */
export function chmodRemedy(path: string): string {
  return `Run: ${chmodCommand(path)}`;
}

/**
 * Reads a local master key: 96 raw bytes, or base64 text of them.
 *
 * Errors: `CLI_KEY_FILE_UNREADABLE`, `CLI_KEY_FILE_EXPOSED` when group or others have any permission, checked on the
 * open file so that nobody can swap it in between, `CLI_KEY_FILE_INVALID`.
 */
export async function readKeyFile(path: string): Promise<Uint8Array> {
  const bytes = await ofKeyFile(path, () => readRegularFile(path, { maxBytes: LONGEST_KEY_FILE, ownerOnly: true }));
  try {
    return parseMasterKey(bytes, path);
  } finally {
    bytes.fill(0);
  }
}

/** Looks at a key file without reading it. */
export function inspectKeyFile(path: string): Promise<FileState> {
  return ofKeyFile(path, () => inspectRegularFile(path));
}

/** 96 raw bytes, or base64 text of them, copied into memory of their own. `source` names them in the error, and `remedy` says what to give. */
export function parseMasterKey(bytes: Uint8Array, source: string, remedy = RIGHT_FILE): Uint8Array {
  if (bytes.length === MASTER_KEY_BYTES) return Uint8Array.from(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1').replace(/\s+/g, '');
  if (/^[A-Za-z0-9+/]{128}$/.test(text)) {
    const decoded = Buffer.from(text, 'base64');
    const key = Uint8Array.from(decoded);
    decoded.fill(0);
    return key;
  }
  throw invalid(source, bytes.length > LONGEST_KEY_FILE ? 'more' : `${bytes.length} bytes`, remedy);
}

async function ofKeyFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    const { message } = cause;
    if (cause.code === 'FILE_EXPOSED') throw new CliError('CLI_KEY_FILE_EXPOSED', message, chmodRemedy(path), undefined, { cause });
    if (cause.code === 'FILE_TOO_LARGE') throw invalid(path, 'more', RIGHT_FILE, { cause });
    const remedy = cause.code === 'FILE_NOT_REGULAR' ? 'Give the path of the key file itself.' : 'Check the path and the owner of the key file.';
    throw new CliError('CLI_KEY_FILE_UNREADABLE', message, remedy, undefined, { cause });
  }
}

function invalid(source: string, found: string, remedy: string, options?: { readonly cause: unknown }): CliError {
  return new CliError(
    'CLI_KEY_FILE_INVALID',
    `${source} holds no local master key: expected 96 bytes or 128 characters of base64, found ${found}`,
    remedy,
    undefined,
    options,
  );
}
