#!/usr/bin/env node
import { createRequire } from 'node:module';
import completion from '@bomb.sh/tab/commander';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { addBackupCommands, withPassphrase } from './backup-program.js';
import { applyConfigFile } from './config-file.js';
import { decryptCommand } from './decrypt-command.js';
import { doctorCommand } from './doctor-command.js';
import { CliError, EXIT_DONE, EXIT_FAILED, EXIT_OF_SIGNAL, EXIT_USAGE } from './failure.js';
import { collectKeyFile } from './key-file.js';
import { changeAltName, createKey, movedToBackup, showKey } from './keys-command.js';
import { listKeys } from './list-command.js';
import { migrateCommand } from './migrate-command.js';
import { isoDate } from './migrate-options.js';
import { visible } from '../node/text.js';
import { Output } from './output.js';
import { deleteKey, listRetiredKeys, purgeKeys, restoreKeys } from './retired-keys-command.js';
import { indexKeys } from './index-command.js';
import { rewrapKeys } from './rewrap-command.js';
import { collect, withTrust } from './trust-options.js';
import { DEFAULT_KEY_VAULT } from './vault-option.js';

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new InvalidArgumentError('a whole number above 0 is expected.');
  return number;
}

function pastOrPresentDate(text: string): Date {
  const date = isoDate(text);
  if (date === undefined) throw new InvalidArgumentError('a date of ISO 8601 is expected, such as 2026-11-01 or 2026-11-01T08:30:00Z, a time with its offset.');
  if (date.getTime() > Date.now()) throw new InvalidArgumentError('it is in the future.');
  return date;
}

/** A command with the options that all of them have. */
function connected(command: Command): Command {
  return command
    .option('--uri <uri>', 'connection string; without it MONGODB_URI of the environment')
    .option('--key-vault <namespace>', 'database.collection of the key vault', DEFAULT_KEY_VAULT)
    .option('--json', 'print one JSON document', false)
    .option('--config <file>', 'options from a file of JSON, such as {"key-vault": "..."}; those of the command line come first');
}

const kmsTimeout = (): Option => new Option('--kms-timeout-ms <n>', 'time for one KMS call (default: 10000)').argParser(wholeNumber);

const localKey = (): Option =>
  new Option(
    '--local-key-file <file>',
    'local master key: 96 bytes or base64 text, mode 600; without it CSFLE_LOCAL_KEY or a prompt. Keys under a provider with a name: local:new=<file>, repeated for more',
  ).argParser(collectKeyFile);

const kmsModule = (): Option =>
  new Option('--kms-module <file>', 'module that exports kmsProviders as the library takes them: azure, gcp and kmip, or clients of your own for aws');

const newMasterKey = (): Option =>
  new Option('--new-master-key', 'although the local master key opens none of the keys that the vault has under its provider: a second one is meant').default(
    false,
  );

function withNewMasterKey(command: Command): Command {
  return command
    .option('--to <provider>', 'provider to wrap under: local, aws, azure, gcp or kmip, with an optional name such as aws:eu')
    .option('--to-master-key <json>', 'fields of the master key of azure, gcp or kmip, such as {"keyVaultEndpoint": "...", "keyName": "..."}')
    .option('--key-arn <arn>', 'the AWS KMS key: ARN, or id or alias with --region')
    .option('--region <region>', 'its region, if --key-arn is no ARN')
    .option('--endpoint <host>', 'its endpoint as host[:port], stored with each key; for an endpoint of this machine alone set AWS_ENDPOINT_URL_KMS');
}

/** Options of the commands that search for uses of a key. */
function withEvidence(command: Command): Command {
  return command
    .option(
      '--data-uri <uri>',
      'connection string of a further deployment to search for uses of a key; repeat for more (default: those in CSFLE_DATA_URIS, separated by spaces)',
      collect,
      [],
    )
    .option('--skip-namespace <namespace>', 'do not search this namespace: database.collection, database.* or *; repeat for more', collect, [])
    .option('--skip-reason <text>', 'why these namespaces need no search; kept with the retired keys');
}

