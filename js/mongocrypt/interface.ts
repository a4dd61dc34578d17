/**
 * The types of `mongodb-client-encryption`: a program that compiles against its declarations compiles against these.
 *
 * Hence no `readonly` where the original has none, and interfaces where it has them: programs fill options in one by one,
 * and hand in stand-ins.
 */

import type { TrustedMasterKey } from '../trust.js';

/** libmongocrypt's status. `type` is 0 when all is well, 1 for every failure; `message` is absent when all is well. */
export interface MongoCryptStatus {
  type: number;
  code: number;
  message?: string;
}

/** One request to a KMS: bytes to send, and how many to read. The caller owns the connection. */
export interface MongoCryptKMSRequest {
  /** Takes bytes of the answer, `bytesNeeded` at most. What is wrong with them is in `status`. */
  addResponse(response: Uint8Array): void;
  /** Says that the connection failed. Returns whether `nextKMSRequest` will give the request again. */
  fail(): boolean;
  readonly status: MongoCryptStatus;
  /** 0 when the answer is complete, has failed, or is to be asked for again. */
  readonly bytesNeeded: number;
  /** How long to wait before sending, in microseconds. */
  readonly uSleep: number;
  /** The provider's full identifier, such as `aws:eu`. */
  readonly kmsProvider: string;
  /** `host:port`. */
  readonly endpoint: string;
  /** What to send. */
  readonly message: Buffer;
}

/**
 * A context. Failures of the library do not throw: `state` is 0 then, and `status` tells why. Only an argument that is no
 * `Uint8Array` throws.
 */
export interface IMongoCryptContext {
  /** What to ask: a filter for listCollections (1), a command to analyse (2), a filter for the key vault (3). Empty on failure. */
  nextMongoOperation(): Buffer;
  /** Takes one document of the answer. */
  addMongoOperationResponse(response: Uint8Array): void;
  /** Says that the answer is complete. */
  finishMongoOperation(): void;
  /** The next request to a KMS (4), or `null` when there is none, and on failure. */
  nextKMSRequest(): MongoCryptKMSRequest | null;
  /** Takes the credentials that were missing (7), as a kmsProviders document. */
  provideKMSProviders(providers: Uint8Array): void;
  /** Says that the requests are answered. */
  finishKMSRequests(): void;
  /** The result (5). Empty on failure. */
  finalize(): Buffer;
  get status(): MongoCryptStatus;
  /** 0 failed, 1 collection infos, 2 analysis, 3 keys, 4 KMS, 5 ready, 6 done, 7 credentials. */
  get state(): number;
}

/** Turns what a method throws into what the application wants to catch. */
export type MongoCryptErrorWrapper = (error: Error) => Error;

/** Options of `new MongoCrypt()`; documents are BSON. */
export interface MongoCryptOptions {
  /** Required in fact: without it `no kms provider set` is thrown. */
  kmsProviders?: Uint8Array | undefined;
  schemaMap?: Uint8Array | undefined;
  encryptedFieldsMap?: Uint8Array | undefined;
  /** Takes `(level, message)`. */
  logger?: unknown;
  /** Accepted and not used: the cryptography of this package cannot be replaced. */
  cryptoCallbacks?: Record<string, unknown> | undefined;
  /** Accepted and not used: no native library is loaded. */
  cryptSharedLibSearchPaths?: string[] | undefined;
  /** Refused unless `bypassQueryAnalysis` is set: no native library is loaded. */
  cryptSharedLibPath?: string | undefined;
  bypassQueryAnalysis?: boolean | undefined;
  /** How long data keys are cached, in milliseconds; 0 = for ever. */
  keyExpirationMS?: number | undefined;
  /**
   * Not in the original: the only master keys that are used. `ClientEncryption` of the driver hands it over,
   * `autoEncryption` does not; `setTrustedMasterKeys()` and the environment hold for both.
   */
  trustedMasterKeys?: readonly TrustedMasterKey[] | undefined;
  errorWrapper: MongoCryptErrorWrapper;
}

/** Options of explicit encryption; those of Queryable Encryption are refused by the library. */
export interface ExplicitEncryptionContextOptions {
  /** The 16 bytes of a UUID. */
  keyId?: Uint8Array | undefined;
  /** BSON `{keyAltName: string}`. */
  keyAltName?: Uint8Array | undefined;
  algorithm?: string | undefined;
  rangeOptions?: Uint8Array | undefined;
  textOptions?: Uint8Array | undefined;
  contentionFactor?: bigint | number | undefined;
  queryType?: string | undefined;
  expressionMode: boolean;
}

/** Options of a new data key; each is BSON. */
export interface DataKeyContextOptions {
  /** `{keyAltName: string}` each. */
  keyAltNames?: Uint8Array[] | undefined;
  /** `{keyMaterial: binary}`. */
  keyMaterial?: Uint8Array | undefined;
}

/** Providers and caches, from which contexts are made. */
export interface IMongoCrypt {
  /** Encrypts a command for a database; `ns` is the database's name, `command` BSON. */
  makeEncryptionContext(ns: string, command: Uint8Array): IMongoCryptContext;
  /** Encrypts one value; `value` is BSON `{v: value}`. The options are required in fact. */
  makeExplicitEncryptionContext(value: Uint8Array, options?: ExplicitEncryptionContextOptions): IMongoCryptContext;
  /** Decrypts every value of a reply. */
  makeDecryptionContext(buffer: Uint8Array): IMongoCryptContext;
  /** Decrypts one value; `buffer` is BSON `{v: binary}`. */
  makeExplicitDecryptionContext(buffer: Uint8Array): IMongoCryptContext;
  /** Makes a data key under a master key, BSON `{provider, ...}`. */
  makeDataKeyContext(optionsBuffer: Uint8Array, options: DataKeyContextOptions): IMongoCryptContext;
  /** Rewraps the data keys that a filter finds, under a master key or each under its own. */
  makeRewrapManyDataKeyContext(filter: Uint8Array, encryptionKey?: Uint8Array): IMongoCryptContext;
  readonly status: MongoCryptStatus;
  readonly cryptSharedLibVersionInfo: { version: bigint; versionStr: string } | null;
  readonly cryptoHooksProvider: 'js' | 'native_openssl' | null;
}
