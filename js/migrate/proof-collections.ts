/** Where values are found that show which key material is right. */

import { throwIfAborted } from '../abort.js';
import type { Document } from '../bson.js';
import type { MigrationCollection } from './collection.js';
import { driverMigrationCollection, type MigrationDriverClient } from './driver-collection.js';
import { idText } from './engine.js';
import { listReadableNamespaces } from './evidence/namespaces.js';
import type { NamespacedClient } from './options.js';
import { isRemoteKey, type ValueSamples } from './proof.js';
import type { MigrationRun } from './run-state.js';

/**
 * Looks for values under keys that a KMS is to unwrap for a rewrap: in the collections that were named, or else in every
 * one of the key vault's deployment. Returns those that cannot be read; undefined when there is nothing to prove or
 * nowhere to look.
 */
export async function searchForProof(
  run: MigrationRun,
  keys: readonly Document[],
  values: ValueSamples,
): Promise<readonly string[] | undefined> {
  const wanted = keys.filter(isRemoteKey).map((key) => idText(key._id));
  if (run.mode !== 'rewrap' || wanted.length === 0) return undefined;
  const { keyVault, otherCollections, batchSize } = run.options;
  let collections = run.otherCollections;
  // A user who may not list collections gets the comparison of two answers alone.
  if (otherCollections === undefined && 'client' in keyVault) collections = await collectionsOf(keyVault).catch(() => []);
  if (collections.length === 0) return undefined;
  const unread: string[] = [];
  for (const collection of collections) {
    throwIfAborted(run.signal);
    await values.search(collection, wanted, batchSize, run.signal).catch(() => unread.push(collection.namespace));
  }
  return unread;
}

/** Every collection of a key vault's deployment that its client may read, without the vault itself. */
export async function collectionsOf({ client, namespace }: NamespacedClient): Promise<readonly MigrationCollection[]> {
  const driverClient = client as unknown as MigrationDriverClient;
  const names = (await listReadableNamespaces(driverClient)).map((listed) => listed.namespace).filter((name) => name !== namespace);
  return names.map((name) => driverMigrationCollection({ client: driverClient, namespace: name }));
}
