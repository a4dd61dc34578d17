import { type ErrorCode, errorEntry, isErrorCode } from './error-codes.js';

export type { CoreErrorCode, ErrorCode, JsErrorCode } from './error-codes.js';

/** A public fact about an error: an id, a name, a path, a length. Never key material, plaintext or credentials. */
export type ErrorDetail = string | number | boolean;

/** What a `CsfleError` is made of, beside its code and message. */
export interface CsfleErrorOptions {
  /** The error that a callback, an SDK or a driver threw, kept as it is. */
  readonly cause?: unknown;
  /** Public facts for programs. */
  readonly details?: Readonly<Record<string, ErrorDetail>> | undefined;
  /** Overrides what the table says about the code. */
  readonly retryable?: boolean | undefined;
}

/**
 * The one error class of this package.
 *
 * Shape: `code` is stable and meant for programs, `message` and `remedy` are meant for people and may change.
 * KMS callbacks and key vault stores may throw it too, to say what went wrong and whether a retry makes sense.
 */
export class CsfleError extends Error {
  override readonly name = 'CsfleError';
  /** Which error it is; never changes between releases. */
  readonly code: ErrorCode;
  /** Whether repeating the same call later may succeed without changing anything. */
  readonly retryable: boolean;
  /** Public facts: key ids, alternate names, provider names, field paths, lengths. */
  readonly details: Readonly<Record<string, ErrorDetail>>;
  /** What to do about it. */
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, given?: CsfleErrorOptions) {
    const options = given ?? {};
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    if (!isErrorCode(code)) throw argumentError(`there is no error code ${typeof code === 'string' ? JSON.stringify(code) : kindOf(code)}`);
    const entry = errorEntry(code);
    this.code = code;
    this.retryable = options.retryable ?? entry.retryable;
    this.details = Object.freeze({ ...options.details });
    this.remedy = entry.remedy;
  }

  /** The error as plain data, without its cause, whose contents are not ours to publish. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { name, code, message, retryable, remedy, details } = this;
    return { name, code, message, retryable, remedy, details };
  }

  /** Says whether `value` is a `CsfleError`, also one of another copy of this package. */
  static is(value: unknown): value is CsfleError {
    return value instanceof CsfleError || (value instanceof Error && value.name === 'CsfleError' && isErrorCode((value as { code?: unknown }).code));
  }
}

/** An error about an argument, found before anything crosses into WebAssembly. */
export function argumentError(message: string, details?: Readonly<Record<string, ErrorDetail>>): CsfleError {
  return new CsfleError('ARGUMENT_INVALID', message, { details });
}

/** Names the kind of a value without showing it: the value may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value !== 'object') return typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`;
  const bsonType = (value as { _bsontype?: unknown })._bsontype;
  if (typeof bsonType === 'string') return `a BSON ${bsonType}`;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  return 'an object';
}
