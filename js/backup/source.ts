/** Where the content of a backup comes from: the key vault, and the collections of its deployment. */

import { type BsonLibrary, binaryBytes, type Document, EXACT_TYPES, isBinary, serialize } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { DriverClient, DriverCollection, KeyVaultStore } from '../key-vault.js';
import { listCollections } from '../migrate/collection-list.js';
import { splitNamespace } from '../migrate/driver-collection.js';
import type { NamespacedClient } from '../migrate/options.js';
import { openKeyVault } from '../migrate/setup.js';
import { findDocuments } from '../run.js';
import type { BackupCollection, BackupIndex } from './records.js';

const NAMESPACE_NOT_FOUND = 26;
/** Options of a collection that say what is encrypted. */
const KEPT_OPTIONS = ['validator', 'validationLevel', 'validationAction', 'encryptedFields'] as const;
/** What a collection has of which nothing else was said (MongoDB manual, "create"). */
export const DEFAULT_VALIDATION: Document = Object.freeze({ validator: {}, validationLevel: 'strict', validationAction: 'error' });
/** Databases of the server itself. */
const SERVER_DATABASES: readonly string[] = ['admin', 'config', 'local'];
// Types are kept: a validator is put back as it was.
const READ = { raw: true, readConcern: { level: 'majority' }, readPreference: 'primary' } as const;

/** A key vault as backups read it. */
export class VaultSource {
  readonly store: KeyVaultStore;
  /** `database.collection`, or null for a store that is no collection. */
  readonly namespace: string | null;
  readonly #place: NamespacedClient | undefined;

  constructor(
    input: KeyVaultStore | NamespacedClient,
    readonly bson: BsonLibrary,
  ) {
    this.store = openKeyVault(input);
    this.#place = isPlace(input) ? input : undefined;
    this.namespace = this.#place?.namespace ?? null;
  }

  /** Every key document as bytes: of a collection those that the server sent. */
  async keyDocuments(): Promise<readonly Uint8Array[]> {
    if (this.#place !== undefined) {
      const documents = await this.#reading(() => this.#collection().find({}, READ).toArray());
      return documents.map((document) => Uint8Array.from(document as unknown as Uint8Array));
    }
    return (await findDocuments(this.store, {})).map((document) => serialize(this.bson, document, 'a key document'));
  }

