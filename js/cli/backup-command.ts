/** `csfle backup create | verify | restore`. */

import {
  type BackupKey,
  type BackupLocalMasterKey,
  createBackup,
  type Document,
  readBackup,
  type RestoreBackupReport,
  restoreBackup,
  verifyBackup,
} from '../index.js';
import { backupName, existingBackupFile, placeIn, plainBackup, readBackupFile, schemasOf, writeNewFile } from './backup-files.js';
import { givenPassphrase, type HeldKey, type OpeningKeyFlags, openingKey, type SealingKeyFlags, sealingKey } from './backup-key.js';
import { type Connection, connect, connectionString } from './connection.js';
import { counted } from './counted.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { mark, type Output } from './output.js';
import { localMasterKey, providersAtHand } from './providers.js';
import { trustOf } from './trust-options.js';

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
}

/** Options of `csfle backup restore`. */
export interface RestoreFlags extends VaultFlags, OpeningKeyFlags {
  readonly execute: boolean;
  readonly overwrite: boolean;
  readonly allowUnproven: boolean;
  readonly replacedFile?: string;
  readonly collection: readonly string[];
  readonly allCollections: boolean;
  readonly schemasTo?: string;
  readonly localKeyTo?: string;
}

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
    if (flags.includeLocalKey) localMasterKeys.push({ provider: 'local', key: await localMasterKey(flags.localKeyFile, output) });
    const backup = await connected(uri, output, ({ client, bson }) =>
      createBackup({ keyVault: { client, namespace: flags.keyVault }, key: sealing.key, collections, schemas, localMasterKeys, bson }),
    );
    await writeNewFile(file, backup.bytes);
    const { sha256, keys, notRead } = backup;
    output.document({ file, sha256, keys, collections: backup.collections, notRead });
    output.line(`${counted(keys, 'key document')} and the options of ${counted(backup.collections, 'collection')} in ${file}`);
    output.line(`sha256 ${sha256}`);
    for (const reason of notRead) output.warn(`not in the backup: ${reason}`);
    if (keys === 0) output.warn(`${flags.keyVault} has no data key; check --key-vault`);
    return EXIT_DONE;
  } finally {
    for (const { key } of localMasterKeys) key.fill(0);
    sealing.wipe();
  }
}

