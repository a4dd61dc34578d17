/** `csfle backup create | verify | restore`. */

import {
  type BackupKey,
  type BackupLocalMasterKey,
  CsfleError,
  createBackup,
  type Document,
  driverKeyVaultStore,
  readBackup,
  type RestoreBackupReport,
  restoreBackup,
  verifyBackup,
} from '../index.js';
import { backupName, existingBackupFile, readBackupFile, writeNewFile } from '../node/backup-files.js';
import { type FileFailure, type FileOfBackup, filesOf, ofBackup, plainBackup, schemasOf, sealOf, storeBackup, writeFiles } from './backup-files.js';
import { givenPassphrase, type HeldKey, type OpeningKeyFlags, openingKey, type SealingKeyFlags, sealingKey } from './backup-key.js';
import { type Connection, connect, connectionString, type DriverBson, vaultPlace } from './connection.js';
import { counted } from './counted.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { withFile } from './files.js';
import { Interrupt } from './interrupt.js';
import { mark, type Output } from './output.js';
import { localKeyFileOf, namedLocalKeys } from './key-file.js';
import { addProvidersAtHand, localMasterKey, ProviderSet, providersOf } from './providers.js';
import { renderTable } from './table.js';
import { trustOf } from './trust-options.js';
import { inCommand } from './words.js';

interface VaultFlags {
  readonly uri?: string;
  readonly keyVault: string;
  readonly json: boolean;
}

/** Options of `csfle backup create`. */
export interface CreateFlags extends VaultFlags, SealingKeyFlags {
  readonly includeLocalKey: boolean;
  /** Named collections; false for none. */
  readonly collection: readonly string[];
  readonly collections: boolean;
  readonly schemaFile: readonly string[];
  /** Whether a key vault without a key is backed up. */
  readonly allowEmpty: boolean;
}

/** Options of `csfle backup restore`. */
export interface RestoreFlags extends VaultFlags, OpeningKeyFlags {
  readonly execute: boolean;
  readonly overwrite: boolean;
  readonly allowUnproven: boolean;
  readonly fromAnotherKeyVault: boolean;
  readonly replacedFile?: string;
  readonly collection: readonly string[];
  readonly allCollections: boolean;
  readonly schemasTo?: string;
  readonly localKeyTo?: string;
}

const KEYS_SHOWN = 20;

/** `csfle backup create <file>` */
export async function createBackupFile(file: string, flags: CreateFlags, output: Output): Promise<number> {
  if (!flags.collections && flags.collection.length > 0)
    throw new CliError('CLI_OPTION_INVALID', '--collection and --no-collections exclude each other', 'Leave one of them out.');
  const uri = connectionString(flags.uri, output);
  const schemas = await schemasOf(flags.schemaFile);
  const sealing = await sealingKey(flags, output);
  const localMasterKeys: BackupLocalMasterKey[] = [];
  const collections = !flags.collections ? [] : flags.collection.length > 0 ? flags.collection : undefined;
  try {
    if (flags.includeLocalKey)
      for (const provider of localProvidersOf(flags))
        localMasterKeys.push({ provider, key: await localMasterKey(localKeyFileOf(flags.localKeyFile, provider), output) });
    return await connected(uri, output, async ({ client, bson }, { signal }) => {
      const keyVault = { client, namespace: flags.keyVault };
      const backup = await createBackup({ keyVault, key: sealing.key, collections, schemas, localMasterKeys, signal, bson });
      const { sha256, keys, notRead } = backup;
      if (keys === 0 && !flags.allowEmpty)
        throw new CliError(
          'CLI_OPTION_INVALID',
          `${vaultPlace(client, flags.keyVault)} has no data key: no backup was written`,
          'Check --key-vault and the connection string; add --allow-empty to back up what is there all the same.',
          EXIT_FAILED,
        );
      await withFile(() => writeNewFile(file, backup.bytes));
      output.document({ file, sha256, keys, collections: backup.collections, notRead });
      output.line(`${counted(keys, 'key document')} and the options of ${counted(backup.collections, 'collection')} in ${file}`);
      output.line(vaultPlace(client, flags.keyVault));
      output.line(`sha256 ${sha256}`);
      for (const reason of notRead) output.warn(`not in the backup: ${reason}`);
      if (keys === 0) output.warn(`${flags.keyVault} has no data key; check --key-vault`);
      return EXIT_DONE;
    });
  } finally {
    for (const { key } of localMasterKeys) key.fill(0);
    sealing.wipe();
  }
}

/** Whose local master keys go into a backup: those that files were given for, `local` if none has a name. */
function localProvidersOf({ localKeyFile }: CreateFlags): readonly string[] {
  const named = namedLocalKeys(localKeyFile);
  return localKeyFile?.[''] !== undefined || named.length === 0 ? ['local', ...named.filter((id) => id !== 'local')] : named;
}

