import confirm from '@inquirer/confirm';
import { migrate, type MigrateOptions, type MigrationReport } from '../index.js';
import { type Connection, connect, connectionString } from './connection.js';
import { CliError, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED } from './failure.js';
import { schemaFile } from './files.js';
import { Interrupt } from './interrupt.js';
import { migrationBackup } from './migrate-backup.js';
import { type Endpoints, endpointsOf, keyFilterOf, type MigrateFlags } from './migrate-options.js';
import type { Output } from './output.js';
import { ProgressView } from './progress-view.js';
import { printPlan, printResults } from './report-view.js';

/** `csfle migrate`: plans, and carries the plan out with `--execute`. */
export async function migrateCommand(flags: MigrateFlags, output: Output): Promise<number> {
  const uri = connectionString(flags.uri, output);
  const endpoints = await endpointsOf(flags, output);
  const backup = await migrationBackup(flags, endpoints, output).catch((error: unknown) => {
    endpoints.providers.wipe();
    throw error;
  });
  const connection = await connect(uri, output);
  const progress = new ProgressView();
  const interrupt = new Interrupt((text) => {
    progress.close();
    output.note(text);
  });
  try {
    const options: MigrateOptions = {
      ...(await optionsOf(flags, endpoints, connection, backup)),
      onProgress: progress.show,
      signal: interrupt.signal,
    };
    const report = await perform(flags, options);
    progress.close();
    return finish(flags, report, output);
  } finally {
    progress.close();
    interrupt.release();
    endpoints.providers.wipe();
    await connection.client.close();
  }
}

async function optionsOf(
  flags: MigrateFlags,
  endpoints: Endpoints,
  { client, bson }: Connection,
  backup: MigrateOptions['backup'],
): Promise<MigrateOptions> {
  const { from, to, kmsProviders } = endpoints;
  const keyFilter = keyFilterOf(flags.key, bson);
  const given = {
    from,
    to,
    keyFilter,
    batchSize: flags.batchSize,
    kmsConcurrency: flags.kmsConcurrency,
    kmsTimeoutMS: flags.kmsTimeoutMs,
    backup,
    witnesses: flags.deleteOldKeys ? await otherCollections(flags, { client, bson }) : undefined,
  };
  return {
    keyVault: { client, namespace: flags.keyVault },
    kmsProviders,
    mode: flags.mode,
    collections: flags.collection.map((namespace) => ({ client, namespace })),
    schemas: flags.schemaFile.map((path) => schemaFile(path, bson)),
    confirmPlaintext: flags.confirmPlaintext,
    deleteOldKeys: flags.deleteOldKeys,
    bson,
    ...(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<MigrateOptions>),
  };
}

/** Every collection that an old key may have been used for: before a key is removed, all of them are looked through. */
async function otherCollections(flags: MigrateFlags, { client }: Connection): Promise<MigrateOptions['witnesses']> {
  const known = new Set([flags.keyVault, ...flags.collection]);
  const witnesses: { client: Connection['client']; namespace: string }[] = [];
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true, authorizedDatabases: true });
  for (const { name } of databases) {
    if (['admin', 'config', 'local'].includes(name)) continue;
    for await (const { name: collection, type } of client
      .db(name)
      .listCollections({}, { nameOnly: true, authorizedCollections: true })) {
      const namespace = `${name}.${collection}`;
      if (type !== 'view' && !collection.startsWith('system.') && !known.has(namespace)) witnesses.push({ client, namespace });
    }
  }
  return witnesses;
}

async function perform(flags: MigrateFlags, options: MigrateOptions): Promise<MigrationReport> {
  if (!flags.execute) return migrate(options);
  if (flags.mode !== 'decrypt') return migrate({ ...options, execute: true });
  if (!flags.confirmPlaintext && !(await confirmed(flags))) {
    throw new CliError(
      'CLI_CONFIRMATION_MISSING',
      'the mode decrypt stores documents in the clear',
      'Add --confirm-plaintext when that is what you want.',
    );
  }
  return migrate({ ...options, confirmPlaintext: true, execute: true });
}

async function confirmed(flags: MigrateFlags): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY || flags.json) return false;
  return confirm(
    { message: `Store the documents of ${flags.collection.join(', ')} in the clear?`, default: false },
    { output: process.stderr },
  );
}

function finish(flags: MigrateFlags, report: MigrationReport, output: Output): number {
  if (output.json) output.document(report);
  else if (report.interrupted && report.plan.checks.length === 0) output.note('nothing was written');
  else if (report.executed) printResults(output, report);
  else {
    printPlan(output, report);
    output.line(verdictOf(flags, report));
  }
  warnOfNothing(flags, report, output);
  if (report.interrupted) return EXIT_INTERRUPTED;
  return report.ok ? EXIT_DONE : EXIT_FAILED;
}

/** A misspelt key vault or key looks like one that is done: nothing to do. A key that an earlier run removed is no failure. */
function warnOfNothing(flags: MigrateFlags, { plan }: MigrationReport, output: Output): void {
  if (!plan.checks.some(({ name, ok }) => name === 'vault-readable' && ok)) return;
  const known = new Set(plan.keys.flatMap(({ id, keyAltNames }) => [id, ...keyAltNames]));
  for (const key of flags.key)
    if (!known.has(key) && !known.has(key.toLowerCase())) output.warn(`${flags.keyVault} has no key of the id or alternate name ${JSON.stringify(key)}`);
  if (known.size === 0 && flags.key.length === 0) output.warn(`${flags.keyVault} has no data key; check --key-vault`);
}

function verdictOf(flags: MigrateFlags, { plan, failures }: MigrationReport): string {
  if (!flags.execute)
    return plan.executable
      ? 'Nothing was written. Add --execute to carry this out.'
      : 'Nothing was written, and --execute would refuse: a required check failed.';
  const [first] = failures;
  return first === undefined
    ? 'Nothing was written.'
    : `Nothing was written: ${first.message}  [${first.code}]\n${first.remedy}`;
}
