/** The status of a library, a context or a request, and the errors that leave this interface. */

import { isBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { MongoCryptStatus } from './interface.js';

/** A status from what the core says of a failure, `undefined` being none. */
export function statusOf(failure: unknown): MongoCryptStatus {
  if (failure === undefined || failure === null) return { type: 0, code: 0 };
  const { message } = failure as { message?: unknown };
  return { type: 1, code: 1, message: String(message) };
}

/** What making a library or a context throws: a TypeError with the message of libmongocrypt, and our code beside it. */
export function refused(error: unknown): unknown {
  if (!CsfleError.is(error) || error.code === 'INTERNAL') return error;
  const { code } = error;
  return Object.assign(new TypeError(error.message, { cause: error }), { code });
}

/** Refuses an argument that is no `Uint8Array`. */
export function bytesOf(value: unknown, name: string): Uint8Array {
  if (isBytes(value)) return value;
  throw new TypeError(`Parameter \`${name}\` must be a Uint8Array.`);
}

/** Bytes of our own as a `Buffer`: the driver calls methods that only a `Buffer` has. */
export function bufferOf(bytes: Uint8Array | undefined): Buffer {
  if (bytes === undefined) return Buffer.alloc(0);
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}
