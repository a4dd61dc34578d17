// Canonical Extended JSON to BSON bytes, for the published vectors. js-bson cannot be the reader here: it has no DBPointer,
// and symbols and undefined do not survive it.
// Source: specifications/extended-json, "Conversion table"; the corpus adds $dbPointer, $symbol and $undefined.
import { Decimal128 } from 'bson';
import { document, fromBase64, fromHex, value } from '../interop/raw-bson.mjs';

const DOUBLES = { Infinity: Number.POSITIVE_INFINITY, '-Infinity': Number.NEGATIVE_INFINITY, NaN: Number.NaN };

const WRAPPERS = {
  $numberDouble: (text) => value.double(DOUBLES[text] ?? Number(text)),
  $numberInt: (text) => value.int(Number(text)),
  $numberLong: (text) => value.long(BigInt(text)),
  $numberDecimal: (text) => value.decimal(new Uint8Array(Decimal128.fromString(text).bytes)),
  $binary: ({ base64, subType }) => binary(fromBase64(base64), Number.parseInt(subType, 16)),
  $uuid: (text) => value.uuid(fromHex(text.replaceAll('-', ''))),
  $undefined: () => value.undefined(),
  $oid: (hex) => value.objectId(fromHex(hex)),
  $date: (date) => value.date(typeof date === 'string' ? BigInt(Date.parse(date)) : BigInt(date.$numberLong)),
  $regularExpression: ({ pattern, options }) => value.regex(pattern, options),
  $dbPointer: ({ $ref, $id }) => value.dbPointer($ref, fromHex($id.$oid)),
  $symbol: (text) => value.symbol(text),
  $timestamp: ({ t, i }) => value.timestamp(t, i),
  $minKey: () => value.minKey(),
  $maxKey: () => value.maxKey(),
};

const binary = (bytes, subtype) => (subtype === 2 ? value.binDataOld(bytes) : value.binData(bytes, subtype));

/** The BSON value of a parsed JSON value. Plain integers become int32, other plain numbers doubles. */
export function toValue(json) {
  if (json === null) return value.null();
  if (typeof json === 'string') return value.string(json);
  if (typeof json === 'boolean') return value.bool(json);
  if (typeof json === 'number') return Number.isInteger(json) ? value.int(json) : value.double(json);
  if (Array.isArray(json)) return value.array(json.map(toValue));
  const keys = Object.keys(json);
  if (keys[0] === '$code') {
    return '$scope' in json ? value.javascriptWithScope(json.$code, toDocument(json.$scope)) : value.javascript(json.$code);
  }
  if (keys.length === 1 && keys[0] in WRAPPERS) return WRAPPERS[keys[0]](json[keys[0]]);
  return value.object(toDocument(json));
}

/** The BSON document of a parsed JSON object. */
export const toDocument = (json) => document(Object.entries(json).map(([name, item]) => [name, toValue(item)]));
