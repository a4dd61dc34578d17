/** What a sealed backup is sealed with and opened with, from files, the environment and prompts. */

import password from '@inquirer/password';
import {
  type BackupKey,
  type BackupOpeningKey,
  type BackupPassphrase,
  describeSealedBackup,
  type KmsProviders,
  type MasterKey,
  type MasterKeyDocument,
  type TrustOptions,
} from '../index.js';
import { readPassphraseFile } from '../node/backup-files.js';
import { CliError } from './failure.js';
import { withFile } from './files.js';
import type { LocalKeyFiles } from './key-file.js';
import type { Output } from './output.js';
import { isWhole, newMasterKey, refuseAwsKeyOptions } from './master-key.js';
import { type ProviderSet, providersFor } from './providers.js';
import { type TrustFlags, trustOf } from './trust-options.js';

/** Options that say what a backup is opened with. */
export interface OpeningKeyFlags extends TrustFlags {
  readonly kmsTimeoutMs?: number;
  readonly passphraseFile?: string;
  readonly localKeyFile?: LocalKeyFiles;
  readonly kmsModule?: string;
}

/** Options that say what a backup is sealed with. */
export interface SealingKeyFlags extends OpeningKeyFlags {
  readonly to?: string;
  readonly keyArn?: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly toMasterKey?: string;
}

/** A key with what has to be wiped when the command ends. */
export interface HeldKey<Key> {
  readonly key: Key;
  wipe(): void;
}

/** The passphrase of `--passphrase-file` or the environment, or undefined when there is neither. */
export async function givenPassphrase({ passphraseFile }: OpeningKeyFlags, output: Output): Promise<HeldKey<BackupPassphrase> | undefined> {
  if (passphraseFile !== undefined) {
    const passphrase = await withFile(() => readPassphraseFile(passphraseFile), 'A passphrase file holds the passphrase on one line.');
    return { key: { passphrase }, wipe: () => passphrase.fill(0) };
  }
  const given = process.env.CSFLE_BACKUP_PASSPHRASE;
  if (given === undefined || given === '') return undefined;
  output.redactor.add(given);
  return held({ passphrase: given });
}

/** The key of a new backup: the master key of `--to`, else a passphrase, which a prompt asks for twice. */
export async function sealingKey(flags: SealingKeyFlags, output: Output): Promise<HeldKey<BackupKey>> {
  if (flags.to === undefined) {
    refuseAwsKeyOptions(flags, '--', 'Add --to aws, or leave it out for a passphrase.');
    return (await givenPassphrase(flags, output)) ?? held(await typedTwice(output));
  }
  if (flags.passphraseFile !== undefined)
    throw new CliError('CLI_OPTION_INVALID', '--to and --passphrase-file exclude each other', 'A backup is under a master key or under a passphrase.');
  const masterKey = newMasterKey(flags.to, flags);
  const providers = await providersFor([flags.to], flags, output);
  return {
    key: { kmsProviders: providers.kmsProviders, masterKey: masterKey as MasterKey, kmsTimeoutMS: flags.kmsTimeoutMs, ...trustOf(flags, flags.endpoint) },
    wipe: () => providers.wipe(),
  };
}

/** What the backup before the first write of a command is sealed with. */
export interface FirstWriteKey {
  /** The master key that the keys go to, or are under; undefined where that is not one. */
  readonly masterKey: MasterKeyDocument | undefined;
  readonly kmsProviders: KmsProviders;
  readonly kmsTimeoutMS?: number | undefined;
  readonly trust: TrustOptions;
}

/** The key of the backup before the first write: a passphrase when there is one, else the master key. */
export async function keyBeforeFirstWrite(
  flags: OpeningKeyFlags,
  { masterKey, trust, ...options }: FirstWriteKey,
  output: Output,
): Promise<HeldKey<BackupKey>> {
  const passphrase = await givenPassphrase(flags, output);
  if (passphrase !== undefined) return passphrase;
  const isUsable = masterKey !== undefined && Object.hasOwn(options.kmsProviders, masterKey.provider);
  if (isUsable && isWhole(masterKey)) return held({ ...options, masterKey: masterKey as MasterKey, ...trust });
  throw new CliError(
    'CLI_OPTION_INVALID',
    'the backup before the first write needs a passphrase, a local master key, or one whole master key that all these keys are under or go to',
    'Pass --passphrase-file, set CSFLE_BACKUP_PASSPHRASE, name the key with --key-arn or --from-key-arn, or say --no-backup.',
  );
}

/** The key of a backup that is there: what its header names. It serves to seal another one, too. */
export async function openingKey(bytes: Uint8Array, flags: OpeningKeyFlags, output: Output): Promise<HeldKey<BackupOpeningKey & BackupKey>> {
  const description = describeSealedBackup(bytes);
  if (description.method === 'passphrase') return (await givenPassphrase(flags, output)) ?? held(await typedOnce(output));
  const masterKey = description.masterKey as MasterKey;
  const providers: ProviderSet = await providersFor([masterKey.provider], flags, output);
  return { key: { kmsProviders: providers.kmsProviders, masterKey, kmsTimeoutMS: flags.kmsTimeoutMs, ...trustOf(flags) }, wipe: () => providers.wipe() };
}

/** A key of which nothing can be overwritten: a string of the environment or a prompt. */
function held<Key>(key: Key): HeldKey<Key> {
  return { key, wipe: () => undefined };
}

async function typedTwice(output: Output): Promise<BackupPassphrase> {
  const first = await typedOnce(output);
  const second = await prompted('The same passphrase again:');
  if (first.passphrase === second) return first;
  throw new CliError('CLI_PASSPHRASE_MISSING', 'the two passphrases are not the same', 'Type it again.');
}

async function typedOnce(output: Output): Promise<BackupPassphrase> {
  const passphrase = await prompted('Passphrase of the backup:');
  output.redactor.add(passphrase);
  return { passphrase };
}

async function prompted(message: string): Promise<string> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new CliError(
      'CLI_PASSPHRASE_MISSING',
      'the passphrase of the backup is needed',
      'Pass --passphrase-file, set CSFLE_BACKUP_PASSPHRASE, or use a master key with --to.',
    );
  return password({ message, mask: true }, { output: process.stderr });
}
