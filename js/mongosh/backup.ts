/** `csfle.backup`: sealed backups of a key vault in files, from the shell. */

import {
  type BackupKey,
  type BackupMasterKey,
  type BackupOpeningKey,
  type BackupSummary,
  CsfleError,
  createBackup,
  describeSealedBackup,
  type MasterKeyDocument,
  restoreBackup,
  type TrustOptions,
  verifyBackup,
} from '../index.js';
import { requireArguments, requireOptions, requireRegionOfArn } from './arguments.js';
import { backupName, existingBackupFile, readBackupFile, readSchemaFiles, writeNewFile } from '../node/backup-files.js';
import { ofBackup, passphraseOf, type ShellPassphrase, withFile } from './backup-files.js';
import { AS_PRINTABLE, type ClassHelp, INSTANCE_STATE, interruptible, offerMethods, shellClass } from './help.js';
import { type ResolvedProviders, resolveKmsProviders, type ShellKmsProviders } from './kms-providers.js';
import { findKeyVault, type ShellEncryptionOptions, type ShellKeyVaultPlace, vaultPlace, withOptionsOfMongo } from './session.js';
import { readableRestore, type ShellRestoreReport } from './restore-text.js';
import { knownInstanceState, type ShellInstanceState } from './shell.js';
import { inShell } from './words.js';

/** What opens a backup in the shell. */
export interface ShellBackupKey extends ShellPassphrase, TrustOptions {
  readonly kmsProviders?: ShellKmsProviders;
  /** As in the library's `migrate()`. */
  readonly kmsTimeoutMS?: number;
  readonly kmsRetries?: number;
}

/** Options of `csfle.backup.create()`. */
export interface ShellCreateBackupOptions extends ShellBackupKey, Pick<ShellEncryptionOptions, 'client' | 'keyVaultNamespace' | 'keyVaultClient'> {
  /** The master key to seal under, instead of a passphrase. */
  readonly masterKey?: MasterKeyDocument;
  /** Names of the collections whose validators and encryptedFields go in. Default: all that can be read. */
  readonly collections?: readonly string[];
  /** Whether a key vault without a key is backed up. Default: `false`, which refuses that. */
  readonly allowEmpty?: boolean;
  /** Schema files to put in. */
  readonly schemaFiles?: readonly string[];
}

/** Options of `csfle.backup.restore()`. */
export interface ShellRestoreBackupOptions extends ShellBackupKey, Pick<ShellEncryptionOptions, 'client' | 'keyVaultNamespace' | 'keyVaultClient'> {
  readonly execute?: boolean;
  readonly overwrite?: boolean;
  readonly allowUnproven?: boolean;
  /** Restores a backup into a key vault of another name than the one it was taken of. */
  readonly fromAnotherKeyVault?: boolean;
  readonly collections?: readonly string[] | true;
  /** Where `overwrite` keeps the state before. Default: a new file in the working folder. */
  readonly replacedFile?: string;
}

/** Result of `csfle.backup.create()`. */
export interface ShellBackupResult {
  readonly file: string;
  readonly sha256: string;
  readonly keys: number;
  readonly collections: number;
  readonly notRead: readonly string[];
}

const PLACE = ['client', 'keyVaultNamespace', 'keyVaultClient'] as const;
const KEY = ['kmsProviders', 'passphrase', 'passphraseFile', 'trustedMasterKeys', 'allowedEndpoints', 'kmsTimeoutMS', 'kmsRetries'] as const;

/** The methods of `csfle.backup`; they return promises that the shell awaits. */
export class ShellBackup {
  constructor() {
    offerMethods(this);
  }