/** Options of the commands that remove keys and nothing else. */
function withSchemas(command: Command): Command {
  return command.option(
    '--schema-file <file>',
    'JSON schema, schemaMap or encryptedFieldsMap as extended JSON, searched for uses of a key; repeat for more',
    collect,
    [],
  );
}

/**
 * Wraps a command: errors become a message and an exit code, which the work alone decides. `printing` says that to print is all the
 * work: then it has failed when its output is lost.
 */
function run<Flags extends { json: boolean }>(
  work: (flags: Flags, output: Output, names: readonly string[]) => Promise<number>,
  printing = false,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command;
    let output = new Output(command.opts<Flags>().json);
    try {
      await applyConfigFile(command);
      const flags = command.optsWithGlobals() as Flags;
      output = new Output(flags.json);
      process.exitCode = await work(flags, output, command.processedArgs.flat() as string[]);
    } catch (error) {
      // A prompt that was left with Ctrl-C.
      const left = error instanceof Error && error.name === 'ExitPromptError';
      process.exitCode = left ? EXIT_OF_SIGNAL.SIGINT : output.failure(error);
    }
    await output.finished();
    if (output.lostCode === undefined) return;
    const text = `standard output is lost (${output.lostCode})`;
    if (printing && process.exitCode === EXIT_DONE)
      process.exitCode = output.failure(new CliError('CLI_OUTPUT_LOST', text, 'Make room where it goes, and run the command again.', EXIT_FAILED));
    else output.warn(text);
  };
}

