/**
 * The BSON library for work in the shell: values come back as the shell's own classes, so that they print, compare and
 * store as its own do.
 *
 * The shell publishes its BSON classes but neither serialize nor deserialize. Those come from the `bson` package, whose
 * classes are then exchanged for the shell's of the same BSON type, and the other way round when the shell carries
 * another major version, since serialize refuses values of one.
 */

import * as ownBson from 'bson';
import { type BsonLibrary, CsfleError, type Document } from '../index.js';

const VERSION_SYMBOL = Symbol.for('@@mdb.bson.version');

/** The classes of one BSON library, by the name that values carry as `_bsontype`, and UUID. */
interface BsonClasses {
  readonly Binary: new (bytes: Uint8Array, subType?: number) => ownBson.Binary;
  readonly UUID: new (bytes: Uint8Array) => ownBson.UUID;
  readonly ObjectId: new (hex: string) => ownBson.ObjectId;
  readonly Long: { fromBits(low: number, high: number, unsigned?: boolean): ownBson.Long };
  readonly Timestamp: new (parts: { t: number; i: number }) => ownBson.Timestamp;
  readonly Double: new (value: number) => ownBson.Double;
  readonly Int32: new (value: number) => ownBson.Int32;
  readonly Decimal128: new (bytes: Uint8Array) => ownBson.Decimal128;
  readonly MinKey: new () => ownBson.MinKey;
  readonly MaxKey: new () => ownBson.MaxKey;
  readonly BSONRegExp: new (pattern: string, options: string) => ownBson.BSONRegExp;
  readonly BSONSymbol: new (value: string) => ownBson.BSONSymbol;
  readonly Code: new (code: string, scope?: Document | null) => ownBson.Code;
  readonly DBRef: new (collection: string, oid: ownBson.ObjectId, database?: string, fields?: Document) => ownBson.DBRef;
}

const CLASS_NAMES = [
  'Binary',
  'UUID',
  'ObjectId',
  'Long',
  'Timestamp',
  'Double',
  'Int32',
  'Decimal128',
  'MinKey',
  'MaxKey',
  'BSONRegExp',
  'BSONSymbol',
  'Code',
  'DBRef',
] as const satisfies readonly (keyof BsonClasses)[];

const UUID_SUBTYPE = 4;

/**
 * Builds the BSON library from the classes that the shell's service provider publishes.
 * Errors: `HOST_BSON_MISSING` when a class is absent.
 */
export function shellBson(published: Readonly<Record<string, unknown>>): BsonLibrary {
  for (const member of CLASS_NAMES) {
    if (typeof published[member] !== 'function')
      throw new CsfleError('HOST_BSON_MISSING', `the BSON library of the shell lacks ${member}`, { details: { member } });
  }
  const shell = published as unknown as BsonClasses;
  const sameMajor = versionOf(shell.Binary.prototype) === versionOf(ownBson.Binary.prototype);
  return {
    Binary: shell.Binary,
    UUID: shell.UUID,
    serialize: (document, options) => ownBson.serialize(sameMajor ? document : (exchange(document, ownBson) as Document), options),
    // Unless told otherwise 64-bit integers stay Long, as everywhere in the shell.
    deserialize: (bytes, options) => exchange(ownBson.deserialize(bytes, { promoteLongs: false, ...options }), shell) as Document,
  };
}

function versionOf(prototype: object): unknown {
  return (prototype as Record<symbol, unknown>)[VERSION_SYMBOL];
}

/** Copies a value with every BSON object in it replaced by one of `classes`. Dates, bytes and other natives stay. */
function exchange(value: unknown, classes: BsonClasses): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => exchange(item, classes));
  const type = (value as { _bsontype?: unknown })._bsontype;
  if (typeof type === 'string') return exchangeBson(value as BsonObject, classes);
  if (Object.prototype.toString.call(value) === '[object Map]') {
    return new Map([...(value as ReadonlyMap<unknown, unknown>)].map(([key, item]) => [key, exchange(item, classes)]));
  }
  if (Object.prototype.toString.call(value) !== '[object Object]') return value;
  const copy: Document = {};
  for (const [field, item] of Object.entries(value)) {
    // Assignment would call the setter of a field named __proto__ instead of making one.
    Object.defineProperty(copy, field, { value: exchange(item, classes), enumerable: true, writable: true, configurable: true });
  }
  return copy;
}

type BsonObject =
  | ownBson.Binary
  | ownBson.ObjectId
  | ownBson.Long
  | ownBson.Timestamp
  | ownBson.Double
  | ownBson.Int32
  | ownBson.Decimal128
  | ownBson.MinKey
  | ownBson.MaxKey
  | ownBson.BSONRegExp
  | ownBson.BSONSymbol
  | ownBson.Code
  | ownBson.DBRef;

function exchangeBson(value: BsonObject, classes: BsonClasses): unknown {
  switch (value._bsontype) {
    case 'Binary': {
      const bytes = value.buffer.subarray(0, value.position);
      return value.sub_type === UUID_SUBTYPE && bytes.length === 16 ? new classes.UUID(bytes) : new classes.Binary(bytes, value.sub_type);
    }
    case 'ObjectId':
      return new classes.ObjectId(value.toHexString());
    case 'Long':
      return classes.Long.fromBits(value.low, value.high, value.unsigned);
    case 'Timestamp':
      return new classes.Timestamp({ t: value.high >>> 0, i: value.low >>> 0 });
    case 'Double':
      return new classes.Double(value.value);
    case 'Int32':
      return new classes.Int32(value.value);
    case 'Decimal128':
      return new classes.Decimal128(value.bytes);
    case 'MinKey':
      return new classes.MinKey();
    case 'MaxKey':
      return new classes.MaxKey();
    case 'BSONRegExp':
      return new classes.BSONRegExp(value.pattern, value.options);
    case 'BSONSymbol':
      return new classes.BSONSymbol(value.value);
    case 'Code':
      return new classes.Code(value.code as string, value.scope === null ? null : (exchange(value.scope, classes) as Document));
    case 'DBRef':
      return new classes.DBRef(value.collection, exchange(value.oid, classes) as ownBson.ObjectId, value.db, exchange(value.fields, classes) as Document);
  }
}
