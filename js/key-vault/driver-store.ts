/** A key vault in a MongoDB collection, over the official driver, which is typed by structure and never imported. */

import type { BsonBinary, Document } from '../bson.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { ErrorCode } from '../error-codes.js';
import { driverFacts } from '../foreign-error.js';
import type { KeyVaultCapabilities, KeyVaultStore, KeyWrapping } from '../key-vault.js';
import { purgeEntry, RETIRED_SUFFIX, restoreDocument, retiredEntries, retireDocument } from './driver-retirement.js';

/** What this package uses of a collection of the `mongodb` driver. */
export interface DriverCollection {
  find(filter: Document, options?: Document): { toArray(): Promise<Document[]> };
  insertOne(document: Document, options?: Document): Promise<unknown>;
  updateOne(filter: Document, update: Document, options?: Document): Promise<{ readonly matchedCount: number }>;
  deleteOne(filter: Document, options?: Document): Promise<{ readonly deletedCount: number }>;
  findOneAndUpdate(
    filter: Document,
    update: Document | Document[],
    options: Document & { returnDocument: 'before'; includeResultMetadata: false },
  ): Promise<Document | null>;
  indexes(): Promise<unknown>;
}

/** What this package uses of a database of the `mongodb` driver. */
export interface DriverDatabase {
  collection(name: string, options?: typeof CONCERNS): DriverCollection;
  command(command: Document): Promise<Document>;
}

/** What this package uses of a `MongoClient` of the `mongodb` driver. */
export interface DriverClient {
  db(name: string): DriverDatabase;
}

