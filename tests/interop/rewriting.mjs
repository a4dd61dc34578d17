// What libmongocrypt does to values it copies, encrypted or not: regular expressions, code and DBPointers go through C
// strings. Options of regular expressions are sorted, once each, and unknown ones dropped; code and namespaces end at
// their first NUL byte. This library keeps the bytes of what it reads; it follows the first of these where it encrypts,
// because equality depends on it, and not the second, which loses data.
import { concat, document, fields, int32, LATIN1, RawValue, TYPE } from './raw-bson.mjs';

const OPTIONS = new TextEncoder().encode('ilmsux');
const HEX = (bytes) => Buffer.from(bytes).toString('hex');

/** The text of the string value at the start of `bytes` and what follows it; all as bytes, which need not be UTF-8. */
function takeString(bytes) {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
  return { text: bytes.subarray(4, end - 1), rest: bytes.subarray(end) };
}

const cut = (text) => (text.includes(0) ? text.subarray(0, text.indexOf(0)) : text);
const stringBytes = (text) => concat(int32(text.length + 1), text, [0]);

/** A regular expression with its options as libmongocrypt writes them; any other value as it is. */
export function canonicalRegex(item) {
  if (item.type !== TYPE.regex) return item;
  const pattern = item.bytes.indexOf(0) + 1;
  const options = item.bytes.subarray(pattern, -1);
  return new RawValue(
    TYPE.regex,
    concat(
      item.bytes.subarray(0, pattern),
      OPTIONS.filter((option) => options.includes(option)),
      [0],
    ),
  );
}

const CUT_TYPES = new Set([TYPE.javascript, TYPE.dbPointer, TYPE.javascriptWithScope]);
const stringIn = (item) => takeString(item.type === TYPE.javascriptWithScope ? item.bytes.subarray(4) : item.bytes);

/** The document that code with a scope has. */
export const scopeOf = (item) => stringIn(item).rest;

/** Whether libmongocrypt loses the end of this value. */
export const isCut = (item) => CUT_TYPES.has(item.type) && stringIn(item).text.includes(0);

/** A value as it comes out of libmongocrypt's copying, at every depth. */
export function rewritten(item) {
  if (item.type === TYPE.object || item.type === TYPE.array) return new RawValue(item.type, rewrittenDocument(item.bytes));
  if (!CUT_TYPES.has(item.type)) return canonicalRegex(item);
  const { text, rest } = stringIn(item);
  const body = concat(stringBytes(cut(text)), rest);
  return new RawValue(item.type, item.type === TYPE.javascriptWithScope ? concat(int32(body.length + 4), body) : body);
}

export const rewrittenDocument = (bytes) =>
  document(
    fields(bytes, LATIN1).map(([name, item]) => [name, rewritten(item)]),
    LATIN1,
  );

/** What is wrong between two byte strings, or undefined. */
export const differ = (actual, expected, what) =>
  HEX(actual) === HEX(expected) ? undefined : `${what}: ${HEX(actual).slice(0, 400)} is not ${HEX(expected).slice(0, 400)}`;

/** As `differ`, for what libmongocrypt has copied. */
export function differBeyondCopying(actual, expected, what) {
  const wrong = differ(actual, expected, what);
  if (!wrong) return undefined;
  return HEX(rewrittenDocument(actual)) === HEX(rewrittenDocument(expected)) ? { difference: 'values-kept-exactly' } : wrong;
}
