/** The writes of a rewrap: each one conditional on the wrapping that was read. */

import { type BsonBinary, type BsonLibrary, binaryBytes, type Document, deserialize, isBinary, keyIdText } from './bson.js';
import { equalBytes } from './bytes.js';
import { CsfleError } from './errors.js';
import type { KeyVaultStore } from './key-vault.js';
import { findDocuments, rewrapThrough } from './run.js';

/** Result of the writes, as the driver's `BulkWriteResult`. */
export interface BulkWriteResult {
  readonly insertedCount: number;
  readonly matchedCount: number;
  readonly modifiedCount: number;
  readonly deletedCount: number;
  readonly upsertedCount: number;
  readonly upsertedIds: Readonly<Record<number, unknown>>;
  readonly insertedIds: Readonly<Record<number, unknown>>;
}

/** One key as the rewrap machine returns it. */
interface RewrappedKey extends Document {
  readonly _id: BsonBinary;
  readonly keyMaterial: BsonBinary;
  readonly masterKey: Document;
  readonly previousKeyMaterial: BsonBinary;
  readonly previousMasterKey: Document;
}

/** Waits for one write, but no longer than whoever asked for it wants. */
type Waiting = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * Writes the output of a rewrap machine, key by key.
 * Errors: `KEY_VAULT_CONFLICT` when keys are no longer wrapped as they were read: `details` has their ids and how many
 * others were written. When the store fails in the middle or the caller stops it, the error says how many were written before.
 */
export async function rewrapKeys(store: KeyVaultStore, bson: BsonLibrary, output: Uint8Array, during: Waiting): Promise<{ bulkWriteResult?: BulkWriteResult }> {
  const keys = deserialize(bson, output)['v'] as readonly RewrappedKey[];
  if (keys.length === 0) return {};
  const conflicts: string[] = [];
  let written = 0;
  for (const key of keys) {
    const expected = { keyMaterial: key.previousKeyMaterial, masterKey: key.previousMasterKey };
    const next = { keyMaterial: key.keyMaterial, masterKey: key.masterKey };
    const write = (): Promise<boolean> => during(() => rewrapThrough(store, key._id, expected, next));
    if (await writeOne(write, key, written, keys.length)) written += 1;
    else conflicts.push(keyIdText(key._id));
  }
  // The driver's own counts are the server's.
  if (store.deployment === undefined)
    await requireWritten(
      store,
      keys.filter(({ _id }) => !conflicts.includes(keyIdText(_id))),
      during,
    );
  if (conflicts.length > 0) {
    const were = conflicts.length === 1 ? 'key was' : 'keys were';
    throw new CsfleError(
      'KEY_VAULT_CONFLICT',
      `${conflicts.length} of ${keys.length} ${were} changed by another process meanwhile and left as found: ${conflicts.join(', ')}`,
      {
        details: { keyIds: conflicts.join(','), conflicts: conflicts.length, written },
      },
    );
  }
  return {
    bulkWriteResult: {
      insertedCount: 0,
      matchedCount: written,
      modifiedCount: written,
      deletedCount: 0,
      upsertedCount: 0,
      upsertedIds: {},
      insertedIds: {},
    },
  };
}

/** Reads back what a store says that it wrote. Another writer may have been there since; the wrapping of before may not. */
async function requireWritten(store: KeyVaultStore, keys: readonly RewrappedKey[], during: Waiting): Promise<void> {
  if (keys.length === 0) return;
  const found = await during(() => findDocuments(store, { _id: { $in: keys.map(({ _id }) => _id) } }));
  const now = new Map(found.flatMap(({ _id, keyMaterial }) => (isBinary(_id) ? [[keyIdText(_id), keyMaterial] as const] : [])));
  for (const { _id, keyMaterial, previousKeyMaterial } of keys) {
    const before = binaryBytes(previousKeyMaterial);
    // A KMS may wrap to the same bytes twice.
    if (equalBytes(binaryBytes(keyMaterial), before)) continue;
    const stored = now.get(keyIdText(_id));
    if (!isBinary(stored) || !equalBytes(binaryBytes(stored), before)) continue;
    throw new CsfleError('HOST_CALLBACK_FAILED', `the key vault store says that it wrapped key ${keyIdText(_id)} anew, and it is wrapped as before`, {
      details: { keyId: keyIdText(_id) },
    });
  }
}

async function writeOne(write: () => Promise<boolean>, key: RewrappedKey, written: number, total: number): Promise<boolean> {
  try {
    return await write();
  } catch (error) {
    const failure = error as CsfleError;
    throw new CsfleError(failure.code, `${failure.message}, at key ${keyIdText(key._id)}, after ${written} of ${total} keys were rewrapped`, {
      ...('cause' in failure ? { cause: failure.cause } : {}),
      details: { ...failure.details, keyId: keyIdText(key._id), written },
      retryable: failure.retryable,
    });
  }
}
