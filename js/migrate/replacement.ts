/** The data keys that take the place of others in the mode `reencrypt`: made, found again, and proven before use. */

import type { BsonBinary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import { fromStore } from '../run.js';
import { idText } from './engine.js';
import { isOwnName, keyMarker, nameMarker, replacedKeyId, reservedName } from './markers.js';
import type { PlanState } from './plan.js';
import { requireProof } from './proof.js';
import { altNamesOf, type MigrationRun } from './run-state.js';

/** What a wrapping that can never be opened again is refused with. What may pass, or be put right, is not among them. */
const DEAD_CODES: readonly string[] = ['KMS_CIPHERTEXT_REFUSED', 'KMS_REPLY_LENGTH', 'CRYPTO_AUTHENTICATION_FAILED', 'CRYPTO_INPUT_TOO_SHORT'];

/** A key that stands in the place of `old`, and the fingerprint of its material. */
export interface Replacement {
  readonly id: BsonBinary;
  readonly fingerprint: string;
  readonly isNew: boolean;
}

/**
 * Finds or makes the key that takes the place of `old`. Values are encrypted with the material that was made here, or, of
 * a key from an earlier run, with the material that was compared with the values under it.
 */
export async function replacementOf(run: MigrationRun, state: PlanState, old: Document): Promise<Replacement> {
  const known = state.replacements.get(idText(old._id));
  const valuesOf = (id: BsonBinary): Uint8Array => state.values.of(idText(id));
  if (known !== undefined) {
    try {
      return { id: known, fingerprint: await proveKey(run, known, valuesOf(known), true), isNew: false };
    } catch (error) {
      if (!(await canBeReplaced(run, state, old, known, error))) throw error;
      await giveUp(run, known);
    }
  }
  const { id, isOurs } = await createReplacement(run, old);
  await requireOnlyReplacement(run, old);
  // Unwrapped from what the vault holds: nothing is encrypted under a key that cannot be had back.
  const values = isOurs ? await run.engine.trialValue(id, run.signal) : valuesOf(id);
  return { id, fingerprint: await proveKey(run, id, values, !isOurs), isNew: true };
}

async function proveKey(run: MigrationRun, id: BsonBinary, values: Uint8Array, keep: boolean): Promise<string> {
  const evidence = await run.engine.prove(id, values, keep, run.signal);
  requireProof(id, evidence);
  return evidence.fingerprint;
}

async function createReplacement(run: MigrationRun, old: Document): Promise<{ id: BsonBinary; isOurs: boolean }> {
  const { engine } = run;
  const marker = keyMarker(idText(old._id));
  const names = [marker, ...altNamesOf(old).filter(isOwnName).map(nameMarker)];
  const document = await engine.createDataKey(run.target, names, run.signal);
  try {
    await fromStore(() => engine.store.insert(document));
    return { id: document._id as BsonBinary, isOurs: true };
  } catch (error) {
    if (!CsfleError.is(error) || error.code !== 'KEY_VAULT_DUPLICATE_KEY') throw error;
    // Another run made it in the meantime: the index on names lets only one of them in.
    const [theirs] = await engine.find({ keyAltNames: marker });
    if (theirs === undefined) throw error;
    return { id: theirs._id as BsonBinary, isOurs: false };
  }
}

/** Without the unique index on names two runs could each make a replacement; that is found out before one is used. */
async function requireOnlyReplacement(run: MigrationRun, old: Document): Promise<void> {
  const marked = await run.engine.find({ keyAltNames: keyMarker(idText(old._id)) });
  if (marked.length === 1) return;
  const ids = marked.map(({ _id }) => idText(_id));
  throw new CsfleError('MIGRATION_INDEX_MISSING', `${ids.length} keys carry the mark of its replacement: ${ids.join(', ')}`, {
    details: { keyId: idText(old._id) },
  });
}

/** Whether a replacement cannot be opened by its master key, and nothing is known to need it. */
async function canBeReplaced(run: MigrationRun, state: PlanState, old: Document, id: BsonBinary, error: unknown): Promise<boolean> {
  if (!CsfleError.is(error) || !DEAD_CODES.includes(error.code)) return false;
  const isUsed = state.plan.collections.some(({ byKey }) => byKey.some(({ keyId }) => keyId === idText(id)));
  if (isUsed) return false;
  const document = await run.engine.findKey(id, run.signal);
  const oldNow = await run.engine.findKey(old._id as BsonBinary, run.signal);
  const held = new Set(altNamesOf(oldNow));
  const names = altNamesOf(document).map((name) => reservedName(name) ?? name);
  // A name that the old key gave up already is nowhere but here.
  return document !== undefined && names.every((name) => held.has(name) || replacedKeyId(name) !== undefined);
}

/** Takes the marks of a replacement away, which makes room for another one. The key document stays. */
async function giveUp(run: MigrationRun, id: BsonBinary): Promise<void> {
  const document = await run.engine.findKey(id, run.signal);
  for (const name of altNamesOf(document)) await fromStore(() => run.engine.store.removeKeyAltName(id, name));
}
