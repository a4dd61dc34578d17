import confirm from '@inquirer/confirm';
import { driverKeyVaultStore, migrate, type MigrateOptions, type MigrationReport } from '../index.js';
import { type Connection, connect, connectionString, vaultPlace } from './connection.js';
import { DataClients, skippedEvidence } from './evidence-options.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { schemaFile } from './files.js';
import { Interrupt } from './interrupt.js';
import { type HeldBackup, migrationBackup } from './migrate-backup.js';
import { choiceOf, type Endpoints, endpointsOf, keyFilterOf, type MigrateFlags } from './migrate-options.js';
import type { Output } from './output.js';
import { ProgressView } from './progress-view.js';
import { requireKnownMasterKey } from './known-master-key.js';
import { trustOf } from './trust-options.js';
import { inCommand } from './words.js';
import { printPlan, printResults, type ReportPlace } from './report-view.js';

/** `csfle migrate`: plans, and carries the plan out with `--execute`. */
export async function migrateCommand(flags: MigrateFlags, output: Output): Promise<number> {
  const uri = connectionString(flags.uri, output);
  const evidence = skippedEvidence(flags);
  if (evidence !== undefined && flags.mode !== 'reencrypt')
    throw new CliError('CLI_OPTION_INVALID', '--skip-namespace can be used only with --mode reencrypt', 'Leave it out.');
  const endpoints = await endpointsOf(flags, output);
  const others = new DataClients();
  const progress = new ProgressView((text) => output.note(text));
  let held: HeldBackup | undefined;
  let connection: Connection | undefined;
  let interrupt: Interrupt | undefined;
  try {
    held = await migrationBackup(flags, endpoints, output);
    connection = await connect(uri, output);
    if (endpoints.to !== undefined) await requireKnownMasterKey(endpoints.to.provider, flags, endpoints.providers, connection, { alsoRetired: true });
    interrupt = new Interrupt((text) => {
      progress.close();
      output.note(text);
    });
    const options: MigrateOptions = {
      ...(await optionsOf(flags, endpoints, connection, await others.connect(flags.dataUri, output), held?.backup, evidence)),
      onProgress: progress.show,
      signal: interrupt.signal,
    };
    if (flags.execute) await requireNamedKeys(flags, connection);
    const report = inCommand.report(await perform(flags, options));
    progress.close();
    const keyFile = endpoints.to === undefined ? undefined : endpoints.providers.sourceOf(endpoints.to.provider);
    return finish(flags, report, output, interrupt, { vault: vaultPlace(connection.client, flags.keyVault), keyFile });
  } finally {
    progress.close();
    interrupt?.release();
    held?.wipe();
    endpoints.providers.wipe();
    await others.close();
    await connection?.client.close();
  }
}

async function optionsOf(
  flags: MigrateFlags,
  endpoints: Endpoints,
  { client, bson }: Connection,
  dataClients: NonNullable<MigrateOptions['dataClients']>,
  backup: MigrateOptions['backup'],
  evidence: MigrateOptions['evidence'],
): Promise<MigrateOptions> {
  const { from, to, kmsProviders } = endpoints;
  const choice = choiceOf(flags, bson);
  const keyFilter = flags.mode === 'reencrypt' ? undefined : keyFilterOf(flags.key, bson);
  const given = {
    from,
    to,
    ...choice,
    keyFilter,
    batchSize: flags.batchSize,
    kmsConcurrency: flags.kmsConcurrency,
    kmsTimeoutMS: flags.kmsTimeoutMs,
    backup,
    dataClients: dataClients.length === 0 ? undefined : dataClients,
    evidence,
  };
  return {
    keyVault: { client, namespace: flags.keyVault },
    kmsProviders,
    ...trustOf(flags, flags.endpoint, flags.fromEndpoint),
    mode: flags.mode,
    collections: flags.collection.map((namespace) => ({ client, namespace })),
    schemas: flags.schemaFile.map((path) => schemaFile(path, bson)),
    confirmPlaintext: flags.confirmPlaintext,
    allowEmpty: flags.allowEmpty,
    deleteOldKeys: flags.deleteOldKeys,
    bson,
    ...(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<MigrateOptions>),
  };
}

