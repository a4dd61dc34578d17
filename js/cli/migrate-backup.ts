/** The sealed backup that `csfle migrate --execute` takes before its first write. */

import type { BackupKey, MigrationBackup } from '../index.js';
import { backupName, existingBackupFile } from '../node/backup-files.js';
import { schemasOf, storeBackup } from './backup-files.js';
import { type HeldKey, keyBeforeFirstWrite } from './backup-key.js';
import { counted } from './counted.js';
import { CliError } from './failure.js';
import { withFile } from './files.js';
import type { Endpoints, MigrateFlags } from './migrate-options.js';
import type { Output } from './output.js';
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

/** Under the master key that the keys go to; in the mode decrypt under the one that they are under. */
function keyOf(flags: MigrateFlags, { from, to, providers, kmsProviders }: Endpoints, output: Output): Promise<HeldKey<BackupKey>> {
  const masterKey = to ?? from ?? (providers.has('local') ? { provider: 'local' } : undefined);
  const trust = trustOf(flags, flags.endpoint, flags.fromEndpoint);
  return keyBeforeFirstWrite(flags, { masterKey, kmsProviders, kmsTimeoutMS: flags.kmsTimeoutMs, trust }, output);
}
