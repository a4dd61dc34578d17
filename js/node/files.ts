/**
 * Files, for the command and the shell: one way to read and two ways to write, so that no caller blocks on a file that is none,
 * follows a planted link when it writes, or leaves half a file under a name that promises a whole one.
 */

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';

/** Codes of `FileError`; append only. */
export type FileErrorCode =
  /** Nothing has this name. */
  | 'FILE_NOT_FOUND'
  /** A directory, a FIFO, a device, a socket, or a symbolic link to one. */
  | 'FILE_NOT_REGULAR'
  /** Longer than the caller's limit. */
  | 'FILE_TOO_LARGE'
  /** Group or others have a permission on a file that is to be its owner's alone. */
  | 'FILE_EXPOSED'
  /** It cannot be read. */
  | 'FILE_UNREADABLE'
  /** Its contents are not of the form that was expected. */
  | 'FILE_MALFORMED'
  /** Something has this name already; nothing was written. */
  | 'FILE_EXISTS'
  /** It holds other bytes than the caller read; nothing was written. */
  | 'FILE_CHANGED'
  /** It cannot be written; what was there is there still. */
  | 'FILE_UNWRITABLE';

/** An error about a file. `systemCode` is that of the operating system, such as `ENOSPC`, where one caused it. */
export class FileError extends Error {
  override readonly name = 'FileError';

  constructor(
    readonly code: FileErrorCode,
    readonly path: string,
    message: string,
    readonly systemCode?: string,
    options?: { readonly cause: unknown },
  ) {
    super(message, options);
  }
}

/** What a file is like, without its contents. */
export interface FileState {
  /** Permission bits as octal text, such as `600`. */
  readonly mode: string;
  /** Whether group or others have any permission. False on systems without such bits. */
  readonly exposed: boolean;
}

/** Options of `readRegularFile`. */
export interface ReadOptions {
  /** A longer file is refused. */
  readonly maxBytes: number;
  /** Refuses a file on which group or others have any permission. Default: `false`. */
  readonly ownerOnly?: boolean;
  /** Whether a symbolic link leads on. Default: `true`. */
  readonly followLinks?: boolean;
}

/** Options of `createFile`. */
export interface CreateOptions {
  /** Permission bits. Default: `0o600`. */
  readonly mode?: number;
}

/** Options of `replaceFile`. */
export interface ReplaceOptions {
  /** What the file has to hold still, byte for byte. */
  readonly expected?: Uint8Array;
}

const OWNER_ONLY = 0o600;
const GROUP = 0o070;
const OTHERS = 0o007;
const ALL_BITS = 0o777;
// Absent on Windows, which has none of what they guard against.
const { O_NONBLOCK = 0, O_NOCTTY = 0, O_NOFOLLOW = 0 } = constants as Partial<typeof constants>;
const TO_READ = constants.O_RDONLY | O_NONBLOCK | O_NOCTTY;
const TO_CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | O_NOFOLLOW;
const FIRST_READ_BYTES = 65_536;

/**
 * Reads a regular file whole, through symbolic links. What is no regular file is refused before it is opened, and again by the
 * open file, so that nothing blocks. The caller overwrites the bytes when they are secret.
 * Errors: `FILE_NOT_FOUND`, `FILE_NOT_REGULAR`, `FILE_TOO_LARGE`, `FILE_EXPOSED`, `FILE_UNREADABLE`.
 */
export async function readRegularFile(path: string, options: ReadOptions): Promise<Uint8Array> {
  return readRegularFileSync(path, options);
}

/** `readRegularFile` for callers that cannot wait. */
export function readRegularFileSync(path: string, { maxBytes, ownerOnly = false, followLinks = true }: ReadOptions): Uint8Array {
  return withOpenFile(path, followLinks, (descriptor, stats) => {
    const { mode, exposed } = stateOf(stats);
    if (ownerOnly && exposed) throw new FileError('FILE_EXPOSED', path, `${path} is accessible to other users (mode ${mode})`);
    if (stats.size > maxBytes) throw tooLarge(path, maxBytes);
    return readAll(descriptor, path, Math.min(Math.max(stats.size, FIRST_READ_BYTES), maxBytes) + 1, maxBytes);
  });
}

/** Looks at a regular file without reading it. Errors: `FILE_NOT_FOUND`, `FILE_NOT_REGULAR`, `FILE_UNREADABLE`. */
export async function inspectRegularFile(path: string): Promise<FileState> {
  return withOpenFile(path, true, (_descriptor, stats) => stateOf(stats));
}

/**
 * Writes a new file, which is whole and on the disk when this returns. Until then nothing has its name, and nothing has it after a
 * failure. What is there already, a symbolic link included, is never overwritten.
 * Errors: `FILE_EXISTS`, `FILE_UNWRITABLE`.
 */
export async function createFile(path: string, bytes: Uint8Array, options?: CreateOptions): Promise<void> {
  createFileSync(path, bytes, options);
}

