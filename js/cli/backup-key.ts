/** What a sealed backup is sealed with and opened with, from files, the environment and prompts. */

import password from '@inquirer/password';
import { type BackupKey, type BackupOpeningKey, type BackupPassphrase, describeSealedBackup } from '../index.js';
import { FileError, readRegularFile } from '../node/files.js';
import { fileFailure } from './backup-files.js';
import { CliError } from './failure.js';
import type { Output } from './output.js';
import { awsMasterKey, type ProviderSet, providersFor, providerType, refuseAwsKeyOptions } from './providers.js';
import { type TrustFlags, trustOf } from './trust-options.js';

/** Options that say what a backup is opened with. */
export interface OpeningKeyFlags extends TrustFlags {
  readonly passphraseFile?: string;
  readonly localKeyFile?: string;
}

/** Options that say what a backup is sealed with. */
export interface SealingKeyFlags extends OpeningKeyFlags {
  readonly to?: string;
  readonly keyArn?: string;
  readonly region?: string;
  readonly endpoint?: string;
}

/** A key with what has to be wiped when the command ends. */
export interface HeldKey<Key> {
  readonly key: Key;
  wipe(): void;
}

const LONGEST_PASSPHRASE_FILE = 4096;

/** The passphrase of `--passphrase-file` or the environment, or undefined when there is neither. */
export async function givenPassphrase(flags: OpeningKeyFlags, output: Output): Promise<BackupPassphrase | undefined> {
  if (flags.passphraseFile !== undefined) return { passphrase: await passphraseOf(flags.passphraseFile, output) };
  const given = process.env.CSFLE_BACKUP_PASSPHRASE;
  if (given === undefined || given === '') return undefined;
  output.redactor.add(given);
  return { passphrase: given };
}

/** The key of a new backup: the master key of `--to`, else a passphrase, which a prompt asks for twice. */
export async function sealingKey(flags: SealingKeyFlags, output: Output): Promise<HeldKey<BackupKey>> {
  if (flags.to === undefined) {
    refuseAwsKeyOptions(flags, '--', 'Add --to aws, or leave it out for a passphrase.');
    return { key: (await givenPassphrase(flags, output)) ?? (await typedTwice(output)), wipe: () => undefined };
  }
  if (flags.passphraseFile !== undefined)
    throw new CliError('CLI_OPTION_INVALID', '--to and --passphrase-file exclude each other', 'A backup is under a master key or under a passphrase.');
  const masterKey = providerType(flags.to) === 'aws' ? awsMasterKey(flags.to, flags, '--key-arn') : { provider: flags.to };
  if (providerType(flags.to) !== 'aws') refuseAwsKeyOptions(flags, '--', 'Add --to aws, or leave it out.');
  const providers = await providersFor([flags.to], flags, output);
  return { key: { kmsProviders: providers.kmsProviders, masterKey, ...trustOf(flags, flags.endpoint) }, wipe: () => providers.wipe() };
}

/** The key of a backup that is there: what its header names. It serves to seal another one, too. */
export async function openingKey(bytes: Uint8Array, flags: OpeningKeyFlags, output: Output): Promise<HeldKey<BackupOpeningKey & BackupKey>> {
  const description = describeSealedBackup(bytes);
  if (description.method === 'passphrase') return { key: (await givenPassphrase(flags, output)) ?? (await typedOnce(output)), wipe: () => undefined };
  const { masterKey } = description;
  const providers: ProviderSet = await providersFor([masterKey.provider], flags, output);
  return { key: { kmsProviders: providers.kmsProviders, masterKey, ...trustOf(flags) }, wipe: () => providers.wipe() };
}

async function passphraseOf(path: string, output: Output): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readRegularFile(path, { maxBytes: LONGEST_PASSPHRASE_FILE, ownerOnly: true });
  } catch (error) {
    if (error instanceof FileError && error.code === 'FILE_EXPOSED')
      throw new CliError('CLI_KEY_FILE_EXPOSED', error.message, `Run: chmod 600 ${path}`, undefined, { cause: error });
    throw fileFailure(error);
  }
  try {
    // What an editor or echo ends a line with is no part of it.
    const passphrase = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, '');
    output.redactor.add(passphrase);
    return passphrase;
  } catch (cause) {
    throw new CliError('CLI_FILE_INVALID', `${path} is not UTF-8 text`, 'A passphrase file holds the passphrase on one line.', undefined, { cause });
  } finally {
    bytes.fill(0);
  }
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
