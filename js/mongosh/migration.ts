/** `csfle.migrate()`: the library's migration with the shell's connection, progress in lines, a result that reads well. */

import {
  choiceText,
  CsfleError,
  type MasterKeyDocument,
  type MigrateOptions,
  type MigrationBackup,
  type MigrationCheck,
  type MigrationProgress,
  type MigrationReport,
  migrate,
  remainingText,
} from '../index.js';
import { visible } from '../node/text.js';
import { backupName, existingBackupFile, writeNewFile } from '../node/backup-files.js';
import { sealingKey } from './backup.js';
import { type ShellPassphrase, withFile } from './backup-files.js';
import { requireMasterKeyFields, requireOptions, requireRegionOfArn } from './arguments.js';
import { AS_PRINTABLE, finishing } from './help.js';
import { keyFileOf, requireKnownMasterKey } from './known-master-key.js';
import { type ResolvedProviders, resolveKmsProviders, type ShellKmsProviders } from './kms-providers.js';
import { providerClient } from './provider-client.js';
import { findKeyVault, type ShellKeyVaultPlace, vaultPlace, withOptionsOfMongo } from './session.js';
import { findMongo, printAfterInterrupt, printLine, type ShellInstanceState } from './shell.js';
import { inShell } from './words.js';

/** A collection of the shell, such as `db.patients`. */
export interface ShellCollection {
  getFullName(): string;
}

/** Options of `csfle.migrate()`: those of the library's `migrate()`, with the key vault and collections named the shell's way. */
export interface ShellMigrateOptions
  extends ShellPassphrase,
    Omit<
      MigrateOptions,
      'backup' | 'keyVault' | 'kmsProviders' | 'collections' | 'otherCollections' | 'dataClients' | 'onProgress' | 'onBackup' | 'bson' | 'signal'
    > {
  /** The connection: a Mongo or a Database of the shell. Default: that of `db`. */
  readonly client?: unknown;
  /** The key vault, `database.collection`. */
  readonly keyVaultNamespace?: string;
  /** The connection of the key vault. Default: `client`. */
  readonly keyVaultClient?: unknown;
  readonly kmsProviders?: ShellKmsProviders;
  /**
   * Name of the sealed backup that is taken before the first write; under the passphrase if there is one, else under the
   * master key of `to` (mode decrypt: of `from`). Default: a new file in the working folder.
   */
  readonly backupFile?: string;
  /** Says that a local master key of `to` which opens none of the keys under its provider is meant. */
  readonly newMasterKey?: boolean;
  /** `false` takes no backup. */
  readonly backup?: boolean;
  /** Collections of the shell, or their names as `database.collection`. */
  readonly collections?: readonly (string | ShellCollection)[];
  /** Collections to search for uses of old keys, beside those that the connections list. */
  readonly otherCollections?: readonly (string | ShellCollection)[];
  /** Further connections to search for uses of old keys: Mongos or Databases of the shell. */
  readonly dataClients?: readonly unknown[];
}

const OPTION_NAMES: readonly (keyof ShellMigrateOptions)[] = [
  'client',
  'keyVaultNamespace',
  'keyVaultClient',
  'kmsProviders',
  'mode',
  'from',
  'to',
  'execute',
  'createdBefore',
  'keyIds',
  'all',
  'keyFilter',
  'collections',
  'schemas',
  'confirmPlaintext',
  'deleteOldKeys',
  'evidence',
  'otherCollections',
  'dataClients',
  'backup',
  'backupFile',
  'passphraseFile',
  'passphrase',
  'allowEmpty',
  'newMasterKey',
  'trustedMasterKeys',
  'allowedEndpoints',
  'batchSize',
  'kmsConcurrency',
  'kmsTimeoutMS',
  'kmsRetries',
];

/** A line of progress at most this often. */
const PROGRESS_INTERVAL_MS = 2000;

/**
 * Plans the migration, or executes it with `execute: true`.
 * Errors: as the library's `migrate`; `ARGUMENT_INVALID` for a collection that is none.
 */
