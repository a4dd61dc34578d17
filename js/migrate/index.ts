/** The migration: from one master key to another, to new data keys, or back to plaintext. */

export type { MigrationBackup, MigrationBackupResult } from './backup.js';
export type { CollectionFacts, DocumentChange, MigrationCollection, WriteOutcome } from './collection.js';
export {
  type DriverMigrationCollection,
  driverMigrationCollection,
  type MigrationDriverClient,
  type MigrationDriverCollection,
} from './driver-collection.js';
export { migrate } from './migrate.js';
export type { MigrateOptions, MigrationCollectionInput, MigrationMode, MigrationSchema, NamespacedClient } from './options.js';
export type { MigrationPhase, MigrationProgress } from './progress.js';
export type {
  CollectionResults,
  KeyResults,
  MigrationCheck,
  MigrationFailure,
  MigrationPlan,
  MigrationReport,
  PlannedCollection,
  PlannedKey,
  PlannedSchema,
  SchemaResults,
} from './report.js';
export { type RestoreOptions, type RestoreReport, restoreKeyVault } from './restore.js';