  async create(file: string, options: ShellCreateBackupOptions): Promise<ShellBackupResult> {
    requireArguments('csfle.backup.create', [file], ['string']);
    const complete = completed<ShellCreateBackupOptions>('csfle.backup.create', options, [
      ...PLACE,
      ...KEY,
      'masterKey',
      'collections',
      'schemaFiles',
      'allowEmpty',
    ]);
    requireRegionOfArn('masterKey', complete.masterKey);
    const place = findKeyVault(complete);
    const schemas = withFile(() => readSchemaFiles(complete.schemaFiles ?? []));
    const providers = complete.masterKey === undefined ? undefined : resolveKmsProviders(complete.kmsProviders, place.state);
    let held: HeldKey<BackupKey> | undefined;
    try {
      held = sealingKey(complete, providers, place.state);
      const { key } = held;
      const { collections } = complete;
      const made = await interruptible(place.state, (signal) =>
        createBackup({ keyVault: vaultOf(place), key, schemas, signal, bson: place.bson, ...(collections === undefined ? {} : { collections }) }),
      );
      const { sha256, keys, notRead } = made;
      if (keys === 0 && complete.allowEmpty !== true)
        throw new CsfleError(
          'KEY_VAULT_KEY_NOT_FOUND',
          `the key vault ${vaultPlace(place)} has no data key: no backup was written. allowEmpty: true backs up what is there all the same`,
        );
      withFile(() => writeNewFile(file, made.bytes));
      return { file, sha256, keys, collections: made.collections, notRead };
    } finally {
      held?.wipe();
      providers?.wipe();
    }
  }

  async verify(file: string, options: ShellBackupKey = {}): Promise<BackupSummary> {
    requireArguments('csfle.backup.verify', [file], ['string']);
    requireOptions('csfle.backup.verify', options, KEY);
    const bytes = withFile(() => readBackupFile(file));
    const { key, wipe } = await ofBackup(file, bytes, () => openingKey(bytes, options, knownInstanceState()));
    try {
      return await interruptible(knownInstanceState(), (signal) => ofBackup(file, bytes, () => verifyBackup(bytes, key, { signal })));
    } finally {
      wipe();
    }
  }

  async restore(file: string, options: ShellRestoreBackupOptions = {}): Promise<ShellRestoreReport> {
    requireArguments('csfle.backup.restore', [file], ['string']);
    const complete = completed<ShellRestoreBackupOptions>('csfle.backup.restore', options, [
      ...PLACE,
      ...KEY,
      'execute',
      'overwrite',
      'allowUnproven',
      'fromAnotherKeyVault',
      'collections',
      'replacedFile',
    ]);
    const place = findKeyVault(complete);
    const bytes = withFile(() => readBackupFile(file));
    const {
      execute,
      overwrite,
      allowUnproven,
      fromAnotherKeyVault,
      collections,
      kmsTimeoutMS,
      kmsRetries,
      replacedFile = backupName(place.namespace, '-replaced'),
    } = complete;
    const { key, wipe } = await ofBackup(file, bytes, () => openingKey(bytes, complete, place.state));
    let proof: ResolvedProviders | undefined;
    try {
      if (complete.kmsProviders !== undefined) proof = resolveKmsProviders(complete.kmsProviders, place.state);
      const report = await interruptible(place.state, (signal) =>
        ofBackup(file, bytes, () =>
          restoreBackup({
            bytes,
            key,
            keyVault: vaultOf(place),
            fromAnotherKeyVault,
            execute,
            overwrite,
            allowUnproven,
            collections,
            kmsProviders: proof?.kmsProviders,
            kmsTimeoutMS,
            kmsRetries,
            ...trustIn(complete),
            replaced: {
              key,
              read: () => withFile(() => existingBackupFile(replacedFile)),
              write: (backup) => withFile(() => writeNewFile(replacedFile, backup.bytes)),
            },
            signal,
            bson: place.bson,
          }),
        ),
      );
      return readableRestore({ ...inShell.report(report), replacedFile: report.replacedBackup === null ? null : replacedFile }, file, vaultPlace(place));
    } finally {
      proof?.wipe();
      wipe();
    }
  }

  [AS_PRINTABLE](): string {
    return 'csfle.backup: sealed backups of a key vault. See csfle.backup.help()';
  }

