/** `csfle keys rewrap`: wraps keys anew, after a backup of how they are wrapped now. */

import {
  type ClientEncryption,
  createBackup,
  type Document,
  driverKeyVaultStore,
  type MasterKeyDocument,
  type MasterKeyOf,
  type ProviderName,
  type SealedBackup,
} from '../index.js';
import { backupName, writeNewFile } from '../node/backup-files.js';
import { keyBeforeFirstWrite } from './backup-key.js';
import { type Connection, vaultPlace } from './connection.js';
import { counted } from './counted.js';
import { requireCollections } from './discovery.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { withFile } from './files.js';
import { findKey, masterKeyOf, type NewMasterKeyFlags, targetOf, warnOfEmptyVault, withVault } from './keys-command.js';
import { type KnownMasterKeyFlags, requireKnownMasterKey } from './known-master-key.js';
import { keyFilterOf } from './migrate-options.js';
import type { Output } from './output.js';
import { refuseAwsKeyOptions } from './master-key.js';
import { addProvidersAtHand, ProviderSet, providersOf } from './providers.js';
import { masterKeyText } from './report-view.js';
import { trustOf } from './trust-options.js';

/** What the command line of `csfle keys rewrap` says. */
export interface RewrapFlags extends NewMasterKeyFlags, KnownMasterKeyFlags {
  readonly all: boolean;
  readonly proof: boolean;
  readonly proofCollection: readonly string[];
  /** False with `--no-backup`. */
  readonly backup: boolean;
  readonly backupFile?: string;
  readonly passphraseFile?: string;
}

/** `csfle keys rewrap [key...]` */
export async function rewrapKeys(names: readonly string[], flags: RewrapFlags, output: Output): Promise<number> {
  if (names.length === 0 && !flags.all) throw new CliError('CLI_OPTION_INVALID', 'which keys?', 'Name them by id or alternate name, or pass --all.');
  if (!flags.proof && flags.proofCollection.length > 0)
    throw new CliError('CLI_OPTION_INVALID', '--proof-collection and --no-proof exclude each other', 'Leave one of them out.');
  if (!flags.backup && flags.backupFile !== undefined)
    throw new CliError('CLI_OPTION_INVALID', '--backup-file and --no-backup exclude each other', 'Leave one of them out.');
  if (flags.to === undefined) refuseAwsKeyOptions(flags, '--', 'Add --to aws, or leave it out to wrap keys anew under their own master keys.');
  const target = flags.to === undefined ? undefined : targetOf(flags, flags.to);
  let documents: readonly Document[] = [];
  const providers = await ProviderSet.filled(flags, (set) =>
    addProvidersAtHand(set, ['local', ...(target === undefined ? [] : [target.provider])], flags, output),
  );
  const complete = async ({ client }: Connection): Promise<void> => {
    documents = await driverKeyVaultStore(client, flags.keyVault).find({});
    await addProvidersAtHand(providers, ['aws', ...providersOf(documents)], flags, output);
  };
  const work = async (vault: ClientEncryption, connection: Connection): Promise<number> => {
    for (const name of names) await findKey(vault, name, connection);
    await requireCollections(connection, '--proof-collection', flags.proofCollection);
    if (target !== undefined) await requireKnownMasterKey(target.provider, flags, providers, connection, { alsoRetired: true });
    const filter = keyFilterOf(names, connection.bson) ?? {};
    const keys = names.length === 0 ? documents : await driverKeyVaultStore(connection.client, flags.keyVault).find(filter);
    const backup = keys.length === 0 ? undefined : await takeBackup(flags, target, keys, providers, connection, output);
    const { provider, ...masterKey } = target ?? {};
    const collections = flags.proofCollection.map((namespace) => ({ client: connection.client, namespace }));
    const proof = collections.length > 0 ? { collections } : flags.proof ? undefined : (false as const);
    const under = provider === undefined ? {} : { provider: provider as ProviderName, masterKey: masterKey as MasterKeyOf<ProviderName> };
    const { bulkWriteResult } = await vault.rewrapManyDataKey(filter, { proof, ...under });
    const rewrapped = bulkWriteResult?.modifiedCount ?? 0;
    const keyFile = target === undefined ? undefined : providers.sourceOf(target.provider);
    output.document({ rewrapped, masterKey: target ?? null, ...(keyFile === undefined ? {} : { keyFile }), backup: backup ?? null });
    output.line(vaultPlace(connection.client, flags.keyVault));
    output.line(
      `${counted(rewrapped, 'key')} wrapped anew${target === undefined ? ' under the same master keys' : ` under ${masterKeyText(target)}${keyFile === undefined ? '' : `, the master key of ${keyFile}`}`}`,
    );
    if (backup !== undefined) output.line(`backup: ${backup.file}, ${counted(backup.keys, 'key')}`);
    if (rewrapped === 0 && flags.all) warnOfEmptyVault(connection, flags, output);
    return rewrapped > 0 || names.length === 0 ? EXIT_DONE : EXIT_FAILED;
  };
  return withVault(flags, output, providers, work, complete);
}

/** Takes the sealed backup of the whole key vault, as `csfle migrate --execute` does; undefined with `--no-backup`. */
async function takeBackup(
  flags: RewrapFlags,
  target: MasterKeyDocument | undefined,
  keys: readonly Document[],
  providers: ProviderSet,
  { client, bson }: Connection,
  output: Output,
): Promise<(Pick<SealedBackup, 'sha256' | 'keys' | 'notRead'> & { readonly file: string }) | undefined> {
  if (!flags.backup) return undefined;
  const ofLocal = providers.has('local') ? { provider: 'local' } : undefined;
  // One planted key under a master key of its own must not keep the others from being wrapped.
  const first = { masterKey: target ?? sharedMasterKey(keys) ?? ofLocal, kmsProviders: providers.kmsProviders, trust: trustOf(flags, flags.endpoint) };
  const { key, wipe } = await keyBeforeFirstWrite(flags, first, output);
  try {
    const file = flags.backupFile ?? backupName(flags.keyVault);
    const made = await createBackup({ keyVault: { client, namespace: flags.keyVault }, key, bson });
    await withFile(() => writeNewFile(file, made.bytes));
    output.note(`backup: ${file} (${made.keys} keys)`);
    for (const reason of made.notRead) output.warn(`not in the backup: ${reason}`);
    return { file, sha256: made.sha256, keys: made.keys, notRead: made.notRead };
  } finally {
    wipe();
  }
}

/** The one master key that keys are under; undefined when there are several. */
function sharedMasterKey(keys: readonly Document[]): MasterKeyDocument | undefined {
  const masterKeys = new Map(keys.map((key) => [JSON.stringify(masterKeyOf(key as never)), masterKeyOf(key as never)]));
  return masterKeys.size === 1 ? [...masterKeys.values()][0] : undefined;
}
