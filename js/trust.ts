/** Which master keys are trusted: the patterns that options and the environment hold, read and checked before they cross. */

import { concatBytes } from './bytes.js';
import { CsfleError, kindOf } from './errors.js';
import type { TrustLists } from './wasm.js';

/**
 * A pattern of trusted master keys: a master key with fields left out, or its short form as text.
 *
 * Shape: `{ provider: 'aws', key: 'arn:aws:kms:us-east-1:111122223333:key/*' }`. Every field that is there has to be equal;
 * `'*'` alone stands for any value, and in an ARN for its region, account or name. The provider is compared with its name:
 * `aws` does not match `aws:eu`. A pattern without `endpoint` (Azure: `keyVaultEndpoint`) matches where the key names none,
 * one that the cloud itself runs, or one of `allowedEndpoints`.
 *
 * As text: `local`, `aws:eu` (any key of that provider), `arn:aws:kms:us-east-1:111122223333:key/*`,
 * `https://hospital.vault.azure.net/keys/csfle`, `projects/p/locations/l/keyRings/r/cryptoKeys/k`, `kmip://host:5696`; with
 * `aws:eu=` before them for a provider with a name.
 */
export type TrustedMasterKey = string | { readonly provider: string; readonly [field: string]: string | boolean };

/** Options about trust that every class with keys takes. */
export interface TrustOptions {
  /**
   * The master keys that are used at all. A data key under another one, stored or new, is refused with
   * `KEY_VAULT_MASTER_KEY_NOT_TRUSTED` before anything is sent for it. An empty list trusts none. Default: every master key.
   */
  readonly trustedMasterKeys?: readonly TrustedMasterKey[] | undefined;
  /**
   * Endpoints, as `host[:port]`, that key documents may name although no cloud runs them. Others are refused with
   * `KMS_ENDPOINT_NOT_ALLOWED`. `'*'` leaves this rule out; it widens no pattern of `trustedMasterKeys`. Default: none.
   */
  readonly allowedEndpoints?: readonly string[] | undefined;
}

/** The names of `TrustOptions`. */
export const TRUST_OPTION_NAMES = ['trustedMasterKeys', 'allowedEndpoints'] as const;

/** The variable of the environment that holds patterns as JSON, for the whole process. */
export const TRUST_VARIABLE = 'CSFLE_TRUSTED_MASTER_KEYS';

let environment: () => string | undefined = () => undefined;

/** Sets how the variable is read. The entry for Node calls it. */
export function setTrustEnvironment(source: () => string | undefined): void {
  environment = source;
}

/**
 * Reads a list of patterns; `undefined` when none was given. Their contents are checked by the core.
 * Errors: `OPTION_INVALID`, for null too: what was meant as a restriction must not end as none.
 */
export function trustedMasterKeysOf(given: unknown, name = 'trustedMasterKeys'): readonly TrustedMasterKey[] | undefined {
  if (given === undefined) return undefined;
  if (!Array.isArray(given)) throw invalid(`${name} must be an array of patterns, found ${kindOf(given)}`);
  return Object.freeze(Array.from(given, (pattern: unknown, index) => patternOf(pattern, `${name}[${index}]`)));
}

function patternOf(given: unknown, where: string): TrustedMasterKey {
  if (typeof given === 'string') return given;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw invalid(`${where} must be a text or an object, found ${kindOf(given)}`);
  const fields = Object.entries(given) as [string, unknown][];
  for (const [name, value] of fields) {
    // A field that is there and undefined would make the pattern wider than it was meant.
    if (typeof value !== 'string' && typeof value !== 'boolean') throw invalid(`${where}.${name} must be a text, found ${kindOf(value)}`);
  }
  return Object.freeze(Object.fromEntries(fields)) as TrustedMasterKey;
}

/**
 * Reads a list of endpoints.
 * Errors: `OPTION_INVALID`.
 */
