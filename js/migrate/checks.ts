import type { BsonBinary, Document } from '../bson.js';
import type { ErrorCode } from '../error-codes.js';
import { CsfleError } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { KeyVaultCapabilities } from '../key-vault.js';
import { counted } from './counted.js';
import { idText } from './engine.js';
import { isRemoteKey, requireProof, type ValueSamples } from './proof.js';
import type { MigrationCheck } from './report.js';
import { altNamesOf, isAbort, type MigrationRun } from './run-state.js';

/** The material of each key before the run, by key id, as numbers that only this run can compare. */
export type Fingerprints = Map<string, string>;

/** What went wrong with one key while looking. */
export interface KeyFault {
  readonly error: CsfleError;
}

/** What a check returns that could not find out: it keeps nothing from running, and it is not ok either. */
export interface Unknown {
  readonly unknown: string;
}

export function unknown(detail: string): Unknown {
  return { unknown: detail };
}
/** What an error of others is called, by the check that met it. */
const FOREIGN_CODES: Readonly<Record<string, ErrorCode>> = {
  'vault-readable': 'KEY_VAULT_NOT_READABLE',
  'vault-writable': 'KEY_VAULT_NOT_WRITABLE',
  'alt-name-index': 'KEY_VAULT_NOT_READABLE',
  'new-master-key': 'KMS_FAILED',
};

/** A check from what a piece of work returns or throws. */
async function check(name: MigrationCheck['name'], required: boolean, work: () => Promise<string | Unknown>, subject?: string): Promise<MigrationCheck> {
  const about = subject === undefined ? {} : { subject };
  try {
    const found = await work();
    if (typeof found !== 'string') return { name, ok: false, required: false, detail: found.unknown, ...about };
    return { name, ok: true, required, detail: found, ...about };
  } catch (error) {
    // An abort ends the run; it says nothing about what was checked.
    if (isAbort(error)) throw error;
    const known = asCsfleError(error, FOREIGN_CODES[name] ?? 'HOST_CALLBACK_FAILED', `the check ${name}`);
    return { name, ok: false, required, detail: known.message, code: known.code, ...about };
  }
}

/** Whether the vault can be written and keeps alternate names unique: found out without writing. */
export async function checkVault(run: MigrationRun, documents: readonly Document[]): Promise<readonly MigrationCheck[]> {
  const { store } = run.engine;
  let found: KeyVaultCapabilities | undefined;
  let failure: CsfleError | undefined;
  try {
    if (store.capabilities !== undefined)
      found = await run.engine.whileReading(() => (store.capabilities as () => Promise<KeyVaultCapabilities>)(), run.signal);
  } catch (error) {
    if (!CsfleError.is(error) || isAbort(error)) throw error;
    failure = error;
  }
  const checks: MigrationCheck[] = [];
  // The mode decrypt reads the vault only.
  if (run.mode !== 'decrypt') {
    checks.push(
      await check('vault-writable', true, async () => {
        if (failure !== undefined) throw failure;
        if (found === undefined) return unknown('this key vault cannot tell; the first write will');
        if (!found.writable) throw new CsfleError('KEY_VAULT_NOT_WRITABLE', found.reason ?? 'the key vault cannot be written');
        return 'updates are allowed';
      }),
    );
  }
  if (run.mode !== 'decrypt') {
    // reencrypt keeps its state in alternate names: two keys of one name would make it ambiguous. Without a key it writes none.
    checks.push(
      await check('alt-name-index', run.mode === 'reencrypt' && documents.length > 0, async () => {
        if (failure !== undefined) throw failure;
        if (found === undefined) return unknown('this key vault cannot tell; each new key is looked up by its mark before it is used');
        if (!found.uniqueIndex)
          throw new CsfleError(
            'MIGRATION_INDEX_MISSING',
            `the key vault${store.deployment === undefined ? '' : ` ${store.deployment.namespace}`} has no unique index on keyAltNames, so two keys may take one name`,
          );
        return 'keyAltNames has its unique index';
      }),
    );
  }
  return checks;
}