// A secondary may not have what was just written, and every write here is read back or compared with what was read.
const CONCERNS = Object.freeze({
  readConcern: { level: 'majority' },
  writeConcern: { w: 'majority' },
  readPreference: 'primary',
} as const);
// The client may be set to hand out raw bytes or other types; key documents are wanted as the driver has them by default.
const AS_DOCUMENTS: Document = Object.freeze({
  raw: false,
  promoteValues: true,
  promoteLongs: true,
  promoteBuffers: false,
  useBigInt64: false,
});
const DUPLICATE_KEY = 11000;
/** The index of MongoDB's "Client Side Encryption", by the name that the shell gives it. */
const INDEX = Object.freeze({ key: { keyAltNames: 1 }, name: 'keyAltNames_1', unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
/** Key vaults whose index is known to be there, by the client that saw it. */
const indexed = new WeakMap<object, Set<string>>();
const NAMESPACE_NOT_FOUND = 26;
const NEEDED_ACTIONS = ['find', 'insert', 'update', 'remove'] as const;

/**
 * Makes a key vault of the collection `namespace` (`database.collection`), with read and write concern "majority", read from the primary.
 * Errors: `ARGUMENT_INVALID` for a namespace that is none. Its methods: `KEY_VAULT_NOT_READABLE`,
 * `KEY_VAULT_NOT_WRITABLE`, `KEY_VAULT_DUPLICATE_KEY`, each with the driver's error as `cause`.
 */
export function driverKeyVaultStore(client: DriverClient, namespace: string): KeyVaultStore {
  const [database, collection] = splitNamespace(namespace);
  if (typeof (client as Partial<DriverClient> | null)?.db !== 'function')
    throw argumentError(`a MongoClient is needed for the key vault ${namespace}, found ${kindOf(client)}`);
  const open = (): DriverCollection => client.db(database).collection(collection, CONCERNS);
  const openRetired = (): DriverCollection => client.db(database).collection(`${collection}${RETIRED_SUFFIX}`, CONCERNS);
  const both = () => ({ vault: open(), retired: openRetired() });
  const reading = <T>(work: () => Promise<T>): Promise<T> => translated('KEY_VAULT_NOT_READABLE', namespace, work);
  const writing = <T>(work: () => Promise<T>): Promise<T> => translated('KEY_VAULT_NOT_WRITABLE', namespace, work);
  const updateNames = (id: BsonBinary, update: Document | Document[]): Promise<Document | null> =>
    writing(() => open().findOneAndUpdate({ _id: id }, update, { ...AS_DOCUMENTS, returnDocument: 'before', includeResultMetadata: false }));

  return {
    find: (filter) => reading(() => open().find(filter, AS_DOCUMENTS).toArray()),
    async insert(document) {
      await writing(() => open().insertOne(document));
    },
    async rewrapIf(id, expected, next) {
      const { matchedCount } = await writing(() =>
        open().updateOne(wrappedAs(id, expected), {
          $set: { keyMaterial: next.keyMaterial, masterKey: next.masterKey },
          $currentDate: { updateDate: true },
        }),
      );
      return matchedCount > 0;
    },
    addKeyAltName: (id, name) => updateNames(id, { $addToSet: { keyAltNames: name } }),
    removeKeyAltName: (id, name) => updateNames(id, withoutName(name)),
    retireKey: (id, note) => writing(() => retireDocument(both(), id, note)),
    retiredKeys: (id) => reading(() => retiredEntries(openRetired(), id)),
    restoreKey: (retired, withoutNames = []) => writing(() => restoreDocument(both(), retired, withoutNames)),
    purgeRetiredKey: (retired) => writing(() => purgeEntry(openRetired(), retired)),
    async ensureIndex() {
      const known = indexed.get(client) ?? new Set();
      if (known.has(namespace)) return;
      // Who may not list indexes may be allowed to create one.
      const isThere = await hasUniqueIndex(open()).catch(() => false);
      const create = { createIndexes: collection, indexes: [INDEX], writeConcern: CONCERNS.writeConcern };
      if (!isThere) await writing(() => client.db(database).command(create));
      indexed.set(client, known.add(namespace));
    },
    capabilities: () => reading(() => capabilities(client, database, collection)),
    deployment: { client, namespace },
  };
}

function splitNamespace(namespace: unknown): [string, string] {
  const dot = typeof namespace === 'string' ? namespace.indexOf('.') : -1;
  if (typeof namespace !== 'string' || dot < 1 || dot === namespace.length - 1 || namespace.includes('\0')) {
    throw argumentError(
      `keyVaultNamespace must be "database.collection", found ${typeof namespace === 'string' ? JSON.stringify(namespace) : kindOf(namespace)}`,
    );
  }
  return [namespace.slice(0, dot), namespace.slice(dot + 1)];
}

/** Both values as a whole: in the query language they would also match an array that contains them. */
function wrappedAs(id: BsonBinary, { keyMaterial, masterKey }: KeyWrapping): Document {
  const equals = (path: string, value: unknown): Document => ({ $eq: [path, { $literal: value }] });
  return { _id: id, $expr: { $and: [equals('$keyMaterial', keyMaterial), equals('$masterKey', masterKey)] } };
}

/**
 * The update that takes a name away, and the field with the last name, since the index on it is partial on existence.
 * COMPAT: the driver's own pipeline; here the name is a literal, so that one that begins with "$" is no field path, and
 * a document without names stays without.
 */
function withoutName(name: string): Document[] {
  const others = { $filter: { input: { $ifNull: ['$keyAltNames', []] }, cond: { $ne: ['$$this', { $literal: name }] } } };
  return [{ $set: { keyAltNames: { $cond: [{ $eq: [others, []] }, '$$REMOVE', others] } } }];
}

async function translated<T>(code: ErrorCode, namespace: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (CsfleError.is(cause)) throw cause;
    const { code: serverCode, name } = (cause ?? {}) as { code?: unknown; name?: unknown };
    if (serverCode === DUPLICATE_KEY) {
      throw new CsfleError('KEY_VAULT_DUPLICATE_KEY', `a key of ${namespace} has this id or alternate name already`, {
        cause,
        details: { namespace },
      });
    }
    if (name === 'BSONVersionError') {
      throw new CsfleError('HOST_BSON_MISMATCH', "the driver's BSON library is of another major version than the one in use here", {
        cause,
        details: { namespace },
      });
    }
    const doing = code === 'KEY_VAULT_NOT_READABLE' ? 'read' : 'written';
    const { label, retryable, details } = driverFacts(cause);
    throw new CsfleError(code, `the key vault ${namespace} cannot be ${doing} (${label})`, {
      cause,
      details: { namespace, ...details },
      retryable,
    });
  }
}

async function capabilities(client: DriverClient, database: string, collection: string): Promise<KeyVaultCapabilities> {
  const uniqueIndex = await hasUniqueIndex(client.db(database).collection(collection));
  const hello = await client.db('admin').command({ hello: 1 });
  if (hello['isWritablePrimary'] === false) return { writable: false, uniqueIndex, reason: 'the server is not the primary of its replica set' };
  const missing = await missingActions(client, database, collection);
  if (missing.length > 0) return { writable: false, uniqueIndex, reason: `the user may not ${missing.join(', ')} on ${database}.${collection}` };
  return { writable: true, uniqueIndex };
}

async function hasUniqueIndex(collection: DriverCollection): Promise<boolean> {
  let indexes: unknown;
  try {
    indexes = await collection.indexes();
  } catch (error) {
    // A collection that is not there yet has no index either.
    if ((error as { code?: unknown } | null)?.code === NAMESPACE_NOT_FOUND) return false;
    throw error;
  }
  return (indexes as { key?: Document; unique?: unknown }[]).some((index) => index.unique === true && Object.keys(index.key ?? {}).join() === 'keyAltNames');
}

/** The actions of `NEEDED_ACTIONS` that the user of this connection lacks; none when the server has no users. */
async function missingActions(client: DriverClient, database: string, collection: string): Promise<readonly string[]> {
  const { authInfo } = (await client.db('admin').command({ connectionStatus: 1, showPrivileges: true })) as {
    authInfo?: { authenticatedUsers?: unknown[]; authenticatedUserPrivileges?: { resource?: Document; actions?: string[] }[] };
  };
  const privileges = authInfo?.authenticatedUserPrivileges;
  if (!authInfo?.authenticatedUsers?.length || privileges === undefined) return [];
  const applies = (resource: Document = {}): boolean =>
    resource['anyResource'] === true ||
    ((resource['db'] === '' || resource['db'] === database) && (resource['collection'] === '' || resource['collection'] === collection));
  const allowed = new Set(privileges.filter(({ resource }) => applies(resource)).flatMap(({ actions = [] }) => actions));
  return allowed.has('anyAction') ? [] : NEEDED_ACTIONS.filter((action) => !allowed.has(action));
}
