/** Sealed backups: making, verifying and restoring them. The format is described in docs/sealed-backup.md. */

export { type CreateBackupOptions, createBackup, type SealedBackup } from './create.js';
export type { BackupKey, BackupMasterKey, BackupOpeningKey, BackupPassphrase } from './key.js';
export {
  type BackedUpKey,
  type BackupContents,
  type BackupDescription,
  type BackupSummary,
  describeSealedBackup,
  isSealedBackup,
  type OpenBackupOptions,
  readBackup,
  verifyBackup,
} from './read.js';
export type { BackupCollection, BackupIndex, BackupLocalMasterKey, BackupManifest, BackupRecords, BackupSchema } from './records.js';
export { restoreBackup } from './restore.js';
export type { NameLeftOut, PresentStateBackup, RestoreBackupOptions, RestoreBackupReport } from './restore-options.js';
