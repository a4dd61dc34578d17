/**
 * The shell's service provider in the form of a driver's client, so that the shell shares the library's own key vault
 * store and migration instead of having copies.
 *
 * The provider is asked anew on each call: after Ctrl+C the shell connects again with another client of the driver.
 */

import type { DriverClient, DriverCollection, Document } from '../index.js';
import type { ShellMongo, ShellServiceProvider } from './shell.js';

/** What key vault store and migration use of a collection. */
export interface ProviderCollection extends DriverCollection {
  find(filter: Document, options?: Document): { toArray(): Promise<Document[]> } & AsyncIterable<Document>;
  estimatedDocumentCount(): Promise<number>;
  bulkWrite(operations: readonly Document[], options: Document): Promise<{ readonly matchedCount: number }>;
}

/** What key vault store and migration use of a client. */
export interface ProviderClient extends DriverClient {
  /** What the migration looks at to refuse a connection that decrypts by itself. */
  readonly options: { readonly autoEncryption: unknown };
  db(name: string): {
    collection(name: string, options?: CollectionOptions): ProviderCollection;
    command(command: Document): Promise<Document>;
  };
}

/** How a collection is read and written; a call that has its own options overrides them. */
interface CollectionOptions {
  readonly readConcern?: Document;
  readonly readPreference?: string;
  readonly writeConcern?: Document;
}

/** Makes a driver's client of a connection of the shell. */
export function providerClient(mongo: ShellMongo): ProviderClient {
  const provider = (): ShellServiceProvider => mongo._serviceProvider;
  return {
    options: { autoEncryption: provider().getFleOptions?.() },
    db: (database) => ({
      collection: (collection, options = {}) => providerCollection(provider, database, collection, options),
      command: (command) => provider().runCommandWithCheck(database, command),
    }),
  };
}

function providerCollection(provider: () => ShellServiceProvider, database: string, collection: string, concerns: CollectionOptions): ProviderCollection {
  const { readConcern, readPreference } = concerns;
  const reads = { ...(readConcern === undefined ? {} : { readConcern }), ...(readPreference === undefined ? {} : { readPreference }) };
  const writes = concerns.writeConcern === undefined ? {} : { writeConcern: concerns.writeConcern };
  return {
    find: (filter, options) => provider().find(database, collection, filter, { ...reads, ...options }),
    estimatedDocumentCount: () => provider().estimatedDocumentCount(database, collection),
    insertOne: (document, options) => provider().insertOne(database, collection, document, { ...writes, ...options }),
    updateOne: (filter, update, options) => provider().updateOne(database, collection, filter, update, { ...writes, ...options }),
    deleteOne: (filter, options) => provider().deleteOne(database, collection, filter, { ...writes, ...options }),
    findOneAndUpdate: (filter, update, options) => provider().findOneAndUpdate(database, collection, filter, update, { ...writes, ...options }),
    bulkWrite: (operations, options) => provider().bulkWrite(database, collection, operations, { ...writes, ...options }),
    indexes: () => provider().getIndexes(database, collection),
  };
}