function program(): Command {
  const { version } = createRequire(import.meta.url)('csfle-wasm/package.json') as { version: string };
  const csfle = new Command('csfle')
    .description('Client-side field level encryption for MongoDB: migrate master keys, manage data keys, decrypt documents')
    .version(version)
    .showHelpAfterError('(add --help for all options)')
    .exitOverride()
    // Usage errors repeat arguments.
    .configureOutput({ outputError: (text, write) => write(text.split('\n').map(visible).join('\n')) });

  withPassphrase(withTrust(withEvidence(withNewMasterKey(connected(csfle.command('migrate'))))))
    .description('move data keys, or the data itself, from one master key to another; plans only, unless --execute is given')
    .addOption(
      new Option('--mode <mode>', 'rewrap: same data keys, new master key; reencrypt: new data keys; decrypt: back to plaintext')
        .choices(['rewrap', 'reencrypt', 'decrypt'])
        .default('rewrap'),
    )
    .option('--from <provider>', 'only keys under this provider, with an optional name such as aws:eu; mode rewrap: local if not given; other modes: every key')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--to-local-key-file <file>', 'local master key of --to, if both are local')
    .addOption(newMasterKey())
    .option('--from-key-arn <arn>', 'only keys under this AWS KMS key')
    .option('--from-region <region>', 'its region, if --from-key-arn is no ARN')
    .option('--from-endpoint <host>', 'its endpoint')
    .option('--from-master-key <json>', 'only keys under this master key of azure, gcp or kmip: its fields')
    .option('--created-before <date>', 'mode reencrypt: replace every data key made before this ISO date, whatever wraps it now', pastOrPresentDate)
    .option('--all-keys', 'mode reencrypt: replace every data key that no re-encryption made', false)
    .option('--key <id or name>', 'only this data key, in the mode reencrypt by its id; repeat for more', collect, [])
    .option('--collection <namespace>', 'database.collection whose documents are rewritten; repeat for more', collect, [])
    .option('--schema-file <file>', 'JSON schema or schemaMap as extended JSON, rewritten in place; repeat for more', collect, [])
    .option('--backup-file <file>', 'name of the sealed backup that --execute takes first (default: a new file in this folder)')
    .option('--no-backup', 'take no backup')
    .addOption(new Option('--dry-run', 'plan only, which is the default').default(false).conflicts('execute'))
    .option('--execute', 'carry the plan out', false)
    .option('--allow-empty', 'although the key vault has no data key: then there is nothing to do', false)
    .option('--undo', 'exchange source and target: undo a rewrap', false)
    .option('--confirm-plaintext', 'mode decrypt: documents may be stored in the clear', false)
    .option('--delete-old-keys', 'mode reencrypt: retire old keys that nothing in any namespace needs; csfle keys restore brings them back', false)
    .option('--batch-size <n>', 'documents per read and write (default: 500)', wholeNumber)
    .option('--kms-concurrency <n>', 'KMS calls at the same time (default: 8)', wholeNumber)
    .addOption(kmsTimeout())
    .action(run(migrateCommand))
    .addHelpText(
      'after',
      `
Examples:
  csfle migrate --from local --local-key-file master-key.bin --to aws --key-arn arn:aws:kms:...            # plan
  csfle migrate --from local --local-key-file master-key.bin --to aws --key-arn arn:aws:kms:... --execute  # do it
  csfle migrate --mode reencrypt --created-before 2026-11-01 --collection hospital.patients ... --execute  # new data keys

Exit codes: 0 done, 1 something of what was asked for is not done (the report says what), 2 bad usage,
129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM. The exit code does not change when the output cannot be written.`,
    );

  const keys = csfle.command('keys').description('manage the data keys of a key vault');
  connected(keys.command('list'))
    .description('list the data keys by master key')
    .option('--provider <provider>', 'only keys under this provider, such as aws; aws:eu for one with a name')
    .option('--master-key <text>', 'only keys whose master key contains this text, such as a part of its ARN')
    .option('--limit <n>', 'print this many keys at most', wholeNumber)
    .action(run(listKeys, true));
  connected(keys.command('show'))
    .argument('<key>', 'id or alternate name')
    .description('show one data key')
    .action(run((flags: never, output, [key]) => showKey(key as string, flags, output), true));
  withTrust(withNewMasterKey(connected(keys.command('create'))))
    .description('make a data key and print its id; --to defaults to local')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--alt-name <name>', 'alternate name; repeat for more', collect, [])
    .addOption(newMasterKey())
    .action(run(createKey));
  connected(keys.command('index')).description('make the unique index on alternate names, if it is not there').action(run(indexKeys));
  const altName = keys.command('alt-name').description('change the alternate names of a data key');
  for (const change of ['add', 'remove'] as const) {
    connected(altName.command(change))
      .argument('<key>', 'id or alternate name')
      .argument('<name>', `alternate name to ${change}`)
      .description(change === 'add' ? 'give a data key one more alternate name' : 'take an alternate name from a data key')
      .action(run((flags: never, output, [key, name]) => changeAltName(change, key as string, name as string, flags, output)));
  }
  withTrust(withSchemas(withEvidence(connected(keys.command('delete')))))
    .argument('<key>', 'id or alternate name')
    .description('retire a data key that nothing in any namespace needs: keys restore brings it back')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--yes', 'do not ask', false)
    .action(run((flags: never, output, [key]) => deleteKey(key as string, flags, output)));
  connected(keys.command('retired')).description('list the retired keys').action(run(listRetiredKeys, true));
  connected(keys.command('restore'))
    .argument('[key...]', 'ids or alternate names of retired keys')
    .description('put retired keys back into the key vault')
    .option('--all', 'every retired key', false)
    .option('--without-taken-names', 'leave off alternate names that other keys have now', false)
    .action(
      run((flags: never, output, names) =>
        restoreKeys(
          names.filter((name) => name !== undefined),
          flags,
          output,
        ),
      ),
    );
  withTrust(withSchemas(withEvidence(connected(keys.command('purge')))))
    .description('destroy retired keys that nothing in any namespace needs; plans only, unless --execute is given')
    .addOption(localKey())
    .addOption(kmsModule())
    .requiredOption('--before <date>', 'only keys that were retired before this ISO date', pastOrPresentDate)
    .option('--execute', 'carry it out', false)
    .option('--yes', 'do not ask', false)
    .action(run(purgeKeys));
  withPassphrase(withTrust(withNewMasterKey(connected(keys.command('rewrap')))))
    .argument('[key...]', 'ids or alternate names')
    .description('wrap data keys under another master key, or anew under their own')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--all', 'every key of the vault', false)
    .option(
      '--proof-collection <namespace>',
      'collection with encrypted values that are used to check each key that a KMS unwraps; repeat for more (default: every collection that can be read)',
      collect,
      [],
    )
    .option('--no-proof', 'do not check keys against encrypted values; only require that the KMS returns the same key twice')
    .option('--backup-file <file>', 'name of the sealed backup that is taken first (default: a new file in this folder)')
    .option('--no-backup', 'take no backup')
    .addOption(newMasterKey())
    .action(
      run((flags: never, output, names) =>
        rewrapKeys(
          names.filter((name) => name !== undefined),
          flags,
          output,
        ),
      ),
    );
  connected(keys.command('backup', { hidden: true }))
    .argument('<file>', 'a file')
    .allowUnknownOption()
    .action(run((_flags: never, _output, [file]) => movedToBackup(file as string)));

  addBackupCommands(csfle, { connected: (command) => withTrust(connected(command)), withNewMasterKey, localKey, kmsModule, kmsTimeout, collect, run });

  withTrust(connected(csfle.command('decrypt')))
    .argument('<namespace>', 'database.collection')
    .description('print documents with every encrypted value decrypted, as extended JSON, one per line')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--id <id>', 'only the document of this _id: text, ObjectId, UUID or extended JSON')
    .option('--filter <json>', 'only documents that match, as extended JSON; encrypted fields are compared as they are stored')
    .option(
      '--filter-encrypted <path=value>',
      'only documents with this value in an encrypted field (deterministic); repeat for more, all have to match',
      collect,
      [],
    )
    .option('--relaxed', 'relaxed instead of canonical extended JSON', false)
    .action(run((flags: never, output, [namespace]) => decryptCommand(namespace as string, flags, output), true));

  withTrust(connected(csfle.command('doctor')))
    .description('check versions, server, key vault and key file, and each key against values under it')
    .addOption(localKey())
    .addOption(kmsModule())
    .option('--collection <namespace>', 'database.collection to look for values in; repeat for more (default: all)', collect, [])
    .action(run(doctorCommand));

  exitWithError(csfle);
  completion(csfle, { completionCommandName: 'completion' });
  return csfle;
}

