import type { Document, KmsProviders, MasterKeyDocument, MigrateOptions, MigrationMode } from '../index.js';
import type { DriverBson } from './connection.js';
import type { EvidenceFlags } from './evidence-options.js';
import { CliError } from './failure.js';
import { type LocalKeyFiles, localKeyFileOf } from './key-file.js';
import type { Output } from './output.js';
import { isWhole, newMasterKey, oldMasterKey, providerType, refuseAwsKeyOptions } from './master-key.js';
import { addProvidersAtHand, ProviderSet, unsupported } from './providers.js';
import type { TrustFlags } from './trust-options.js';

/** What the command line of `csfle migrate` says. */
export interface MigrateFlags extends EvidenceFlags, TrustFlags {
  readonly uri?: string;
  readonly keyVault: string;
  readonly mode: MigrationMode;
  readonly from?: string;
  readonly to?: string;
  readonly localKeyFile?: LocalKeyFiles;
  readonly toLocalKeyFile?: string;
  readonly kmsModule?: string;
  readonly toMasterKey?: string;
  readonly fromMasterKey?: string;
  readonly newMasterKey: boolean;
  readonly keyArn?: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly fromKeyArn?: string;
  readonly fromRegion?: string;
  readonly fromEndpoint?: string;
  readonly key: readonly string[];
  readonly createdBefore?: Date;
  readonly allKeys: boolean;
  readonly collection: readonly string[];
  readonly schemaFile: readonly string[];
  /** False with `--no-backup`. */
  readonly backup: boolean;
  readonly backupFile?: string;
  readonly passphraseFile?: string;
  readonly execute: boolean;
  readonly undo: boolean;
  /** Whether a key vault without a key is no failure. */
  readonly allowEmpty: boolean;
  readonly confirmPlaintext: boolean;
  readonly deleteOldKeys: boolean;
  readonly batchSize?: number;
  readonly kmsConcurrency?: number;
  readonly kmsTimeoutMs?: number;
  readonly json: boolean;
}

/** Source and target with the providers that reach them. */
export interface Endpoints {
  readonly from: MasterKeyDocument | undefined;
  readonly to: MasterKeyDocument | undefined;
  readonly providers: ProviderSet;
  readonly kmsProviders: KmsProviders;
}

/** Reads source and target off the command line and fetches the master keys they need. */
export async function endpointsOf(flags: MigrateFlags, output: Output): Promise<Endpoints> {
  const decrypting = flags.mode === 'decrypt';
  if (!decrypting && flags.to === undefined)
    throw new CliError('CLI_OPTION_INVALID', `--to is needed in the mode ${flags.mode}`, 'For example: --to aws --key-arn arn:aws:kms:...');
  if (decrypting && flags.to !== undefined)
    throw new CliError('CLI_OPTION_INVALID', '--to is of the modes rewrap and reencrypt', 'The mode decrypt takes no new master key: leave --to out.');
  if (flags.undo && flags.mode !== 'rewrap')
    throw new CliError('CLI_OPTION_INVALID', '--undo is of the mode rewrap', 'Documents that were rewritten are rewritten back by a migration of their own.');
  // Only a rewrap moves keys away from a master key; the other modes go by the keys, whatever wraps them.
  const sourceId = flags.from ?? (flags.mode === 'rewrap' ? 'local' : undefined);
  refuseOneNameForTwo(sourceId, flags);
  const { fromKeyArn: keyArn, fromRegion: region, fromEndpoint: endpoint, fromMasterKey } = flags;
  const source = oldMasterKey(sourceId, { keyArn, region, endpoint, fromMasterKey });
  if (flags.to === undefined) refuseAwsKeyOptions(flags, '--', 'It goes with --to aws.');
  const target = flags.to === undefined ? undefined : newMasterKey(flags.to, flags);
  const [from, to] = flags.undo ? [target, sourceOfUndo(source)] : [source, target];
  const providers = await ProviderSet.filled(flags, async (providers) => {
    for (const [id, keyFile] of [
      [sourceId, undefined],
      [flags.to, flags.toLocalKeyFile],
    ] as const) {
      if (id === undefined || providers.has(id)) continue;
      if (providerType(id) === 'aws') await providers.addAws(id);
      else if (providerType(id) === 'local') await providers.addLocal(id, keyFile ?? localKeyFileOf(flags.localKeyFile, id), output);
      else throw unsupported(id);
    }
    if (sourceId === undefined) {
      // Without --from there is whatever the keys need.
      await addProvidersAtHand(providers, ['aws', 'local'], flags, output);
    }
  });
  return { from, to, providers, kmsProviders: providers.kmsProviders };
}

