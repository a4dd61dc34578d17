/** Puts validators and `encryptedFields` of a backup back. */

import { type Document, deserialize, serialize } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { BackupCollection } from './records.js';
import { collectionFailed, DEFAULT_VALIDATION, reasonOf, type VaultSource } from './source.js';

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
  const same = (a: Document, b: Document): boolean =>
    equalBytes(serialize(source.bson, complete(source, a), 'options'), serialize(source.bson, complete(source, b), 'options'));
  const read = (namespace: string): Promise<BackupCollection | undefined> =>
    source.collection(namespace).catch((cause: unknown) => {
      throw collectionFailed(namespace, `they cannot be read: ${reasonOf(cause)}`, cause);
    });
  for (const collection of collections) {
    const { namespace } = collection;
    await attempt(namespace, async () => {
      const present = await read(namespace);
      if (present !== undefined && same(present.options, collection.options)) return;
      const fields = ({ encryptedFields }: Document): Document => ({ encryptedFields });
      if (present !== undefined && !same(fields(present.options), fields(collection.options)))
        throw collectionFailed(namespace, 'the encryptedFields of a collection that is there cannot be changed');
      if (execute) {
        await source.writeCollection(collection, present !== undefined).catch((cause: unknown) => {
          throw collectionFailed(namespace, `they cannot be written: ${reasonOf(cause)}`, cause);
        });
        const stored = await read(namespace);
        if (stored === undefined || !same(stored.options, collection.options))
          throw new CsfleError('BACKUP_VERIFICATION_FAILED', `the options of ${namespace} are not what was written`, { details: { namespace } });
      }
      written.push(namespace);
    });
  }
  return written;
}

/**
 * Options with what a server leaves out, in one order: the server chooses the order, and a connection may have promoted numbers.
 * Without a validator its level and action mean nothing, and servers keep or drop them as they like.
 */
function complete({ bson }: VaultSource, options: Document): Document {
  const given = deserialize(bson, serialize(bson, options, 'options'));
  const { validator, encryptedFields = null } = given;
  const hasValidator = typeof validator === 'object' && validator !== null && Object.keys(validator).length > 0;
  const validation = hasValidator ? { ...DEFAULT_VALIDATION, ...given } : DEFAULT_VALIDATION;
  return Object.fromEntries(Object.entries({ ...validation, encryptedFields }).sort(([a], [b]) => (a < b ? -1 : 1)));
}
