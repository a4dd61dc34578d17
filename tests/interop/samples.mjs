// What can be encrypted and what cannot (csfle-format.md 4.1), with values that sit on the edges.
import { concat, document, fromHex, int32, RawValue, TYPE, value } from './raw-bson.mjs';

const bytes = (length, start = 0) => Uint8Array.from({ length }, (_, index) => (start + index * 7) & 0xff);
const scope = document([
  ['x', value.int(1)],
  ['s', value.string('scope')],
]);
const nested = document([
  ['_id', value.objectId(bytes(12))],
  ['list', value.array([value.int(1), value.string('two'), value.object(document([['three', value.null()]]))])],
  ['', value.bool(true)],
]);

/** By the corpus's type names: the values, and whether the deterministic algorithm takes them. */
export const ENCRYPTABLE = Object.freeze({
  double: { deterministic: false, values: [value.double(1.234), value.double(-0), value.double(Number.NaN), value.double(Infinity)] },
  string: {
    deterministic: true,
    // 7, 8 and 9 letters: 12, 13 and 14 bytes; 11 letters fill a block exactly, which adds a whole block of padding.
    values: ['', 'mongodb', 'x'.repeat(11), 'x'.repeat(10), 'x'.repeat(27), 'a\0b', 'Zoë 🗝 漢字', 'y'.repeat(5000)].map(value.string),
  },
  object: { deterministic: false, values: [value.object(document([])), value.object(nested)] },
  array: { deterministic: false, values: [value.array([]), value.array([value.int(1), value.array([value.string('in')])])] },
  binData: {
    deterministic: true,
    values: [
      ...[0, 1, 3, 5, 7, 8, 9, 128, 255].map((subtype) => value.binData(bytes(9, subtype), subtype)),
      value.binData(new Uint8Array()),
      value.binDataOld(bytes(4)),
      value.uuid(bytes(16)),
      value.binData(bytes(1000)),
    ],
  },
  objectId: { deterministic: true, values: [value.objectId(bytes(12)), value.objectId(new Uint8Array(12))] },
  bool: { deterministic: false, values: [value.bool(true), value.bool(false)] },
  date: { deterministic: true, values: [0n, 12345n, -1n, -(2n ** 63n), 2n ** 63n - 1n].map(value.date) },
  regex: {
    deterministic: true,
    values: [
      value.regex('.*'),
      value.regex('', ''),
      value.regex('^ü+$', 'imsx'),
      value.regex('a', 'ism'),
      value.regex('a', 'xkii'),
      value.regex('a', 'uxsmli'),
    ],
  },
  dbPointer: { deterministic: true, values: [value.dbPointer('db.example', bytes(12, 3)), value.dbPointer('', bytes(12))] },
  javascript: { deterministic: true, values: [value.javascript('x=1'), value.javascript('')] },
  symbol: { deterministic: true, values: [value.symbol('mongodb-symbol'), value.symbol('')] },
  javascriptWithScope: {
    deterministic: false,
    values: [value.javascriptWithScope('x=1', document([])), value.javascriptWithScope('return x', scope)],
  },
  int: { deterministic: true, values: [0, 123, -1, 2 ** 31 - 1, -(2 ** 31)].map(value.int) },
  timestamp: { deterministic: true, values: [value.timestamp(123, 456), value.timestamp(0, 0), value.timestamp(2 ** 32 - 1, 2 ** 32 - 1)] },
  long: { deterministic: true, values: [0n, 456n, -1n, 2n ** 63n - 1n, -(2n ** 63n)].map(value.long) },
  decimal: {
    deterministic: false,
    values: [value.decimal(fromHex('d2040000 00000000 00000000 00003a30')), value.decimal(fromHex('00000000 00000000 00000000 0000007c'))],
  },
});

/** Never encrypted, whatever the algorithm. */
export const NEVER = Object.freeze({
  undefined: value.undefined(),
  null: value.null(),
  minKey: value.minKey(),
  maxKey: value.maxKey(),
  encrypted: value.encrypted(concat([1], new Uint8Array(16), [2], bytes(64))),
  emptyEncrypted: value.encrypted(new Uint8Array()),
});

export const ALGORITHM = Object.freeze({
  deterministic: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic',
  random: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random',
});

/** Values whose bytes do not follow their type; both sides must refuse them or treat them alike. */
export const MALFORMED = Object.freeze({
  stringWithoutEnd: new RawValue(TYPE.string, concat(int32(4), [0x61, 0x62, 0x63, 0x64])),
  stringTooLong: new RawValue(TYPE.string, concat(int32(400), [0x61, 0])),
  stringOfLengthZero: new RawValue(TYPE.string, concat(int32(0), [0])),
  stringNotUtf8: new RawValue(TYPE.string, concat(int32(3), [0xff, 0xfe, 0])),
  boolOfTwo: new RawValue(TYPE.bool, Uint8Array.of(2)),
  documentTooShort: new RawValue(TYPE.object, int32(4)),
  binaryNegative: new RawValue(TYPE.binData, concat(int32(-1), [0])),
  binaryOldWrongInner: new RawValue(TYPE.binData, concat(int32(5), [2], int32(9), [1])),
  codeWithScopeShort: new RawValue(TYPE.javascriptWithScope, concat(int32(10), int32(1), [0], document([]))),
});
