import type { BsonBinary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import { fromStore } from '../run.js';
import { idText } from './engine.js';
import { isOwnName, nameMarker, reservedName } from './markers.js';
import { altNamesOf, type MigrationRun } from './run-state.js';

/**
 * Moves every alternate name of an old key to the key that replaces it; returns how many moved.
 *
 * The unique index forbids that both have a name at a time, and a key vault has no transactions here, so a name moves in
 * steps, each of which leaves a trace to go on from: the new key reserves the name, the old key gives it up, the new key
 * takes it, the reservation goes. A run that stops after any step leaves the name on one of the two keys or reserved.
 */
export async function moveNames(run: MigrationRun, old: BsonBinary, replacement: BsonBinary): Promise<number> {
  const { engine } = run;
  const store = engine.store;
  const oldNames = altNamesOf(await requireKey(run, old)).filter(isOwnName);
  const newNames = altNamesOf(await requireKey(run, replacement));
  const reserved = newNames.map(reservedName).filter((name) => name !== undefined);
  let moved = 0;
  for (const name of new Set([...reserved, ...oldNames])) {
    if (run.interrupted) break;
    // Names may have been added to the old key since its replacement was made.
    if (!reserved.includes(name)) await fromStore(() => store.addKeyAltName(replacement, nameMarker(name)));
    if (oldNames.includes(name)) await fromStore(() => store.removeKeyAltName(old, name));
    if (!newNames.includes(name)) {
      await fromStore(() => store.addKeyAltName(replacement, name));
      moved += 1;
    }
    await fromStore(() => store.removeKeyAltName(replacement, nameMarker(name)));
  }
  if (moved > 0 && !run.interrupted) await verifyNames(run, old, replacement);
  return moved;
}

async function verifyNames(run: MigrationRun, old: BsonBinary, replacement: BsonBinary): Promise<void> {
  const left = altNamesOf(await requireKey(run, old)).filter(isOwnName);
  const reserved = altNamesOf(await requireKey(run, replacement)).filter((name) => reservedName(name) !== undefined);
  if (left.length === 0 && reserved.length === 0) return;
  throw new CsfleError('MIGRATION_VERIFICATION_FAILED', `key ${idText(old)} still has alternate names that were moved`, {
    details: { keyId: idText(old) },
  });
}

async function requireKey(run: MigrationRun, id: BsonBinary): Promise<Document> {
  const document = await run.engine.findKey(id);
  if (document !== undefined) return document;
  throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `the key vault has no key ${idText(id)} any more`, {
    details: { keyId: idText(id) },
  });
}
