// BSON as bytes. JavaScript values lose what these tests are about: js-bson has no DBPointer, turns symbols into strings
// on some paths, merges duplicate field names and reorders numeric ones. So the tests build and read documents here.
// Layout: bsonspec.org 1.1.

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Element type bytes, by the names the published corpus uses. */
export const TYPE = Object.freeze({
  double: 0x01,
  string: 0x02,
  object: 0x03,
  array: 0x04,
  binData: 0x05,
  undefined: 0x06,
  objectId: 0x07,
  bool: 0x08,
  date: 0x09,
  null: 0x0a,
  regex: 0x0b,
  dbPointer: 0x0c,
  javascript: 0x0d,
  symbol: 0x0e,
  javascriptWithScope: 0x0f,
  int: 0x10,
  timestamp: 0x11,
  long: 0x12,
  decimal: 0x13,
  minKey: 0xff,
  maxKey: 0x7f,
});

/** One BSON value: its element type byte and the bytes that follow the field name. */
export class RawValue {
  constructor(type, bytes) {
    this.type = type;
    this.bytes = bytes;
  }

  equals(other) {
    return other instanceof RawValue && this.type === other.type && sameBytes(this.bytes, other.bytes);
  }
}

export const sameBytes = (a, b) => a.length === b.length && a.every((byte, index) => byte === b[index]);

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

export const fromHex = (text) => Uint8Array.from(text.replace(/\s+/g, '').match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
export const toHex = (bytes) => Buffer.from(bytes).toString('hex');
export const fromBase64 = (text) => new Uint8Array(Buffer.from(text, 'base64'));
export const toBase64 = (bytes) => Buffer.from(bytes).toString('base64');

export function int32(number) {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setInt32(0, number, true);
  return out;
}

export function int64(bigint) {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigInt64(0, BigInt.asIntN(64, BigInt(bigint)), true);
  return out;
}

/** How field names are turned into text: strictly, or one character a byte, which loses nothing of damaged names. */
export const UTF8 = { decode: (bytes) => decoder.decode(bytes), encode: (text) => encoder.encode(text) };
export const LATIN1 = { decode: (bytes) => Buffer.from(bytes).toString('latin1'), encode: (text) => Buffer.from(text, 'latin1') };

const cstring = (text, names = UTF8) => concat(names.encode(text), [0]);
const prefixed = (text) => {
  const bytes = encoder.encode(text);
  return concat(int32(bytes.length + 1), bytes, [0]);
};

/** Values by BSON type. Names are the corpus's, so that a sample table reads like it. */
export const value = Object.freeze({
  double(number) {
    const out = new Uint8Array(8);
    new DataView(out.buffer).setFloat64(0, number, true);
    return new RawValue(TYPE.double, out);
  },
  string: (text) => new RawValue(TYPE.string, prefixed(text)),
  object: (bytes) => new RawValue(TYPE.object, bytes),
  array: (values) => new RawValue(TYPE.array, document(values.map((item, index) => [String(index), item]))),
  binData: (bytes, subtype = 0) => new RawValue(TYPE.binData, concat(int32(bytes.length), [subtype], bytes)),
  // Subtype 2 repeats its length inside (bsonspec: "Binary (Old)").
  binDataOld: (bytes) => new RawValue(TYPE.binData, concat(int32(bytes.length + 4), [2], int32(bytes.length), bytes)),
  undefined: () => new RawValue(TYPE.undefined, new Uint8Array()),
  objectId: (bytes) => new RawValue(TYPE.objectId, bytes),
  bool: (flag) => new RawValue(TYPE.bool, Uint8Array.of(flag ? 1 : 0)),
  date: (ms) => new RawValue(TYPE.date, int64(ms)),
  null: () => new RawValue(TYPE.null, new Uint8Array()),
  regex: (pattern, options = '') => new RawValue(TYPE.regex, concat(cstring(pattern), cstring(options))),
  dbPointer: (namespace, id) => new RawValue(TYPE.dbPointer, concat(prefixed(namespace), id)),
  javascript: (code) => new RawValue(TYPE.javascript, prefixed(code)),
  symbol: (text) => new RawValue(TYPE.symbol, prefixed(text)),
  javascriptWithScope(code, scope) {
    const body = concat(prefixed(code), scope);
    return new RawValue(TYPE.javascriptWithScope, concat(int32(body.length + 4), body));
  },
  int: (number) => new RawValue(TYPE.int, int32(number)),
  timestamp(seconds, increment) {
    const out = new Uint8Array(8);
    new DataView(out.buffer).setUint32(0, increment, true);
    new DataView(out.buffer).setUint32(4, seconds, true);
    return new RawValue(TYPE.timestamp, out);
  },
  long: (number) => new RawValue(TYPE.long, int64(number)),
  decimal: (bytes) => new RawValue(TYPE.decimal, bytes),
  minKey: () => new RawValue(TYPE.minKey, new Uint8Array()),
  maxKey: () => new RawValue(TYPE.maxKey, new Uint8Array()),
  uuid: (bytes) => value.binData(bytes, 4),
  encrypted: (payload) => value.binData(payload, 6),
});

/** A document from `[name, RawValue]` pairs, in that order; duplicate names are kept. */
export function document(fields, names = UTF8) {
  const body = concat(...fields.map(([name, item]) => concat([item.type], cstring(name, names), item.bytes)));
  return concat(int32(body.length + 5), body, [0]);
}

/** The document `{v: item}`. */
export const boxed = (item) => document([['v', item]]);

/** The same bytes without Node's Buffer, whose slice() does not copy. */
const plain = (bytes) => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);

