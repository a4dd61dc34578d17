/** Whether the wrapping of a backup gives the key that it is to give, before it takes the place of the present one. */

import type { BsonBinary, BsonLibrary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import type { KeyVaultStore, KeyWrapping } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import { idText, MigrationEngine } from './engine.js';
import { isAbort } from './run-state.js';

/** Compares what a backup and the key vault unwrap to, one key at a time. It must be closed. */
export class RestoreProof {
  readonly #engine: MigrationEngine;
  /** What the engine finds instead of what the vault holds. */
  #shown: Document | undefined;

  constructor(kmsProviders: KmsProviders, store: KeyVaultStore, bson: BsonLibrary) {
    const reading: KeyVaultStore = {
      ...refusingWrites(store),
      find: async (filter) => (this.#shown === undefined ? store.find(filter) : [this.#shown]),
    };
    this.#engine = new MigrationEngine({ kmsProviders, bson }, () => reading);
  }

  close(): void {
    this.#engine.close();
  }

  /**
   * Returns whether the wrapping was proven: false when no provider of it is at hand.
   * Errors: `KMS_REPLY_MISMATCH` when two answers for it differ, or it is of other key material than the present wrapping;
   * those of unwrapping.
   */
  async check(backup: Document & KeyWrapping, present: Document | undefined, signal?: AbortSignal): Promise<boolean> {
    const id = backup._id as BsonBinary;
    const restored = present === undefined ? backup : { ...present, keyMaterial: backup.keyMaterial, masterKey: backup.masterKey };
    const first = await this.#unwrap(restored, id, signal);
    if (first === undefined) return false;
    const second = await this.#unwrap(restored, id, signal);
    // A present wrapping that does not open is what backups are for.
    const now = present === undefined ? undefined : await this.#unwrap(present, id, signal).catch(unlessAborted);
    if (first === second && (now === undefined || now === first)) return true;
    throw new CsfleError('KMS_REPLY_MISMATCH', `the backup of key ${idText(id)} unwraps to other key material: it stays as it is`, {
      details: { keyId: idText(id) },
    });
  }

  async #unwrap(document: Document, id: BsonBinary, signal: AbortSignal | undefined): Promise<string | undefined> {
    this.#shown = document;
    try {
      return await this.#engine.fingerprint(id, signal);
    } catch (error) {
      if (CsfleError.is(error) && error.code === 'KMS_PROVIDER_NOT_CONFIGURED') return undefined;
      throw error;
    } finally {
      this.#shown = undefined;
    }
  }
}

function unlessAborted(error: unknown): undefined {
  if (isAbort(error)) throw error;
  return undefined;
}

function refusingWrites(store: KeyVaultStore): KeyVaultStore {
  const refuse = async (): Promise<never> => {
    throw new CsfleError('INTERNAL', 'a comparison of backups writes nothing');
  };
  return {
    find: (filter) => store.find(filter),
    insert: refuse,
    rewrapIf: refuse,
    addKeyAltName: refuse,
    removeKeyAltName: refuse,
    deleteKey: refuse,
  };
}
