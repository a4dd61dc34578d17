/** Argument checks with the messages of the shell's own methods. */

import { CsfleError } from '../index.js';

/** What the shell has in place of options of the library. */
const INSTEAD: ReadonlyMap<string, string> = new Map([
  ['keyVault', 'keyVaultNamespace'],
  ['keyVaultStore', 'keyVaultNamespace'],
  ['onBackup', 'backupFile'],
]);

/**
 * Checks an object of options by name, so that a misspelt one is not silently without effect.
 * Errors: `ARGUMENT_INVALID` for what is no object, `OPTION_INVALID` for a name that is not known.
 */
export function requireOptions(method: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null)
    throw new CsfleError('ARGUMENT_INVALID', `${method} takes an object of options`, { details: { method } });
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const instead = INSTEAD.get(unknown) ?? '';
  const hint = known.includes(instead) ? ` (in the shell it is ${instead})` : '';
  // In quotes: between backticks a name of the library would be said in the words of the shell, which has that option.
  throw new CsfleError('OPTION_INVALID', `${method} has no option ${JSON.stringify(unknown)}${hint}; it has ${known.join(', ')}`, {
    details: { option: unknown },
  });
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

/** The fields of a master key that a provider does not do without. */
const MASTER_KEY_FIELDS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['aws', ['region', 'key']],
  ['azure', ['keyVaultEndpoint', 'keyName']],
  ['gcp', ['projectId', 'location', 'keyRing', 'keyName']],
]);

/** A master key of the provider as a pattern to fill in, such as `{ region: ..., key: ... }`; nothing for a provider that needs none. */
export function masterKeyPattern(provider: unknown): string | undefined {
  const fields = fieldsOf(provider);
  return fields === undefined ? undefined : `{ ${fields.map((field) => `${field}: ...`).join(', ')} }`;
}

/**
 * Refuses a master key in which fields are missing, with all of them and an example of the call.
 * Errors: `MASTER_KEY_INVALID`.
 */
export function requireMasterKeyFields(name: string, provider: unknown, masterKey: unknown, example: (pattern: string) => string): void {
  const given = (masterKey ?? {}) as Readonly<Record<string, unknown>>;
  const missing = fieldsOf(provider)?.filter((field) => given[field] === undefined) ?? [];
  const [field] = missing;
  if (field === undefined) return;
  throw new CsfleError('MASTER_KEY_INVALID', `${name} lacks ${missing.join(' and ')}: ${example(masterKeyPattern(provider) ?? '')}`, { details: { field } });
}

function fieldsOf(provider: unknown): readonly string[] | undefined {
  return typeof provider === 'string' ? MASTER_KEY_FIELDS.get(provider.split(':', 1)[0]) : undefined;
}
