import type { Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import type { CollectionFacts, MigrationCollection, WriteOutcome } from './collection.js';

/** The little of a driver's `Collection` that a migration uses. */
export interface MigrationDriverCollection {
  find(filter: Document, options: Document): AsyncIterable<unknown>;
  estimatedDocumentCount(): Promise<number>;
  bulkWrite(operations: never, options: Document): Promise<unknown>;
}

/** The little of a driver's `MongoClient` that a migration uses. */
export interface MigrationDriverClient {
  db(name: string): {
    collection(name: string): MigrationDriverCollection;
    command(command: Document): Promise<Document>;
  };
}

/** A collection of a `MongoClient`. */
export interface DriverMigrationCollection {
  readonly client: MigrationDriverClient;
  /** `database.collection`. */
  readonly namespace: string;
}

// A client may be set up to read from secondaries; a conditional write needs the primary's view, as acknowledged.
const READ = { raw: true, readConcern: { level: 'majority' }, readPreference: 'primary' } as const;
const WRITE = { ordered: false, writeConcern: { w: 'majority' } } as const;

/** Splits `database.collection` at its first dot. */
export function splitNamespace(namespace: string): { readonly database: string; readonly collection: string } {
  const dot = namespace.indexOf('.');
  if (dot <= 0 || dot === namespace.length - 1) {
    throw new CsfleError('ARGUMENT_INVALID', `expected a namespace such as database.collection, found '${namespace}'`, {
      details: { namespace },
    });
  }
  return { database: namespace.slice(0, dot), collection: namespace.slice(dot + 1) };
}

/**
 * Adapts a collection of the official driver.
 *
 * Errors: `ARGUMENT_INVALID` when the client encrypts automatically: it would decrypt what it reads, and the migration
 * would find nothing to do.
 */
export function driverMigrationCollection(input: DriverMigrationCollection): MigrationCollection {
  const { client, namespace } = input;
  const names = splitNamespace(namespace);
  refuseAutomaticEncryption(client);
  const database = client.db(names.database);
  const collection = database.collection(names.collection);

  async function description(): Promise<Document | undefined> {
    const answer = await database.command({ listCollections: 1, filter: { name: names.collection } });
    return (answer.cursor as { firstBatch?: Document[] } | undefined)?.firstBatch?.[0];
  }

  async function validator(): Promise<Document> {
    const options = ((await description())?.options ?? {}) as Document;
    return (options.validator ?? {}) as Document;
  }

  return {
    namespace,
    client,
    estimatedCount: () => collection.estimatedDocumentCount(),

    async *scan({ documents, bytes }) {
      let batch: Uint8Array[] = [];
      let size = 0;
      for await (const document of collection.find({}, { ...READ, batchSize: documents })) {
        // The driver may reuse the memory of a reply: keep bytes of our own.
        const copy = Uint8Array.from(document as Uint8Array);
        batch.push(copy);
        size += copy.length;
        if (batch.length < documents && size < bytes) continue;
        yield batch;
        batch = [];
        size = 0;
      }
      if (batch.length > 0) yield batch;
    },

    async read(ids) {
      const found: Uint8Array[] = [];
      for await (const document of collection.find({ _id: { $in: ids } }, READ)) found.push(Uint8Array.from(document as Uint8Array));
      return found;
    },

    async write(changes): Promise<WriteOutcome> {
      try {
        await collection.bulkWrite(changes.map(({ filter, update }) => ({ updateOne: { filter, update } })) as never, WRITE);
        return { refused: [] };
      } catch (error) {
        const { writeErrors } = error as { writeErrors?: unknown };
        if (writeErrors === undefined) throw error;
        const refused = [writeErrors].flat().map((entry) => ({ index: (entry as { index: number }).index, error: entry as unknown }));
        if (refused.length === 0) throw error;
        return { refused };
      }
    },

    async readSchema() {
      return ((await validator()).$jsonSchema as Document | undefined) ?? null;
    },

    async writeSchema(rewritten) {
      await database.command({ collMod: names.collection, validator: { ...(await validator()), $jsonSchema: rewritten } });
    },

    async facts(): Promise<CollectionFacts> {
      const type = (await description())?.type;
      if (type === undefined) return { writable: false, reason: 'there is no such collection' };
      if (type !== 'collection') return { writable: false, reason: `it is a ${String(type)}` };
      try {
        // Matches nothing, so nothing changes; the server checks the privilege all the same.
        await collection.bulkWrite([{ updateOne: { filter: { _id: { $in: [] } }, update: { $set: { _: 0 } } } }] as never, WRITE);
        return { writable: true };
      } catch (error) {
        const code = (error as { code?: unknown } | null)?.code;
        return { writable: false, reason: `an update is refused${typeof code === 'number' ? ` (server code ${code})` : ''}` };
      }
    },
  };
}

function refuseAutomaticEncryption(client: MigrationDriverClient): void {
  const options = (client as { options?: { autoEncryption?: unknown } }).options;
  if (options?.autoEncryption === undefined) return;
  throw new CsfleError('ARGUMENT_INVALID', 'the client of a collection to migrate encrypts automatically: open one without autoEncryption', {
    details: { argument: 'collections' },
  });
}
