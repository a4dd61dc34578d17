/** What went wrong on the way to a KMS, whichever SDK made the call. */

import { CsfleError } from '../errors.js';
import type { ErrorCode } from '../error-codes.js';

// Error codes of Node's sockets and name resolution (nodejs.org "Common system errors"), and of undici's fetch.
const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
  'ENETDOWN',
  'EPROTO',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const TIMEOUT_CODES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'ESOCKETTIMEDOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** The fields of a thrown value that tell errors of SDKs apart. */
export interface ErrorShape {
  readonly name: string;
  readonly code: string;
  /** The code as a number when it is one (gRPC). */
  readonly number: number | undefined;
  readonly httpStatus: number | undefined;
}

/** Reads the telling fields of whatever was thrown. */
export function shapeOf(thrown: unknown): ErrorShape {
  const { name, code, status, statusCode, $metadata } = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as {
    name?: unknown;
    code?: unknown;
    status?: unknown;
    statusCode?: unknown;
    $metadata?: { httpStatusCode?: unknown };
  };
  const http = [$metadata?.httpStatusCode, statusCode, status].find((value) => typeof value === 'number');
  return {
    name: typeof name === 'string' ? name : '',
    code: typeof code === 'string' ? code : '',
    number: typeof code === 'number' ? code : undefined,
    httpStatus: http as number | undefined,
  };
}

/** A failure with the SDK's own error as its cause. `label` is the SDK's public name for it. */
export function kmsFailure(code: ErrorCode, message: string, cause: unknown, label: string, retryable?: boolean): CsfleError {
  return new CsfleError(code, label === '' ? message : `${message} (${label})`, {
    cause,
    retryable,
    details: label === '' ? {} : { sdkError: label },
  });
}

/**
 * Recognises network failures and timeouts, also one level down (`fetch failed` carries the socket's error as cause).
 * Returns undefined for anything else.
 */
export function classifyTransportError(thrown: unknown): CsfleError | undefined {
  const inner = thrown instanceof Error ? thrown.cause : undefined;
  for (const candidate of [thrown, inner]) {
    const { name, code } = shapeOf(candidate);
    // The code first: the AWS SDK calls a connection that was reset a TimeoutError.
    if (NETWORK_CODES.has(code)) return kmsFailure('KMS_UNREACHABLE', 'the KMS could not be reached', thrown, code);
    if (TIMEOUT_CODES.has(code) || name === 'TimeoutError') {
      return kmsFailure('KMS_TIMED_OUT', 'the connection timed out', thrown, code || name);
    }
  }
  // Browsers give a network failure no code, only a TypeError with one of these sentences (Fetch standard: "network error").
  if (thrown instanceof TypeError && /^(fetch failed|Failed to fetch|Load failed|NetworkError)/.test(thrown.message)) {
    return kmsFailure('KMS_UNREACHABLE', 'the KMS could not be reached', thrown, thrown.name);
  }
  return undefined;
}

/** Classifies by HTTP status, for SDK errors whose name says nothing. */
export function classifyHttpStatus(status: number | undefined, cause: unknown, label: string): CsfleError | undefined {
  if (status === undefined) return undefined;
  if (status === 429) return kmsFailure('KMS_THROTTLED', 'the KMS asks to slow down', cause, label);
  if (status === 401) return kmsFailure('KMS_CREDENTIALS_REFUSED', 'the KMS did not accept the credentials', cause, label);
  if (status === 403) return kmsFailure('KMS_ACCESS_DENIED', 'the KMS refused access', cause, label);
  if (status === 404) return kmsFailure('KMS_KEY_NOT_FOUND', 'the KMS does not know the master key', cause, label);
  if (status === 408) return kmsFailure('KMS_TIMED_OUT', 'the KMS gave up waiting', cause, label);
  if (status >= 500) return kmsFailure('KMS_UNREACHABLE', `the KMS failed with HTTP status ${status}`, cause, label);
  if (status >= 400) return kmsFailure('KMS_REQUEST_REFUSED', `the KMS refused the request with HTTP status ${status}`, cause, label);
  return undefined;
}