/** Whether the new master key wraps and unwraps. */
export function checkNewMasterKey(run: MigrationRun): Promise<MigrationCheck> {
  return check('new-master-key', true, async () => {
    await run.engine.probe(run.target, run.signal);
    return `${run.target.provider} wrapped 96 random bytes and unwrapped the same`;
  });
}

/**
 * Unwraps every key once under its present master key. In the mode `rewrap` a KMS is believed only as far as values under
 * the key bear it out; in the others each value that is rewritten authenticates by itself.
 * Shape: the fingerprints of those that opened, the errors of those that did not, both by key id; how many keys values proved.
 */
export async function unwrapKeys(
  run: MigrationRun,
  keys: readonly Document[],
  values: ValueSamples,
): Promise<{ fingerprints: Fingerprints; faults: Map<string, CsfleError>; proven: number }> {
  const fingerprints: Fingerprints = new Map();
  let proven = 0;
  const faults = new Map<string, CsfleError>();
  const progress = run.progress('check-keys', keys.length);
  await run.forEach(keys, async (key) => {
    const id = idText(key._id);
    try {
      const evidence = await run.engine.prove(key._id as BsonBinary, values.of(id), false, run.signal);
      if (run.mode === 'rewrap' && isRemoteKey(key)) requireProof(key._id as BsonBinary, evidence);
      if (evidence.opened > 0) proven += 1;
      fingerprints.set(id, evidence.fingerprint);
      progress.advance(1);
    } catch (error) {
      if (isAbort(error)) return;
      faults.set(id, asCsfleError(error, 'KEY_VAULT_NOT_READABLE', 'unwrapping'));
      progress.advance(1, 1);
    }
  });
  return { fingerprints, faults, proven };
}

/** The check that goes with `unwrapKeys`: required only as long as not a single key opens. */
export function keysUnwrapCheck(keys: readonly Document[], faults: ReadonlyMap<string, CsfleError>): MigrationCheck {
  const name = 'old-keys-unwrap';
  const failed = keys.filter((key) => faults.has(idText(key._id)));
  const first = failed[0];
  if (first === undefined) {
    return {
      name,
      ok: true,
      required: true,
      detail:
        keys.length === 0
          ? 'no key is to be unwrapped'
          : `${keys.length} of ${counted(keys.length, 'key opens under its', 'keys open under their')} present master key`,
    };
  }
  const fault = faults.get(idText(first._id)) as CsfleError;
  const every = failed.length === keys.length;
  const which = failed
    .slice(0, 3)
    .map((key) => [idText(key._id), ...altNamesOf(key)].join(' '))
    .join(', ');
  const more = failed.length > 3 ? ` and ${failed.length - 3} more` : '';
  const detail = `${every ? 'no key opens' : `${failed.length} of ${counted(keys.length, 'key does', 'keys do')} not open`} (${which}${more}): ${fault.message}`;
  return { name, ok: false, required: every, detail, code: fault.code };
}

/** Says how many keys were proven by values under them; the others rest on two equal answers of the KMS. */
export function keysProvenCheck(keys: readonly Document[], proven: number, unread: readonly string[], areNamed: boolean): MigrationCheck {
  const which = unread.length === 0 ? '' : `; not readable: ${unread.join(', ')}`;
  const detail = `${proven} of ${counted(keys.length, 'key opens', 'keys open')} values under it${which}`;
  // Values that nobody could look for are no proof that there are none: where the caller named their collection, it has to be read.
  const isKnown = unread.length === 0 || proven === keys.length;
  if (isKnown) return { name: 'keys-proven', required: false, ok: true, detail };
  return { name: 'keys-proven', required: areNamed, ok: false, detail, code: 'MIGRATION_COLLECTION_FAILED' };
}

export { check };
