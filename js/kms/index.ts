/** The KMS as this package sees it: two functions per provider that wrap and unwrap 96 bytes. */

import type { BsonBinary } from '../bson.js';
import type { AwsCredentials } from './aws.js';

/** The fields of a master key of any provider. */
export type AnyMasterKey = Readonly<Record<string, unknown>>;

/** One call to a KMS, about a master key with the fields `M`. */
export interface KmsCall<M = AnyMasterKey> {
  /** The provider as the key names it: `aws`, `aws:eu`. */
  readonly provider: string;
  /** The master key with the fields of its provider, as stored in the key document. */
  readonly masterKey: M;
  /** The data key that this is about; absent while it is being made. */
  readonly dataKeyId?: string;
  /** The alternate names of that data key. */
  readonly keyAltNames: readonly string[];
  /** Whether only this master key may be used, because `trustedMasterKeys` is set: name it in requests that could leave it out. */
  readonly isPinned: boolean;
  /** Aborted when the call's time is up or the whole operation was aborted. */
  readonly signal: AbortSignal;
}

/** A call to wrap: the 96 secret bytes of a data key. They are overwritten after the call. */
export interface KmsEncryptCall<M = AnyMasterKey> extends KmsCall<M> {
  readonly plaintext: Uint8Array;
}

/** A call to unwrap: the bytes that wrapping returned. */
export interface KmsDecryptCall<M = AnyMasterKey> extends KmsCall<M> {
  readonly ciphertext: Uint8Array;
}

/** What wrapping returns beside the bytes: KMIP servers that made an object for this key name it. */
export interface KmsWrapped {
  readonly ciphertext: Uint8Array;
  readonly keyId?: string | undefined;
}

/**
 * Wraps and unwraps data keys under master keys that never leave the KMS.
 *
 * Shape: `encrypt` turns 96 bytes into whatever the KMS makes of them, `decrypt` turns that back into the 96 bytes.
 * The array that `decrypt` returns is overwritten after use.
 * Errors: let the SDK's own error through, or throw a `CsfleError` (`KMS_THROTTLED`, `KMS_ACCESS_DENIED` ...). Errors of
 * the provider's SDK and of the network get their code by name; any other arrives as `HOST_CALLBACK_FAILED`. Your error
 * is the `cause`. Only retryable ones are tried again.
 */
export interface KmsCallbacks {
  encrypt(call: KmsEncryptCall): Promise<Uint8Array | KmsWrapped> | Uint8Array | KmsWrapped;
  decrypt(call: KmsDecryptCall): Promise<Uint8Array> | Uint8Array;
}

/** A local master key: 96 bytes, as bytes, as a BSON binary or as base64 text. */
export interface LocalKmsProvider {
  readonly key: Uint8Array | BsonBinary | string;
}

/** The provider types whose keys live in a KMS. */
export type RemoteProviderType = 'aws' | 'azure' | 'gcp' | 'kmip';

/**
 * The providers that a `ClientEncryption` knows, by the identifier that key documents carry.
 * A name may follow the type (`aws:eu`): providers of one type and different names have nothing in common.
 */
export type KmsProviders = {
  readonly local?: LocalKmsProvider | undefined;
  readonly [named: `local:${string}`]: LocalKmsProvider | undefined;
} & { readonly [type in Exclude<RemoteProviderType, 'aws'>]?: KmsCallbacks | undefined } & {
  readonly [named: `${Exclude<RemoteProviderType, 'aws'>}:${string}`]: KmsCallbacks | undefined;
} & {
  /** In Node also what the drivers take: credentials, or `{}` for the chain of the AWS SDK. */
  readonly aws?: KmsCallbacks | AwsOfDrivers | undefined;
  readonly [named: `aws:${string}`]: KmsCallbacks | AwsOfDrivers | undefined;
};

/** `kmsProviders.aws` as the drivers take it. */
export type AwsOfDrivers = AwsCredentials | Readonly<Record<string, never>>;