export function allowedEndpointsOf(given: unknown): readonly string[] {
  if (given === undefined) return [];
  if (!Array.isArray(given) || !given.every((one) => typeof one === 'string'))
    throw new CsfleError('OPTION_INVALID', `allowedEndpoints must be an array of texts, found ${kindOf(given)}`, {
      details: { option: 'allowedEndpoints' },
    });
  return Object.freeze([...given]) as readonly string[];
}

/**
 * The patterns of the environment; `undefined` when the variable is not there.
 * Errors: `OPTION_INVALID` for what is no JSON array of patterns.
 */
function trustedByEnvironment(): readonly TrustedMasterKey[] | undefined {
  const text = environment();
  if (text === undefined) return undefined;
  // A variable that was to hold a restriction and came out empty must not end as none.
  if (text.trim() === '') throw invalid(`${TRUST_VARIABLE} is set and empty: unset it, or give a JSON array of patterns`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw invalid(`${TRUST_VARIABLE} must be a JSON array of patterns, but it is not valid JSON`);
  }
  return trustedMasterKeysOf(parsed, TRUST_VARIABLE);
}

/** The lists that hold for an object: that of the environment and its own. A key has to match a pattern of each. */
export function trustLists(own: readonly TrustedMasterKey[] | undefined): TrustLists {
  return [trustedByEnvironment(), own].filter((list) => list !== undefined).map(crossing);
}

/** The patterns as they cross: texts as they are, objects as BSON. */
export function crossing(patterns: readonly TrustedMasterKey[]): (string | Uint8Array)[] {
  return patterns.map((pattern) => (typeof pattern === 'string' ? pattern : bsonOf(pattern)));
}

/** BSON of texts and flags (bsonspec.org 1.1). There is no BSON library yet where the process's own list is set. */
function bsonOf(fields: Readonly<Record<string, string | boolean>>): Uint8Array {
  const parts: Uint8Array[] = [];
  const text = new TextEncoder();
  for (const [name, value] of Object.entries(fields)) {
    if (name.includes('\0')) throw invalid('the name of a field of a pattern holds a NUL character');
    const isText = typeof value === 'string';
    parts.push(Uint8Array.of(isText ? 0x02 : 0x08), text.encode(`${name}\0`));
    if (isText) {
      const bytes = text.encode(`${value}\0`);
      parts.push(int32(bytes.length), bytes);
    } else parts.push(Uint8Array.of(value ? 1 : 0));
  }
  const body = concatBytes(parts);
  return concatBytes([int32(body.length + 5), body, Uint8Array.of(0)]);
}

function int32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

const OURS: readonly string[] = TRUST_OPTION_NAMES;
const MOST_EDITS = 4;

/**
 * Refuses options that are ours but for their spelling, where unknown ones are passed over: what was meant as a restriction
 * must not end as none.
 * Errors: `OPTION_INVALID`.
 */
export function refuseMisspeltTrust(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const lower = name.toLowerCase().replaceAll(/[^a-z]/g, '');
    const meant = lower.includes('trust') ? OURS[0] : OURS.find((ours) => edits(lower, ours.toLowerCase()) <= MOST_EDITS);
    if (meant === undefined) continue;
    const advice = known.includes(meant) ? `the option is called ${meant}` : `the option ${meant} is not one of this interface`;
    throw invalid(`there is no option ${JSON.stringify(name)} here: ${advice}`, name);
  }
}

/** How many characters differ between two texts: inserted, left out or replaced (Levenshtein). */
function edits(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > MOST_EDITS) return MOST_EDITS + 1;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, x] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, y] of [...b].entries()) next.push(Math.min((next[j] as number) + 1, (row[j + 1] as number) + 1, (row[j] as number) + (x === y ? 0 : 1)));
    row = next;
  }
  return row[b.length] as number;
}

function invalid(message: string, option: string = 'trustedMasterKeys'): CsfleError {
  return new CsfleError('OPTION_INVALID', message, { details: { option } });
}
