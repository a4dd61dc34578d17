import { type BsonBinary, binaryBytes, type Document, isBinary } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { KeyWrapping } from '../key-vault.js';
import { rewrapThrough } from '../run.js';
import { idText } from './engine.js';
import { WRITE_ATTEMPTS } from './options.js';
import type { PlanState } from './plan.js';
import type { KeyResults } from './report.js';
import { altNamesOf, type MigrationRun } from './run-state.js';

/** Wraps every planned key under the new master key, one conditional write each, and unwraps all of them at the end. */
export async function executeRewrap(run: MigrationRun, state: PlanState): Promise<KeyResults> {
  let alreadyDone = 0;
  let failed = 0;
  const migrated: Document[] = [];
  const progress = run.progress('keys', state.keys.length);
  await run.forEach(state.keys, async (key) => {
    try {
      const fault = state.faults.get(idText(key._id));
      if (fault !== undefined) throw fault;
      const fingerprint = state.fingerprints.get(idText(key._id));
      if (fingerprint === undefined) throw new CsfleError('INTERNAL', 'a key that was not unwrapped cannot be wrapped anew');
      if ((await rewrapKey(run, key, fingerprint)) === 'written') migrated.push(key);
      else alreadyDone += 1;
      progress.advance(1);
    } catch (error) {
      if (!failKey(run, key, error)) return;
      failed += 1;
      progress.advance(1, 1);
    }
  });
  const verified = await verifyKeys(run, migrated, (key) => state.fingerprints.get(idText(key._id)));
  const damaged = await openDoneKeys(run, state);
  failed += verified.failed + damaged;
  return {
    planned: state.keys.length,
    migrated: migrated.length,
    // Those of the plan are added to these.
    alreadyDone: alreadyDone - damaged,
    failed,
    namesMoved: 0,
    deleted: 0,
    verified: verified.verified,
  };
}

/** Unwraps the keys that were under the target before: one that was damaged since is no key that is done. Returns the failures. */
async function openDoneKeys(run: MigrationRun, state: PlanState): Promise<number> {
  const done = new Set(state.plan.keys.filter(({ disposition }) => disposition === 'done').map(({ id }) => id));
  let failed = 0;
  await run.forEach(
    state.documents.filter((key) => done.has(idText(key._id))),
    async (key) => {
      try {
        await run.engine.fingerprint(key._id as BsonBinary, run.signal);
      } catch (error) {
        if (failKey(run, key, error)) failed += 1;
      }
    },
  );
  return failed;
}

/** Records the failure of one key. */
export function failKey(run: MigrationRun, key: Document, error: unknown): boolean {
  return run.fail({ kind: 'key', id: idText(key._id), keyAltNames: altNamesOf(key) }, error);
}

/** `fingerprint` is that of the material which the plan found, and values under the key have proven where there are any. */
async function rewrapKey(run: MigrationRun, planned: Document, fingerprint: string): Promise<'written' | 'done'> {
  const { engine, signal, target } = run;
  const id = planned._id as BsonBinary;
  for (let attempt = 1; attempt <= WRITE_ATTEMPTS; attempt += 1) {
    const before = await engine.findKey(id, signal);
    if (before === undefined)
      throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `the key vault has no key ${idText(id)} any more`, {
        details: { keyId: idText(id) },
      });
    // Another run may have come first; whoever wraps it then, it is done.
    if (engine.same(before.masterKey as Document, target)) return 'done';
    const { keyMaterial, masterKey, previousKeyMaterial, previousMasterKey } = await engine.rewrap(id, target, fingerprint, signal);
    const expected: KeyWrapping = { keyMaterial: previousKeyMaterial, masterKey: previousMasterKey };
    // From here on no abort: what is written is read back.
    if (!(await rewrapThrough(engine.store, id, expected, { keyMaterial, masterKey }))) continue;
    const after = await engine.findKey(id);
    if (after !== undefined && sameBinary(after.keyMaterial, keyMaterial) && engine.same(after.masterKey as Document, masterKey)) return 'written';
    throw new CsfleError('MIGRATION_VERIFICATION_FAILED', `key ${idText(id)} is not wrapped as was written`, {
      details: { keyId: idText(id) },
    });
  }
  throw new CsfleError('KEY_VAULT_CONFLICT', `key ${idText(id)} was changed by another process during ${WRITE_ATTEMPTS} attempts`, {
    details: { keyId: idText(id), attempts: WRITE_ATTEMPTS },
  });
}

/** Unwraps keys from what is stored now and compares their material with what it was. */
export async function verifyKeys(
  run: MigrationRun,
  keys: readonly Document[],
  expected: (key: Document) => string | undefined,
): Promise<{ verified: number; failed: number }> {
  let verified = 0;
  let failed = 0;
  if (keys.length === 0 || run.interrupted) return { verified, failed };
  const progress = run.progress('verify-keys', keys.length);
  await run.forEach(keys, async (key) => {
    try {
      if ((await run.engine.fingerprint(key._id as BsonBinary, run.signal)) !== expected(key)) {
        throw new CsfleError('MIGRATION_VERIFICATION_FAILED', `key ${idText(key._id)} unwraps to other key material than before`, {
          details: { keyId: idText(key._id) },
        });
      }
      verified += 1;
      progress.advance(1);
    } catch (error) {
      if (!failKey(run, key, error)) return;
      failed += 1;
      progress.advance(1, 1);
    }
  });
  return { verified, failed };
}

function sameBinary(a: unknown, b: unknown): boolean {
  return isBinary(a) && isBinary(b) && a.sub_type === b.sub_type && equalBytes(binaryBytes(a), binaryBytes(b));
}
