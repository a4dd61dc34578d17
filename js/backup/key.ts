/** What a sealed backup is sealed with and opened with. */

import type { BsonLibrary } from '../bson.js';
import { serialize } from '../bson.js';
import { isBytes, wipe } from '../bytes.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { KmsProviders } from '../kms/index.js';
import type { MasterKey } from '../kms/master-keys.js';
import { KMS_LIMIT_NAMES, type KmsLimits, refuseUnknownOptions, Session } from '../session.js';
import { TRUST_OPTION_NAMES, type TrustOptions } from '../trust.js';

/** A passphrase: text, or its UTF-8 bytes, which can be overwritten after use. It is normalised to NFC. */
export interface BackupPassphrase {
  readonly passphrase: string | Uint8Array;
  /**
   * The cost of Argon2id when a backup is made; a backup that is opened carries its own. Default: 64 MiB, 3 passes.
   * Limits: `memoryKiB` 19,456 to 262,144, `iterations` 2 to 16.
   */
  readonly argon2?: { readonly memoryKiB?: number | undefined; readonly iterations?: number | undefined } | undefined;
}

/** A master key: `kmsProviders` has to have its provider. */
export interface BackupMasterKey extends KmsLimits, TrustOptions {
  readonly kmsProviders: KmsProviders;
  /** Not needed to open a backup, whose header names it. */
  readonly masterKey: MasterKey;
}

/** What a backup is sealed with. */
export type BackupKey = BackupPassphrase | BackupMasterKey;

/** What a backup is opened with. */
export type BackupOpeningKey = BackupPassphrase | (Omit<BackupMasterKey, 'masterKey'> & Partial<Pick<BackupMasterKey, 'masterKey'>>);

/**
 * Makes a sealed backup from the facts of its manifest and its records, both as BSON.
 * Errors: `BACKUP_PASSPHRASE_INVALID`, `BACKUP_LIMIT_EXCEEDED`, `MASTER_KEY_INVALID`, `KMS_*`.
 */
export async function seal(key: BackupKey, bson: BsonLibrary, facts: Uint8Array, records: Uint8Array, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { passphrase, session } = openKey(key, bson);
  try {
    if (passphrase !== undefined) {
      const { memoryKiB, iterations } = (key as BackupPassphrase).argon2 ?? {};
      const cost = { memoryKiB: costOf('memoryKiB', memoryKiB), iterations: costOf('iterations', iterations) };
      return await session.run((engine) => engine.sealBackupWithPassphrase(passphrase, cost, facts, records), signal);
    }
    const masterKey = (key as BackupMasterKey).masterKey;
    if (typeof masterKey !== 'object' || masterKey === null)
      throw argumentError(`a backup needs a passphrase or a masterKey, found ${kindOf(masterKey)}`, { argument: 'key' });
    const bytes = serialize(bson, masterKey, 'a master key');
    return await session.run((engine) => engine.sealBackup(bytes, facts, records), signal);
  } finally {
    wipe(passphrase);
    session.close();
  }
}

/**
 * Opens a sealed backup and returns its content, which the caller wipes: it may hold a local master key.
 * Errors: `BACKUP_*`; `KMS_*` when a KMS has to unwrap the key.
 */
export async function open(file: Uint8Array, key: BackupOpeningKey, bson: BsonLibrary, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { passphrase, session } = openKey(key, bson);
  try {
    return await session.run((engine) => engine.openBackup(file, passphrase), signal);
  } finally {
    wipe(passphrase);
    session.close();
  }
}

function openKey(key: BackupOpeningKey, bson: BsonLibrary): { passphrase: Uint8Array | undefined; session: Session } {
  if (typeof key !== 'object' || key === null)
    throw argumentError(`key must be { passphrase } or { kmsProviders, masterKey }, found ${kindOf(key)}`, { argument: 'key' });
  if ('passphrase' in key && key.passphrase !== undefined) {
    refuseUnknownOptions(key, ['passphrase', 'argon2'], 'the key of a backup');
    const session = new Session({ kmsProviders: {}, bson }, () => undefined);
    try {
      return { passphrase: normalised(key.passphrase), session };
    } catch (error) {
      session.close();
      throw error;
    }
  }
  refuseUnknownOptions(key, ['kmsProviders', 'masterKey', ...KMS_LIMIT_NAMES, ...TRUST_OPTION_NAMES], 'the key of a backup');
  const { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, trustedMasterKeys, allowedEndpoints } = key as BackupMasterKey;
  const options = { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, trustedMasterKeys, allowedEndpoints, bson };
  return { passphrase: undefined, session: new Session(options, () => undefined) };
}

/** The UTF-8 bytes of a passphrase in NFC: what one keyboard writes as one character, another writes as two. */
function normalised(passphrase: unknown): Uint8Array {
  if (typeof passphrase !== 'string' && !isBytes(passphrase))
    throw argumentError(`passphrase must be a string or bytes, found ${kindOf(passphrase)}`, { argument: 'passphrase' });
  // Bytes of ASCII are in NFC, and become no string, which could not be overwritten.
  if (typeof passphrase !== 'string' && passphrase.every((byte) => byte < 0x80)) return Uint8Array.from(passphrase);
  const text = typeof passphrase === 'string' ? passphrase : decoded(passphrase);
  if (/\p{Surrogate}/u.test(text)) throw notUnicode();
  return new TextEncoder().encode(text.normalize('NFC'));
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw notUnicode();
  }
}

function notUnicode(): CsfleError {
  return new CsfleError('BACKUP_PASSPHRASE_INVALID', 'the passphrase is not valid Unicode text');
}

function costOf(name: string, value: unknown): number {
  if (value === undefined) return 0;
  if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) < 2 ** 32) return value as number;
  throw argumentError(`argon2.${name} must be a whole number above 0, found ${typeof value === 'number' ? value : kindOf(value)}`, {
    argument: name,
  });
}
