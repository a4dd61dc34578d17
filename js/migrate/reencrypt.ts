import { type BsonBinary, type Document, SUBTYPE_UUID } from '../bson.js';
import { fromStore } from '../run.js';
import { moveNames } from './alternate-names.js';
import { type DocumentTransformation, rewriteCollection } from './documents.js';
import { idText } from './engine.js';
import type { KeyOutcome } from './evidence/outcome.js';
import { replacedKeyId } from './markers.js';
import { inOrderOfReplacement, lastReplacements, type ReplacedKey } from './modes/reencrypt.js';
import { keysUsedElsewhere, retireOldKeys } from './old-keys.js';
import type { PlanState } from './plan.js';
import { replacementOf } from './replacement.js';
import type { CollectionResults, KeyResults, SchemaResults } from './report.js';
import { failKey, verifyKeys } from './rewrap.js';
import { altNamesOf, type MigrationRun } from './run-state.js';
import { writeSchemas } from './schema.js';

/** What `reencrypt` and `decrypt` do beside keys. */
export interface DataResults {
  readonly collections: readonly CollectionResults[];
  readonly schemas: readonly SchemaResults[];
  readonly oldKeys?: readonly KeyOutcome[];
}

/**
 * New keys, then documents, then names and schemas, then a last look for what others wrote meanwhile, then the old keys.
 * Each step finds its state in the vault and in the documents, so that a run that was stopped anywhere is taken up again.
 */
export async function executeReencrypt(run: MigrationRun, planned: PlanState): Promise<{ keys: KeyResults } & DataResults> {
  const state = { ...planned, faults: new Map([...(await keysUsedElsewhere(run, planned.keys)), ...planned.faults]) };
  const counts = { planned: state.keys.length, migrated: 0, alreadyDone: 0, failed: 0, namesMoved: 0, deleted: 0, verified: 0 };
  const fingerprints = new Map<string, string>();
  const replaced = inOrderOfReplacement(await replaceKeys(run, state, counts, fingerprints));
  const replacements = lastReplacements(replaced);

  // Keys that could not be replaced are named as failures; what is under them stays, and the others go on.
  const oldIds = new Set(replaced.map(({ old }) => idText(old._id)));
  const transformation: DocumentTransformation = {
    compute: (documents) => run.engine.reencrypt(documents, replacements, run.signal),
    toPlaintext: false,
    isOld: (keyId) => oldIds.has(keyId),
  };
  const known = new Map(state.plan.collections.map(({ namespace, valuesToMigrate }) => [namespace, valuesToMigrate]));
  let collections = await rewriteAll(run, transformation, (namespace) => known.get(namespace));
  let schemas: readonly SchemaResults[] = [];
  if (nothingLeft(run, collections)) {
    const progress = run.progress('alternate-names', replaced.length);
    for (const { old, replacement } of replaced) {
      if (run.interrupted) break;
      try {
        counts.namesMoved += await moveNames(run, old._id as BsonBinary, replacement);
        progress.advance(1);
      } catch (error) {
        if (!failKey(run, old, error)) continue;
        counts.failed += 1;
        progress.advance(1, 1);
      }
    }
    if (!run.interrupted) schemas = await writeSchemas(run, replacements);
    // Writers that looked names or schemas up before they changed may have used an old key since.
    if (counts.namesMoved > 0 || schemas.some(({ written }) => written))
      collections = merged(collections, await rewriteAll(run, transformation, () => undefined));
  }
  const made = replaced.map(({ old, replacement }) => ({ _id: replacement, keyAltNames: old.keyAltNames }));
  const { verified, failed } = await verifyKeys(run, made, (key) => fingerprints.get(idText(key._id)));
  counts.verified = verified;
  counts.failed += failed;
  let oldKeys: readonly KeyOutcome[] = [];
  if (run.options.deleteOldKeys === true && !run.interrupted) {
    await removeStaleMarkers(run, state.documents);
    if (nothingLeft(run, collections)) oldKeys = await retireOldKeys(run, removable(run, replaced));
    counts.deleted = oldKeys.filter(({ outcome }) => outcome === 'retired').length;
  }
  return { keys: counts, collections, schemas, oldKeys };
}

