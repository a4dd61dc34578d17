/** A collection of the caller's own, with what its methods give checked before it is believed. */

import type { Document } from '../bson.js';
import { isBytes } from '../bytes.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { MigrationCollection } from './collection.js';

const METHODS = ['estimatedCount', 'scan', 'read', 'write'] as const;
const SHORTEST_DOCUMENT = 5;

/**
 * Wraps a collection so that what is no list of BSON documents is an error. A document that was passed over would count as
 * one without encrypted values.
 *
 * Errors: `ARGUMENT_INVALID` for an object without the methods or the namespace. Its methods: `HOST_CALLBACK_FAILED` for
 * anything but arrays of `Uint8Array`, each one whole BSON document, and for a scan that begins where an earlier one ended.
 */
export function checkedCollection(inner: MigrationCollection): MigrationCollection {
  for (const method of METHODS) {
    if (typeof inner[method] !== 'function') throw argumentError(`a collection lacks the method ${method}`, { method });
  }
  const { namespace } = inner;
  if (typeof namespace !== 'string' || namespace === '')
    throw argumentError(`the namespace of a collection must be text such as "database.collection", found ${kindOf(namespace)}`);
  let last: unknown;
  return {
    namespace,
    client: inner.client,
    estimatedCount: () => inner.estimatedCount(),
    async *scan(batch) {
      const batches: unknown = inner.scan(batch);
      const iterates = Symbol.asyncIterator in Object(batches) || Symbol.iterator in Object(batches);
      if (!iterates || typeof batches === 'string') throw failed(namespace, 'scan() gave nothing to iterate over');
      if (batches === last) throw failed(namespace, 'scan() gave the same iterator twice: each call has to begin anew');
      last = batches;
      for await (const documents of batches as AsyncIterable<unknown>) yield documentsOf(documents, namespace, 'scan()');
    },
    read: async (ids) => documentsOf(await inner.read(ids), namespace, 'read()'),
    async write(changes) {
      const outcome: unknown = await inner.write(changes);
      const { refused } = Object(outcome) as { refused?: unknown };
      if (!Array.isArray(refused)) throw failed(namespace, `write() gave ${kindOf(outcome)}, not { refused: [...] }`);
      return { refused };
    },
    ...(inner.readSchema === undefined ? {} : { readSchema: () => inner.readSchema!() }),
    ...(inner.writeSchema === undefined ? {} : { writeSchema: (rewritten: Document) => inner.writeSchema!(rewritten) }),
    ...(inner.facts === undefined ? {} : { facts: () => inner.facts!() }),
  };
}

function documentsOf(given: unknown, namespace: string, method: string): readonly Uint8Array[] {
  if (!Array.isArray(given)) throw failed(namespace, `${method} gave ${kindOf(given)}, not an array of documents`);
  for (const document of given as unknown[]) {
    if (!isBytes(document)) throw failed(namespace, `${method} gave ${kindOf(document)} as a document, not a Uint8Array of BSON`);
    const { buffer, byteOffset, byteLength } = document;
    const told = byteLength < SHORTEST_DOCUMENT ? -1 : new DataView(buffer, byteOffset, byteLength).getInt32(0, true);
    if (told !== byteLength) throw failed(namespace, `${method} gave ${byteLength} bytes that are not one BSON document`);
  }
  return given as readonly Uint8Array[];
}

function failed(namespace: string, message: string): CsfleError {
  return new CsfleError('HOST_CALLBACK_FAILED', `${namespace}: ${message}`, { details: { namespace } });
}
