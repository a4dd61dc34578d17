/** Argument checks with the messages of the shell's own methods. */

import { CsfleError } from '../index.js';

/**
 * Checks an object of options by name, so that a misspelt one is not silently without effect.
 * Errors: `ARGUMENT_INVALID` for what is no object, `OPTION_INVALID` for a name that is not known.
 */
export function requireOptions(method: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null)
    throw new CsfleError('ARGUMENT_INVALID', `${method} takes an object of options`, { details: { method } });
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new CsfleError('OPTION_INVALID', `${method} has no option \`${unknown}\`; it has ${known.join(', ')}`, { details: { option: unknown } });
}

/** A kind of argument: anything but undefined, or what `typeof` says. */
export type ArgumentKind = 'any' | 'string' | 'object';

/**
 * Checks arguments by position.
 * Errors: `ARGUMENT_INVALID` with the position and the method, in the words of the shell.
 */
export function requireArguments(method: string, values: readonly unknown[], kinds: readonly ArgumentKind[]): void {
  for (const [position, kind] of kinds.entries()) {
    const value = values[position];
    if (value === undefined) {
      throw new CsfleError('ARGUMENT_INVALID', `Missing required argument at position ${position} (${method})`, { details: { method, position } });
    }
    if (kind !== 'any' && typeof value !== kind) {
      throw new CsfleError('ARGUMENT_INVALID', `Argument at position ${position} must be of type ${kind}, got ${typeof value} instead (${method})`, {
        details: { method, position },
      });
    }
  }
}

const ARN_REGION = /^arn:[^:]+:kms:([a-z0-9-]+):[^:]*:(?:key|alias)\//;

/**
 * Refuses a master key whose region is not that of its ARN: AWS KMS would be asked in the wrong place.
 * Errors: `MASTER_KEY_INVALID`.
 */
export function requireRegionOfArn(name: string, masterKey: unknown): void {
  const { key, region } = (masterKey ?? {}) as { readonly key?: unknown; readonly region?: unknown };
  const ofArn = typeof key === 'string' ? ARN_REGION.exec(key)?.[1] : undefined;
  if (ofArn === undefined || typeof region !== 'string' || region === ofArn) return;
  throw new CsfleError('MASTER_KEY_INVALID', `${name}.key is an ARN of the region ${ofArn}, and ${name}.region is ${region}: write region: '${ofArn}'`, {
    details: { field: 'region', expected: ofArn, found: region },
  });
}
