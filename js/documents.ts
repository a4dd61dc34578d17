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
  withoutBsonForm,
} from './bson.js';
import { concatBytes, wipe } from './bytes.js';
import { argumentError, CsfleError, kindOf } from './errors.js';

/** Turns BSON documents laid end to end into as many others; one call is one crossing into WebAssembly. */
export type BulkWork = (documents: Uint8Array) => Promise<Uint8Array>;

// Bytes that cross at a time. A single document may be larger; more at a time would keep other work of the thread waiting and
// raise the memory's high-water mark, which WebAssembly never gives back.
const CROSSING_BYTES = 1024 * 1024;
/** After so long without a pause, other work of the thread gets its turn. */
const PAUSE_AFTER_MS = 15;
/** A walk over documents that nest deeper, or hold themselves, would run out of stack; no server takes more than 200 levels. */
const MOST_LEVELS = 1000;

/**
 * Runs `work` over BSON documents that lie end to end.
 * Errors: `BSON_MALFORMED` when the lengths do not add up.
 */
export async function overBytes(documents: Uint8Array, work: BulkWork): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const pause = pausing();
  let done = 0;
  for (const batch of batches(splitDocuments(documents))) {
    const [first] = batch;
    if (first === undefined) continue;
    await pause();
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
 * `options`; every other value is the very one that was passed in, so its type cannot change on the way. The documents count as
 * they are at the call: the caller may change, clear or use them again while the work goes on.
 */
export async function overObjects(
  documents: readonly Document[],
  work: BulkWork,
  bson: BsonLibrary,
  options: DeserializeOptions | undefined,
): Promise<Document[]> {
  // Array.from, since map() passes over holes.
  const originals = Array.from(documents, (document: Document, index) => {
    if (typeof document !== 'object' || document === null || Array.isArray(document))
      throw argumentError(`documents[${index}] must be a document, found ${kindOf(document)}`, { index });
    if (typeof document['then'] === 'function') throw argumentError(`documents[${index}] is a promise: await it first`, { index });
    return snapshot(document, nameOf(documents, index)) as Document;
  });
  const encoded = originals.map((document, index) => serialize(bson, document, nameOf(documents, index)));
  const results: Document[] = [];
  const pause = pausing();
  for (const batch of batches(encoded)) {
    await pause();
    for (const bytes of splitDocuments(await after(results.length, crossing(batch, work)))) {
      const original = originals[results.length];
      if (original === undefined) throw new CsfleError('INTERNAL', 'the core returned more documents than it was given');
      results.push(graft(original, deserialize(bson, bytes, options)) as Document);
    }
  }
  if (results.length !== originals.length) throw new CsfleError('INTERNAL', 'the core returned fewer documents than it was given');
  return results;
}

function nameOf(documents: readonly Document[], index: number): string {
  return documents.length === 1 ? 'the document' : `documents[${index}]`;
}

/** Waits for a turn of the event loop where the work has gone on for long. */
function pausing(): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < PAUSE_AFTER_MS) return;
    await new Promise<void>((resolve) => void setTimeout(resolve));
    since = performance.now();
  };
}

/** The containers of a document as they are now, with the very values that are in them. */
function snapshot(value: unknown, what: string, level = 0): unknown {
  if (level > MOST_LEVELS) throw argumentError(`${what} cannot be written as BSON: it holds itself, or nests more than ${MOST_LEVELS} levels`);
  if (Array.isArray(value)) return Array.from(value, (one) => snapshot(one, what, level + 1));
  if (!isPlainDocument(value) || withoutBsonForm(value) !== undefined) return value;
  const copy: Document = {};
  for (const name of Object.keys(value)) setField(copy, name, snapshot(value[name], what, level + 1));
  return copy;
}

/** Sets a field; one called __proto__ must become a field like any other. */
function setField(document: Document, name: string, value: unknown): void {
  if (name === '__proto__') Object.defineProperty(document, name, { value, enumerable: true, configurable: true, writable: true });
  else document[name] = value;
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
    setField(grafted, name, value);
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