  [INSTANCE_STATE](): ShellInstanceState | undefined {
    return knownInstanceState();
  }
}

const HELP: ClassHelp = {
  name: 'CsfleBackup',
  description: 'Sealed backups of a key vault, in encrypted files of mode 600',
  methods: {
    create: {
      usage:
        'csfle.backup.create(file, { keyVaultNamespace, passphraseFile | passphrase: passwordPrompt() | masterKey, kmsProviders, collections, schemaFiles, allowEmpty })',
      description:
        'Writes key documents, indexes, validators and encryptedFields to a new file. It is sealed under a passphrase, or under a master key of kmsProviders.',
    },
    verify: {
      usage: 'csfle.backup.verify(file, { passphraseFile | passphrase | kmsProviders })',
      description: 'Checks every byte of a backup and tells what it holds.',
    },
    restore: {
      usage: 'csfle.backup.restore(file, { keyVaultNamespace, passphraseFile | passphrase | kmsProviders, execute, overwrite, collections })',
      description:
        'Puts back what is gone from the key vault. Without execute: true it only compares. overwrite puts the wrapping of the backup back where it differs, after a backup of the state before.',
    },
  },
};
shellClass(ShellBackup, HELP);

function completed<Options>(method: string, options: unknown, known: readonly string[]): Options {
  requireOptions(method, options, known);
  return { ...(options as object), ...withOptionsOfMongo(options) } as Options;
}

function vaultOf({ vaultClient, namespace }: ShellKeyVaultPlace): { client: ShellKeyVaultPlace['vaultClient']; namespace: string } {
  return { client: vaultClient, namespace };
}

/** A key with what has to be wiped when the work ends. */
export interface HeldKey<Key> {
  readonly key: Key;
  wipe(): void;
}

type KmsLimits = Pick<ShellBackupKey, 'kmsTimeoutMS' | 'kmsRetries'>;

/** What a new backup is sealed with: the passphrase, or the master key. */
export function sealingKey(
  given: ShellPassphrase & TrustOptions & KmsLimits & { readonly masterKey?: MasterKeyDocument | undefined },
  providers: ResolvedProviders | undefined,
  state: ShellInstanceState | undefined,
): HeldKey<BackupKey> {
  const words = passphraseOf(given, state);
  if (words !== undefined) return { key: { passphrase: words.passphrase }, wipe: words.wipe };
  if (given.masterKey === undefined || providers === undefined)
    throw new CsfleError('BACKUP_KEY_MISSING', 'a backup needs passphraseFile, passphrase, or masterKey with its kmsProviders');
  return { key: { kmsProviders: providers.kmsProviders, masterKey: given.masterKey, ...kmsIn(given) }, wipe: () => undefined };
}

function openingKey(bytes: Uint8Array, given: ShellBackupKey, state: ShellInstanceState | undefined): HeldKey<BackupOpeningKey & BackupKey> {
  const description = describeSealedBackup(bytes);
  if (description.method === 'passphrase') {
    const words = passphraseOf(given, state);
    if (words === undefined) throw new CsfleError('BACKUP_KEY_MISSING', 'this backup needs passphraseFile or passphrase');
    return { key: { passphrase: words.passphrase }, wipe: words.wipe };
  }
  const providers = resolveKmsProviders(given.kmsProviders, state);
  return { key: { kmsProviders: providers.kmsProviders, masterKey: description.masterKey, ...kmsIn(given) }, wipe: () => providers.wipe() };
}

/** The options about trust among others. */
function trustIn({ trustedMasterKeys, allowedEndpoints }: TrustOptions): TrustOptions {
  return { trustedMasterKeys, allowedEndpoints };
}

/** The options about trust and the limits of KMS calls among others. */
function kmsIn(given: TrustOptions & KmsLimits): Pick<BackupMasterKey, keyof TrustOptions | 'kmsTimeoutMS' | 'kmsRetries'> {
  return { ...trustIn(given), kmsTimeoutMS: given.kmsTimeoutMS, kmsRetries: given.kmsRetries };
}
