/** The rules of `encryptDocument`: refused where one would encrypt nothing and leave plaintext without a word. */

import { argumentError, CsfleError, kindOf } from './errors.js';
import { refuseUnknownOptions } from './session.js';

// Names that reports and queries write for array elements: rules enter arrays by themselves.
const ARRAY_STEP = /^\$(?:\[.*\])?$|\[/;

/**
 * The paths with their options.
 * Errors: `ARGUMENT_INVALID` for anything but a plain object with a rule, and for a path with `$`, `$[]` or brackets;
 * `OPTION_INVALID` for an option that is not known.
 */
export function requireRules<T extends object>(options: { readonly fields: T }): T {
  const fields = options?.fields;
  if (typeof fields !== 'object' || fields === null)
    throw argumentError(`the options of encryptDocument() must be { fields: { path: { algorithm, keyId } } }, found ${kindOf(fields)} in place of fields`);
  refuseUnknownOptions(options, ['fields'], 'encryptDocument()');
  const prototype: unknown = Object.getPrototypeOf(fields);
  // A plain object of another realm has a prototype without a prototype.
  const isPlain = prototype === null || (!Array.isArray(fields) && Object.getPrototypeOf(prototype) === null);
  if (!isPlain || Object.prototype.toString.call(fields) !== '[object Object]')
    throw argumentError('options.fields must be a plain object that maps paths to options: the rules of other objects are not seen');
  const paths = Object.keys(fields);
  if (paths.length === 0) throw argumentError('options.fields has no rule: the document would stay in the clear');
  for (const path of paths) {
    if (path.startsWith('/')) throw argumentError(`fields[${JSON.stringify(path)}] is a JSON pointer: paths are written with dots`, { path });
    const step = path.split('.').find((name) => ARRAY_STEP.test(name));
    if (step === undefined) continue;
    const plain = path
      .split('.')
      .filter((name) => !ARRAY_STEP.test(name))
      .join('.');
    throw new CsfleError(
      'ARGUMENT_INVALID',
      `fields[${JSON.stringify(path)}]: a path has no array steps such as ${JSON.stringify(step)}, since arrays are entered; write ${JSON.stringify(plain)}`,
      {
        details: { path },
      },
    );
  }
  return fields;
}
