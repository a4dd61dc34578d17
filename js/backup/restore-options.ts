/** Options and result of `restoreBackup()`. */

import type { BsonLibrary, Document } from '../bson.js';
import type { KeyVaultStore } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import type { NamespacedClient } from '../migrate/options.js';
import type { MigrationFailure } from '../migrate/report.js';
import { KMS_LIMIT_NAMES, type KmsLimits } from '../session.js';
import { TRUST_OPTION_NAMES, type TrustOptions } from '../trust.js';
import type { SealedBackup } from './create.js';
import type { BackupKey, BackupOpeningKey } from './key.js';

/** Where the present state goes before a key document is replaced. */
export interface PresentStateBackup {
  readonly key: BackupKey;
  /** Stores the file. It is called once, before the first replacement; what it throws ends the restore. */
  write(backup: SealedBackup): Promise<void> | void;
  /**
   * The bytes that are there already, or undefined. A backup of an earlier run, which holds each key that is replaced now
   * as it is now, is kept; any other ends the restore.
   */
  read?(): Promise<Uint8Array | undefined> | Uint8Array | undefined;
}

/** Options of `restoreBackup()`. */
export interface RestoreBackupOptions extends TrustOptions, KmsLimits {
  /** The sealed backup. */
  readonly bytes?: Uint8Array | undefined;
  /** What opens it. */
  readonly key?: BackupOpeningKey | undefined;
  /** Instead of a sealed backup, key documents, as `onBackup` of `migrate()` receives them. */
  readonly documents?: readonly Document[] | undefined;
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** Restores a backup into a key vault of another name than the one it was taken of. Default: `false`, which refuses that. */
  readonly fromAnotherKeyVault?: boolean | undefined;
  /** Writes only when this is `true`. Default: `false`, which compares and tells. */
  readonly execute?: boolean | undefined;
  /**
   * Puts the wrapping of the backup back where the present one differs. Default: `false`, which tells which keys differ.
   * Needs `replaced`, and `kmsProviders` or `allowUnproven`.
   */
  readonly overwrite?: boolean | undefined;
  /** Takes a backup of the present state before anything is replaced. */
  readonly replaced?: PresentStateBackup | undefined;
  /**
   * Providers that open what the backup holds before it is written: a key that is gone, and both wrappings of one that
   * differs, which is only replaced when both hold the same key material. What its own provider does not open is not written.
   */
  readonly kmsProviders?: KmsProviders | undefined;
  /**
   * Replaces a wrapping although nothing shows that the backup's holds the same key material, and inserts what is no
   * well-formed key document. What the providers at hand show to be wrong is not written in any case. Default: `false`.
   */
  readonly allowUnproven?: boolean | undefined;
  /** Puts validators and `encryptedFields` back: of these collections, or with `true` of all that the backup has. Default: none. */
  readonly collections?: readonly string[] | true | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** An alternate name that a key comes back without. */
export interface NameLeftOut {
  readonly id: string;
  readonly name: string;
  /** The key that has it now. */
  readonly ownerId: string;
}

/** Result of `restoreBackup()`: plain data, without secrets. */
export interface RestoreBackupReport {
  readonly executed: boolean;
  /** Whether nothing failed and nothing interrupted it. Keys that differ and were not to be replaced are no failure. */
  readonly ok: boolean;
  readonly interrupted: boolean;
  /** Keys that are wrapped as in the backup. */
  readonly unchanged: readonly string[];
  /** Keys that were gone, and were (or would be) inserted. */
  readonly inserted: readonly string[];
  /** Alternate names that keys among `inserted` come back without, because other keys of the vault have them now. */
  readonly namesLeftOut: readonly NameLeftOut[];
  /** Keys that are wrapped otherwise than in the backup, and stay so. */
  readonly differing: readonly string[];
  /** Keys whose wrapping was (or would be) replaced by that of the backup. */
  readonly replaced: readonly string[];
  /**
   * Keys among `inserted` that no provider at hand opened, and among `replaced` those whose wrappings could not be opened and
   * compared.
   */
  readonly unproven: readonly string[];
  /** Indexes of the key vault that were gone, and were (or would be) made again. */
  readonly indexes: readonly string[];
  /** Collections whose options were (or would be) put back. */
  readonly collections: readonly string[];
  /** The backup of the present state, when one was taken. */
  readonly replacedBackup: { readonly sha256: string; readonly keys: number } | null;
  readonly failures: readonly MigrationFailure[];
}

/** The names of `RestoreBackupOptions`, for refusing others. */
export const RESTORE_OPTION_NAMES: readonly (keyof RestoreBackupOptions)[] = [
  'bytes',
  'key',
  'documents',
  'keyVault',
  'fromAnotherKeyVault',
  'execute',
  'overwrite',
  'replaced',
  'kmsProviders',
  'allowUnproven',
  'collections',
  ...KMS_LIMIT_NAMES,
  'signal',
  'bson',
  ...TRUST_OPTION_NAMES,
];
