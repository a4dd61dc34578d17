/** Azure Key Vault, over `CryptographyClient` of `@azure/keyvault-keys`, which is typed by structure and never imported. */

import { isBytes } from '../bytes.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { ErrorCode } from '../error-codes.js';
import { classifyHttpStatus, classifyTransportError, kmsFailure, shapeOf } from './failure.js';
import type { KmsCall, KmsCallbacks } from './index.js';

/** The algorithm that drivers wrap data keys with (csfle: Azure Key Vault, wrapkey and unwrapkey). */
const WRAP_ALGORITHM = 'RSA-OAEP-256';

interface CallOptions {
  abortSignal?: AbortSignal;
}

/** What this package uses of a `CryptographyClient`. */
export interface AzureCryptographyClient {
  wrapKey(algorithm: 'RSA-OAEP-256', key: Uint8Array, options?: CallOptions): Promise<{ readonly result: Uint8Array }>;
  unwrapKey(algorithm: 'RSA-OAEP-256', encryptedKey: Uint8Array, options?: CallOptions): Promise<{ readonly result: Uint8Array }>;
}

/** The master key that a client is wanted for: `keyId` is the key's URL, ready for `new CryptographyClient`. */
export interface AzureKmsTarget {
  readonly keyId: string;
  readonly keyVaultEndpoint: string;
  readonly keyName: string;
  readonly keyVersion?: string;
}

/**
 * Makes a KMS provider of Azure Key Vault clients:
 * `azureKms(({ keyId }) => new CryptographyClient(keyId, credential))`.
 *
 * Shape: a function is called once per master key; a single client serves one master key, whichever a key names.
 * Errors: the SDK's errors by status and name, with the SDK's own error as `cause`.
 */
export function azureKms(client: AzureCryptographyClient | ((target: AzureKmsTarget) => AzureCryptographyClient)): KmsCallbacks {
  const clientFor = typeof client === 'function' ? clientFactory(client) : fixedClient(client);
  return {
    async encrypt(call) {
      return resultOf(await attempt(() => clientFor(call).wrapKey(WRAP_ALGORITHM, call.plaintext, { abortSignal: call.signal }), 'encrypt'));
    },
    async decrypt(call) {
      return resultOf(await attempt(() => clientFor(call).unwrapKey(WRAP_ALGORITHM, call.ciphertext, { abortSignal: call.signal }), 'decrypt'));
    },
  };
}

function fixedClient(client: AzureCryptographyClient): () => AzureCryptographyClient {
  requireClient(client);
  return () => client;
}

function clientFactory(make: (target: AzureKmsTarget) => AzureCryptographyClient): (call: KmsCall) => AzureCryptographyClient {
  const clients = new Map<string, AzureCryptographyClient>();
  return ({ masterKey }) => {
    const target = targetOf(masterKey);
    const known = clients.get(target.keyId);
    if (known !== undefined) return known;
    const client = make(target);
    requireClient(client);
    clients.set(target.keyId, client);
    return client;
  };
}

function targetOf(masterKey: KmsCall['masterKey']): AzureKmsTarget {
  const [keyVaultEndpoint, keyName] = [String(masterKey['keyVaultEndpoint']), String(masterKey['keyName'])];
  const keyVersion = masterKey['keyVersion'] === undefined ? undefined : String(masterKey['keyVersion']);
  const path = [keyName, ...(keyVersion === undefined ? [] : [keyVersion])].map(encodeURIComponent).join('/');
  return {
    keyId: `https://${keyVaultEndpoint}/keys/${path}`,
    keyVaultEndpoint,
    keyName,
    ...(keyVersion === undefined ? {} : { keyVersion }),
  };
}

function requireClient(client: unknown): void {
  const { wrapKey, unwrapKey } = (client ?? {}) as Partial<AzureCryptographyClient>;
  if (typeof wrapKey !== 'function' || typeof unwrapKey !== 'function')
    throw argumentError(`azureKms needs a CryptographyClient of @azure/keyvault-keys, or a function that makes one, found ${kindOf(client)}`);
}

async function attempt<T>(work: () => Promise<T>, operation: 'encrypt' | 'decrypt'): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw classifyAzureError(thrown, operation);
  }
}

function resultOf(output: { readonly result: Uint8Array } | undefined): Uint8Array {
  if (!isBytes(output?.result)) throw new CsfleError('KMS_REPLY_INVALID', 'the reply of Azure Key Vault has no result', { details: { field: 'result' } });
  return output.result;
}

// Names of @azure/identity's errors, codes of Key Vault's REST errors and of @azure/core-rest-pipeline's RestError.
const CODES_BY_LABEL: Readonly<Record<string, ErrorCode>> = Object.freeze({
  CredentialUnavailableError: 'KMS_CREDENTIALS_UNAVAILABLE',
  AuthenticationRequiredError: 'KMS_CREDENTIALS_UNAVAILABLE',
  AuthenticationError: 'KMS_CREDENTIALS_REFUSED',
  AggregateAuthenticationError: 'KMS_CREDENTIALS_REFUSED',
  AbortError: 'OPERATION_ABORTED',
  Throttled: 'KMS_THROTTLED',
  Forbidden: 'KMS_ACCESS_DENIED',
  Unauthorized: 'KMS_CREDENTIALS_REFUSED',
  KeyNotFound: 'KMS_KEY_NOT_FOUND',
  KeyDisabled: 'KMS_KEY_UNAVAILABLE',
  REQUEST_SEND_ERROR: 'KMS_UNREACHABLE',
});

/** Finds the code for an error of the Azure SDK: by name and code, then by the connection, then by the HTTP status. */
export function classifyAzureError(thrown: unknown, operation: 'encrypt' | 'decrypt'): CsfleError {
  if (CsfleError.is(thrown)) return thrown;
  const { name, code, httpStatus } = shapeOf(thrown);
  const label = [name, code].find((candidate) => Object.hasOwn(CODES_BY_LABEL, candidate));
  if (label !== undefined) return kmsFailure(CODES_BY_LABEL[label] as ErrorCode, 'Azure Key Vault refused or could not be asked', thrown, label);
  // Key Vault answers BadParameter (400) when the bytes do not open under this key.
  if (operation === 'decrypt' && httpStatus === 400)
    return kmsFailure('KMS_CIPHERTEXT_REFUSED', 'Azure Key Vault cannot open the wrapped key', thrown, code || name);
  return (
    classifyTransportError(thrown) ?? classifyHttpStatus(httpStatus, thrown, code || name) ?? kmsFailure('KMS_FAILED', 'Azure Key Vault failed', thrown, name)
  );
}