/** `csfle backup verify <file>` */
export async function verifyBackupFile(file: string, flags: OpeningKeyFlags, output: Output): Promise<number> {
  const bytes = await withFile(() => readBackupFile(file));
  const opening = await ofBackup(file, bytes, () => openingKey(bytes, flags, output));
  try {
    const summary = await ofBackup(file, bytes, () => verifyBackup(bytes, opening.key));
    output.document({ file, ...summary });
    const { keys, indexes, collections, schemas, localMasterKeys, notRead } = summary;
    const malformed = keys.filter((key) => key.malformed);
    output.line(`${file} is complete and undamaged: created ${summary.createdAt} by ${summary.tool} from ${summary.keyVault ?? 'a key vault store'}`);
    output.line(
      `  ${[counted(keys.length, 'key document'), counted(indexes.length, 'index', 'indexes'), counted(collections.length, 'collection'), counted(schemas.length, 'schema file'), counted(localMasterKeys.length, 'local master key')].join(', ')}`,
    );
    output.line(`  sha256 ${summary.sha256}`);
    output.line(`  sealed under ${sealOf(bytes)}`);
    const rows = keys.slice(0, KEYS_SHOWN).map(({ id, keyAltNames, provider }) => [id, keyAltNames.join(', '), provider]);
    if (rows.length > 0) output.line(renderTable(['data key', 'alternate names', 'provider'], rows, '  '));
    if (keys.length > rows.length) output.line(`  ... and ${keys.length - rows.length} more (--json lists all)`);
    for (const reason of notRead) output.warn(`not in the backup: ${reason}`);
    for (const { id } of malformed) output.warn(`key ${id} is no well-formed key document; it was stored like that`);
    return EXIT_DONE;
  } finally {
    opening.wipe();
  }
}

/** `csfle backup restore <file>` */
export async function restoreBackupFile(file: string, flags: RestoreFlags, output: Output): Promise<number> {
  const uri = connectionString(flags.uri, output);
  const bytes = await withFile(() => readBackupFile(file));
  return connected(uri, output, async ({ client, bson }, interrupt) => {
    const held: { wipe(): void }[] = [];
    const kept = <Held extends { wipe(): void } | undefined>(one: Held): Held => {
      if (one !== undefined) held.push(one);
      return one;
    };
    try {
      const documents = await plainBackup(file, bytes, bson);
      const opening = kept(
        documents === undefined ? await ofBackup(file, bytes, () => openingKey(bytes, flags, output)) : await keyForPresentState(flags, output),
      );
      const { contents, keyDocuments, files } = await ofBackup(file, bytes, () =>
        contentsFor(bytes, documents, opening, flags, { bson, signal: interrupt.signal }),
      );
      kept({ wipe: () => files.forEach((one) => one.bytes.fill(0)) });
      const present = await driverKeyVaultStore(client, flags.keyVault).find({});
      const providers = kept(new ProviderSet());
      await addProvidersAtHand(providers, providersOf([...keyDocuments, ...present]), flags, output);
      const replacedFile = flags.replacedFile ?? backupName(flags.keyVault, '-replaced');
      const report = inCommand.report(
        await restoreBackup({
          ...contents,
          keyVault: { client, namespace: flags.keyVault },
          fromAnotherKeyVault: flags.fromAnotherKeyVault,
          execute: flags.execute,
          overwrite: flags.overwrite,
          allowUnproven: flags.allowUnproven,
          ...trustOf(flags),
          kmsProviders: providers.kmsProviders,
          kmsTimeoutMS: flags.kmsTimeoutMs,
          ...(opening === undefined
            ? {}
            : {
                replaced: {
                  key: opening.key,
                  read: () => withFile(async () => existingBackupFile(replacedFile)),
                  write: (backup) => storeBackup(replacedFile, backup),
                },
              }),
          ...(flags.allCollections ? { collections: true } : flags.collection.length > 0 ? { collections: flags.collection } : {}),
          signal: interrupt.signal,
          bson,
        }),
      );
      const replaced = report.replacedBackup === null ? null : replacedFile;
      output.line(vaultPlace(client, flags.keyVault));
      printRestored(report, replaced, flags, output);
      const { written, failures } = flags.execute && !report.interrupted ? await writeFiles(files) : { written: files.map(({ path }) => path), failures: [] };
      printFiles(written, failures, flags, output);
      const ok = report.ok && failures.length === 0;
      output.document({ ...report, ok, failures: [...report.failures, ...failures], replacedFile: replaced, files: written });
      if (!flags.execute) output.line('Nothing was written. Add --execute to carry this out.');
      if (report.interrupted) return interrupt.exitCode;
      return ok ? EXIT_DONE : EXIT_FAILED;
    } finally {
      for (const one of held) one.wipe();
    }
  });
}