/** `createFile` for callers that cannot wait. */
export function createFileSync(path: string, bytes: Uint8Array, { mode = OWNER_ONLY }: CreateOptions = {}): void {
  if (isThere(path)) throw exists(path);
  staged(
    path,
    bytes,
    () => mode,
    (temporary, descriptor) => {
      const own = fstatSync(descriptor);
      try {
        linkSync(temporary, path);
      } catch (cause) {
        if (systemCodeOf(cause) === 'EEXIST') throw exists(path, cause);
        if (!WITHOUT_LINKS.has(systemCodeOf(cause))) throw cause;
        renameToNewName(temporary, path);
      }
      try {
        if (!isSameFile(own, lstatSync(path))) throw new Error('another file has been put in its place');
        syncFolderOf(path);
      } catch (cause) {
        removeIfSame(path, own);
        throw cause;
      }
    },
  );
}

/**
 * Puts other bytes in the place of a regular file: in one step, through symbolic links to the real file, with its permissions and,
 * where the system allows it, its owner and group. A failure leaves the file as it was.
 * Errors: `FILE_NOT_FOUND`, `FILE_NOT_REGULAR`, `FILE_CHANGED`, `FILE_UNWRITABLE`.
 */
export async function replaceFile(path: string, bytes: Uint8Array, { expected }: ReplaceOptions = {}): Promise<void> {
  const real = realPathOf(path);
  const before = regularStats(real);
  staged(
    real,
    bytes,
    (descriptor) => keepOwner(descriptor, before),
    (temporary) => {
      if (expected !== undefined && !holds(real, expected)) throw new FileError('FILE_CHANGED', path, `${path} holds other bytes than before`);
      if (!isSameFile(before, lstatSync(real))) throw new FileError('FILE_CHANGED', path, `${path} is another file than before`);
      renameSync(temporary, real);
      syncFolderOf(real);
    },
  );
}

/** The command that makes a file its owner's alone, for a shell to run. */
export function chmodCommand(path: string): string {
  return `chmod 600 ${shellWord(path)}`;
}

/** A text as one word of a command line, whoever wrote it. */
export function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// ---- reading

function withOpenFile<T>(path: string, followLinks: boolean, work: (descriptor: number, stats: Stats) => T): T {
  regularStats(path, followLinks);
  let descriptor: number;
  try {
    descriptor = openSync(path, followLinks ? TO_READ : TO_READ | O_NOFOLLOW);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    const stats = fstatSync(descriptor);
    // Swapped since it was looked at. Opened without blocking, it has done nothing yet.
    if (!stats.isFile()) throw notRegular(path, stats);
    return work(descriptor, stats);
  } finally {
    closeSync(descriptor);
  }
}

function readAll(descriptor: number, path: string, firstLength: number, maxBytes: number): Uint8Array {
  let buffer = new Uint8Array(firstLength);
  let length = 0;
  try {
    for (;;) {
      const read = readSync(descriptor, buffer, length, buffer.length - length, null);
      if (read === 0) return buffer.slice(0, length);
      length += read;
      if (length > maxBytes) throw tooLarge(path, maxBytes);
      if (length === buffer.length) {
        const longer = new Uint8Array(Math.min(2 * length, maxBytes + 1));
        longer.set(buffer);
        buffer.fill(0);
        buffer = longer;
      }
    }
  } catch (cause) {
    throw cause instanceof FileError ? cause : unreadable(path, cause);
  } finally {
    // It may have been a key; the caller has a copy of its own.
    buffer.fill(0);
  }
}

function regularStats(path: string, followLinks = true): Stats {
  let stats: Stats;
  try {
    stats = followLinks ? statSync(path) : lstatSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (!stats.isFile()) throw notRegular(path, stats);
  return stats;
}

function stateOf({ mode }: Stats): FileState {
  const bits = mode & ALL_BITS;
  // Windows reports bits that say nothing about its access lists.
  return { mode: bits.toString(8).padStart(3, '0'), exposed: process.platform !== 'win32' && (bits & (GROUP | OTHERS)) !== 0 };
}

function holds(path: string, expected: Uint8Array): boolean {
  try {
    return Buffer.compare(readRegularFileSync(path, { maxBytes: expected.length }), expected) === 0;
  } catch (error) {
    if (error instanceof FileError && error.code === 'FILE_TOO_LARGE') return false;
    throw error;
  }
}

// ---- writing

// FAT, some network and FUSE file systems.
const WITHOUT_LINKS: ReadonlySet<string | undefined> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);
// Folders that cannot be opened to read, or file systems that have nothing to sync in them.
const WITHOUT_FOLDER_SYNC: ReadonlySet<string | undefined> = new Set(['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EISDIR']);