  /** The indexes of the vault, but for the one on `_id`, which every collection has. */
  async indexes(): Promise<readonly BackupIndex[]> {
    const { namespace } = this;
    if (namespace === null) return [];
    const indexes = await this.#reading(async () => {
      try {
        return (await this.#collection().indexes()) as readonly Document[];
      } catch (error) {
        if ((error as { code?: unknown } | null)?.code === NAMESPACE_NOT_FOUND) return [];
        throw error;
      }
    });
    return indexes.filter(({ name }) => name !== '_id_').map((definition) => ({ namespace, definition }));
  }

  /** Makes an index of a backup again. */
  async createIndex({ namespace, definition }: BackupIndex): Promise<void> {
    const { database, collection } = splitNamespace(namespace);
    const { ns: _namespace, ...index } = definition;
    await this.#client()
      .db(database)
      .command({ createIndexes: collection, indexes: [index] });
  }

  /**
   * The collections that have a validator or `encryptedFields`: those of `names`, or all that can be read.
   * Errors: `BACKUP_COLLECTION_FAILED` for one of `names` that is not there or cannot be read.
   */
  async collections(names: readonly string[] | undefined): Promise<{ collections: readonly BackupCollection[]; notRead: readonly string[] }> {
    if (this.#place === undefined) return { collections: [], notRead: [] };
    if (names !== undefined) {
      const found = await Promise.all(names.map((namespace) => this.#named(namespace)));
      return { collections: found.filter(({ options }) => Object.keys(options).length > 0), notRead: [] };
    }
    const collections: BackupCollection[] = [];
    const notRead: string[] = [];
    let databases: readonly string[] = [];
    try {
      const answer = await this.#client().db('admin').command({ listDatabases: 1, nameOnly: true, authorizedDatabases: true });
      databases = (answer.databases as Document[]).map(({ name }) => String(name));
    } catch (error) {
      notRead.push(`the list of databases: ${reasonOf(error)}`);
    }
    for (const database of databases.filter((name) => !SERVER_DATABASES.includes(name))) {
      try {
        collections.push(...(await this.#described(database, {})));
      } catch (error) {
        notRead.push(`the collections of ${database}: ${reasonOf(error)}`);
      }
    }
    return { collections: collections.filter(({ options }) => Object.keys(options).length > 0), notRead };
  }

  /** The options of one collection as they are now, or undefined when there is no such collection. */
  async collection(namespace: string): Promise<BackupCollection | undefined> {
    const { database, collection } = splitNamespace(namespace);
    return (await this.#described(database, { name: collection }))[0];
  }

  /** Creates a collection, or changes the validator of one that is there: what the options leave out gets the default of the server. */
  async writeCollection({ namespace, options }: BackupCollection, isThere: boolean): Promise<void> {
    const { database, collection } = splitNamespace(namespace);
    const { encryptedFields, ...validation } = options;
    const command = isThere
      ? { collMod: collection, ...DEFAULT_VALIDATION, ...validation }
      : { create: collection, ...validation, ...(encryptedFields === undefined ? {} : { encryptedFields }) };
    await this.#client().db(database).command(command);
  }

  async #named(namespace: string): Promise<BackupCollection> {
    const found = await this.collection(namespace).catch((cause: unknown) => {
      throw collectionFailed(namespace, `it cannot be read: ${reasonOf(cause)}`, cause);
    });
    if (found === undefined) throw collectionFailed(namespace, 'there is no such collection');
    return found;
  }

  async #described(database: string, filter: Document): Promise<readonly BackupCollection[]> {
    const found = await listCollections(this.#client(), database, { filter }, { ...EXACT_TYPES });
    return found
      .filter(({ type, name }) => type !== 'view' && !String(name).startsWith('system.'))
      .map(({ name, options }) => ({ namespace: `${database}.${String(name)}`, options: keptOptions((options ?? {}) as Document) }));
  }

  #client(): DriverClient {
    if (this.#place === undefined) throw new CsfleError('INTERNAL', 'a key vault store has no client');
    return this.#place.client;
  }

  #collection(): DriverCollection {
    const { database, collection } = splitNamespace(this.namespace ?? '');
    return this.#client().db(database).collection(collection);
  }

  async #reading<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      throw new CsfleError('KEY_VAULT_NOT_READABLE', `the key vault ${this.namespace} cannot be read (${reasonOf(cause)})`, {
        cause,
        details: { namespace: this.namespace ?? '' },
      });
    }
  }
}

function keptOptions(options: Document): Document {
  return Object.fromEntries(KEPT_OPTIONS.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]));
}

function isPlace(input: KeyVaultStore | NamespacedClient): input is NamespacedClient {
  return !('find' in input && typeof input.find === 'function') && 'client' in input;
}

/** Code or name of a driver's error; its message may quote values. */
export function reasonOf(error: unknown): string {
  const { codeName, code, name } = (error ?? {}) as { codeName?: unknown; code?: unknown; name?: unknown };
  return String(codeName ?? (typeof code === 'string' ? code : undefined) ?? name ?? 'unknown error');
}

/** An error about the options of one collection. */
export function collectionFailed(namespace: string, reason: string, cause?: unknown): CsfleError {
  return new CsfleError('BACKUP_COLLECTION_FAILED', `the options of ${namespace}: ${reason}`, {
    details: { namespace },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Whether two key documents hold the same wrapping under the same master key. */
export function sameWrapping(bson: BsonLibrary, a: Document, b: Document): boolean {
  if (!isBinary(a.keyMaterial) || !isBinary(b.keyMaterial)) return false;
  if (!equalBytes(binaryBytes(a.keyMaterial), binaryBytes(b.keyMaterial))) return false;
  return equalBytes(serialize(bson, a.masterKey as Document, 'masterKey'), serialize(bson, b.masterKey as Document, 'masterKey'));
}
