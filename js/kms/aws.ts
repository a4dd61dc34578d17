/** AWS KMS, over a client of the AWS SDK for JavaScript v3, which is typed by structure and never imported here. */

import { isBytes } from '../bytes.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { ErrorCode } from '../error-codes.js';
import { classifyHttpStatus, classifyTransportError, kmsFailure, shapeOf } from './failure.js';
import type { KmsCall, KmsCallbacks } from './index.js';

interface EncryptInput {
  KeyId: string;
  Plaintext: Uint8Array;
}

interface DecryptInput {
  CiphertextBlob: Uint8Array;
  KeyId?: string;
}

interface CallOptions {
  abortSignal?: AbortSignal;
}

/** What this package uses of `KMSClient`, or of `KMS`, whose methods make the command classes unnecessary. */
export interface AwsKmsClient {
  send(command: never, options?: CallOptions): Promise<unknown>;
  encrypt?(input: EncryptInput, options?: CallOptions): Promise<unknown>;
  decrypt?(input: DecryptInput, options?: CallOptions): Promise<unknown>;
  readonly config?: { readonly region?: unknown };
}

/** The command classes of `@aws-sdk/client-kms` that a `KMSClient` is sent. */
export interface AwsKmsCommands {
  readonly EncryptCommand: new (input: EncryptInput) => object;
  readonly DecryptCommand: new (input: DecryptInput) => object;
}

/** What a master key says about the client it needs; `endpoint` is a URL, ready for the SDK. */
export interface AwsKmsTarget {
  readonly region: string;
  readonly endpoint?: string;
}

let findCommands: (() => AwsKmsCommands) | undefined;

/** Sets how the command classes are found when `awsKms` is given none. The Node entry calls it. */
export function setAwsCommandSource(source: () => AwsKmsCommands): void {
  findCommands = source;
}

/** What a source throws that did not find them. */
export function withoutAwsCommands(cause: unknown): CsfleError {
  return new CsfleError(
    'ARGUMENT_INVALID',
    '@aws-sdk/client-kms cannot be loaded from here: pass awsKms { EncryptCommand, DecryptCommand } as its second argument',
    { cause },
  );
}

/**
 * Makes a KMS provider of an AWS SDK client: `awsKms(new KMSClient({ region }))`.
 *
 * Shape: pass a function `({ region, endpoint }) => client` for master keys in several regions; it is called once per
 * region and endpoint. In browsers pass the class `KMS`, or `{ EncryptCommand, DecryptCommand }` as second argument.
 * The endpoint comes from key documents: where others may write the key vault, set `trustedMasterKeys`.
 * Credentials, their renewal and the SDK's own retries belong to the client; `maxAttempts: 1` leaves retries to us.
 * Errors: `KMS_REGION_MISMATCH` when a fixed client is of another region than the master key; the SDK's errors by name
 * (`KMS_ACCESS_DENIED`, `KMS_THROTTLED`, `KMS_KEY_NOT_FOUND` ...), with the SDK's own error as `cause`.
 * Source: csfle-compatible requests have no EncryptionContext, since other drivers send none (AWS KMS API, Encrypt).
 */
