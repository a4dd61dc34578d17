/** Local master keys from files: what is typed into the shell stays in its history, what a file holds does not. */

import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { CsfleError } from '../index.js';
import { chmodCommand, createFileSync, FileError, readRegularFileSync } from '../node/files.js';
import { requireOptions } from './arguments.js';
import { visible } from '../node/text.js';
import { AS_PRINTABLE } from './help.js';
import { announce } from './shell.js';

/** Bytes of a local master key (MongoDB "Client Side Encryption", `kmsProviders.local.key`). */
const MASTER_KEY_BYTES = 96;
/** A file larger than this is no key: 96 bytes as base64 are 128 characters, perhaps with line ends. */
const LARGEST_FILE_BYTES = 256;

/** Options of `csfle.localKeyFile()`. */
export interface LocalKeyFileOptions {
  /** Makes a new key when there is no such file. Default: `false`. */
  readonly create?: boolean;
}

/** A local master key in a file. It is read when it is needed, and prints as its path. */
export class LocalKeyFile {
  /** The path as it was given. */
  readonly file: string;
  /** The absolute path: the working folder is part of what a key is. */
  readonly path: string;

  /**
   * Checks that the file holds a master key that only its owner reads.
   * Errors: `ARGUMENT_INVALID` when it does not exist, is no key of 96 bytes, or is open to others; the message names
   * the chmod to run.
   */
  constructor(file: string, options: LocalKeyFileOptions = {}) {
    if (typeof file !== 'string' || file === '') throw refusal('expected the path of a file with a local master key', String(file));
    requireOptions('csfle.localKeyFile', options, ['create']);
    this.file = file;
    this.path = resolve(file);
    // In a wrong folder a second master key would be made, and nobody would know.
    if (options.create === true && createIfAbsent(file)) announce(options, `made a new local master key: ${this.path}`);
    this.read().fill(0);
  }

  /** Reads the key. The caller overwrites the bytes after use. */
  read(): Uint8Array {
    const contents = readOwnFile(this.file);
    try {
      if (contents.length === MASTER_KEY_BYTES) return Uint8Array.from(contents);
      const text = contents.toString('latin1').trim();
      const key = /^[A-Za-z0-9+/]{128}$/.test(text) ? Buffer.from(text, 'base64') : undefined;
      if (key !== undefined) return key;
      throw refusal(`${this.file} holds ${contents.length} bytes; a local master key has ${MASTER_KEY_BYTES} bytes, or 128 characters of base64`, this.file);
    } finally {
      contents.fill(0);
    }
  }

  [AS_PRINTABLE](): string {
    return `local master key in ${visible(this.path)}`;
  }
}

/** Returns whether a key was made. */
function createIfAbsent(file: string): boolean {
  const key = randomBytes(MASTER_KEY_BYTES);
  try {
    // Never over an existing key, which would make the data under it unreadable.
    createFileSync(file, key);
    return true;
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    if (cause.code !== 'FILE_EXISTS') throw refusal(cause.message, file, cause);
    return false;
  } finally {
    key.fill(0);
  }
}

function readOwnFile(file: string): Buffer {
  try {
    const { buffer, byteOffset, length } = readRegularFileSync(file, { maxBytes: LARGEST_FILE_BYTES, ownerOnly: true });
    return Buffer.from(buffer, byteOffset, length);
  } catch (cause) {
    if (!(cause instanceof FileError)) throw cause;
    throw refusal(messageOf(cause, file), file, cause);
  }
}

function messageOf({ code, message }: FileError, file: string): string {
  if (code === 'FILE_EXPOSED') return `${file} can be read by others than its owner; run: ${chmodCommand(file)}`;
  return code === 'FILE_TOO_LARGE' ? `${file} is too large for a local master key of ${MASTER_KEY_BYTES} bytes` : message;
}

function refusal(message: string, file: string, cause?: unknown): CsfleError {
  return new CsfleError('ARGUMENT_INVALID', message, { details: { file }, ...(cause === undefined ? {} : { cause }) });
}