/** Finds or makes the key that takes the place of each old one. */
async function replaceKeys(
  run: MigrationRun,
  state: PlanState,
  counts: { migrated: number; alreadyDone: number; failed: number },
  fingerprints: Map<string, string>,
): Promise<readonly ReplacedKey[]> {
  const replaced: ReplacedKey[] = [];
  const progress = run.progress('create-keys', state.keys.length);
  await run.forEach(state.keys, async (old) => {
    try {
      const fault = state.faults.get(idText(old._id));
      if (fault !== undefined) throw fault;
      const { id: replacement, fingerprint, isNew } = await replacementOf(run, state, old);
      fingerprints.set(idText(replacement), fingerprint);
      replaced.push({ old, replacement });
      if (isNew) counts.migrated += 1;
      else counts.alreadyDone += 1;
      progress.advance(1);
    } catch (error) {
      if (!failKey(run, old, error)) return;
      counts.failed += 1;
      progress.advance(1, 1);
    }
  });
  return replaced;
}

/** Rewrites every collection in turn. */
export async function rewriteAll(
  run: MigrationRun,
  transformation: DocumentTransformation,
  known: (namespace: string) => number | undefined,
): Promise<readonly CollectionResults[]> {
  const results: CollectionResults[] = [];
  for (const collection of run.collections) {
    if (run.interrupted) break;
    const before = run.censuses.get(collection);
    results.push(await rewriteCollection(run, collection, transformation, known(collection.namespace)));
    // A census from before the changes tells nothing about what is left.
    if (run.censuses.get(collection) === before) run.censuses.set(collection, undefined);
  }
  return results;
}

function nothingLeft(run: MigrationRun, collections: readonly CollectionResults[]): boolean {
  return !run.interrupted && run.failures.every(({ kind }) => kind === 'key') && collections.every(({ valuesLeft }) => valuesLeft === 0);
}

function merged(first: readonly CollectionResults[], last: readonly CollectionResults[]): readonly CollectionResults[] {
  return first.map((before) => {
    const after = last.find(({ namespace }) => namespace === before.namespace);
    if (after === undefined) return before;
    return {
      namespace: before.namespace,
      passes: before.passes + after.passes,
      documentsRewritten: before.documentsRewritten + after.documentsRewritten,
      valuesRewritten: before.valuesRewritten + after.valuesRewritten,
      documentsFailed: before.documentsFailed + after.documentsFailed,
      valuesLeft: after.valuesLeft,
    };
  });
}

/** The old keys that did not fail, and whose replacements did not. */
function removable(run: MigrationRun, replaced: readonly ReplacedKey[]): readonly ReplacedKey[] {
  const failed = new Set(run.failures.map(({ id }) => id));
  return replaced.filter(({ old, replacement }) => !failed.has(idText(old._id)) && !failed.has(idText(replacement)));
}

/** Removes what an earlier run left when it stopped between removing an old key and the note about it. */
async function removeStaleMarkers(run: MigrationRun, documents: readonly Document[]): Promise<void> {
  for (const document of documents) {
    for (const name of altNamesOf(document)) {
      const old = replacedKeyId(name);
      if (old === undefined || run.interrupted) continue;
      try {
        const stillThere = await run.engine.findKey(keyIdOf(run, old), run.signal);
        if (stillThere === undefined) await fromStore(() => run.engine.store.removeKeyAltName(document._id as BsonBinary, name));
      } catch (error) {
        failKey(run, document, error);
      }
    }
  }
}

function keyIdOf(run: MigrationRun, text: string): BsonBinary {
  const hex = text.replaceAll('-', '');
  const bytes = Uint8Array.from({ length: hex.length / 2 }, (_, index) => Number.parseInt(hex.slice(2 * index, 2 * index + 2), 16));
  return new run.engine.bson.Binary(bytes, SUBTYPE_UUID);
}
