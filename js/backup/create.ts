import { type BsonLibrary, type Document, requireBson, serialize } from '../bson.js';
import { hexText, isBytes, wipe } from '../bytes.js';
import { argumentError, kindOf } from '../errors.js';
import type { KeyVaultStore } from '../key-vault.js';
import type { NamespacedClient } from '../migrate/options.js';
import { refuseUnknownOptions, requireSignal } from '../session.js';
import { sha256, version } from '../wasm.js';
import { type BackupKey, seal } from './key.js';
import { type BackupLocalMasterKey, type BackupRecords, type BackupSchema, encodeRecords } from './records.js';
import { VaultSource } from './source.js';

/** Options of `createBackup()`. */
export interface CreateBackupOptions {
  /** The key vault, all of which is backed up. */
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** What the backup is sealed with. */
  readonly key: BackupKey;
  /**
   * The collections whose validators and `encryptedFields` go in, as `database.collection`; `[]` for none. Default: every
   * collection that the client of `keyVault` can read. A key vault store has no client, and so no collections.
   */
  readonly collections?: readonly string[] | undefined;
  /** Schema files. */
  readonly schemas?: readonly BackupSchema[] | undefined;
  /** Local master keys of 96 bytes. Whoever opens the backup then has every data key under them. */
  readonly localMasterKeys?: readonly BackupLocalMasterKey[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** A sealed backup. */
export interface SealedBackup {
  /** The file. */
  readonly bytes: Uint8Array;
  /** SHA-256 of the file, in hexadecimal. */
  readonly sha256: string;
  /** How many key documents it holds. */
  readonly keys: number;
  /** How many collections with a validator or `encryptedFields` it holds. */
  readonly collections: number;
  /** What could not be read, with the reason. */
  readonly notRead: readonly string[];
}

const OPTION_NAMES: readonly (keyof CreateBackupOptions)[] = ['keyVault', 'key', 'collections', 'schemas', 'localMasterKeys', 'signal', 'bson'];
const LOCAL_KEY_LENGTH = 96;

/**
 * Makes a sealed backup of a key vault: key documents byte for byte, indexes, validators and `encryptedFields`, schema
 * files and, on request, local master keys, in one encrypted file whose every change is found when it is opened.
 *
 * Shape: bytes out; nothing is written anywhere. Under a master key, what its KMS wrapped is unwrapped again by a second
 * call and compared before the file is given out. Under a passphrase, Argon2id keeps this thread busy for about 0.2 s
 * and takes 64 MiB.
 * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, `BACKUP_PASSPHRASE_INVALID`, `BACKUP_LIMIT_EXCEEDED`,
 * `BACKUP_COLLECTION_FAILED` for a collection that was named, `KEY_VAULT_NOT_READABLE`, `KMS_*`.
 */
export async function createBackup(options: CreateBackupOptions): Promise<SealedBackup> {
  refuseUnknownOptions(options, OPTION_NAMES, 'createBackup()');
  requireSignal(options.signal);
  const bson = requireBson(options.bson);
  const source = new VaultSource(options.keyVault, bson);
  const schemas = (options.schemas ?? []).map(requireSchema);
  const localMasterKeys = (options.localMasterKeys ?? []).map(requireLocalMasterKey);
  const [keyDocuments, indexes] = await Promise.all([source.keyDocuments(), source.indexes()]);
  const { collections, notRead } = await source.collections(options.collections);
  const facts = { createdAt: new Date(), tool: `csfle-wasm ${version()}`, keyVault: source.namespace, notRead: [...notRead] };
  const records = { keyDocuments, indexes, collections, schemas, localMasterKeys };
  const bytes = await sealRecords(options.key, bson, facts, records, options.signal);
  return {
    bytes,
    sha256: hexText(sha256(bytes)),
    keys: keyDocuments.length,
    collections: collections.length,
    notRead,
  };
}

async function sealRecords(key: BackupKey, bson: BsonLibrary, facts: Document, records: BackupRecords, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const encoded = encodeRecords(bson, records);
  try {
    return await seal(key, bson, serialize(bson, facts, 'the manifest'), encoded, signal);
  } finally {
    wipe(encoded);
  }
}

function requireSchema(schema: BackupSchema, index: number): BackupSchema {
  if (typeof schema?.name === 'string' && isBytes(schema.bytes)) return schema;
  throw argumentError(`schemas[${index}] must be { name, bytes }, found ${kindOf(schema)}`, { argument: 'schemas' });
}

function requireLocalMasterKey(entry: BackupLocalMasterKey, index: number): BackupLocalMasterKey {
  const { provider, key } = (entry ?? {}) as Partial<BackupLocalMasterKey>;
  const isLocal = typeof provider === 'string' && /^local(:.+)?$/.test(provider);
  if (isLocal && isBytes(key) && key.length === LOCAL_KEY_LENGTH) return entry;
  throw argumentError(`localMasterKeys[${index}] must be { provider: 'local', key } with a key of ${LOCAL_KEY_LENGTH} bytes`, {
    argument: 'localMasterKeys',
  });
}
