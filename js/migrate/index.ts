/** The migration: from one master key to another, to new data keys, or back to plaintext. */

export type { MigrationBackup, MigrationBackupResult } from './backup.js';
export type { CollectionFacts, DocumentChange, MigrationCollection, WriteOutcome } from './collection.js';
export {
  type DriverMigrationCollection,
  driverMigrationCollection,
  type MigrationDriverClient,
  type MigrationDriverCollection,
} from './driver-collection.js';
export type { KeyUse } from './evidence/key-uses.js';
export type { EvidenceOptions, SkippedEvidence } from './evidence/options.js';
export type { KeyOutcome } from './evidence/outcome.js';
export { migrate } from './migrate.js';
export type { MigrateOptions, MigrationCollectionInput, MigrationMode, MigrationSchema, NamespacedClient } from './options.js';
export type { MigrationPhase, MigrationProgress } from './progress.js';
export type { RewrapProof } from './proof-collections.js';
export { type KeyProof, type KeyProofReport, type ProveKeysOptions, proveKeys, type ValuesFound } from './prove-keys.js';
export type {
  CollectionResults,
  KeyReason,
  KeyResults,
  MigrationCheck,
  MigrationFailure,
  MigrationPlan,
  MigrationRemaining,
  MigrationReport,
  PlannedCollection,
  PlannedKey,
  PlannedSchema,
  ReportedChoice,
  SchemaResults,
  ValuesNotChosen,
} from './report.js';
export { choiceText, remainingText } from './report-text.js';
export {
  type KeyRemovalOptions,
  type KeyRemovalReport,
  type PurgeRetiredKeysOptions,
  purgeRetiredKeys,
  type RestoreRetiredKeysOptions,
  type RestoreRetiredKeysReport,
  type RetireKeysOptions,
  restoreRetiredKeys,
  retiredKeys,
  retireKeys,
} from './retirement.js';
