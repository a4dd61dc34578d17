/** Collections that nobody named, whose values show which key material is right. */

import { throwIfAborted } from '../abort.js';
import type { Document } from '../bson.js';
import type { MigrationCollection } from './collection.js';
import { driverMigrationCollection, type MigrationDriverClient } from './driver-collection.js';
import { idText } from './engine.js';
import type { NamespacedClient } from './options.js';
import { isRemoteKey, type ValueSamples } from './proof.js';
import type { MigrationRun } from './run-state.js';

const SYSTEM_DATABASES: readonly string[] = ['admin', 'config', 'local'];
/** More than a database holds: the names come in one answer. */
const NAMES_IN_ONE_ANSWER = 100_000;

/**
 * Looks for values under keys that a KMS is to unwrap for a rewrap: in the collections that were named, or else in every
 * one beside the key vault. Returns those that cannot be read; undefined when there is nothing to prove or nowhere to look.
 */
export async function searchWitnesses(
  run: MigrationRun,
  keys: readonly Document[],
  values: ValueSamples,
): Promise<readonly string[] | undefined> {
  const wanted = keys.filter(isRemoteKey).map((key) => idText(key._id));
  if (run.mode !== 'rewrap' || wanted.length === 0) return undefined;
  const { keyVault, witnesses, batchSize } = run.options;
  let collections = run.witnesses;
  // Who may not list collections gets the comparison of two answers alone.
  if (witnesses === undefined && 'client' in keyVault) collections = await collectionsBeside(keyVault).catch(() => []);
  if (collections.length === 0) return undefined;
  const unread: string[] = [];
  for (const collection of collections) {
    throwIfAborted(run.signal);
    await values.search(collection, wanted, batchSize, run.signal).catch(() => unread.push(collection.namespace));
  }
  return unread;
}

/** Every collection beside a key vault that its client may see, without views and system collections. */
export async function collectionsBeside({ client, namespace }: NamespacedClient): Promise<readonly MigrationCollection[]> {
  const names = { nameOnly: true } as const;
  const found: MigrationCollection[] = [];
  const { databases } = (await client.db('admin').command({ listDatabases: 1, ...names, authorizedDatabases: true })) as {
    databases?: readonly { readonly name: string }[];
  };
  for (const { name: database } of databases ?? []) {
    if (SYSTEM_DATABASES.includes(database)) continue;
    const answer = await client.db(database).command({
      listCollections: 1,
      ...names,
      authorizedCollections: true,
      cursor: { batchSize: NAMES_IN_ONE_ANSWER },
    });
    const { firstBatch = [] } = (answer.cursor ?? {}) as { firstBatch?: readonly Document[] };
    for (const { name, type } of firstBatch) {
      const full = `${database}.${String(name)}`;
      if (type === 'view' || String(name).startsWith('system.') || full === namespace) continue;
      found.push(driverMigrationCollection({ client: client as unknown as MigrationDriverClient, namespace: full }));
    }
  }
  return found;
}
