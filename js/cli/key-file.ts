import { type FileHandle, open } from 'node:fs/promises';
import { CliError } from './failure.js';

/** A local master key is as long as a data key: MAC key, encryption key and IV key of 32 bytes each. */
export const MASTER_KEY_BYTES = 96;
// Base64 of 96 bytes has 128 characters; a few line ends around them are fine, anything longer is no key file.
const LONGEST_KEY_FILE = 512;
const GROUP_AND_OTHERS = 0o077;

/** What a key file is like, without its contents. */
export interface KeyFileState {
  /** Permission bits as octal text, such as `600`. */
  readonly mode: string;
  /** Whether group or others may do anything with it. Unknown on systems without such bits, which counts as false. */
  readonly exposed: boolean;
}

/** The command that makes a key file private. */
export function chmodRemedy(path: string): string {
  return `Run: chmod 600 ${/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`}`;
}

/**
 * Reads a local master key: 96 raw bytes, or base64 text of them.
 *
 * Errors: `CLI_KEY_FILE_UNREADABLE`, `CLI_KEY_FILE_EXPOSED` when group or others have any permission, checked on the
 * open file so that nobody can swap it in between, `CLI_KEY_FILE_INVALID`.
 */
export async function readKeyFile(path: string): Promise<Uint8Array> {
  const file = await openKeyFile(path);
  try {
    const state = await keyFileState(file, path);
    if (state.exposed)
      throw new CliError(
        'CLI_KEY_FILE_EXPOSED',
        `${path} is accessible to other users (mode ${state.mode})`,
        chmodRemedy(path),
      );
    const bytes = Buffer.alloc(LONGEST_KEY_FILE + 1);
    try {
      let length = 0;
      for (let read = -1; read !== 0 && length < bytes.length; length += read)
        read = (await file.read(bytes, length, bytes.length - length)).bytesRead;
      return parseMasterKey(bytes.subarray(0, length), path);
    } finally {
      bytes.fill(0);
    }
  } finally {
    await file.close();
  }
}

/** Looks at a key file without reading it. */
export async function inspectKeyFile(path: string): Promise<KeyFileState> {
  const file = await openKeyFile(path);
  try {
    return await keyFileState(file, path);
  } finally {
    await file.close();
  }
}

/** 96 raw bytes, or base64 text of them, copied into memory of their own. `source` names them in the error. */
export function parseMasterKey(bytes: Uint8Array, source: string): Uint8Array {
  if (bytes.length === MASTER_KEY_BYTES) return Uint8Array.from(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1').replace(/\s+/g, '');
  if (/^[A-Za-z0-9+/]{128}$/.test(text)) {
    const decoded = Buffer.from(text, 'base64');
    const key = Uint8Array.from(decoded);
    decoded.fill(0);
    return key;
  }
  throw new CliError(
    'CLI_KEY_FILE_INVALID',
    `${source} holds no local master key: expected 96 bytes or 128 characters of base64, found ${bytes.length > LONGEST_KEY_FILE ? 'more' : `${bytes.length} bytes`}`,
    'Give the file that was used as kmsProviders.local.key.',
  );
}

async function openKeyFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new CliError(
      'CLI_KEY_FILE_UNREADABLE',
      `${path} cannot be read (${code})`,
      'Check the path and the owner of the key file.',
      undefined,
      { cause },
    );
  }
}

async function keyFileState(file: FileHandle, path: string): Promise<KeyFileState> {
  const status = await file.stat();
  if (!status.isFile())
    throw new CliError('CLI_KEY_FILE_UNREADABLE', `${path} is not a regular file`, 'Give the path of the key file itself.');
  const permissions = status.mode & 0o777;
  // Windows reports bits that say nothing about its access lists.
  const exposed = process.platform !== 'win32' && (permissions & GROUP_AND_OTHERS) !== 0;
  return { mode: permissions.toString(8).padStart(3, '0'), exposed };
}
