import { type BsonLibrary, EXACT_TYPES } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';

/**
 * BSON bytes to values that serialise to the very same bytes.
 *
 * Plain objects cannot carry every document: JavaScript moves integer-like field names to the front, and a BSON library
 * turns some types into others. What is written back to a collection must not change that way, so documents become
 * `Map`s, which BSON libraries serialise in order, and each leaf is checked by serialising it again.
 */

/** One element of a document: its BSON type byte, its name, and its value bytes in place. */
export interface BsonElement {
  readonly type: number;
  readonly name: string;
  readonly value: Uint8Array;
}

// The type bytes of bsonspec.org 1.1 that need a rule of their own here.
const TYPE_DOCUMENT = 0x03;
const TYPE_ARRAY = 0x04;
const TYPE_CODE_WITH_SCOPE = 0x0f;
const FIXED_LENGTHS: Readonly<Record<number, number>> = {
  0x01: 8, // double
  0x06: 0, // undefined
  0x07: 12, // objectId
  0x08: 1, // bool
  0x09: 8, // datetime
  0x0a: 0, // null
  0x10: 4, // int32
  0x11: 8, // timestamp
  0x12: 8, // int64
  0x13: 16, // decimal128
  0x7f: 0, // maxKey
  0xff: 0, // minKey
};
// Types that start with an int32, and the bytes beyond what that int32 counts.
const COUNTED_EXTRA: Readonly<Record<number, number>> = {
  0x02: 4, // string: the length counts the text and its NUL
  0x03: 0, // document: the length counts itself
  0x04: 0, // array
  0x05: 5, // binary: the length counts neither itself nor the subtype
  0x0c: 16, // dbPointer: a string and 12 bytes
  0x0d: 4, // code
  0x0e: 4, // symbol
  0x0f: 0, // code with scope
};
const TYPE_REGEX = 0x0b;

const UTF8 = new TextDecoder('utf-8', { fatal: true });
const TO_UTF8 = new TextEncoder();

function malformed(offset: number): CsfleError {
  return new CsfleError('BSON_MALFORMED', 'expected a well-formed BSON document', { details: { offset } });
}

function int32At(bytes: Uint8Array, offset: number): number {
  if (offset < 0 || offset + 4 > bytes.length) throw malformed(offset);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(offset, true);
}

function endOfCString(bytes: Uint8Array, offset: number): number {
  const end = bytes.indexOf(0, offset);
  if (end < 0) throw malformed(offset);
  return end;
}

function valueLength(bytes: Uint8Array, type: number, offset: number): number {
  const fixed = FIXED_LENGTHS[type];
  if (fixed !== undefined) return fixed;
  const extra = COUNTED_EXTRA[type];
  if (extra !== undefined) {
    const counted = int32At(bytes, offset);
    if (counted < 0) throw malformed(offset);
    return counted + extra;
  }
  if (type === TYPE_REGEX) return endOfCString(bytes, endOfCString(bytes, offset) + 1) + 1 - offset;
  throw malformed(offset);
}

/** Walks the top level of one BSON document. */
export function* elementsOf(document: Uint8Array): Generator<BsonElement> {
  const end = int32At(document, 0) - 1;
  if (end < 4 || end >= document.length || document[end] !== 0) throw malformed(0);
  let offset = 4;
  while (offset < end) {
    const type = document[offset] as number;
    const nameEnd = endOfCString(document, offset + 1);
    const name = UTF8.decode(document.subarray(offset + 1, nameEnd));
    const start = nameEnd + 1;
    const after = start + valueLength(document, type, start);
    if (after > end) throw malformed(start);
    yield { type, name, value: document.subarray(start, after) };
    offset = after;
  }
}

/** Finds a top-level element by name. */
export function elementNamed(document: Uint8Array, name: string): BsonElement | undefined {
  for (const element of elementsOf(document)) if (element.name === name) return element;
  return undefined;
}

/** Whether an element is a document or an array. */
export function isContainer(element: BsonElement): boolean {
  return element.type === TYPE_DOCUMENT || element.type === TYPE_ARRAY;
}

/** Says whether two elements are the same value: same type, same bytes. */
export function sameValue(a: BsonElement | undefined, b: BsonElement | undefined): boolean {
  return a !== undefined && b !== undefined && a.type === b.type && equalBytes(a.value, b.value);
}

/** One document with the single field `v`, from a value's type and bytes. */
export function wrapValue(element: Pick<BsonElement, 'type' | 'value'>): Uint8Array {
  return buildDocument([{ type: element.type, name: 'v', value: element.value }]);
}

/** Lays elements out as one document. */
export function buildDocument(elements: readonly BsonElement[]): Uint8Array {
  const names = elements.map((element) => TO_UTF8.encode(element.name));
  const length = elements.reduce((sum, element, index) => sum + 2 + (names[index] as Uint8Array).length + element.value.length, 5);
  const document = new Uint8Array(length);
  new DataView(document.buffer).setInt32(0, length, true);
  let offset = 4;
  for (const [index, element] of elements.entries()) {
    const name = names[index] as Uint8Array;
    document[offset] = element.type;
    document.set(name, offset + 1);
    offset += 2 + name.length;
    document.set(element.value, offset);
    offset += element.value.length;
  }
  return document;
}

/**
 * The value of an element as something that serialises to the same bytes again.
 *
 * Errors: `MIGRATION_DOCUMENT_UNSUPPORTED` when the BSON library cannot represent it (dbPointer, a date beyond
 * JavaScript's range), naming the path.
 */
export function exactValue(element: BsonElement, bson: BsonLibrary, path: string = element.name): unknown {
  if (element.type === TYPE_DOCUMENT) return exactDocument(element.value, bson, path);
  if (element.type === TYPE_ARRAY) return [...elementsOf(element.value)].map((item) => exactValue(item, bson, `${path}.${item.name}`));
  const bytes = wrapValue(element);
  let value: unknown;
  try {
    value = bson.deserialize(bytes, { ...EXACT_TYPES }).v;
    if (element.type === TYPE_CODE_WITH_SCOPE) (value as { scope: unknown }).scope = exactDocument(scopeOf(element.value), bson, path);
    if (equalBytes(bson.serialize({ v: value }, { ignoreUndefined: false }), bytes)) return value;
  } catch (cause) {
    throw unsupported(path, element.type, cause);
  }
  throw unsupported(path, element.type, undefined);
}

/** The scope of code with scope: after the total length and the code, a string with a length of its own. */
function scopeOf(value: Uint8Array): Uint8Array {
  return value.subarray(8 + int32At(value, 4));
}

/** A document as a `Map` that serialises to the same bytes again. */
export function exactDocument(document: Uint8Array, bson: BsonLibrary, path = ''): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  for (const element of elementsOf(document)) {
    const inner = path === '' ? element.name : `${path}.${element.name}`;
    if (fields.has(element.name)) throw unsupported(inner, element.type, undefined, 'a field of this name occurs twice');
    fields.set(element.name, exactValue(element, bson, inner));
  }
  return fields;
}

function unsupported(path: string, type: number, cause: unknown, reason = 'the BSON library in use cannot represent this value exactly'): CsfleError {
  const details = { path, bsonType: `0x${type.toString(16).padStart(2, '0')}` };
  return new CsfleError('MIGRATION_DOCUMENT_UNSUPPORTED', `${reason}: ${path}`, cause === undefined ? { details } : { details, cause });
}
