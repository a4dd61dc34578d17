/** The options and results of `ClientEncryption`. */

import type { BinaryOf, BsonBinary, BsonLibrary, DefaultBson, DeserializeOptions } from '../bson.js';
import type { DriverClient, KeyVaultStore } from '../key-vault.js';
import type { MasterKeyOf, ProviderName } from '../kms/master-keys.js';
import type { RewrapProof } from '../migrate/proof-collections.js';
import type { BulkWriteResult } from '../rewrap.js';
import type { SessionOptions } from '../session.js';

/** The algorithms of client-side field level encryption. Deterministic values can be queried for equality. */
export type Algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' | 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

/** Names a data key, by its id or by an alternate name. */
export type KeyReference<B extends BsonLibrary = DefaultBson> =
  | { readonly keyId: BinaryOf<B>; readonly keyAltName?: never }
  | { readonly keyAltName: string; readonly keyId?: never };

/** How one value is encrypted. */
export type EncryptOptions<B extends BsonLibrary = DefaultBson> = KeyReference<B> & { readonly algorithm: Algorithm };

/** Options of `ClientEncryption`. `B` is the BSON library that the option `bson` names. */
export interface ClientEncryptionOptions<B extends BsonLibrary = DefaultBson> extends SessionOptions {
  /** The BSON library to use. Default: the one that the entry brings. */
  readonly bson?: B | undefined;
  /** The collection of the key vault, as `database.collection`. Not needed with `keyVaultStore`. */
  readonly keyVaultNamespace?: string | undefined;
  /** The client that reaches the key vault, when it is another one than `client`. */
  readonly keyVaultClient?: DriverClient | undefined;
  /** A key vault of your own, instead of a collection. */
  readonly keyVaultStore?: KeyVaultStore | undefined;
  /** How decrypted values become JavaScript values. Default: as the `bson` package does. */
  readonly deserializeOptions?: DeserializeOptions | undefined;
}

/** Options of `createDataKey` for the provider `P`. */
export type CreateDataKeyOptions<P extends ProviderName = ProviderName> = NewDataKey & MasterKeyOption<P>;

/** The master key may be left out for providers that need no field of one, and where the provider is any. */
type MasterKeyOption<P extends ProviderName> = [P] extends [ProviderName<'aws' | 'azure' | 'gcp'>]
  ? {
      /** The fields of the master key, such as `{ region, key }`. */
      readonly masterKey: MasterKeyOf<P>;
    }
  : {
      /** The fields of the master key; not needed for `local`. */
      readonly masterKey?: MasterKeyOf<P> | undefined;
    };

interface NewDataKey {
  readonly keyAltNames?: readonly string[] | undefined;
  /** 96 bytes to use instead of random ones. They are secret: overwrite your copy afterwards. */
  readonly keyMaterial?: Uint8Array | BsonBinary | undefined;
}

/** Options of `rewrapManyDataKey` to the provider `P`. */
export interface RewrapManyDataKeyOptions<P extends ProviderName = ProviderName> {
  /** The provider to wrap under. Without it each key is wrapped anew under its own master key. */
  readonly provider?: P | undefined;
  /** The fields of the new master key; needs `provider`. */
  readonly masterKey?: MasterKeyOf<P> | undefined;
  /** Each new wrapping is unwrapped again and compared before anything is written; `false` is refused. */
  readonly verify?: true | undefined;
  /**
   * Where values are looked for that show which key material is right, before a key is wrapped that a KMS unwrapped.
   * Default: every collection that the client of the key vault may read, in turn until each key has a value, and to the end
   * while one has none; a client that encrypts automatically is not searched through. `false`, and a key without values, rest on two equal
   * answers of the KMS.
   */
  readonly proof?: RewrapProof | false | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Result of `rewrapManyDataKey`; without `bulkWriteResult` when no key matched. */
export interface RewrapManyDataKeyResult {
  readonly bulkWriteResult?: BulkWriteResult;
}

/** Result of `deleteKey`, as the driver's. */
export interface DeleteResult {
  readonly acknowledged: boolean;
  readonly deletedCount: number;
}

/** How a field of a document is encrypted. */
export type FieldRule<B extends BsonLibrary = DefaultBson> = EncryptOptions<B> & {
  /** Whether documents may lack the field. Default: `false`, which refuses such a document. */
  readonly optional?: boolean | undefined;
};

/** Which fields of a document are encrypted, and how. A path that leads through arrays enters each element. */
export interface EncryptDocumentOptions<B extends BsonLibrary = DefaultBson> {
  readonly fields: Readonly<Record<string, FieldRule<B>>>;
}
