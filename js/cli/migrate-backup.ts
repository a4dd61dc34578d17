/** The sealed backup that `csfle migrate --execute` takes before its first write. */

import type { BackupKey, MasterKeyDocument, MigrationBackup } from '../index.js';
import { backupName, existingBackupFile, schemasOf, writeNewFile } from './backup-files.js';
import { givenPassphrase } from './backup-key.js';
import { CliError } from './failure.js';
import type { Endpoints, MigrateFlags } from './migrate-options.js';
import type { Output } from './output.js';
import { providerType } from './providers.js';
import { trustOf } from './trust-options.js';

/** What `migrate()` is told about the backup; undefined with `--no-backup`. */
export async function migrationBackup(flags: MigrateFlags, endpoints: Endpoints, output: Output): Promise<MigrationBackup | undefined> {
  if (!flags.backup) {
    if (flags.backupFile === undefined) return undefined;
    throw new CliError('CLI_OPTION_INVALID', '--backup-file and --no-backup exclude each other', 'Leave one of them out.');
  }
  // A plan only counts the calls of the backup.
  const key = await keyOf(flags, endpoints, output).catch((error: unknown) => {
    if (flags.execute) throw error;
    return undefined;
  });
  if (key === undefined) return undefined;
  const schemas = await schemasOf(flags.schemaFile);
  const file = flags.backupFile ?? backupName(flags.keyVault);
  return {
    key,
    file,
    schemas,
    read: () => existingBackupFile(file),
    async write({ bytes, keys }) {
      await writeNewFile(file, bytes);
      output.note(`backup: ${file} (${keys} keys)`);
    },
  };
}

/** A passphrase when there is one, else the master key that the keys go to; of the mode decrypt that they are under. */
async function keyOf(flags: MigrateFlags, { from, to, providers, kmsProviders }: Endpoints, output: Output): Promise<BackupKey> {
  const passphrase = await givenPassphrase(flags, output);
  if (passphrase !== undefined) return passphrase;
  const masterKey: MasterKeyDocument | undefined = to ?? from ?? (providers.has('local') ? { provider: 'local' } : undefined);
  if (masterKey !== undefined && (providerType(masterKey.provider) === 'local' || masterKey.key !== undefined)) return { kmsProviders, masterKey, ...trustOf(flags, flags.endpoint, flags.fromEndpoint) };
  throw new CliError(
    'CLI_OPTION_INVALID',
    'the backup before the first write needs a passphrase, or a whole master key',
    'Pass --passphrase-file, set CSFLE_BACKUP_PASSPHRASE, name the key with --from-key-arn, or say --no-backup.',
  );
}
