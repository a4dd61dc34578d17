/** The public names of csfle-wasm, the same in every entry. */

export {
  type BackedUpKey,
  type BackupCollection,
  type BackupContents,
  type BackupDescription,
  type BackupIndex,
  type BackupKey,
  type BackupLocalMasterKey,
  type BackupManifest,
  type BackupMasterKey,
  type BackupOpeningKey,
  type BackupPassphrase,
  type BackupRecords,
  type BackupSchema,
  type BackupSummary,
  type CreateBackupOptions,
  createBackup,
  describeSealedBackup,
  isSealedBackup,
  type OpenBackupOptions,
  type PresentStateBackup,
  type RestoreBackupOptions,
  type RestoreBackupReport,
  readBackup,
  restoreBackup,
  type SealedBackup,
  verifyBackup,
} from './backup/index.js';
export type { BsonBinary, BsonLibrary, BsonUuid, DeserializeOptions, Document } from './bson.js';
export {
  type Algorithm,
  ClientEncryption,
  type ClientEncryptionOptions,
  type CreateDataKeyOptions,
  type DeleteResult,
  type EncryptDocumentOptions,
  type EncryptOptions,
  type KeyReference,
  type RewrapManyDataKeyOptions,
  type RewrapManyDataKeyResult,
} from './client-encryption.js';
export {
  type CoreErrorCode,
  CsfleError,
  type CsfleErrorOptions,
  type ErrorCode,
  type ErrorDetail,
  type JsErrorCode,
} from './errors.js';
export type { KeyCursor } from './key-cursor.js';
export {
  type DriverClient,
  type DriverCollection,
  driverKeyVaultStore,
  type KeyDocument,
  type KeyVaultCapabilities,
  type KeyVaultStore,
  type KeyWrapping,
  type MasterKeyDocument,
  MemoryKeyVaultStore,
} from './key-vault.js';
export { type AwsKmsClient, type AwsKmsCommands, type AwsKmsTarget, awsKms } from './kms/aws.js';
export { type AzureCryptographyClient, type AzureKmsTarget, azureKms } from './kms/azure.js';
export { type GcpKmsClient, gcpKms } from './kms/gcp.js';
export type {
  KmsCall,
  KmsCallbacks,
  KmsDecryptCall,
  KmsEncryptCall,
  KmsProviders,
  KmsWrapped,
  LocalKmsProvider,
  RemoteProviderType,
} from './kms/index.js';
export { type KmipCallbacks, kmipKms } from './kms/kmip.js';
export type { BulkWriteResult } from './rewrap.js';
export { errorCodes, version } from './wasm.js';
export {
  type CollectionFacts,
  type CollectionResults,
  type DocumentChange,
  type DriverMigrationCollection,
  driverMigrationCollection,
  type KeyResults,
  type MigrateOptions,
  type MigrationBackup,
  type MigrationBackupResult,
  type MigrationCheck,
  type MigrationCollection,
  type MigrationCollectionInput,
  type MigrationDriverClient,
  type MigrationDriverCollection,
  type MigrationFailure,
  type MigrationMode,
  type MigrationPhase,
  type MigrationPlan,
  type MigrationProgress,
  type MigrationReport,
  type MigrationSchema,
  migrate,
  type NamespacedClient,
  type PlannedCollection,
  type PlannedKey,
  type PlannedSchema,
  type RestoreOptions,
  type RestoreReport,
  restoreKeyVault,
  type SchemaResults,
  type WriteOutcome,
} from './migrate/index.js';
