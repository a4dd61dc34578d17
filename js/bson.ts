/** The BSON library as this package sees it: injected, typed by structure, never imported here. */

import { isBytes, uuidText } from './bytes.js';
import { CsfleError, kindOf } from './errors.js';

/** A document as a BSON library reads and writes it. */
export interface Document {
  [field: string]: unknown;
}

/** A BSON binary value of any BSON library. */
export interface BsonBinary {
  readonly _bsontype: 'Binary';
  readonly sub_type: number;
  readonly buffer: Uint8Array;
  readonly position: number;
}

/** A BSON binary of subtype 4. */
export interface BsonUuid extends BsonBinary {
  toHexString(includeDashes?: boolean): string;
}

/** How decrypted BSON becomes JavaScript values; the names and defaults are those of the `bson` package. */
export interface DeserializeOptions {
  /** Turn Int32, Double, Long, Symbol ... into plain JavaScript values. Default: true. */
  readonly promoteValues?: boolean | undefined;
  /** Turn 64-bit integers into numbers where that is exact. Default: true. */
  readonly promoteLongs?: boolean | undefined;
  /** Turn binary of subtype 0 into bytes. Default: false. */
  readonly promoteBuffers?: boolean | undefined;
  /** Keep regular expressions as BSONRegExp. Default: false, unless JavaScript does not know a pattern of the document. */
  readonly bsonRegExp?: boolean | undefined;
  /** Turn 64-bit integers into bigint. Default: false. */
  readonly useBigInt64?: boolean | undefined;
}

/** What this package uses of a BSON library, such as the namespace object of the `bson` package. */
export interface BsonLibrary {
  serialize(document: Document, options?: { ignoreUndefined?: boolean }): Uint8Array;
  deserialize(bytes: Uint8Array, options?: Document): Document;
  readonly Binary: new (bytes: Uint8Array, subType?: number) => BsonBinary;
  readonly UUID: new (bytes: Uint8Array) => BsonUuid;
}

/** The binaries of a BSON library: of `bson`, its class `Binary`. */
export type BinaryOf<B extends BsonLibrary> = InstanceType<B['Binary']>;

/** The UUIDs of a BSON library: of `bson`, its class `UUID`. */
export type UuidOf<B extends BsonLibrary> = InstanceType<B['UUID']>;

/**
 * The BSON library whose classes results have when the option `bson` names no other. In the declarations of the entries for Node and
 * browsers, which bring the package `bson`, this is `typeof bson` (js/dev/declarations.mjs).
 */
export type DefaultBson = BsonLibrary;

/** BSON binary subtypes that this package names. */
export const SUBTYPE_GENERIC = 0;
export const SUBTYPE_UUID = 4;
export const SUBTYPE_ENCRYPTED = 6;

let defaultBson: BsonLibrary | undefined;

/** Sets the BSON library that classes use when they are given none. The entry files call it. */
export function setDefaultBson(library: BsonLibrary): void {
  defaultBson = library;
}

/**
 * Chooses the BSON library.
 * Errors: `HOST_BSON_MISSING` when neither `library` nor a default is there, or when it lacks a member that is needed.
 */
export function requireBson(library: BsonLibrary | undefined): BsonLibrary {
  const bson = library ?? defaultBson;
  if (bson === undefined) throw new CsfleError('HOST_BSON_MISSING', 'no BSON library: this entry brings none, and the option `bson` is not set');
  for (const member of ['serialize', 'deserialize', 'Binary', 'UUID'] as const) {
    if (typeof bson[member] !== 'function') throw new CsfleError('HOST_BSON_MISSING', `the BSON library lacks ${member}`, { details: { member } });
  }
  return bson;
}

/**
 * Turns a JavaScript document into BSON bytes. Fields that are `undefined` become null, as a MongoClient stores them.
 * Errors: `HOST_BSON_MISMATCH` for a value made by another major version of the BSON library; `ARGUMENT_INVALID` for
 * one that BSON cannot represent. `what` names the document in the message.
 */
export function serialize(bson: BsonLibrary, document: Document, what: string): Uint8Array {
  try {
    return bson.serialize(document, { ignoreUndefined: false });
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'BSONVersionError') {
      throw new CsfleError('HOST_BSON_MISMATCH', `${what} holds a value of another major version of the BSON library`, { cause });
    }
    // The library's error quotes the field name or the pattern, which are about to be encrypted: it is no cause to pass on.
    if (cause instanceof Error && cause.name === 'BSONError' && /must not contain null bytes/.test(cause.message)) {
      throw new CsfleError('ARGUMENT_INVALID', `${what} has a null byte in a field name or in a regular expression`);
    }
    throw new CsfleError('ARGUMENT_INVALID', `${what} cannot be written as BSON`, { cause });
  }
}

/**
 * Refuses a value that BSON libraries store as another one without a word: once encrypted, nobody could see it.
 * Call it on what was serialised, which ends on values that contain themselves.
 * Errors: `ARGUMENT_INVALID` for an integer of more than 64 bits and for an invalid date, at any depth. Names inside the
 * value are about to be encrypted, so the message does not tell them.
 */
export function refuseLossyValue(value: unknown): void {
  if (typeof value === 'bigint' && BigInt.asIntN(64, value) !== value) throw lossy('an integer of more than 64 bits');
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  const kind = Object.prototype.toString.call(value);
  const found = withoutBsonForm(value);
  if (found !== undefined) throw lossy(found);
  if (kind === '[object Date]' && Number.isNaN(Number(value))) throw lossy('an invalid date');
  // What has a BSON form of its own was checked when it was made, or answers for itself.
  if (kind === '[object Date]' || '_bsontype' in value || typeof (value as { toBSON?: unknown }).toBSON === 'function') return;
  const inner = kind === '[object Map]' ? (value as ReadonlyMap<unknown, unknown>).values() : Object.values(value);
  for (const one of inner) refuseLossyValue(one);
}

