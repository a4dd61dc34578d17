/** Providers by name, and the fields that a master key has with each. */

import type { RemoteProviderType } from './index.js';

/** The types of providers. */
export type ProviderType = 'local' | RemoteProviderType;

/** The name of a provider: its type, alone or with a name of your own after a colon, such as `aws:eu`. */
export type ProviderName<T extends ProviderType = ProviderType> = T | `${T}:${string}`;

// Types and not interfaces: those are no documents, which may have any further field.

/** A master key of AWS KMS. */
export type AwsMasterKey = {
  readonly region: string;
  /** The ARN of the key; an id or an alias works too. */
  readonly key: string;
  /** `host[:port]`. Default: the endpoint of the region. */
  readonly endpoint?: string | undefined;
};

/** A master key of Azure Key Vault. */
export type AzureMasterKey = {
  /** `host[:port]`, such as `hospital.vault.azure.net`. */
  readonly keyVaultEndpoint: string;
  readonly keyName: string;
  /** Default: the current version. */
  readonly keyVersion?: string | undefined;
};

/** A master key of Google Cloud KMS. */
export type GcpMasterKey = {
  readonly projectId: string;
  readonly location: string;
  readonly keyRing: string;
  readonly keyName: string;
  /** Default: the primary version. */
  readonly keyVersion?: string | undefined;
  /** `host[:port]`. Default: `cloudkms.googleapis.com`. */
  readonly endpoint?: string | undefined;
};

/** A master key of a KMIP server. */
export type KmipMasterKey = {
  /** The UniqueIdentifier of the object at the server. Default: the server makes one for the data key. */
  readonly keyId?: string | undefined;
  /** `host[:port]`. */
  readonly endpoint?: string | undefined;
  /** Whether the server encrypts and decrypts itself, so that its key never leaves it. */
  readonly delegated?: boolean | undefined;
};

/** A local master key has no fields in a key document. */
export type LocalMasterKey = Readonly<Record<string, never>>;

/** The fields of a master key, by the type of its provider. */
export interface MasterKeyFields {
  readonly local: LocalMasterKey;
  readonly aws: AwsMasterKey;
  readonly azure: AzureMasterKey;
  readonly gcp: GcpMasterKey;
  readonly kmip: KmipMasterKey;
}

/** The fields of a master key of the provider `P`. */
export type MasterKeyOf<P extends ProviderName> = { [T in ProviderType]: P extends ProviderName<T> ? MasterKeyFields[T] : never }[ProviderType];

type WithProvider<T extends ProviderType> = T extends 'local' ? unknown : MasterKeyFields[T];

/** A master key with its provider, as key documents store it: `{ provider: 'aws', region, key }`. */
export type MasterKey = { [T in ProviderType]: { readonly provider: ProviderName<T> } & WithProvider<T> }[ProviderType];

/** A provider and any of the fields of its master keys, all of which a master key has to have. */
export type MasterKeyPattern = { [T in ProviderType]: { readonly provider: ProviderName<T> } & Partial<WithProvider<T>> }[ProviderType];