/** `csfle backup verify <file>` */
export async function verifyBackupFile(file: string, flags: OpeningKeyFlags, output: Output): Promise<number> {
  const bytes = await readBackupFile(file);
  const opening = await openingKey(bytes, flags, output);
  try {
    const summary = await verifyBackup(bytes, opening.key);
    output.document({ file, ...summary });
    const { keys, indexes, collections, schemas, localMasterKeys, notRead } = summary;
    const malformed = keys.filter((key) => key.malformed);
    output.line(`${file} is whole: made ${summary.createdAt} by ${summary.tool} from ${summary.keyVault ?? 'a key vault store'}`);
    output.line(
      `  ${[counted(keys.length, 'key document'), counted(indexes.length, 'index', 'indexes'), counted(collections.length, 'collection'), counted(schemas.length, 'schema file'), counted(localMasterKeys.length, 'local master key')].join(', ')}`,
    );
    output.line(`  sha256 ${summary.sha256}`);
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
  const bytes = await readBackupFile(file);
  return connected(uri, output, async ({ client, bson }) => {
    const documents = plainBackup(file, bytes, bson);
    const opening = documents === undefined ? await openingKey(bytes, flags, output) : await keyForPresentState(flags, output);
    const providers = flags.overwrite ? await providersAtHand(['local', 'aws'], flags, output) : undefined;
    const replacedFile = flags.replacedFile ?? backupName(flags.keyVault, '-replaced');
    try {
      const report = await restoreBackup({
        ...contentsFor(bytes, documents, opening),
        keyVault: { client, namespace: flags.keyVault },
        execute: flags.execute,
        overwrite: flags.overwrite,
        allowUnproven: flags.allowUnproven,
        ...trustOf(flags),
        ...(providers === undefined ? {} : { kmsProviders: providers.kmsProviders }),
        ...(opening === undefined ? {} : { replaced: { key: opening.key, read: () => existingBackupFile(replacedFile), write: (backup) => writeNewFile(replacedFile, backup.bytes) } }),
        ...(flags.allCollections ? { collections: true } : flags.collection.length > 0 ? { collections: flags.collection } : {}),
        bson,
      });
      const written = documents === undefined && opening !== undefined ? await writeFiles(bytes, opening, flags) : [];
      const replaced = report.replacedBackup === null ? null : replacedFile;
      output.document({ ...report, replacedFile: replaced, files: written });
      printRestored(report, replaced, written, flags, output);
      return report.ok ? EXIT_DONE : EXIT_FAILED;
    } finally {
      providers?.wipe();
      opening?.wipe();
    }
  });
}

async function connected<T>(uri: string, output: Output, work: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = await connect(uri, output);
  try {
    return await work(connection);
  } finally {
    await connection.client.close();
  }
}

function contentsFor(
  bytes: Uint8Array,
  documents: readonly Document[] | undefined,
  opening: HeldKey<BackupKey> | undefined,
): { documents: readonly Document[] } | { bytes: Uint8Array; key: BackupKey } {
  if (documents !== undefined) return { documents };
  if (opening === undefined) throw new CliError('CLI_PASSPHRASE_MISSING', 'the backup needs its key', 'Pass --passphrase-file or --local-key-file.');
  return { bytes, key: opening.key };
}

/** A plain backup has no key; what it replaces needs one. */
async function keyForPresentState(flags: RestoreFlags, output: Output): Promise<HeldKey<BackupKey> | undefined> {
  if (!flags.overwrite || !flags.execute) return undefined;
  const given = await givenPassphrase(flags, output);
  return given === undefined ? sealingKey(flags, output) : { key: given, wipe: () => undefined };
}

/** Writes schema files and the local master key where they were asked for; new files only. Returns their paths. */
async function writeFiles(bytes: Uint8Array, opening: HeldKey<BackupKey>, flags: RestoreFlags): Promise<readonly string[]> {
  const { schemasTo, localKeyTo } = flags;
  if (schemasTo === undefined && localKeyTo === undefined) return [];
  const contents = await readBackup(bytes, opening.key);
  const files: [string, Uint8Array][] = schemasTo === undefined ? [] : contents.schemas.map(({ name, bytes: schema }) => [placeIn(schemasTo, name), schema]);
  try {
    if (localKeyTo !== undefined) {
      const local = contents.localMasterKeys.find(({ provider }) => provider === 'local') ?? contents.localMasterKeys[0];
      if (local === undefined) throw new CliError('CLI_OPTION_INVALID', 'the backup holds no local master key', 'Leave --local-key-to out.', EXIT_FAILED);
      files.push([localKeyTo, local.key]);
    }
    if (flags.execute) for (const [path, contentsOfFile] of files) await writeNewFile(path, contentsOfFile);
    return files.map(([path]) => path);
  } finally {
    for (const { key } of contents.localMasterKeys) key.fill(0);
  }
}

function printRestored(
  report: RestoreBackupReport,
  replacedFile: string | null,
  files: readonly string[],
  flags: RestoreFlags,
  output: Output,
): void {
  const verb = flags.execute ? '' : 'would be ';
  const { inserted, replaced, unchanged, differing, indexes, collections, failures } = report;
  output.line(
    `${counted(inserted.length, 'key')} ${verb}inserted, ${replaced.length} ${verb}replaced, ${unchanged.length} are as in the backup, ${differing.length} differ and stay, ${failures.length} failed`,
  );
  if (indexes.length > 0) output.line(`  indexes ${verb}made: ${indexes.join(', ')}`);
  if (collections.length > 0) output.line(`  options of collections ${verb}written: ${collections.join(', ')}`);
  for (const file of files) output.line(`  ${verb}written: ${file}`);
  if (replacedFile !== null) output.line(`  the state before is in ${replacedFile}`);
  for (const id of differing) output.line(`  ${id} is wrapped otherwise now`);
  if (differing.length > 0 && !flags.overwrite) output.line('  Add --overwrite to put the wrapping of the backup back.');
  for (const { id, message, code, remedy } of failures) output.line(`  ${mark('fail', process.stdout)}  ${id}: ${message}  [${code}]\n        ${remedy}`);
  if (!flags.execute) output.line('Nothing was written. Add --execute to carry this out.');
}
