import type { BsonBinary, BsonLibrary, Document } from '../bson.js';
import type { DriverClient, KeyVaultStore } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import type { MasterKey, MasterKeyPattern } from '../kms/master-keys.js';
import type { MigrationBackup } from './backup.js';
import type { MigrationCollection } from './collection.js';
import type { DriverMigrationCollection } from './driver-collection.js';
import type { EvidenceOptions } from './evidence/options.js';
import type { TrustOptions } from '../trust.js';
import type { MigrationProgress } from './progress.js';

/**
 * What a migration does.
 *
 * - `rewrap`: the same data keys under the new master key. Documents and schemas stay as they are, since key ids stay.
 * - `reencrypt`: new data keys under the new master key in the place of those that `createdBefore`, `keyIds` or `all` choose;
 *   every value under them is decrypted and encrypted again in this process.
 * - `decrypt`: every value back to plaintext, which leaves client-side encryption.
 */
export type MigrationMode = 'rewrap' | 'reencrypt' | 'decrypt';

/** A JSON schema kept outside a collection, such as the `schemaMap` of an application. */
export interface MigrationSchema {
  /** How reports call it, a file name for example. */
  readonly name: string;
  /** The schema, or a map of namespaces to schemas. */
  read(): Promise<Document | null>;
  /** Stores the rewritten schema in place of `before`. */
  write(rewritten: Document, before: Document): Promise<void>;
}

/** A key vault collection of a `MongoClient`. */
export interface NamespacedClient {
  readonly client: DriverClient;
  /** `database.collection`. */
  readonly namespace: string;
}

/** A collection to migrate: of a `MongoClient`, or anything that has the few methods needed. */
export type MigrationCollectionInput = MigrationCollection | DriverMigrationCollection;

/**
 * Options of `migrate()`.
 *
 * By itself a run unwraps only keys whose master key has the fields of `from` or of `to`, and wraps only under `to`; in the
 * mode `decrypt` without `from`, any key. `trustedMasterKeys` takes the place of the first of these rules, so that values
 * under further keys can be read, and `to` has to be among them.
 */
export interface MigrateOptions extends EvidenceOptions, TrustOptions {
  /** The key vault. */
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** The providers of `from` and of `to`. */
  readonly kmsProviders: KmsProviders;
  /**
   * Only keys whose master key has at least these fields. In the mode `rewrap` this is what is moved away from,
   * `{ provider: 'local' }` when absent. In the other modes it restricts the keys further, and nothing when absent.
   */
  readonly from?: MasterKeyPattern | undefined;
  /** The new master key. Required, except in the mode `decrypt`, which takes none. */
  readonly to?: MasterKey | undefined;
  /** Default: `rewrap`. */
  readonly mode?: MigrationMode | undefined;
  /** Writes only when this is `true`. Default: `false`, which plans and checks. */
  readonly execute?: boolean | undefined;
  /**
   * Mode `reencrypt`: replaces every data key that was created before this date, whatever wraps it now; a key whose document
   * does not tell counts as older. Give each run of one re-encryption the same date: the keys that it makes are newer.
   */
  readonly createdBefore?: Date | undefined;
  /** Mode `reencrypt`: replaces the data keys of these ids, binaries of subtype 4 or their text. */
  readonly keyIds?: readonly (BsonBinary | string)[] | undefined;
  /**
   * Mode `reencrypt`: replaces every data key but those that a re-encryption made and whose old key was not removed since.
   * Does not go with `deleteOldKeys`.
   */
  readonly all?: boolean | undefined;
  /** Restricts the keys further, in MongoDB's query language. Default: every key. */
  readonly keyFilter?: Document | undefined;
  /** With `true`, a key vault without a data key is no failure. Default: `false`, since a misspelt key vault looks the same. */
  readonly allowEmpty?: boolean | undefined;
  /** The collections whose documents are rewritten; modes `reencrypt` and `decrypt`. Their validators are rewritten too. */
  readonly collections?: readonly MigrationCollectionInput[] | undefined;
  /** Schemas kept elsewhere. */
  readonly schemas?: readonly MigrationSchema[] | undefined;
  /** Says that documents may become plaintext; the mode `decrypt` does nothing without it. */
  readonly confirmPlaintext?: boolean | undefined;
  /**
   * Moves the old data keys to the retired keys beside the vault; mode `reencrypt`. A key is moved only when a search of
   * every namespace of every known deployment found nothing that needs it. Default: `false`.
   */
  readonly deleteOldKeys?: boolean | undefined;
  /**
   * Awaited once before the first write, with the key documents as they are: the place to store a backup. Their key
   * material is wrapped, so a backup is as safe as the old master key.
   */
  readonly onBackup?: ((documents: readonly Document[]) => Promise<void> | void) | undefined;
  /** Takes a sealed backup of the whole key vault before the first write. A backup that fails stops the run. */
  readonly backup?: MigrationBackup | undefined;
  /** Documents per read and write. Default: 500, which keeps a batch well below the 48 MB of one command. */
  readonly batchSize?: number | undefined;
  /** KMS calls at the same time. Default: 8, which stays far below the request quotas of the providers. */
  readonly kmsConcurrency?: number | undefined;
  /** Time for one KMS call. Default: 10,000. */
  readonly kmsTimeoutMS?: number | undefined;
  /** Further attempts after a KMS call failed in a way that may pass. Default: 3. */
  readonly kmsRetries?: number | undefined;
  /** Finishes the write in flight, then stops; the report says `interrupted`. */
  readonly signal?: AbortSignal | undefined;
  /** Called with one frozen object per tick. */
  readonly onProgress?: ((progress: MigrationProgress) => void) | undefined;
  /** The BSON library; entries for Node and browsers bring one. */
  readonly bson?: BsonLibrary | undefined;
}

/** The documents of one read, and the bytes after which a read ends early. */
export const DEFAULT_BATCH_SIZE = 500;
/** More than this the driver's own count of a batch, a 32-bit number, does not hold. A negative one would read a single batch. */
export const LARGEST_BATCH = 1_000_000;
/** Input, output and verification of a batch are in memory together: 8 MiB keeps their sum far below 100 MiB. */
export const BATCH_BYTES = 8 * 1024 * 1024;
/** A write that loses against another writer is computed again this often before its document is named as failed. */
export const WRITE_ATTEMPTS = 5;
