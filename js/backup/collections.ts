/** Puts validators and `encryptedFields` of a backup back. */

import { type Document, deserialize, serialize } from '../bson.js';
import { equalBytes } from '../bytes.js';
import type { BackupCollection } from './records.js';
import { collectionFailed, reasonOf, type VaultSource } from './source.js';

/**
 * Compares the options of each collection with the present ones and, with `execute`, writes those that differ. Returns the
 * namespaces that were (or would be) written. A collection that is gone is created, empty, with its options.
 */
export async function restoreCollections(
  source: VaultSource,
  collections: readonly BackupCollection[],
  execute: boolean,
  attempt: (namespace: string, work: () => Promise<void>) => Promise<boolean>,
): Promise<readonly string[]> {
  const written: string[] = [];
  const same = (a: Document, b: Document): boolean => equalBytes(serialize(source.bson, sorted(source, a), 'options'), serialize(source.bson, sorted(source, b), 'options'));
  for (const collection of collections) {
    const { namespace } = collection;
    await attempt(namespace, async () => {
      const present = await source.collection(namespace).catch((cause: unknown) => {
        throw collectionFailed(namespace, `they cannot be read: ${reasonOf(cause)}`, cause);
      });
      if (present !== undefined && same(present.options, collection.options)) return;
      const { encryptedFields } = collection.options;
      if (present !== undefined && !same({ encryptedFields: present.options.encryptedFields ?? null }, { encryptedFields: encryptedFields ?? null }))
        throw collectionFailed(namespace, 'the encryptedFields of a collection that is there cannot be changed');
      if (execute) {
        await source.writeCollection(collection, present !== undefined).catch((cause: unknown) => {
          throw collectionFailed(namespace, `they cannot be written: ${reasonOf(cause)}`, cause);
        });
      }
      written.push(namespace);
    });
  }
  return written;
}

// The server chooses the order of options, and a connection may have promoted their numbers.
function sorted({ bson }: VaultSource, options: Document): Document {
  const promoted = deserialize(bson, serialize(bson, options, 'options'));
  return Object.fromEntries(Object.entries(promoted).sort(([a], [b]) => (a < b ? -1 : 1)));
}
