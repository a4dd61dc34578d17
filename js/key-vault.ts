/** The key vault as this package sees it: a few methods over a collection of key documents. */

import type { BinaryOf, BsonLibrary, DefaultBson, Document, UuidOf } from './bson.js';
import type { DriverClient } from './key-vault/driver-store.js';

/** A master key as key documents store it: the provider and the fields of that provider. */
export interface MasterKeyDocument {
  /** `aws`, `azure`, `gcp`, `kmip`, `local`, or one of them with a name: `aws:eu`. */
  readonly provider: string;
  readonly [field: string]: unknown;
}

/** A document of the key vault, as the driver's `DataKey`. `keyMaterial` is wrapped: only the master key opens it. */
export interface KeyDocument<B extends BsonLibrary = DefaultBson> extends Document {
  readonly _id: UuidOf<B>;
  readonly version?: number;
  readonly keyAltNames?: string[];
  readonly keyMaterial: BinaryOf<B>;
  readonly creationDate: Date;
  readonly updateDate: Date;
  readonly status: number;
  readonly masterKey: MasterKeyDocument;
}

/** How a data key is wrapped: the two fields that change together when it is wrapped anew. */
export interface KeyWrapping {
  readonly keyMaterial: BinaryOf<DefaultBson>;
  readonly masterKey: Document;
}

/** Why a key leaves the key vault, as stored beside its retired key document. */
export interface RetirementNote {
  readonly reason: string;
  /** The command or the call that asked for it. */
  readonly requestedBy: string;
  /** The data key that took its place in a re-encryption. */
  readonly replacedBy?: BinaryOf<DefaultBson> | undefined;
}

/** A key document that was moved out of the key vault, still wrapped, with the note of that move. */
export interface RetiredKey extends RetirementNote {
  /** The id of this entry. One data key can have several: it may be restored, changed and retired again. */
  readonly retiredId: unknown;
  readonly keyId: BinaryOf<DefaultBson>;
  readonly retiredAt: Date;
  /** The key document as it was in the key vault. */
  readonly document: Document;
}

/** What a store can do, found out without writing. */
export interface KeyVaultCapabilities {
  /** Whether inserts, updates and removals would be allowed. */
  readonly writable: boolean;
  /** Whether the unique index on `keyAltNames` is there, without which two keys can take the same name. */
  readonly uniqueIndex: boolean;
  /** Why `writable` is false or could not be found out. */
  readonly reason?: string;
}

/**
 * Holds key documents. Implement it to bring a key vault of your own, in a browser for example.
 *
 * Shape: documents are JavaScript objects of the BSON library in use; ids are BSON binaries of subtype 4.
 * Errors: throw a `CsfleError` to choose the code; anything else arrives as `HOST_CALLBACK_FAILED` with your error as
 * its `cause`.
 */
export interface KeyVaultStore {
  /** Returns every key document that matches a filter in MongoDB's query language. */
  find(filter: Document): Promise<readonly Document[]>;
  /** Adds a key document. A known `_id` or an alternate name that is taken: `KEY_VAULT_DUPLICATE_KEY`. */
  insert(document: Document): Promise<void>;
  /**
   * Writes `next` and sets `updateDate` to now if the key is still wrapped as `expected` says, in one atomic step.
   * Returns whether it was.
   */
  rewrapIf(id: BinaryOf<DefaultBson>, expected: KeyWrapping, next: KeyWrapping): Promise<boolean>;
  /** Adds an alternate name; returns the document before, or null when there is no such key. */
  addKeyAltName(id: BinaryOf<DefaultBson>, name: string): Promise<Document | null>;
  /** Removes an alternate name, and the field with the last one; returns the document before, or null. */
  removeKeyAltName(id: BinaryOf<DefaultBson>, name: string): Promise<Document | null>;
  /**
   * Moves a key document to the retired keys: stores a copy of exactly the document, reads the copy back, and only then
   * removes the document from the vault, on the condition that it is still what was copied. Returns the entry of the
   * copy, or null when the vault has no such key. Without this method keys cannot be deleted:
   * `KEY_VAULT_RETIREMENT_UNSUPPORTED`.
   */
  retireKey?(id: BinaryOf<DefaultBson>, note: RetirementNote): Promise<RetiredKey | null>;
  /** The retired keys, of one data key when `id` is given, the latest first. What is no such entry is left out. */
  retiredKeys?(id?: BinaryOf<DefaultBson>): Promise<readonly RetiredKey[]>;
  /**
   * Puts a retired key document back into the vault, without the alternate names in `withoutNames`, and reads it back.
   * The retired copy stays. Returns `present` when the vault has exactly this document already. A known `_id` or an
   * alternate name that is taken: `KEY_VAULT_DUPLICATE_KEY`.
   */
  restoreKey?(retired: RetiredKey, withoutNames?: readonly string[]): Promise<'restored' | 'present'>;
  /** Destroys one retired key document, if its entry is still as given. Returns whether it was. */
  purgeRetiredKey?(retired: RetiredKey): Promise<boolean>;
  /** Makes sure that no two keys can take one alternate name. Called before each new key; throws when it cannot. */
  ensureIndex?(): Promise<void>;
  /** Says what can be done here, without writing. */
  capabilities?(): Promise<KeyVaultCapabilities>;
  /** Where the vault is. What this client may read is searched for values that prove keys before they are wrapped anew. */
  readonly deployment?: { readonly client: DriverClient; readonly namespace: string } | undefined;
}

export { type DriverClient, type DriverCollection, driverKeyVaultStore } from './key-vault/driver-store.js';
export { MemoryKeyVaultStore } from './key-vault/memory-store.js';
