/** Google Cloud KMS, over `KeyManagementServiceClient` of `@google-cloud/kms`, which is typed by structure. */

import { decodeBase64, isBytes } from '../bytes.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { ErrorCode } from '../error-codes.js';
import { classifyHttpStatus, classifyTransportError, kmsFailure, shapeOf } from './failure.js';
import type { KmsCall, KmsCallbacks } from './index.js';

/** What this package uses of a `KeyManagementServiceClient`; replies may also come without the list around them. */
export interface GcpKmsClient {
  encrypt(request: { name: string; plaintext: Uint8Array }): Promise<unknown>;
  decrypt(request: { name: string; ciphertext: Uint8Array }): Promise<unknown>;
}

/**
 * Makes a KMS provider of a Google Cloud KMS client: `gcpKms(new KeyManagementServiceClient())`.
 * Errors: `MASTER_KEY_INVALID` for an identifier that cannot be part of a resource name; the client's gRPC errors by
 * number (`KMS_ACCESS_DENIED`, `KMS_THROTTLED` ...), with the client's own error as `cause`.
 */
export function gcpKms(client: GcpKmsClient): KmsCallbacks {
  const { encrypt, decrypt } = (client ?? {}) as Partial<GcpKmsClient>;
  if (typeof encrypt !== 'function' || typeof decrypt !== 'function')
    throw argumentError(`gcpKms needs a KeyManagementServiceClient of @google-cloud/kms, found ${kindOf(client)}`);
  return {
    async encrypt(call) {
      const version = call.masterKey['keyVersion'] === undefined ? '' : `/cryptoKeyVersions/${identifier(call, 'keyVersion')}`;
      const name = `${resourceName(call)}${version}`;
      return bytesOf(await attempt(() => client.encrypt({ name, plaintext: call.plaintext }), 'encrypt'), 'ciphertext');
    },
    async decrypt(call) {
      // Never with a version: the ciphertext names it (Cloud KMS API, cryptoKeys.decrypt).
      return bytesOf(await attempt(() => client.decrypt({ name: resourceName(call), ciphertext: call.ciphertext }), 'decrypt'), 'plaintext');
    },
  };
}

function resourceName(call: KmsCall): string {
  const part = (field: string): string => identifier(call, field);
  return `projects/${part('projectId')}/locations/${part('location')}/keyRings/${part('keyRing')}/cryptoKeys/${part('keyName')}`;
}

/** One part of a resource name; a slash in it would name another resource. */
function identifier(call: KmsCall, field: string): string {
  const value = String(call.masterKey[field]);
  if (!/^[A-Za-z0-9._~-]+$/.test(value))
    throw new CsfleError('MASTER_KEY_INVALID', `masterKey.${field} may only contain letters, digits and -._~`, {
      details: { field },
    });
  return value;
}

async function attempt(work: () => Promise<unknown>, operation: 'encrypt' | 'decrypt'): Promise<unknown> {
  try {
    return await work();
  } catch (thrown) {
    throw classifyGcpError(thrown, operation);
  }
}

function bytesOf(output: unknown, field: 'ciphertext' | 'plaintext'): Uint8Array {
  const reply: unknown = Array.isArray(output) ? output[0] : output;
  const value = (reply as Record<string, unknown> | null | undefined)?.[field];
  // The REST transport delivers base64 text instead of bytes.
  const bytes = isBytes(value) ? value : typeof value === 'string' ? decodeBase64(value) : undefined;
  if (bytes === undefined) throw new CsfleError('KMS_REPLY_INVALID', `the reply of Google Cloud KMS has no ${field}`, { details: { field } });
  return bytes;
}

// grpc.io "Status codes and their use in gRPC"; google-gax reports them as numbers.
const CODES_BY_STATUS: Readonly<Record<number, ErrorCode>> = Object.freeze({
  1: 'OPERATION_ABORTED',
  3: 'KMS_REQUEST_REFUSED',
  4: 'KMS_TIMED_OUT',
  5: 'KMS_KEY_NOT_FOUND',
  7: 'KMS_ACCESS_DENIED',
  8: 'KMS_THROTTLED',
  9: 'KMS_KEY_UNAVAILABLE',
  10: 'KMS_UNREACHABLE',
  13: 'KMS_UNREACHABLE',
  14: 'KMS_UNREACHABLE',
  16: 'KMS_CREDENTIALS_REFUSED',
});
const INVALID_ARGUMENT = 3;
// The sentence of google-auth-library when no application default credentials are found; that error has no code.
const NO_CREDENTIALS = 'Could not load the default credentials';

/** Finds the code for an error of the Google client: by gRPC status, then by the connection, then by the HTTP status. */
export function classifyGcpError(thrown: unknown, operation: 'encrypt' | 'decrypt'): CsfleError {
  if (CsfleError.is(thrown)) return thrown;
  const { number, name, httpStatus } = shapeOf(thrown);
  // Cloud KMS answers INVALID_ARGUMENT when the bytes do not open under this key.
  const code = number === INVALID_ARGUMENT && operation === 'decrypt' ? 'KMS_CIPHERTEXT_REFUSED' : number === undefined ? undefined : CODES_BY_STATUS[number];
  if (code !== undefined) return kmsFailure(code, 'Google Cloud KMS refused or could not be asked', thrown, `gRPC status ${number}`);
  if (thrown instanceof Error && thrown.message.startsWith(NO_CREDENTIALS))
    return kmsFailure('KMS_CREDENTIALS_UNAVAILABLE', 'the Google client found no credentials', thrown, name);
  return (
    classifyTransportError(thrown) ??
    classifyHttpStatus(httpStatus ?? number, thrown, name) ??
    kmsFailure('KMS_FAILED', 'Google Cloud KMS failed', thrown, name)
  );
}