export async function migrateInShell(options: ShellMigrateOptions): Promise<MigrationReport> {
  const complete = { ...options, ...withOptionsOfMongo(options) } as ShellMigrateOptions;
  requireOptions('csfle.migrate', complete, OPTION_NAMES);
  if (complete.backup !== undefined && typeof complete.backup !== 'boolean')
    throw new CsfleError(
      'OPTION_INVALID',
      `backup must be true or false, found ${typeof complete.backup}; the file and its passphrase are backupFile and passphraseFile`,
      { details: { option: 'backup' } },
    );
  for (const name of ['from', 'to'] as const) requireRegionOfArn(name, complete[name]);
  const { to } = complete;
  requireMasterKeyFields('csfle.migrate: to', to?.provider, to, (pattern) => `to: { provider: ${JSON.stringify(to?.provider)}, ${pattern.slice(2)}`);
  const place = findKeyVault(complete);
  const {
    client: _client,
    keyVaultNamespace: _namespace,
    keyVaultClient: _vaultClient,
    kmsProviders,
    collections,
    otherCollections,
    dataClients,
    backupFile,
    backup: wantsBackup,
    passphrase,
    passphraseFile,
    newMasterKey,
    ...settings
  } = complete;
  // One client for one connection: what it lists is searched once.
  const dataClient = place.mongo === place.vaultMongo ? place.vaultClient : providerClient(place.mongo);
  const opened = (option: string, given: readonly (string | ShellCollection)[]): MigrateOptions['collections'] =>
    listOf(option, given).map((one) => ({ client: dataClient, namespace: namespaceOf(option, one) }));
  const providers = resolveKmsProviders(kmsProviders, place.state);
  const progress = new ProgressLines(place.state);
  let held: { readonly backup: MigrationBackup; wipe(): void } | undefined;
  try {
    const { to, trustedMasterKeys, allowedEndpoints } = complete;
    await requireKnownMasterKey(place, {
      provider: to?.provider,
      kmsProviders: providers.kmsProviders,
      given: kmsProviders,
      newMasterKey,
      alsoRetired: true,
      trustedMasterKeys,
      allowedEndpoints,
    });
    held = wantsBackup === false ? undefined : backupOf(complete, providers, place);
    const backup = held?.backup;
    const where: ReportPlace = { vault: vaultPlace(place), keyFile: to === undefined ? undefined : keyFileOf(kmsProviders?.[to.provider]) };
    const printable = (report: MigrationReport): MigrationReport => readable(inShell.report(report), where);
    const work = (signal: AbortSignal): Promise<MigrationReport> => {
      // What is left of a phase that was broken off is not done.
      signal.addEventListener('abort', () => progress.stop());
      return migrate({
        ...settings,
        keyVault: { client: place.vaultClient, namespace: place.namespace },
        kmsProviders: providers.kmsProviders,
        ...(collections === undefined ? {} : { collections: opened('collections', collections) }),
        ...(otherCollections === undefined ? {} : { otherCollections: opened('otherCollections', otherCollections) }),
        ...(dataClients === undefined ? {} : { dataClients: listOf('dataClients', dataClients).map((client) => providerClient(findMongo(client, options))) }),
        ...(backup === undefined ? {} : { backup }),
        bson: place.bson,
        signal,
        onProgress: (tick) => progress.show(tick),
      });
    };
    const said = async (report: MigrationReport): Promise<void> => printAfterInterrupt(place.state, `\n${summary(inShell.report(report), where)}`);
    return printable(await finishing(place.state, work, said));
  } finally {
    held?.wipe();
    providers.wipe();
    await progress.printed();
  }
}

/** Requires an array. Errors: `ARGUMENT_INVALID`. */
export function listOf<T>(option: string, given: readonly T[]): readonly T[] {
  if (Array.isArray(given)) return given;
  throw new CsfleError('ARGUMENT_INVALID', `${option}: expected an array, such as [db.patients]`, { details: { argument: option } });
}

/** The name of a collection that was given by name or as one of the shell. Errors: `ARGUMENT_INVALID`. */
export function namespaceOf(option: string, collection: string | ShellCollection): string {
  if (typeof collection === 'string') return collection;
  if (typeof collection?.getFullName === 'function') return collection.getFullName();
  throw new CsfleError('ARGUMENT_INVALID', `${option}: expected collections such as db.patients, or names such as "hospital.patients"`, {
    details: { argument: option },
  });
}

