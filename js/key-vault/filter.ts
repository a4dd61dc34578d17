/** The part of MongoDB's query language that key vault filters use, over JavaScript documents. */

import { binaryBytes, type Document, isBinary } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { argumentError, kindOf } from '../errors.js';

/**
 * Says whether `document` matches `filter`.
 * Errors: `ARGUMENT_INVALID`, with the operator's name, for anything but equality, `$eq`, `$in`, `$exists`, `$or` and
 * `$and`.
 */
export function matches(document: Document, filter: Document): boolean {
  return Object.entries(filter).every(([name, condition]) => {
    if (name === '$or') return clauses(name, condition).some((clause) => matches(document, clause));
    if (name === '$and') return clauses(name, condition).every((clause) => matches(document, clause));
    if (name.startsWith('$')) throw unsupported(name);
    return satisfies(valueAt(document, name.split('.')), condition);
  });
}

function clauses(operator: string, condition: unknown): readonly Document[] {
  if (!Array.isArray(condition) || condition.length === 0) throw argumentError(`${operator} needs a list of filters, found ${kindOf(condition)}`);
  return condition;
}

function satisfies(value: unknown, condition: unknown): boolean {
  if (!isOperators(condition)) return equals(value, condition);
  return Object.entries(condition).every(([operator, operand]) => {
    switch (operator) {
      case '$eq':
        return equals(value, operand);
      case '$in':
        if (!Array.isArray(operand)) throw argumentError(`$in needs a list, found ${kindOf(operand)}`);
        return operand.some((candidate) => equals(value, candidate));
      case '$exists':
        return (value !== undefined) === Boolean(plain(operand));
      default:
        throw unsupported(operator);
    }
  });
}

function unsupported(operator: string): Error {
  return argumentError(`a key vault in memory does not know the operator ${operator}`, { operator });
}

function isOperators(condition: unknown): condition is Document {
  return isDocument(condition) && Object.keys(condition).some((name) => name.startsWith('$'));
}

function isDocument(value: unknown): value is Document {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !('_bsontype' in value) &&
    !(value instanceof Date) &&
    !(value instanceof RegExp) &&
    !ArrayBuffer.isView(value)
  );
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return document;
  return isDocument(document) && Object.hasOwn(document, name) ? valueAt(document[name], rest) : undefined;
}

/** Equality as MongoDB has it: an array matches through any element as well, null matches a missing field. */
function equals(value: unknown, wanted: unknown): boolean {
  if (wanted instanceof RegExp || (wanted as { _bsontype?: unknown } | null | undefined)?._bsontype === 'BSONRegExp') throw unsupported('$regex');
  if (wanted === null) return value === undefined || value === null;
  return sameValue(value, wanted) || (Array.isArray(value) && value.some((element) => sameValue(element, wanted)));
}

/** Says whether two values are the same BSON value; numbers compare by value, documents by fields in order. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (isBinary(a) && isBinary(b)) return a.sub_type === b.sub_type && equalBytes(binaryBytes(a), binaryBytes(b));
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((element, index) => sameValue(element, b[index]));
  if (isDocument(a) && isDocument(b)) {
    const [left, right] = [Object.entries(a), Object.entries(b)];
    return left.length === right.length && left.every(([name, field], index) => name === right[index]?.[0] && sameValue(field, right[index]?.[1]));
  }
  if (a instanceof Date && b instanceof Date) return a.getTime() === b.getTime();
  return Object.is(plain(a), plain(b));
}

/** The number inside a BSON number, the text inside an ObjectId or a symbol; other values as they are. */
function plain(value: unknown): unknown {
  switch ((value as { _bsontype?: unknown } | null | undefined)?._bsontype) {
    case 'Int32':
    case 'Double':
    case 'BSONSymbol':
      return (value as { valueOf(): unknown }).valueOf();
    case 'Long':
      return Number(value);
    case 'ObjectId':
    case 'Decimal128':
      return String(value);
    default:
      return value;
  }
}