/** Part of what was asked for would be left out without a word. The mode reencrypt knows ids, and says itself which are missing. */
async function requireNamedKeys({ key, mode, keyVault }: MigrateFlags, { client, bson }: Connection): Promise<void> {
  const filter = keyFilterOf(key, bson);
  if (mode === 'reencrypt' || filter === undefined) return;
  // A vault that cannot be read is a check of the plan.
  const found = await driverKeyVaultStore(client, keyVault)
    .find(filter)
    .catch(() => undefined);
  if (found === undefined) return;
  const known = new Set(found.flatMap(({ _id, keyAltNames }) => [String(_id), ...(Array.isArray(keyAltNames) ? keyAltNames : [])]));
  const missing = key.find((one) => !known.has(one) && !known.has(one.toLowerCase()));
  if (missing !== undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      `the key vault has no key of the id or alternate name ${JSON.stringify(missing)}: nothing was written`,
      'See: csfle keys list',
      EXIT_FAILED,
    );
}

async function perform(flags: MigrateFlags, options: MigrateOptions): Promise<MigrationReport> {
  if (!flags.execute) return migrate(options);
  if (flags.mode !== 'decrypt') return migrate({ ...options, execute: true });
  if (!flags.confirmPlaintext && !(await confirmed(flags))) {
    throw new CliError('CLI_CONFIRMATION_MISSING', 'the mode decrypt stores documents in the clear', 'Add --confirm-plaintext when that is what you want.');
  }
  return migrate({ ...options, confirmPlaintext: true, execute: true });
}

async function confirmed(flags: MigrateFlags): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY || flags.json) return false;
  return confirm({ message: `Store the documents of ${flags.collection.join(', ')} in the clear?`, default: false }, { output: process.stderr });
}

function finish(flags: MigrateFlags, report: MigrationReport, output: Output, interrupt: Interrupt, place: ReportPlace): number {
  const { keyFile } = place;
  if (output.json) output.document(keyFile === undefined ? report : { ...report, keyFile });
  else if (report.interrupted && report.plan.checks.length === 0) output.note('nothing was written');
  else if (report.executed) printResults(output, report, place);
  else {
    printPlan(output, report, place);
    output.line(verdictOf(flags, report));
  }
  warnOfNothing(flags, report, output);
  for (const reason of report.backup?.notRead ?? []) output.warn(`not in the backup: ${reason}`);
  if (report.interrupted) return interrupt.exitCode;
  return report.ok ? EXIT_DONE : EXIT_FAILED;
}

/** A misspelt key vault or key looks like one that is done. A re-encryption names the keys that it does not find itself. */
function warnOfNothing(flags: MigrateFlags, { plan }: MigrationReport, output: Output): void {
  if (!plan.checks.some(({ name, ok }) => name === 'vault-readable' && ok)) return;
  const known = new Set(plan.keys.flatMap(({ id, keyAltNames }) => [id, ...keyAltNames]));
  for (const key of flags.mode === 'reencrypt' ? [] : flags.key)
    if (!known.has(key) && !known.has(key.toLowerCase())) output.warn(`${flags.keyVault} has no key of the id or alternate name ${JSON.stringify(key)}`);
  if (known.size === 0 && flags.key.length === 0) output.warn(`${flags.keyVault} has no data key; check --key-vault`);
}

function verdictOf(flags: MigrateFlags, { plan, failures }: MigrationReport): string | readonly string[] {
  if (!flags.execute)
    return plan.executable
      ? 'Nothing was written. Add --execute to carry this out.'
      : ['Nothing was written, and --execute would refuse: a required check failed.'];
  const [first] = failures;
  return first === undefined
    ? 'Nothing was written.'
    : [`Nothing was written: ${first.message}  [${first.code}]`, first.remedy.replace(/^Nothing was written\. /, '')];
}
