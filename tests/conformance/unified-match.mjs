// How actual results compare with expected ones (specifications, unified-test-format, "Evaluating Matches"): extra fields
// are allowed in root documents only, numbers compare by value, and `$$` operators say the rest.
import * as bson from 'bson';

const { EJSON } = bson;

/** Expected JSON with BSON values in place of their Extended JSON; `$$` operators stay. */
export const expectation = (json) => EJSON.deserialize(json);

/** Any value as it is after a trip through BSON, so that all sides hold the same classes. */
export const settled = (item) => bson.deserialize(bson.serialize({ item }), { promoteBuffers: false }).item;

const TYPES = {
  binData: (item) => item?._bsontype === 'Binary',
  date: (item) => item instanceof Date,
  string: (item) => typeof item === 'string',
  array: (item) => Array.isArray(item),
  int: (item) => Number.isInteger(item),
  long: (item) => Number.isInteger(item) || item?._bsontype === 'Long',
  object: (item) => typeof item === 'object' && item !== null && !Array.isArray(item),
};

const isDocument = (item) => typeof item === 'object' && item !== null && !Array.isArray(item) && !item._bsontype && !(item instanceof Date);

function operatorOf(expected) {
  const [name, ...others] = isDocument(expected) ? Object.keys(expected) : [];
  return others.length === 0 && name?.startsWith('$$') ? name : undefined;
}

/** Throws, naming the place, unless `actual` matches `expected`. `actual` undefined means the field is absent. */
export function match(actual, expected, { root = true, path = 'result' } = {}) {
  const fail = (why) => {
    throw new Error(`${path}: ${why}`);
  };
  const operator = operatorOf(expected);
  if (operator) return matchOperator(operator, actual, expected[operator], { root, path, fail });
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length) fail(`expected ${expected.length} elements, found ${actual?.length}`);
    expected.forEach((item, index) => match(actual[index], item, { root, path: `${path}.${index}` }));
    return undefined;
  }
  if (isDocument(expected)) {
    if (!isDocument(actual)) fail(`expected a document, found ${EJSON.stringify({ actual })}`);
    for (const [name, item] of Object.entries(expected)) match(actual[name], item, { root: false, path: `${path}.${name}` });
    const extra = Object.keys(actual).filter((name) => !(name in expected));
    if (!root && extra.length > 0) fail(`unexpected fields ${extra.join()}`);
    return undefined;
  }
  if (actual === undefined) fail('is absent');
  if (!sameScalar(actual, expected)) fail(`expected ${EJSON.stringify({ expected })}, found ${EJSON.stringify({ actual })}`);
  return undefined;
}

function sameScalar(actual, expected) {
  if (typeof actual === 'number' && typeof expected === 'number') return actual === expected;
  const written = (item) => EJSON.stringify({ item: settled(item) }, { relaxed: false });
  return written(actual) === written(expected);
}

function matchOperator(operator, actual, argument, { root, path, fail }) {
  switch (operator) {
    case '$$exists':
      if ((actual !== undefined) !== argument) fail(argument ? 'is absent' : 'is there');
      return;
    case '$$type': {
      const names = Array.isArray(argument) ? argument : [argument];
      for (const name of names) if (!(name in TYPES)) fail(`this runner does not know the type ${name}`);
      if (!names.some((name) => TYPES[name](actual))) fail(`expected ${names.join()}, found ${EJSON.stringify({ actual })}`);
      return;
    }
    case '$$unsetOrMatches':
      if (actual !== undefined) match(actual, argument, { root, path });
      return;
    default:
      fail(`this runner does not know ${operator}`);
  }
}
