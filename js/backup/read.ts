import { type BsonLibrary, binaryBytes, type Document, deserialize, EXACT_TYPES, isBinary, requireBson } from '../bson.js';
import { concatBytes, hexText, isBytes, uuidText, wipe } from '../bytes.js';
import { argumentError, kindOf } from '../errors.js';
import type { MasterKeyDocument } from '../key-vault.js';
import { altNamesOf } from '../migrate/run-state.js';
import { requireSignal } from '../session.js';
import { assessVault, describeBackup, sha256 } from '../wasm.js';
import { type BackupOpeningKey, open } from './key.js';
import { type BackupManifest, type BackupRecords, decodeContent } from './records.js';

/** What the header of a backup tells without a key. */
export type BackupDescription =
  | {
      readonly method: 'passphrase';
      readonly argon2: { readonly memoryKiB: number; readonly iterations: number; readonly lanes: number };
    }
  | { readonly method: 'masterKey'; readonly masterKey: MasterKeyDocument };

/** Options of what opens a backup. */
export interface OpenBackupOptions {
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** An opened backup. Its `localMasterKeys` are secret: overwrite them after use. */
export interface BackupContents extends BackupRecords {
  readonly manifest: BackupManifest;
}

/** One key of a backup. */
export interface BackedUpKey {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  /** Whether it is no well-formed key document; it was stored like that. */
  readonly malformed: boolean;
}

/** What `verifyBackup()` found: plain data without secrets. */
export interface BackupSummary {
  readonly method: BackupDescription['method'];
  readonly createdAt: string;
  readonly tool: string;
  readonly keyVault: string | null;
  readonly sha256: string;
  readonly keys: readonly BackedUpKey[];
  readonly indexes: readonly string[];
  readonly collections: readonly string[];
  readonly schemas: readonly string[];
  readonly localMasterKeys: readonly string[];
  readonly notRead: readonly string[];
}

const MAGIC = 'CSFLEBAK';
/** A master key that no key document is under: only what is well-formed is of interest. */
const NO_MASTER_KEY: Document = Object.freeze({ provider: 'local:none' });

/** Says whether bytes begin as a sealed backup does. */
export function isSealedBackup(bytes: Uint8Array): boolean {
  return isBytes(bytes) && String.fromCharCode(...bytes.subarray(0, MAGIC.length)) === MAGIC;
}

/**
 * Reads the header of a sealed backup, which tells what opens it. Nothing of it is proven before the file is opened.
 * Errors: `BACKUP_NOT_RECOGNIZED`, `BACKUP_VERSION_UNSUPPORTED`, `BACKUP_HEADER_INVALID`, `BACKUP_LIMIT_EXCEEDED`.
 */
export function describeSealedBackup(bytes: Uint8Array, options: OpenBackupOptions = {}): BackupDescription {
  const header = describeBackup(requireBytes(bytes));
  if (header.method === 'masterKey' && header.masterKey !== undefined) {
    const masterKey = deserialize(requireBson(options.bson), header.masterKey) as MasterKeyDocument;
    return { method: 'masterKey', masterKey };
  }
  const { memoryKiB = 0, iterations = 0, lanes = 0 } = header;
  return { method: 'passphrase', argon2: { memoryKiB, iterations, lanes } };
}

/**
 * Opens a sealed backup and returns all that it holds.
 * Errors: `BACKUP_*`: `BACKUP_KEY_WRONG` for another passphrase or master key, `BACKUP_CHUNK_DAMAGED` for altered bytes;
 * `KMS_*` when the KMS cannot unwrap its key.
 */
export async function readBackup(bytes: Uint8Array, key: BackupOpeningKey, options: OpenBackupOptions = {}): Promise<BackupContents> {
  requireSignal(options.signal);
  const bson = requireBson(options.bson);
  const content = await open(requireBytes(bytes), key, bson, options.signal);
  try {
    const { manifest, records } = decodeContent(bson, content);
    return { manifest, ...records };
  } finally {
    wipe(content);
  }
}

/**
 * Opens a sealed backup, checks every byte of it and every key document in it, and tells what it holds. Nothing is written.
 * Errors: those of `readBackup()`.
 */
export async function verifyBackup(bytes: Uint8Array, key: BackupOpeningKey, options: OpenBackupOptions = {}): Promise<BackupSummary> {
  const bson = requireBson(options.bson);
  const { method } = describeSealedBackup(bytes, { bson });
  const contents = await readBackup(bytes, key, options);
  for (const local of contents.localMasterKeys) wipe(local.key);
  const { manifest, keyDocuments, indexes, collections, schemas, localMasterKeys } = contents;
  return {
    method,
    createdAt: manifest.createdAt.toISOString(),
    tool: manifest.tool,
    keyVault: manifest.keyVault,
    sha256: hexText(sha256(bytes)),
    keys: backedUpKeys(bson, keyDocuments),
    indexes: indexes.map(({ definition }) => String(definition.name)),
    collections: collections.map(({ namespace }) => namespace),
    schemas: schemas.map(({ name }) => name),
    localMasterKeys: localMasterKeys.map(({ provider }) => provider),
    notRead: manifest.notRead,
  };
}

function backedUpKeys(bson: BsonLibrary, keyDocuments: readonly Uint8Array[]): readonly BackedUpKey[] {
  const none = bson.serialize(NO_MASTER_KEY, { ignoreUndefined: false });
  const assessed = assessVault(concatBytes(keyDocuments), undefined, none).keys;
  return keyDocuments.map((bytes, index) => {
    const document = deserialize(bson, bytes, EXACT_TYPES);
    return {
      id: isBinary(document._id) && document._id.position === 16 ? uuidText(binaryBytes(document._id)) : String(document._id),
      keyAltNames: altNamesOf(document),
      provider: assessed[index]?.provider ?? '',
      malformed: assessed[index]?.disposition === 'malformed',
    };
  });
}

function requireBytes(bytes: unknown): Uint8Array {
  if (isBytes(bytes)) return bytes;
  throw argumentError(`a backup must be bytes, found ${kindOf(bytes)}`, { argument: 'bytes' });
}
