/** Every namespace of a deployment that may hold encrypted values, and what could not be listed. */

import { binaryBytes, type Document, isBinary } from '../../bson.js';
import { hexText } from '../../bytes.js';
import { listCollections } from '../collection-list.js';
import type { MigrationDriverClient } from '../driver-collection.js';

/** A collection, a view or a time series as `listCollections` describes it. */
export interface ListedNamespace {
  /** `database.collection`. */
  readonly namespace: string;
  readonly type: string;
  /** Validator, `encryptedFields`, the source of a view. */
  readonly options: Document;
  /** Which collection it is, whatever client lists it; views have none. */
  readonly uuid: string | undefined;
}

/** A part of a deployment that cannot be searched. */
export interface Unreadable {
  /** `database.collection`; `database.*` for a database, `*` for a deployment whose databases cannot be listed. */
  readonly namespace: string;
  readonly reason: string;
  /** Whether it is a view, which holds no value of its own. */
  readonly isView?: boolean;
}

/** What a deployment holds. */
export interface NamespaceList {
  readonly listed: readonly ListedNamespace[];
  readonly unreadable: readonly Unreadable[];
}

// What the server keeps for itself: its log of writes, users, sharding metadata. Key vaults in `admin` are found.
const RESERVED: Readonly<Record<string, RegExp>> = {
  local: /^(?:oplog\.|replset\.|system\.(?:replset|rollback|tenantMigration|healthlog)|startup_log$)/,
  config: /^(?:system\.|cache\.|transactions$|image_collection$|sampledQueries)/,
  admin: /^system\.(?:users|roles|version|keys|new_users|backup_users|healthlog|preimages|resharding|sessions)/,
};
// The profiler's log of commands, and the definitions of views, which listCollections gives too.
const RESERVED_ANYWHERE = /^system\.(?:profile|views)$/;
const BUCKETS = 'system.buckets.';

/**
 * Lists what this user may read and nothing else: enough where every value found is a gain, not where a missing one is a loss.
 * Validators and the sources of views are not among what it tells.
 */
export async function listReadableNamespaces(client: MigrationDriverClient): Promise<readonly ListedNamespace[]> {
  const answer = await client.db('admin').command({ listDatabases: 1, nameOnly: true, authorizedDatabases: true });
  const databases = (answer['databases'] as readonly { name: string }[]).map(({ name }) => name);
  const listed: ListedNamespace[] = [];
  for (const database of databases) {
    const entries = await listDatabase(client, database, { nameOnly: true, authorizedCollections: true });
    const names = new Set(entries.map(({ namespace }) => namespace));
    listed.push(...entries.filter(({ namespace, type }) => type !== 'view' && !isReserved(database, namespace.slice(database.length + 1), names)));
  }
  return listed;
}

/**
 * Lists a deployment. `skip` says which parts need no listing. Never throws for what a server refuses: that is in
 * `unreadable`. The lists are asked for as a whole: a server that hides what the user may not read says so instead.
 */
export async function listNamespaces(client: MigrationDriverClient, skip: (namespace: string) => boolean): Promise<NamespaceList> {
  let databases: readonly string[];
  try {
    const answer = await client.db('admin').command({ listDatabases: 1, nameOnly: true, authorizedDatabases: false });
    databases = (answer['databases'] as readonly { name: string }[]).map(({ name }) => name);
  } catch (error) {
    return { listed: [], unreadable: skip('*') ? [] : [{ namespace: '*', reason: `the databases cannot be listed${serverReason(error)}` }] };
  }
  const listed: ListedNamespace[] = [];
  const unreadable: Unreadable[] = [];
  for (const database of databases) {
    const all = `${database}.*`;
    if (skip(all)) continue;
    try {
      const entries = await listDatabase(client, database);
      const names = new Set(entries.map(({ namespace }) => namespace));
      for (const entry of entries) {
        if (isReserved(database, entry.namespace.slice(database.length + 1), names)) continue;
        const reason = unsearchable(database, entry, names);
        if (reason === undefined) listed.push(entry);
        else if (!skip(entry.namespace)) unreadable.push({ namespace: entry.namespace, reason, isView: entry.type === 'view' });
      }
    } catch (error) {
      unreadable.push({ namespace: all, reason: `its collections cannot be listed${serverReason(error)}` });
    }
  }
  return { listed, unreadable };
}

/** What a server says about a refusal, without its message: that may quote values. */
export function serverReason(error: unknown): string {
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  const parts = [typeof name === 'string' ? name : 'unknown error', ...(typeof code === 'number' ? [`server code ${code}`] : [])];
  return ` (${parts.join(', ')})`;
}

async function listDatabase(client: MigrationDriverClient, database: string, options: Document = {}): Promise<readonly ListedNamespace[]> {
  const found = await listCollections(client, database, options);
  return found.map(({ name, type, options, info }) => ({
    namespace: `${database}.${String(name)}`,
    type: String(type ?? 'collection'),
    options: (options ?? {}) as Document,
    uuid: uuidOf((info as Document | undefined)?.['uuid']),
  }));
}

function uuidOf(uuid: unknown): string | undefined {
  return isBinary(uuid) ? hexText(binaryBytes(uuid)) : undefined;
}

function isReserved(database: string, collection: string, names: ReadonlySet<string>): boolean {
  if (RESERVED_ANYWHERE.test(collection) || RESERVED[database]?.test(collection) === true) return true;
  // The buckets of a time series are compressed; its documents are read through the time series itself.
  return collection.startsWith(BUCKETS) && names.has(`${database}.${collection.slice(BUCKETS.length)}`);
}

function unsearchable(database: string, { namespace, type, options }: ListedNamespace, names: ReadonlySet<string>): string | undefined {
  if (namespace.startsWith(`${database}.${BUCKETS}`)) return 'it holds the compressed buckets of a time series that is not listed';
  if (type !== 'view') return undefined;
  const source = `${database}.${String(options['viewOn'])}`;
  return names.has(source) ? undefined : `it is a view over ${source}, which is not there`;
}
