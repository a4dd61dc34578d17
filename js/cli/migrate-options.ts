import type { Document, KmsProviders, MasterKeyDocument, MigrationMode } from '../index.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';
import type { Output } from './output.js';
import { awsMasterKey, localMasterKey, providerType, ProviderSet, refuseAwsKeyOptions } from './providers.js';

/** What the command line of `csfle migrate` says. */
export interface MigrateFlags {
  readonly uri?: string;
  readonly keyVault: string;
  readonly mode: MigrationMode;
  readonly from?: string;
  readonly to?: string;
  readonly localKeyFile?: string;
  readonly toLocalKeyFile?: string;
  readonly keyArn?: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly fromKeyArn?: string;
  readonly fromRegion?: string;
  readonly fromEndpoint?: string;
  readonly key: readonly string[];
  readonly collection: readonly string[];
  readonly schemaFile: readonly string[];
  /** False with `--no-backup`. */
  readonly backup: boolean;
  readonly backupFile?: string;
  readonly passphraseFile?: string;
  readonly execute: boolean;
  readonly undo: boolean;
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
    throw new CliError(
      'CLI_OPTION_INVALID',
      `--to is needed in the mode ${flags.mode}`,
      'For example: --to aws --key-arn arn:aws:kms:...',
    );
  if (decrypting && flags.to !== undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--to is of the modes rewrap and reencrypt',
      'The mode decrypt takes no new master key: leave --to out.',
    );
  if (flags.undo && flags.mode !== 'rewrap')
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--undo is of the mode rewrap',
      'Documents that were rewritten are rewritten back by a migration of their own.',
    );
  const sourceId = flags.from ?? (decrypting ? undefined : 'local');
  const source = sourceKey(sourceId, flags);
  const target = targetKey(flags.to, flags);
  const providers = new ProviderSet();
  for (const [id, keyFile] of [
    [sourceId, flags.localKeyFile],
    [flags.to, flags.toLocalKeyFile],
  ] as const) {
    if (id === undefined || providers.has(id)) continue;
    if (providerType(id) === 'aws') await providers.addAws(id);
    else if (providerType(id) === 'local')
      providers.addLocal(id, await localMasterKey(keyFile ?? (id === sourceId ? undefined : flags.localKeyFile), output));
    else
      throw new CliError(
        'CLI_OPTION_INVALID',
        `the command knows the providers local and aws, not ${id}`,
        'Use the library for azure, gcp and kmip: migrate() takes any KMS client.',
      );
  }
  if (sourceId === undefined) {
    // The mode decrypt without --from reads whatever the values need.
    await providers.addAws('aws').catch(() => undefined);
    if (flags.localKeyFile !== undefined || process.env.CSFLE_LOCAL_KEY)
      providers.addLocal('local', await localMasterKey(flags.localKeyFile, output));
  }
  const [from, to] = flags.undo ? [target, sourceOfUndo(source)] : [source, target];
  return { from, to, providers, kmsProviders: providers.kmsProviders };
}

function sourceKey(id: string | undefined, flags: MigrateFlags): MasterKeyDocument | undefined {
  const options = { keyArn: flags.fromKeyArn, region: flags.fromRegion, endpoint: flags.fromEndpoint };
  if (id !== undefined && providerType(id) === 'aws' && flags.fromKeyArn !== undefined) return awsMasterKey(id, options, '--from-key-arn');
  refuseAwsKeyOptions(options, '--from-', 'It goes with --from aws and --from-key-arn.');
  return id === undefined ? undefined : { provider: id };
}

function targetKey(id: string | undefined, flags: MigrateFlags): MasterKeyDocument | undefined {
  if (id === undefined || providerType(id) !== 'aws') {
    refuseAwsKeyOptions(flags, '--', 'It goes with --to aws.');
    return id === undefined ? undefined : { provider: id };
  }
  return awsMasterKey(id, { keyArn: flags.keyArn, region: flags.region, endpoint: flags.endpoint }, '--key-arn');
}

function sourceOfUndo(source: MasterKeyDocument | undefined): MasterKeyDocument | undefined {
  if (source !== undefined && providerType(source.provider) === 'aws' && source.key === undefined) {
    throw new CliError('CLI_OPTION_INVALID', 'undoing needs the whole old master key', 'Add --from-key-arn.');
  }
  return source;
}

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** A filter for keys that are named by id or alternate name; undefined for none. */
export function keyFilterOf(keys: readonly string[], bson: DriverBson): Document | undefined {
  if (keys.length === 0) return undefined;
  const ids = keys.filter((key) => UUID.test(key)).map((key) => new bson.UUID(key));
  return { $or: [{ _id: { $in: ids } }, { keyAltNames: { $in: [...keys] } }] };
}