/** The backup before the first write. A plan that has no key for it goes without: it only counts its calls. */
function backupOf(
  options: ShellMigrateOptions,
  providers: ResolvedProviders,
  place: ShellKeyVaultPlace,
): { readonly backup: MigrationBackup; wipe(): void } | undefined {
  const { backupFile, passphrase, passphraseFile, from, to, execute, trustedMasterKeys, allowedEndpoints, kmsTimeoutMS, kmsRetries } = options;
  const ofLocal = 'local' in providers.kmsProviders ? { provider: 'local' } : undefined;
  const masterKey = to ?? from ?? ofLocal;
  try {
    const given = { passphrase, passphraseFile, masterKey: isWhole(masterKey) ? masterKey : undefined, trustedMasterKeys, allowedEndpoints };
    const limits = { ...(kmsTimeoutMS === undefined ? {} : { kmsTimeoutMS }), ...(kmsRetries === undefined ? {} : { kmsRetries }) };
    const { key, wipe } = sealingKey({ ...given, ...limits }, providers, place.state);
    const file = backupFile ?? backupName(place.namespace);
    const backup: MigrationBackup = {
      key,
      file,
      read: () => withFile(() => existingBackupFile(file)),
      write: async ({ bytes }) => {
        withFile(() => writeNewFile(file, bytes));
        await printLine(place.state, `backup: ${file}`);
      },
    };
    return { backup, wipe };
  } catch (error) {
    if (execute === true) throw error;
    return undefined;
  }
}

/** Whether something can be wrapped under it: `from` may be no more than a provider. */
function isWhole(masterKey: MasterKeyDocument | undefined): boolean {
  return masterKey !== undefined && (masterKey.provider.split(':', 1)[0] === 'local' || Object.keys(masterKey).length > 1);
}