export function awsKms(client: AwsKmsClient | ((target: AwsKmsTarget) => AwsKmsClient), commands?: AwsKmsCommands): KmsCallbacks {
  const clientFor = typeof client === 'function' ? clientFactory(client) : fixedClient(client);
  return {
    async encrypt(call) {
      const input: EncryptInput = { KeyId: String(call.masterKey['key']), Plaintext: call.plaintext };
      const output = await send(await clientFor(call), commands, 'encrypt', input, call);
      return bytesOf(output, 'CiphertextBlob');
    },
    async decrypt(call) {
      const key = String(call.masterKey['key']);
      // COMPAT: drivers send no KeyId, and an alias or a bare id may have moved since; an ARN of a key cannot. Where master
      // keys are pinned, a ciphertext made under another key than the named one must not open.
      const input: DecryptInput = {
        CiphertextBlob: call.ciphertext,
        ...(call.isPinned || /^arn:[^:]+:kms:[^:]*:[^:]*:key\//.test(key) ? { KeyId: key } : {}),
      };
      return bytesOf(await send(await clientFor(call), commands, 'decrypt', input, call), 'Plaintext');
    },
  };
}

function fixedClient(client: AwsKmsClient): (call: KmsCall) => Promise<AwsKmsClient> {
  requireClient(client);
  return async (call) => {
    const region = await regionOf(client);
    const wanted = call.masterKey['region'];
    if (region !== undefined && region !== wanted) {
      throw new CsfleError('KMS_REGION_MISMATCH', `the master key is in ${String(wanted)}, the KMS client in ${region}`, {
        details: { region: String(wanted), clientRegion: region },
      });
    }
    return client;
  };
}

async function regionOf(client: AwsKmsClient): Promise<string | undefined> {
  const { region } = client.config ?? {};
  try {
    const found: unknown = typeof region === 'function' ? await region() : region;
    return typeof found === 'string' ? found : undefined;
  } catch (cause) {
    throw kmsFailure('KMS_REQUEST_REFUSED', 'the KMS client has no region', cause, shapeOf(cause).name);
  }
}

function clientFactory(make: (target: AwsKmsTarget) => AwsKmsClient): (call: KmsCall) => Promise<AwsKmsClient> {
  const clients = new Map<string, AwsKmsClient>();
  return async ({ masterKey }) => {
    const region = String(masterKey['region']);
    const endpoint = masterKey['endpoint'] === undefined ? undefined : `https://${String(masterKey['endpoint'])}`;
    const name = `${region} ${endpoint ?? ''}`;
    const known = clients.get(name);
    if (known !== undefined) return known;
    const client = make(endpoint === undefined ? { region } : { region, endpoint });
    requireClient(client);
    clients.set(name, client);
    return client;
  };
}

function requireClient(client: unknown): void {
  if (typeof (client as Partial<AwsKmsClient> | null | undefined)?.send !== 'function')
    throw argumentError(`awsKms needs a KMSClient of @aws-sdk/client-kms, or a function that makes one, found ${kindOf(client)}`);
}

type Sendable = { send(command: object, options: CallOptions): Promise<unknown> };

async function send(
  client: AwsKmsClient,
  commands: AwsKmsCommands | undefined,
  operation: 'encrypt' | 'decrypt',
  input: EncryptInput | DecryptInput,
  call: KmsCall,
): Promise<unknown> {
  const options: CallOptions = { abortSignal: call.signal };
  const { EncryptCommand, DecryptCommand } = typeof client[operation] === 'function' ? ({} as Partial<AwsKmsCommands>) : commandsOf(commands);
  try {
    if (operation === 'encrypt') {
      const encrypting = input as EncryptInput;
      return await (EncryptCommand === undefined ? client.encrypt?.(encrypting, options) : (client as Sendable).send(new EncryptCommand(encrypting), options));
    }
    const decrypting = input as DecryptInput;
    return await (DecryptCommand === undefined ? client.decrypt?.(decrypting, options) : (client as Sendable).send(new DecryptCommand(decrypting), options));
  } catch (thrown) {
    throw classifyAwsError(thrown);
  }
}

function commandsOf(given: AwsKmsCommands | undefined): AwsKmsCommands {
  if (given !== undefined) return given;
  if (findCommands === undefined)
    throw argumentError('awsKms needs { EncryptCommand, DecryptCommand } of @aws-sdk/client-kms as its second argument here, or a client of the class KMS');
  return findCommands();
}

function bytesOf(output: unknown, field: 'CiphertextBlob' | 'Plaintext'): Uint8Array {
  const bytes = (output as Record<string, unknown> | null | undefined)?.[field];
  if (!isBytes(bytes)) throw new CsfleError('KMS_REPLY_INVALID', `the reply of AWS KMS has no ${field}`, { details: { field } });
  return bytes;
}

// Error names of the KMS API reference (Encrypt, Decrypt, "Common Errors") and of the SDK's own providers and handlers.
const CODES_BY_NAME: Readonly<Record<string, ErrorCode>> = Object.freeze({
  AccessDeniedException: 'KMS_ACCESS_DENIED',
  AccessDenied: 'KMS_ACCESS_DENIED',
  NotAuthorized: 'KMS_ACCESS_DENIED',
  OptInRequired: 'KMS_ACCESS_DENIED',
  ThrottlingException: 'KMS_THROTTLED',
  Throttling: 'KMS_THROTTLED',
  TooManyRequestsException: 'KMS_THROTTLED',
  LimitExceededException: 'KMS_THROTTLED',
  RequestLimitExceeded: 'KMS_THROTTLED',
  RequestThrottled: 'KMS_THROTTLED',
  RequestThrottledException: 'KMS_THROTTLED',
  SlowDown: 'KMS_THROTTLED',
  NotFoundException: 'KMS_KEY_NOT_FOUND',
  DisabledException: 'KMS_KEY_UNAVAILABLE',
  KMSInvalidStateException: 'KMS_KEY_UNAVAILABLE',
  KeyUnavailableException: 'KMS_KEY_UNAVAILABLE',
  InvalidCiphertextException: 'KMS_CIPHERTEXT_REFUSED',
  IncorrectKeyException: 'KMS_CIPHERTEXT_REFUSED',
  InvalidKeyUsageException: 'KMS_REQUEST_REFUSED',
  InvalidGrantTokenException: 'KMS_REQUEST_REFUSED',
  InvalidArnException: 'KMS_REQUEST_REFUSED',
  DryRunOperationException: 'KMS_REQUEST_REFUSED',
  UnsupportedOperationException: 'KMS_REQUEST_REFUSED',
  ValidationException: 'KMS_REQUEST_REFUSED',
  SerializationException: 'KMS_REQUEST_REFUSED',
  ExpiredTokenException: 'KMS_CREDENTIALS_REFUSED',
  ExpiredToken: 'KMS_CREDENTIALS_REFUSED',
  RequestExpired: 'KMS_CREDENTIALS_REFUSED',
  UnrecognizedClientException: 'KMS_CREDENTIALS_REFUSED',
  InvalidClientTokenId: 'KMS_CREDENTIALS_REFUSED',
  InvalidSignatureException: 'KMS_CREDENTIALS_REFUSED',
  SignatureDoesNotMatch: 'KMS_CREDENTIALS_REFUSED',
  IncompleteSignature: 'KMS_CREDENTIALS_REFUSED',
  IncompleteSignatureException: 'KMS_CREDENTIALS_REFUSED',
  MissingAuthenticationToken: 'KMS_CREDENTIALS_REFUSED',
  MissingAuthenticationTokenException: 'KMS_CREDENTIALS_REFUSED',
  CredentialsProviderError: 'KMS_CREDENTIALS_UNAVAILABLE',
  TokenProviderError: 'KMS_CREDENTIALS_UNAVAILABLE',
  KMSInternalException: 'KMS_UNREACHABLE',
  DependencyTimeoutException: 'KMS_UNREACHABLE',
  InternalFailure: 'KMS_UNREACHABLE',
  InternalServerException: 'KMS_UNREACHABLE',
  ServiceUnavailable: 'KMS_UNREACHABLE',
  ServiceUnavailableException: 'KMS_UNREACHABLE',
  AbortError: 'OPERATION_ABORTED',
});

const SENTENCES: Readonly<Partial<Record<ErrorCode, string>>> = Object.freeze({
  KMS_ACCESS_DENIED: 'AWS KMS refused access',
  KMS_THROTTLED: 'AWS KMS asks to slow down',
  KMS_KEY_NOT_FOUND: 'AWS KMS does not know the master key',
  KMS_KEY_UNAVAILABLE: 'the master key cannot be used now',
  KMS_CIPHERTEXT_REFUSED: 'AWS KMS cannot open the wrapped key with this master key',
  KMS_REQUEST_REFUSED: 'AWS KMS refused the request',
  KMS_CREDENTIALS_REFUSED: 'AWS did not accept the credentials',
  KMS_CREDENTIALS_UNAVAILABLE: 'the AWS SDK found no credentials',
  KMS_UNREACHABLE: 'AWS KMS failed on its side',
});

/** Finds the code for an error of the AWS SDK: by its name, then by the connection, then by the HTTP status. */
export function classifyAwsError(thrown: unknown): CsfleError {
  if (CsfleError.is(thrown)) return thrown;
  const { name, httpStatus } = shapeOf(thrown);
  if (Object.hasOwn(CODES_BY_NAME, name)) {
    const code = CODES_BY_NAME[name] as ErrorCode;
    // "You can retry the request" (AWS KMS API, KeyUnavailableException), unlike a key that is disabled.
    return kmsFailure(code, SENTENCES[code] ?? 'the call was aborted', thrown, name, name === 'KeyUnavailableException' ? true : undefined);
  }
  return classifyTransportError(thrown) ?? classifyHttpStatus(httpStatus, thrown, name) ?? kmsFailure('KMS_FAILED', 'AWS KMS failed', thrown, name);
}