/**
 * Every command reports bad usage by throwing, so that the exit code is ours. A value that starts with `--` is an option: what was to
 * stand before it, such as a variable of the shell that is not set, is missing.
 */
function exitWithError(command: Command): void {
  command.exitOverride();
  for (const option of command.options) if (option.required || option.optional) requireValue(option);
  for (const inner of command.commands) exitWithError(inner);
}

function requireValue(option: Option): void {
  const { parseArg } = option;
  option.argParser((value: string, before: unknown) => {
    if (value.startsWith('--'))
      throw new InvalidArgumentError(
        `a value is missing: ${value} is an option itself. Is a variable not set? A file of such a name is written as ./${value}.`,
      );
    return parseArg === undefined ? value : parseArg(value, before);
  });
}

async function main(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync([...argv]);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version are no mistakes.
    process.exitCode = error.exitCode === 0 ? EXIT_DONE : EXIT_USAGE;
    if (error.exitCode !== 0 && argv.includes('--json')) {
      new Output(true).document({
        error: { code: 'CLI_OPTION_INVALID', message: error.message.replace(/^error: /, ''), remedy: 'See --help.' },
      });
    }
  }
}

// An error that no code caught is printed without a stack trace, and the exit code says that the command failed.
process.on('uncaughtException', (error) => {
  new Output(process.argv.includes('--json')).failure(error);
  process.exit(EXIT_FAILED);
});

await main(process.argv);