/** Writes and syncs a temporary file beside `path`, hands it to `publish`, and removes what is left of it. */
function staged(path: string, bytes: Uint8Array, modeOf: (descriptor: number) => number, publish: (temporary: string, descriptor: number) => void): void {
  // Nobody can know the name beforehand, and what is there nevertheless is not opened.
  const temporary = join(dirname(path), `.csfle-${randomBytes(16).toString('hex')}.tmp`);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(temporary, TO_CREATE, OWNER_ONLY);
    for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written, bytes.length - written);
    fchmodSync(descriptor, modeOf(descriptor));
    fsyncSync(descriptor);
    publish(temporary, descriptor);
  } catch (cause) {
    throw cause instanceof FileError ? cause : unwritable(path, cause);
  } finally {
    if (descriptor !== undefined) {
      closeSync(descriptor);
      removeQuietly(temporary);
    }
  }
}

// Without hard links: the name is taken by an empty file first, so that nothing of anybody else is replaced.
function renameToNewName(temporary: string, path: string): void {
  const empty = emptyFile(path);
  try {
    if (!isSameFile(empty, lstatSync(path))) throw exists(path);
    renameSync(temporary, path);
  } catch (cause) {
    removeIfSame(path, empty);
    throw cause;
  }
}

function emptyFile(path: string): Stats {
  let descriptor: number;
  try {
    descriptor = openSync(path, TO_CREATE, OWNER_ONLY);
  } catch (cause) {
    throw systemCodeOf(cause) === 'EEXIST' ? exists(path, cause) : cause;
  }
  try {
    return fstatSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Gives a file owner and group of another, as far as the system allows it, and returns the permissions it may have then. */
function keepOwner(descriptor: number, before: Stats): number {
  const bits = before.mode & ALL_BITS;
  if (process.platform === 'win32') return bits;
  const now = fstatSync(descriptor);
  if (now.uid !== before.uid || now.gid !== before.gid) {
    try {
      fchownSync(descriptor, before.uid, before.gid);
      return bits;
    } catch {
      // Only a superuser gives files away. The group may work by itself.
    }
  }
  if (now.gid === before.gid) return bits;
  try {
    fchownSync(descriptor, now.uid, before.gid);
    return bits;
  } catch {
    // Another group than before gets no more than everybody has.
    return bits & (~GROUP | ((bits & OTHERS) << 3));
  }
}

// A new name is on the disk only once its folder is.
function syncFolderOf(path: string): void {
  if (process.platform === 'win32') return;
  let folder: number | undefined;
  try {
    folder = openSync(dirname(path), constants.O_RDONLY);
    fsyncSync(folder);
  } catch (cause) {
    if (!WITHOUT_FOLDER_SYNC.has(systemCodeOf(cause))) throw cause;
  } finally {
    if (folder !== undefined) closeSync(folder);
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function isThere(path: string): boolean {
  // Looks at a symbolic link itself, also at one that leads nowhere. Other trouble shows when the file is written.
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function isSameFile(one: Stats, other: Stats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Removes a file under the name that it was given, unless another one has the name by now. */
function removeIfSame(path: string, own: Stats): void {
  try {
    if (isSameFile(own, lstatSync(path))) unlinkSync(path);
  } catch {
    // It is gone, or the error under way says more.
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is gone, or the error under way says more.
  }
}

// ---- errors

function systemCodeOf(cause: unknown): string | undefined {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

function notRegular(path: string, stats: Stats): FileError {
  const kind = stats.isSymbolicLink()
    ? 'a symbolic link'
    : stats.isDirectory()
      ? 'a directory'
      : stats.isFIFO()
        ? 'a FIFO'
        : stats.isSocket()
          ? 'a socket'
          : 'a device';
  return new FileError('FILE_NOT_REGULAR', path, `${path} is ${kind}, not a regular file`);
}

function tooLarge(path: string, maxBytes: number): FileError {
  return new FileError('FILE_TOO_LARGE', path, `${path} is longer than ${maxBytes} bytes`);
}

function exists(path: string, cause?: unknown): FileError {
  return new FileError('FILE_EXISTS', path, `${path} is there already`, 'EEXIST', cause === undefined ? undefined : { cause });
}

function unreadable(path: string, cause: unknown): FileError {
  const systemCode = systemCodeOf(cause);
  const code = systemCode === 'ENOENT' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE';
  return new FileError(code, path, `${path} cannot be read (${systemCode ?? 'unknown error'})${systemCode === 'ENOENT' ? soughtAs(path) : ''}`, systemCode, {
    cause,
  });
}

function unwritable(path: string, cause: unknown): FileError {
  const systemCode = systemCodeOf(cause);
  const reason = systemCode ?? (cause instanceof Error ? cause.message : 'unknown error');
  return new FileError('FILE_UNWRITABLE', path, `${path} cannot be written (${reason})${systemCode === 'ENOENT' ? soughtAs(path) : ''}`, systemCode, { cause });
}

/** Where a relative path led: from another folder than the caller thought, most often. */
function soughtAs(path: string): string {
  return isAbsolute(path) ? '' : `: looked for ${resolve(path)}`;
}