// The BSON library makes {} of them, or a document of their letters.
const WITHOUT_BSON_FORM: ReadonlySet<string> = new Set(
  ['Set', 'WeakMap', 'WeakSet', 'ArrayBuffer', 'SharedArrayBuffer', 'Error', 'Number', 'String', 'Boolean', 'URL', 'URLSearchParams'].map(
    (name) => `[object ${name}]`,
  ),
);

/** What an object is of which the BSON library would make something else without a word; undefined for any other. */
export function withoutBsonForm(value: object): string | undefined {
  if ('_bsontype' in value || typeof (value as { toBSON?: unknown }).toBSON === 'function') return undefined;
  if (typeof (value as { then?: unknown }).then === 'function') return 'a promise (await it first)';
  const kind = Object.prototype.toString.call(value);
  if (WITHOUT_BSON_FORM.has(kind)) return `a ${kind.slice('[object '.length, -1)}`;
  return kind === '[object Object]' && isEmptyInstance(value) ? 'an object of a class without fields of its own' : undefined;
}

/** Whether all that an object holds is out of reach, as private fields are. Plain objects may be empty, those of another realm too. */
function isEmptyInstance(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return Object.keys(value).length === 0 && prototype !== null && Object.getPrototypeOf(prototype) !== null;
}

function lossy(found: string): CsfleError {
  return new CsfleError('ARGUMENT_INVALID', `the value to encrypt is or holds ${found}, which BSON cannot hold`);
}

/**
 * Turns BSON bytes into a JavaScript document, with the defaults of the `bson` package.
 * Regular expressions stay `BSONRegExp` when one of them is none that JavaScript knows, such as `(?i)x` of PCRE.
 * Errors: `BSON_MALFORMED` for what the library cannot read, such as text that is not UTF-8.
 */
export function deserialize(bson: BsonLibrary, bytes: Uint8Array, options: DeserializeOptions = {}): Document {
  try {
    return bson.deserialize(bytes, { ...options });
  } catch (cause) {
    // The message of a SyntaxError quotes the pattern, which may have been encrypted: it goes no further.
    if ((cause as { name?: unknown } | null)?.name !== 'SyntaxError')
      throw new CsfleError('BSON_MALFORMED', 'the BSON library cannot read the document', { cause });
    if (options.bsonRegExp === true) throw new CsfleError('BSON_MALFORMED', 'the BSON library cannot read the document');
    return deserialize(bson, bytes, { ...options, bsonRegExp: true });
  }
}

/** Options under which a document that is read and written again keeps the type of every value. */
export const EXACT_TYPES: DeserializeOptions = Object.freeze({
  promoteValues: false,
  promoteLongs: false,
  promoteBuffers: false,
  bsonRegExp: true,
});

/** Says whether `value` is a BSON binary, of any version of the library, and of `subType` when that is given. */
export function isBinary(value: unknown, subType?: number): value is BsonBinary {
  if (typeof value !== 'object' || value === null) return false;
  const binary = value as Partial<BsonBinary>;
  return binary._bsontype === 'Binary' && isBytes(binary.buffer) && (subType === undefined || binary.sub_type === subType);
}

/** The bytes of a BSON binary, as a view: the buffer behind it may be longer. */
export function binaryBytes(binary: BsonBinary): Uint8Array {
  return binary.buffer.subarray(0, binary.position);
}

/** The text of a data key id for messages. */
export function keyIdText(id: BsonBinary): string {
  return uuidText(binaryBytes(id));
}

/**
 * Checks that `id` is the id of a data key and returns it as a binary of the library in use.
 * Errors: `KEY_REFERENCE_INVALID` unless `id` is a BSON binary of subtype 4 and 16 bytes.
 */
export function requireKeyId(bson: BsonLibrary, id: unknown, name = 'keyId'): BsonBinary {
  if (!isBinary(id, SUBTYPE_UUID)) {
    throw new CsfleError('KEY_REFERENCE_INVALID', `${name} must be a UUID (BSON binary of subtype 4), found ${kindOf(id)}`, {
      details: { argument: name },
    });
  }
  const bytes = binaryBytes(id);
  if (bytes.length !== 16) {
    throw new CsfleError('KEY_REFERENCE_INVALID', `${name} must have 16 bytes, found ${bytes.length}`, {
      details: { argument: name, length: bytes.length },
    });
  }
  return new bson.Binary(bytes, SUBTYPE_UUID);
}

/** Milliseconds of a date of any realm, those of a shell's context included; undefined for what is no date. */
export function timeOf(value: unknown): number | undefined {
  if (Object.prototype.toString.call(value) !== '[object Date]') return undefined;
  const time = (value as Date).getTime();
  return Number.isNaN(time) ? undefined : time;
}

/** Splits BSON documents that lie end to end into views, by the length each begins with (bsonspec.org, "document"). */
export function splitDocuments(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const documents: Uint8Array[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const length = bytes.length - offset < 5 ? 0 : view.getInt32(offset, true);
    if (length < 5 || length > bytes.length - offset) {
      throw new CsfleError('BSON_MALFORMED', `no whole BSON document at offset ${offset}`, { details: { offset } });
    }
    documents.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return documents;
}