/** Prints progress as lines: one when a phase ends, and one every two seconds of a long phase. */
class ProgressLines {
  readonly #state: ShellInstanceState | undefined;
  #lastMs = performance.now();
  #queue: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(state: ShellInstanceState | undefined) {
    this.#state = state;
  }

  /** Shows nothing any more. */
  stop(): void {
    this.#stopped = true;
  }

  show(tick: MigrationProgress): void {
    if (this.#stopped) return;
    const nowMs = performance.now();
    if (tick.total === 0 || (tick.done < tick.total && nowMs - this.#lastMs < PROGRESS_INTERVAL_MS)) return;
    this.#lastMs = nowMs;
    // A line that cannot be printed stops nothing and hides no report.
    this.#queue = this.#queue.then(() => printLine(this.#state, lineOf(tick))).catch(() => {});
  }

  /** Resolves when every line is out. */
  printed(): Promise<void> {
    return this.#queue;
  }
}

function lineOf({ phase, namespace, done, total, failed, ratePerSec, etaMs }: MigrationProgress): string {
  const where = namespace === undefined ? phase : `${phase} ${namespace}`;
  const left = done < total && etaMs !== null ? `, ${Math.ceil(etaMs / 1000)} s left` : '';
  return `${where}: ${done} of ${total}${failed === 0 ? '' : `, ${failed} failed`}, ${ratePerSec}/s${left}`;
}

// The report stays plain data, which --json prints as it is; only its print is for readers.
/** Where a migration happens, as its print names it. */
interface ReportPlace {
  readonly vault: string;
  readonly keyFile: string | undefined;
}

function readable(report: MigrationReport, place: ReportPlace): MigrationReport {
  return Object.freeze(Object.defineProperty({ ...report }, AS_PRINTABLE, { value: () => summary(report, place) }));
}

function summary(report: MigrationReport, { vault, keyFile }: ReportPlace): string {
  const { counts, checks, collections, schemas, kmsCalls, executable } = report.plan;
  const { left, stays } = remainingText(report);
  // Half a plan would look like one without keys.
  if (report.interrupted && checks.length === 0)
    return [`Migration plan (${report.mode})`, '', `  vault        ${vault}`, '', 'Interrupted: nothing was written. Run it again to go on.']
      .map(visible)
      .join('\n');
  const lines = [
    `${report.executed ? 'Migration' : 'Migration plan'} (${report.mode}): ${masterKeyText(report.from) ?? 'every key'} -> ${masterKeyText(report.to) ?? 'plaintext'}`,
    '',
    `  vault        ${vault}`,
    ...(keyFile === undefined ? [] : [`  key file     ${keyFile}`]),
    `  keys         ${counts.migrate} to migrate, ${counts.done} done before, ${counts.other} not asked for, ${counts.malformed} malformed`,
    ...(report.choice === null ? [] : [`  asked for    ${choiceText(report.choice)}`]),
    ...collections.map(
      (one) =>
        `  collection   ${one.namespace}: ${counted(one.documents, 'document')}, ${one.valuesToMigrate} of ${counted(one.values, 'encrypted value')} to migrate`,
    ),
    ...schemas.map((one) => `  schema       ${one.name}: ${counted(one.changes, 'change')}`),
    ...checks.flatMap((check) => [`  check        ${checkLine(check)}`, ...remedyLine(check)]),
    ...(report.backup === null
      ? []
      : [`  backup       ${report.backup.file ?? 'stored'}${report.backup.kept ? ' of an earlier run' : ''}: ${counted(report.backup.keys, 'key')}`]),
    ...(report.backup?.notRead ?? []).map((reason) => `  warning      not in the backup: ${reason}`),
    report.executed ? resultLine(report) : `  KMS calls    about ${kmsCalls}`,
    ...(report.executed
      ? report.collections.map(
          (one) =>
            `  rewritten    ${one.namespace}: ${counted(one.documentsRewritten, 'document')}, ${counted(one.valuesRewritten, 'value')}, ${one.valuesLeft ?? 'not known how many'} left`,
        )
      : []),
    ...left.map((line) => `  left         ${line}`),
    ...(stays === null ? [] : [`  not chosen   ${stays}`]),
    ...report.failures
      .filter(({ kind }) => kind !== 'check')
      .flatMap(({ kind, id, code, message, remedy }) => [
        `  failed       ${kind === id ? '' : `${kind} `}${id}: ${message} [${code}]`,
        `               ${remedy}`,
      ]),
    '',
    verdict(report, executable),
  ];
  return lines.map(visible).join('\n');
}

function masterKeyText(masterKey: MasterKeyDocument | null): string | undefined {
  return masterKey === null ? undefined : Object.values(masterKey).join(' ');
}

function checkLine({ ok, required, name, subject, detail, code }: MigrationCheck): string {
  const mark = ok ? 'ok  ' : required ? 'FAIL' : 'warn';
  return `${mark} ${name}${subject === undefined ? '' : ` (${subject})`}: ${detail}${code === undefined ? '' : ` [${code}]`}`;
}

/** The next step after a check that is not ok. */
function remedyLine({ remedy }: MigrationCheck & { readonly remedy?: string }): readonly string[] {
  return remedy === undefined ? [] : [`                    ${remedy}`];
}

function resultLine({ mode, keys, durationMs }: MigrationReport): string {
  const time = `in ${(durationMs / 1000).toFixed(1)} s`;
  // Leaving encryption changes no key.
  if (mode === 'decrypt') return `  result       ${time}`;
  const done = `${counted(keys.migrated, 'key')} ${mode === 'rewrap' ? 'wrapped anew' : 'replaced by new ones'}, ${keys.alreadyDone} were done, ${keys.failed} failed`;
  const after =
    mode === 'rewrap' ? `${keys.verified} verified` : `${counted(keys.namesMoved, 'alternate name')} moved, ${counted(keys.deleted, 'old key')} retired`;
  return `  result       ${done}, ${after}, ${time}`;
}

function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function verdict(report: MigrationReport, executable: boolean): string {
  if (report.interrupted) return 'Interrupted: run it again to go on.';
  const kept = (report.remaining?.notChosen ?? []).length > 0 || report.plan.checks.some(({ name, ok }) => name === 'keys-under-target' && !ok);
  const nothingChosen = report.keys.planned === 0 ? report.plan.checks.find(({ name }) => name === 'keys-chosen') : undefined;
  if (report.executed && report.ok && nothingChosen !== undefined) return `Nothing to do: ${nothingChosen.detail}.`;
  if (report.executed)
    return report.ok
      ? `Done and verified${kept ? ' for the keys that were chosen; others keep their data key' : ''}.`
      : 'Not done: see above what failed and what is left. Run it again when that is dealt with.';
  if (report.failures.length > 0) return 'Nothing was written: see what failed above.';
  return executable ? 'Nothing was written. Run it again with execute: true.' : 'Nothing was written, and nothing will be before the failed checks pass.';
}
