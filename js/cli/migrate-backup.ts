/** The sealed backup that `csfle migrate --execute` takes before its first write. */

import type { BackupKey, MasterKeyDocument, MigrationBackup } from '../index.js';
import { backupName, existingBackupFile } from '../node/backup-files.js';
import { schemasOf, storeBackup } from './backup-files.js';
import { givenPassphrase, type HeldKey } from './backup-key.js';
import { counted } from './counted.js';
import { CliError } from './failure.js';
import { withFile } from './files.js';
import type { Endpoints, MigrateFlags } from './migrate-options.js';
import type { Output } from './output.js';
import { providerType } from './providers.js';
import { trustOf } from './trust-options.js';

/** The backup of a migration, with what has to be wiped when the command ends. */
export interface HeldBackup {
  readonly backup: MigrationBackup;
  wipe(): void;
}

/** What `migrate()` is told about the backup; undefined with `--no-backup`. */
export async function migrationBackup(flags: MigrateFlags, endpoints: Endpoints, output: Output): Promise<HeldBackup | undefined> {
  if (!flags.backup) {
    if (flags.backupFile === undefined) return undefined;
    throw new CliError('CLI_OPTION_INVALID', '--backup-file and --no-backup exclude each other', 'Leave one of them out.');
  }
  // A plan only counts the calls of the backup.
  const held = await keyOf(flags, endpoints, output).catch((error: unknown) => {
    if (flags.execute) throw error;
    return undefined;
  });
  if (held === undefined) return undefined;
  const { key, wipe } = held;
  try {
    const schemas = await schemasOf(flags.schemaFile);
    const file = flags.backupFile ?? backupName(flags.keyVault);
    const backup: MigrationBackup = {
      key,
      file,
      schemas,
      read: () => withFile(() => existingBackupFile(file)),
      async write(made) {
        await storeBackup(file, made);
        output.note(`backup: ${file} (${counted(made.keys, 'key')})`);
      },
    };
    return { backup, wipe };
  } catch (error) {
    wipe();
    throw error;
  }
}

/** A passphrase when there is one, else the master key that the keys go to; of the mode decrypt that they are under. */
async function keyOf(flags: MigrateFlags, { from, to, providers, kmsProviders }: Endpoints, output: Output): Promise<HeldKey<BackupKey>> {
  const passphrase = await givenPassphrase(flags, output);
  if (passphrase !== undefined) return passphrase;
  const masterKey: MasterKeyDocument | undefined = to ?? from ?? (providers.has('local') ? { provider: 'local' } : undefined);
  if (masterKey !== undefined && (providerType(masterKey.provider) === 'local' || masterKey.key !== undefined)) 
    return { key: { kmsProviders, masterKey, kmsTimeoutMS: flags.kmsTimeoutMs, ...trustOf(flags, flags.endpoint, flags.fromEndpoint) }, wipe: () => undefined };
  throw new CliError(
    'CLI_OPTION_INVALID',
    'the backup before the first write needs a passphrase, or a whole master key',
    'Pass --passphrase-file, set CSFLE_BACKUP_PASSPHRASE, name the key with --from-key-arn, or say --no-backup.',
  );
}
