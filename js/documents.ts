/** Whole documents: crossing in bulk, and putting changed values back into JavaScript objects. */

import {
  type BsonLibrary,
  type DeserializeOptions,
  type Document,
  deserialize,
  isBinary,
  SUBTYPE_ENCRYPTED,
  refuseLossyValue,
  serialize,
  splitDocuments,
} from './bson.js';
import { concatBytes, wipe } from './bytes.js';
import { argumentError, CsfleError, kindOf } from './errors.js';

/** Turns BSON documents laid end to end into as many others; one call is one crossing into WebAssembly. */
export type BulkWork = (documents: Uint8Array) => Promise<Uint8Array>;

// Bytes that cross at a time. A single document may be larger; more at a time would only raise the memory's high-water
// mark, which WebAssembly never gives back.
const CROSSING_BYTES = 8 * 1024 * 1024;

/**
 * Runs `work` over BSON documents that lie end to end.
 * Errors: `BSON_MALFORMED` when the lengths do not add up.
 */
export async function overBytes(documents: Uint8Array, work: BulkWork): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let done = 0;
  for (const batch of batches(splitDocuments(documents))) {
    const [first] = batch;
    if (first === undefined) continue;
    // Neighbours in the input are neighbours still: the batch is a view of it, no copy.
    const length = batch.reduce((sum, document) => sum + document.length, 0);
    parts.push(await after(done, work(new Uint8Array(first.buffer, first.byteOffset, length))));
    done += batch.length;
  }
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : concatBytes(parts);
}

/**
 * Runs `work` over JavaScript documents and returns new ones: what `work` changed is taken from its result, read with
 * `options`; every other value is the very one that was passed in, so its type cannot change on the way.
 */
export async function overObjects(
  documents: readonly Document[],
  work: BulkWork,
  bson: BsonLibrary,
  options: DeserializeOptions | undefined,
): Promise<Document[]> {
  const encoded = documents.map((document, index) => {
    if (typeof document !== 'object' || document === null || Array.isArray(document))
      throw argumentError(`documents[${index}] must be a document, found ${kindOf(document)}`, { index });
    return serialize(bson, document, documents.length === 1 ? 'the document' : `documents[${index}]`);
  });
  const results: Document[] = [];
  for (const batch of batches(encoded)) {
    for (const bytes of splitDocuments(await after(results.length, crossing(batch, work)))) {
      const original = documents[results.length];
      if (original === undefined) throw new CsfleError('INTERNAL', 'the core returned more documents than it was given');
      results.push(graft(original, deserialize(bson, bytes, options)) as Document);
    }
  }
  if (results.length !== documents.length)
    throw new CsfleError('INTERNAL', 'the core returned fewer documents than it was given');
  return results;
}

/** The work on a batch; the index of a document in its errors counts the `done` documents of the batches before it too. */
async function after<T>(done: number, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (done === 0 || !CsfleError.is(error) || error.details['index'] === undefined) throw error;
    const { code, message, details } = error;
    throw new CsfleError(code, message, { details: { ...details, index: String(done + Number(details['index'])) } });
  }
}

/** Hands a batch over and wipes it: it is a copy of this layer, and may hold plaintext. */
async function crossing(batch: readonly Uint8Array[], work: BulkWork): Promise<Uint8Array> {
  const joined = concatBytes(batch);
  wipe(...batch);
  try {
    return await work(joined);
  } finally {
    wipe(joined);
  }
}

function* batches(documents: readonly Uint8Array[]): Generator<readonly Uint8Array[]> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const document of documents) {
    if (batch.length > 0 && size + document.length > CROSSING_BYTES) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(document);
    size += document.length;
  }
  if (batch.length > 0) yield batch;
}

/** `original` with the values that went into or came out of encryption taken from `result`. */
function graft(original: unknown, result: unknown): unknown {
  if (isBinary(original, SUBTYPE_ENCRYPTED)) return isBinary(result, SUBTYPE_ENCRYPTED) ? original : result;
  if (isBinary(result, SUBTYPE_ENCRYPTED)) {
    refuseLossyValue(original);
    return result;
  }
  if (Array.isArray(original)) {
    return Array.isArray(result) ? original.map((element, index) => graft(element, result[index])) : original;
  }
  // Anything that writes itself (toBSON, Map, DBRef) has no fields to walk: its BSON form is taken.
  if (!isPlainDocument(original)) return original instanceof Map || hasToBson(original) || isChangedReference(original, result) ? result : original;
  const fields = result as Document;
  const grafted: Document = {};
  for (const name of Object.keys(original)) {
    // BSON leaves them out, so that no rule meets them; a driver with serializeFunctions would store them as they are.
    if (typeof original[name] === 'function' || typeof original[name] === 'symbol') continue;
    const value = Object.hasOwn(fields, name) ? graft(original[name], fields[name]) : original[name];
    // A field called __proto__ must become a field like any other.
    if (name === '__proto__')
      Object.defineProperty(grafted, name, { value, enumerable: true, configurable: true, writable: true });
    else grafted[name] = value;
  }
  return grafted;
}

function isPlainDocument(value: unknown): value is Document {
  return (
    typeof value === 'object' &&
    value !== null &&
    !('_bsontype' in value) &&
    !hasToBson(value) &&
    !(value instanceof Map) &&
    !(value instanceof Date) &&
    !(value instanceof RegExp) &&
    !ArrayBuffer.isView(value)
  );
}

/** A DBRef is a document that may have fields of its own beside `$ref` and `$id`, with encrypted values in them before or after. */
function isChangedReference(original: unknown, result: unknown): boolean {
  return (original as { _bsontype?: unknown } | null)?._bsontype === 'DBRef' && (holdsEncrypted(original) || holdsEncrypted(result));
}

function holdsEncrypted(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false;
  return isBinary(value) ? isBinary(value, SUBTYPE_ENCRYPTED) : Object.values(value).some(holdsEncrypted);
}

function hasToBson(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'toBSON' in value && typeof value.toBSON === 'function';
}
