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

/** Credentials as the drivers take them in `kmsProviders.aws`. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** Options of clients that `awsKms` makes itself, in Node. */
export interface AwsKmsOptions {
  /** The region of every call. Default: the region of each master key. */
  readonly region?: string | undefined;
  /** An endpoint of your own, `https://host[:port]`. Default: the endpoint of each master key, or that of the region. */
  readonly endpoint?: string | undefined;
  /** A profile of the AWS configuration files. Default: what the SDK's chain finds. */
  readonly profile?: string | undefined;
  /** Default: the SDK's chain (environment, files, roles, single sign-on). */
  readonly credentials?: AwsCredentials | (() => Promise<AwsCredentials>) | undefined;
}

/** What of the module `@aws-sdk/client-kms` is used. */
export interface AwsKmsSdk extends AwsKmsCommands {
  readonly KMSClient: new (configuration: Readonly<Record<string, unknown>>) => AwsKmsClient;
}

const OPTION_NAMES: readonly string[] = ['region', 'endpoint', 'profile', 'credentials'];
const CREDENTIAL_NAMES: readonly string[] = ['accessKeyId', 'secretAccessKey', 'sessionToken'];

let findSdk: (() => AwsKmsSdk) | undefined;

/** Sets how the SDK is found when `awsKms` is given no client, or no command classes. The Node entry calls it. */
export function setAwsSdkSource(source: () => AwsKmsSdk): void {
  findSdk = source;
}

/** What a source throws that did not find the SDK. */
export function withoutAwsSdk(cause: unknown): CsfleError {
  return new CsfleError(
    'ARGUMENT_INVALID',
    '@aws-sdk/client-kms cannot be loaded from here: install it, or pass awsKms a client, and { EncryptCommand, DecryptCommand } as its second argument',
    { cause },
  );
}

/**
 * Makes a KMS provider of the AWS SDK: `awsKms()` in Node, with the SDK's own chain of credentials and the region of each master
 * key; `awsKms(new KMSClient({ region }))` with a client of your own.
 *
 * Shape: options (`region`, `endpoint`, `profile`, `credentials`) are those of clients that are made here. Pass a function `({ region, endpoint }) => client` for master keys in several regions; it is called once per
 * region and endpoint. In browsers pass the class `KMS`, or `{ EncryptCommand, DecryptCommand }` as second argument.
 * The endpoint comes from key documents: where others may write the key vault, set `trustedMasterKeys`.
 * Credentials, their renewal and the SDK's own retries belong to the client; `maxAttempts: 1` leaves retries to us, and clients that are made
 * here have it.
 * Errors: `KMS_REGION_MISMATCH` when a fixed client is of another region than the master key; the SDK's errors by name
 * (`KMS_ACCESS_DENIED`, `KMS_THROTTLED`, `KMS_KEY_NOT_FOUND` ...), with the SDK's own error as `cause`.
 * Source: csfle-compatible requests have no EncryptionContext, since other drivers send none (AWS KMS API, Encrypt).
 */
export function awsKms(client: AwsKmsClient | ((target: AwsKmsTarget) => AwsKmsClient) | AwsKmsOptions = {}, commands?: AwsKmsCommands): KmsCallbacks {
  const clientFor = clientSource(hasOnly(client, OPTION_NAMES) ? sdkClients(client) : client);
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

function clientSource(client: unknown): (call: KmsCall) => Promise<AwsKmsClient> {
  return typeof client === 'function' ? clientFactory(client as (target: AwsKmsTarget) => AwsKmsClient) : fixedClient(client as AwsKmsClient);
}

/** Clients of the SDK that this host has. The SDK takes a moment to load: not before the first call. */
function sdkClients({ region, credentials, ...others }: AwsKmsOptions): unknown {
  // The SDK writes into credentials that it is given.
  const chosen = { ...others, credentials: typeof credentials === 'object' ? { ...credentials } : credentials };
  if (findSdk === undefined) return chosen;
  const find = findSdk;
  return (target: AwsKmsTarget) => {
    if (region !== undefined && region !== target.region) throw regionMismatch(target.region, region);
    const given = Object.entries(chosen).filter(([, value]) => value !== undefined);
    // Retries are ours, which also know the deadline of the call.
    return new (find().KMSClient)({ ...target, ...Object.fromEntries(given), maxAttempts: 1 });
  };
}

/** What `kmsProviders.aws` of the drivers is: credentials, or `{}` for the chain of the SDK. Undefined for anything else. */
export function awsOfDrivers(provider: unknown): KmsCallbacks | undefined {
  if (findSdk === undefined || !hasOnly(provider, CREDENTIAL_NAMES)) return undefined;
  if (Object.keys(provider).length === 0) return awsKms();
  const { accessKeyId, secretAccessKey } = provider as Partial<AwsCredentials>;
  // Half of them is a mistake, and what is refused here is not sent.
  const isWhole = typeof accessKeyId === 'string' && typeof secretAccessKey === 'string';
  return isWhole ? awsKms({ credentials: provider as unknown as AwsCredentials }) : undefined;
}

function hasOnly(value: unknown, names: readonly string[]): value is AwsKmsOptions {
  return (
    Object.prototype.toString.call(value) === '[object Object]' &&
    Object.keys(value as object).every((name) => names.includes(name)) &&
    !('send' in (value as object))
  );
}

function fixedClient(client: AwsKmsClient): (call: KmsCall) => Promise<AwsKmsClient> {
  requireClient(client);
  return async (call) => {
    const region = await regionOf(client);
    const wanted = call.masterKey['region'];
    if (region !== undefined && region !== wanted) {
      throw regionMismatch(String(wanted), region);
    }
    return client;
  };
}

function regionMismatch(region: string, clientRegion: string): CsfleError {
  return new CsfleError('KMS_REGION_MISMATCH', `the master key is in ${region}, the KMS client in ${clientRegion}`, { details: { region, clientRegion } });
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
  if (findSdk === undefined)
    throw argumentError('awsKms needs { EncryptCommand, DecryptCommand } of @aws-sdk/client-kms as its second argument here, or a client of the class KMS');
  return findSdk();
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
