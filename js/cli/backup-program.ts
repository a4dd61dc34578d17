import type { Command, Option } from 'commander';
import { createBackupFile, restoreBackupFile, verifyBackupFile } from './backup-command.js';
import type { Output } from './output.js';
import { withTrust } from './trust-options.js';

/** How the command line builds and runs commands. */
interface Builders {
  connected(command: Command): Command;
  withNewMasterKey(command: Command): Command;
  localKey(): Option;
  kmsModule(): Option;
  kmsTimeout(): Option;
  collect(value: string, before: readonly string[]): readonly string[];
  run<Flags extends { json: boolean }>(
    work: (flags: Flags, output: Output, names: readonly string[]) => Promise<number>,
  ): (...given: unknown[]) => Promise<void>;
}

/** Says where the passphrase of a backup comes from. */
export function withPassphrase(command: Command): Command {
  return command.option('--passphrase-file <file>', 'file with the passphrase of the backup, mode 600; without it CSFLE_BACKUP_PASSPHRASE or a prompt');
}

/** Adds `csfle backup`. */
export function addBackupCommands(csfle: Command, { connected, withNewMasterKey, localKey, kmsModule, kmsTimeout, collect, run }: Builders): void {
  const backup = csfle.command('backup').description('make, verify and restore sealed backups of a key vault');
  addCreate(backup.command('create'));
  withPassphrase(withTrust(backup.command('verify')))
    .argument('<file>', 'the backup')
    .description('check every byte of a backup and tell what it holds; needs its key, but no server')
    .addOption(localKey())
    .addOption(kmsModule())
    .addOption(kmsTimeout())
    .option('--json', 'print one JSON document', false)
    .action(run((flags: never, output, [file]) => verifyBackupFile(file as string, flags, output)));
  withPassphrase(connected(backup.command('restore')))
    .argument('<file>', 'the backup, or a file of extended JSON that an earlier version wrote')
    .description('put back what is gone from the key vault; plans only, unless --execute is given')
    .addOption(localKey())
    .addOption(kmsModule())
    .addOption(kmsTimeout())
    .option('--execute', 'carry it out', false)
    .option('--overwrite', 'put the wrapping of the backup back for keys that are wrapped otherwise now', false)
    .option('--replaced-file <file>', 'where --overwrite keeps the state before (default: a new file in this folder)')
    .option('--allow-unproven', 'with --overwrite: although nothing shows that both wrappings hold the same key', false)
    .option('--from-another-key-vault', 'although the backup is of a key vault of another name', false)
    .option('--collection <namespace>', 'put validator and encryptedFields of this collection back; repeat for more', collect, [])
    .option('--all-collections', 'the same for every collection of the backup', false)
    .option('--schemas-to <folder>', 'write the schema files into this folder, as new files')
    .option('--local-key-to <file>', 'write the local master key to this new file, mode 600')
    .action(run((flags: never, output, [file]) => restoreBackupFile(file as string, flags, output)));

  function addCreate(command: Command): void {
    withPassphrase(withNewMasterKey(connected(command)))
      .argument('<file>', 'file to create')
      .description('back the key vault up to a new sealed file, under a passphrase or under the master key of --to')
      .addOption(localKey())
      .addOption(kmsModule())
      .addOption(kmsTimeout())
      .option('--include-local-key', 'put the local master key in: whoever opens the backup then has the data keys', false)
      .option('--collection <namespace>', 'validator and encryptedFields of this collection alone; repeat for more', collect, [])
      .option('--no-collections', 'no validators and encryptedFields (default: those of every readable collection)')
      .option('--schema-file <file>', 'put this file in; repeat for more', collect, [])
      .option('--allow-empty', 'although the key vault has no data key', false)
      .action(run((flags: never, output, [file]) => createBackupFile(file as string, flags, output)));
  }
}