/** The `[name, RawValue]` pairs of a document. Throws on anything that is not well formed, at any depth. */
export function fields(given, names = UTF8) {
  const bytes = plain(given);
  const reader = new Reader(bytes, names);
  const total = reader.int32();
  if (total !== bytes.length || bytes[total - 1] !== 0) throw new RangeError(`document length ${total}, have ${bytes.length}`);
  const out = [];
  for (let type = reader.byte(); type !== 0; type = reader.byte()) {
    const name = names.decode(reader.cstring());
    const start = reader.offset;
    reader.skipValue(type);
    out.push([name, new RawValue(type, bytes.slice(start, reader.offset))]);
  }
  if (reader.offset !== total) throw new RangeError('bytes after the end of the document');
  return out;
}

/** The first field of that name, or undefined. */
export const field = (bytes, name) => fields(bytes).find(([known]) => known === name)?.[1];

/** The only value of `{v: ...}`. */
export function unboxed(bytes) {
  const found = field(bytes, 'v');
  if (found === undefined) throw new RangeError("no field 'v'");
  return found;
}

/** Subtype and content of a binary value. */
export function binary(item) {
  if (item?.type !== TYPE.binData) throw new TypeError(`expected binary, found type ${item?.type}`);
  return { subtype: item.bytes[4], content: item.bytes.subarray(5) };
}

/** The documents laid end to end in `bytes`. */
export function split(given) {
  const bytes = plain(given);
  const out = [];
  for (let offset = 0; offset < bytes.length; ) {
    const length = new DataView(bytes.buffer, bytes.byteOffset + offset).getInt32(0, true);
    out.push(bytes.slice(offset, offset + length));
    offset += length;
  }
  return out;
}

export const text = (item) => decoder.decode(item.bytes.subarray(4, -1));

/** Whether some field name or string of a document is not UTF-8. Bytes that are no BSON at all are none of that. */
export function hasBrokenText(bytes) {
  try {
    return fields(bytes).some(([, item]) => {
      if (item.type === TYPE.object || item.type === TYPE.array) return hasBrokenText(item.bytes);
      if ([TYPE.string, TYPE.javascript, TYPE.symbol].includes(item.type)) text(item);
      if (item.type === TYPE.regex) UTF8.decode(item.bytes);
      if (item.type === TYPE.dbPointer) UTF8.decode(item.bytes.subarray(4, -13));
      return false;
    });
  } catch (error) {
    return error instanceof TypeError; // what a fatal TextDecoder throws
  }
}

class Reader {
  constructor(bytes, names) {
    this.bytes = bytes;
    this.names = names;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.offset = 0;
  }

  take(length) {
    if (length < 0 || this.offset + length > this.bytes.length) throw new RangeError(`truncated at ${this.offset}`);
    this.offset += length;
    return this.offset - length;
  }

  byte() {
    return this.view.getUint8(this.take(1));
  }
  int32() {
    return this.view.getInt32(this.take(4), true);
  }

  cstring() {
    const end = this.bytes.indexOf(0, this.offset);
    if (end < 0) throw new RangeError(`no end of name after ${this.offset}`);
    const found = this.bytes.subarray(this.offset, end);
    this.offset = end + 1;
    return found;
  }

  skipString() {
    const end = this.offset + 4 + this.int32();
    if (end < this.offset + 1) throw new RangeError(`string without room for its end at ${this.offset}`);
    this.take(end - this.offset);
    if (this.bytes[end - 1] !== 0) throw new RangeError(`string without end at ${end}`);
  }

  skipDocument() {
    const start = this.offset;
    this.take(this.int32() - 4);
    fields(this.bytes.subarray(start, this.offset), this.names);
  }

  skipBinary() {
    const length = this.int32();
    const subtype = this.byte();
    if (subtype === 2 && (length < 4 || this.view.getInt32(this.offset, true) !== length - 4))
      throw new RangeError('binary of subtype 2 with another length inside');
    this.take(length);
  }

  skipCodeWithScope() {
    const end = this.offset + this.int32();
    this.skipString();
    // The scope is part of the code: who only walks documents checks where it ends, not what is in it.
    if (this.names === LATIN1) {
      this.take(this.int32() - 4);
      if (this.bytes[this.offset - 1] !== 0) throw new RangeError('scope without end');
    } else this.skipDocument();
    if (this.offset !== end) throw new RangeError(`code with scope ends at ${this.offset}, not ${end}`);
  }

  skipValue(type) {
    const FIXED = { 0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0a: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xff: 0, 0x7f: 0 };
    if (type in FIXED) this.take(FIXED[type]);
    else if (type === TYPE.string || type === TYPE.javascript || type === TYPE.symbol) this.skipString();
    else if (type === TYPE.object || type === TYPE.array) this.skipDocument();
    else if (type === TYPE.binData) this.skipBinary();
    else if (type === TYPE.regex) {
      this.cstring();
      this.cstring();
    } else if (type === TYPE.dbPointer) {
      this.skipString();
      this.take(12);
    } else if (type === TYPE.javascriptWithScope) this.skipCodeWithScope();
    else throw new RangeError(`unknown element type ${type}`);
    if (type === TYPE.bool && this.bytes[this.offset - 1] > 1) throw new RangeError('bool of another value than 0 and 1');
  }
}