/** Two master keys need two names. Key documents hold no more than the name of a local one. */
function refuseOneNameForTwo(sourceId: string | undefined, { mode, to, toLocalKeyFile, localKeyFile }: MigrateFlags): void {
  if (to === undefined || providerType(to) !== 'local') {
    if (toLocalKeyFile !== undefined) throw new CliError('CLI_OPTION_INVALID', '--to-local-key-file is without effect here', 'It goes with --to local.');
    return;
  }
  const isSame = mode === 'rewrap' && sourceId === to;
  const hasTwo = toLocalKeyFile !== undefined && (sourceId ?? to) === to && (localKeyFile?.[to] ?? localKeyFile?.['']) !== undefined;
  if (!isSame && !hasTwo) return;
  throw new CliError(
    'MIGRATION_TARGET_INVALID',
    `the old and the new master key are both called ${to}, and key documents hold no more than that name of a local master key`,
    `Give one of them a name, such as --to local:new${toLocalKeyFile === undefined ? ' --local-key-file local:new=<file>' : ''}.`,
  );
}

function sourceOfUndo(source: MasterKeyDocument | undefined): MasterKeyDocument | undefined {
  if (source === undefined || isWhole(source)) return source;
  const option = providerType(source.provider) === 'aws' ? '--from-key-arn' : '--from-master-key';
  throw new CliError('CLI_OPTION_INVALID', 'undoing needs the whole old master key', `Add ${option}.`);
}

/** Which keys a re-encryption replaces, off the command line. */
export function choiceOf(flags: MigrateFlags, bson: DriverBson): Pick<MigrateOptions, 'createdBefore' | 'keyIds' | 'all'> {
  const { createdBefore, allKeys, key, mode, deleteOldKeys } = flags;
  const given = [createdBefore !== undefined, allKeys, key.length > 0].filter(Boolean).length;
  if (mode !== 'reencrypt') {
    if (createdBefore === undefined && !allKeys) return {};
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--created-before and --all-keys can be used only with --mode reencrypt',
      'The mode rewrap takes the keys under --from, the mode decrypt those that the values use; --key restricts both.',
    );
  }
  if (given !== 1)
    throw new CliError(
      'CLI_OPTION_INVALID',
      `the mode reencrypt takes one choice of data keys, found ${given === 0 ? 'none' : given}`,
      'Say which data keys are to be replaced, whatever wraps them now: --created-before <ISO date>, --key <id> or --all-keys.',
    );
  if (allKeys && deleteOldKeys)
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--all-keys does not go with --delete-old-keys: once old keys are removed, nothing tells the new keys from them',
      'Choose with --created-before <ISO date> or --key <id>.',
    );
  const name = key.find((one) => !UUID.test(one));
  if (name !== undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      `the mode reencrypt takes data keys by id, found ${JSON.stringify(name)}`,
      'Alternate names move to the new keys. See the ids with: csfle keys list',
    );
  if (createdBefore !== undefined) return { createdBefore };
  return allKeys ? { all: true } : { keyIds: key.map((id) => new bson.UUID(id)) };
}

const ISO_DATE = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/;

/** A date as ISO 8601 has it, with its offset when it has a time; undefined for other text. */
export function isoDate(text: string): Date | undefined {
  const [, day] = ISO_DATE.exec(text) ?? [];
  if (day === undefined) return undefined;
  const date = new Date(text);
  // 30 February is no day, and JavaScript makes it one of March.
  const calendar = new Date(`${day}T00:00:00Z`);
  const isDay = !Number.isNaN(calendar.getTime()) && calendar.toISOString().startsWith(day);
  return isDay && !Number.isNaN(date.getTime()) ? date : undefined;
}

/** The text of a UUID. */
export const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** A filter for keys that are named by id or alternate name; undefined for none. */
export function keyFilterOf(keys: readonly string[], bson: DriverBson): Document | undefined {
  if (keys.length === 0) return undefined;
  const ids = keys.filter((key) => UUID.test(key)).map((key) => new bson.UUID(key));
  return { $or: [{ _id: { $in: ids } }, { keyAltNames: { $in: [...keys] } }] };
}
