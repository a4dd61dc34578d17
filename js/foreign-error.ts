/** Errors that others threw: of the driver, of the system, of a function that was handed in. Only our own mistakes are `INTERNAL`. */

import type { ErrorCode } from './error-codes.js';
import { CsfleError } from './errors.js';

// What an engine throws on a mistake in a program.
const MISTAKES: ReadonlySet<string> = new Set(['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError', 'EvalError', 'AssertionError', 'RuntimeError']);
// Errors of the driver after which the same call may succeed (MongoDB "Server Discovery And Monitoring", network errors).
const CONNECTION = /^Mongo(Network|ServerSelection|WaitQueueTimeout|PoolCleared|PoolClosed|ConnectionPool|TopologyClosed|NotConnected|OperationTimeout)/;
// Labels with which server and driver say so themselves (MongoDB "Retryable Writes", "Transactions").
const RETRYABLE_LABELS = ['RetryableWriteError', 'RetryableError', 'TransientTransactionError', 'SystemOverloadedError'] as const;

/** The public facts of an error of the driver: its name, and the server's code where it has one. Its message may quote documents. */
export function driverFacts(error: unknown): {
  readonly label: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, string | number>>;
} {
  const { name, code, errorLabels, hasErrorLabel } = (error ?? {}) as { name?: unknown; code?: unknown; errorLabels?: unknown; hasErrorLabel?: unknown };
  const hasLabel = (label: string): boolean =>
    typeof hasErrorLabel === 'function' ? Boolean(hasErrorLabel.call(error, label)) : Array.isArray(errorLabels) && errorLabels.includes(label);
  const server = typeof code === 'number' ? `server code ${code}` : undefined;
  const system = typeof code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(code) ? code : undefined;
  const known = [typeof name === 'string' ? name : 'unknown error', server, system].filter((one) => one !== undefined);
  return {
    label: known.join(', '),
    retryable: (typeof name === 'string' && CONNECTION.test(name)) || RETRYABLE_LABELS.some(hasLabel),
    details: typeof code === 'number' ? { serverCode: code } : {},
  };
}

/**
 * An error of this package: what is one stays as it is, a mistake in this package becomes `INTERNAL`, and whatever the driver, the system
 * or a handed-in function threw gets `code`, with the error as its cause and without its message, which may quote documents.
 */
export function asCsfleError(error: unknown, code: ErrorCode, doing: string): CsfleError {
  if (CsfleError.is(error)) return error;
  const { name, code: ofSystem } = (error ?? {}) as { name?: unknown; code?: unknown };
  if (error instanceof Error && typeof name === 'string' && MISTAKES.has(name) && ofSystem === undefined)
    return new CsfleError('INTERNAL', `${doing} failed (${name})`, { cause: error });
  const { label, retryable, details } = driverFacts(error);
  return new CsfleError(code, `${doing} failed (${label})`, { cause: error, details, ...(retryable ? { retryable } : {}) });
}