/** Connects, turns Ctrl-C into an abort with the exit code of its signal, and closes whatever happens. */
async function connected(uri: string, output: Output, work: (connection: Connection, interrupt: Interrupt) => Promise<number>): Promise<number> {
  const connection = await connect(uri, output);
  const interrupt = new Interrupt((text) => output.note(text));
  try {
    return await work(connection, interrupt);
  } catch (error) {
    if (!interrupt.happened || !CsfleError.is(error) || error.code !== 'OPERATION_ABORTED') throw error;
    output.failure(error);
    return interrupt.exitCode;
  } finally {
    interrupt.release();
    await connection.client.close();
  }
}

/** What the library restores, the key documents of it, and the files that are to be written. */
interface Contents {
  readonly contents: { readonly documents: readonly Document[] } | { readonly bytes: Uint8Array; readonly key: BackupKey };
  readonly keyDocuments: readonly Document[];
  readonly files: readonly FileOfBackup[];
}

async function contentsFor(
  bytes: Uint8Array,
  documents: readonly Document[] | undefined,
  opening: HeldKey<BackupKey> | undefined,
  flags: RestoreFlags,
  options: { readonly bson: DriverBson; readonly signal: AbortSignal },
): Promise<Contents> {
  if (documents !== undefined) return { contents: { documents }, keyDocuments: documents, files: [] };
  if (opening === undefined) throw new CliError('CLI_PASSPHRASE_MISSING', 'the backup needs its key', 'Pass --passphrase-file or --local-key-file.');
  const { key } = opening;
  const found = await readBackup(bytes, key, options);
  let files: readonly FileOfBackup[] = [];
  try {
    files = filesOf(found, flags);
  } finally {
    for (const local of found.localMasterKeys) if (!files.some((one) => one.bytes === local.key)) local.key.fill(0);
  }
  return { contents: { bytes, key }, keyDocuments: found.keyDocuments.map((document) => options.bson.deserialize(document)), files };
}

/** A plain backup has no key; what it replaces needs one. */
async function keyForPresentState(flags: RestoreFlags, output: Output): Promise<HeldKey<BackupKey> | undefined> {
  if (!flags.overwrite || !flags.execute) return undefined;
  return (await givenPassphrase(flags, output)) ?? sealingKey(flags, output);
}

function printRestored(report: RestoreBackupReport, replacedFile: string | null, flags: RestoreFlags, output: Output): void {
  const verb = verbOf(flags);
  const { inserted, namesLeftOut, replaced, unproven, unchanged, differing, indexes, collections, failures } = report;
  output.line(
    `${counted(inserted.length, 'key')} ${verb}inserted, ${replaced.length} ${verb}replaced, ${unchanged.length} are as in the backup, ${differing.length} differ and stay, ${failures.length} failed`,
  );
  for (const { id, name, ownerId } of namesLeftOut)
    output.line(`  ${id} ${flags.execute ? 'came' : 'would come'} back without the alternate name ${name}, which ${ownerId} has now`);
  const unopened = unproven.filter((id) => inserted.includes(id));
  const uncompared = unproven.filter((id) => !inserted.includes(id));
  if (unopened.length > 0) output.line(`  unproven, no master key at hand opens them: ${unopened.join(', ')}`);
  if (uncompared.length > 0)
    output.line(`  unproven, not compared with the wrapping that they ${flags.execute ? 'replaced' : 'would replace'}: ${uncompared.join(', ')}`);
  if (indexes.length > 0) output.line(`  indexes ${verb}made: ${indexes.join(', ')}`);
  if (collections.length > 0) output.line(`  options of collections ${verb}written: ${collections.join(', ')}`);
  if (replacedFile !== null) output.line(`  the state before is in ${replacedFile}`);
  for (const id of differing) output.line(`  ${id} is wrapped otherwise now`);
  if (differing.length > 0 && !flags.overwrite) output.line('  Add --overwrite to put the wrapping of the backup back.');
  printFailures(failures, output);
}

function printFiles(files: readonly string[], failures: readonly FileFailure[], flags: RestoreFlags, output: Output): void {
  for (const file of files) output.line(`  ${verbOf(flags)}written: ${file}`);
  printFailures(failures, output);
}

function printFailures(failures: RestoreBackupReport['failures'] | readonly FileFailure[], output: Output): void {
  for (const { id, message, code, remedy } of failures) output.line([`  ${mark('fail', process.stdout)}  ${id}: ${message}  [${code}]`, `        ${remedy}`]);
}

function verbOf({ execute }: RestoreFlags): string {
  return execute ? '' : 'would be ';
}
