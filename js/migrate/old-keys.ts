/** The old keys of a re-encryption: which ones other collections still need, and the retirement of those that none does. */

import type { BsonBinary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import { requireRetirement } from '../key-vault/retirement.js';
import { fromStore } from '../run.js';
import { idText } from './engine.js';
import { deploymentsOf } from './evidence/deployments.js';
import { usesText } from './evidence/key-uses.js';
import type { KeyOutcome } from './evidence/outcome.js';
import { retireUnused } from './evidence/retire.js';
import { type Search, searchForUses } from './evidence/search.js';
import { isOwnName, keyMarker } from './markers.js';
import type { ReplacedKey } from './modes/reencrypt.js';
import type { MigrationRemaining } from './report.js';
import { failKey } from './rewrap.js';
import { altNamesOf, type MigrationRun } from './run-state.js';

/**
 * The keys with alternate names that values outside of the collections to migrate need, each with the error that says
 * where. Their names would move to the new keys, and queries by name would no longer find those values: such a key is
 * not replaced at all.
 */
export async function keysUsedElsewhere(run: MigrationRun, keys: readonly Document[]): Promise<ReadonlyMap<string, CsfleError>> {
  const named = keys.filter((key) => altNamesOf(key).some(isOwnName));
  const errors = new Map<string, CsfleError>();
  if (named.length === 0) return errors;
  const uses = await searchForUses(searchOf(run), { nested: false, except: run.collections });
  for (const key of named) {
    const id = idText(key._id);
    const found = uses.valuesOf(id);
    if (found.length === 0) continue;
    const isKnown = found.some(({ kind }) => kind === 'value');
    errors.set(
      id,
      new CsfleError(
        isKnown ? 'MIGRATION_COLLECTION_MISSING' : 'MIGRATION_EVIDENCE_INCOMPLETE',
        `key ${id} and its alternate names stay as they are: ${usesText(found)}`,
        { details: { keyId: id } },
      ),
    );
  }
  return errors;
}

/** Values under the chosen keys outside of the collections to migrate; null where no client is known that could list them. */
export async function valuesElsewhere(run: MigrationRun, isWanted: (keyId: string) => boolean): Promise<MigrationRemaining['elsewhere']> {
  const search = searchOf(run);
  if (search.clients.length === 0 && run.otherCollections.length === 0) return null;
  const uses = await searchForUses(search, { nested: false, except: run.collections });
  const found = uses.valuesByNamespace(isWanted);
  // Without a client only the collections that the caller named can be read: the rest is nobody's claim.
  return search.clients.length === 0 ? found.filter(({ namespace }) => namespace !== '*') : found;
}

/**
 * Values under the chosen keys inside encrypted documents and arrays of the collections to migrate, which a re-encryption does
 * not reach, with those that cannot be opened.
 */
export async function valuesInside(run: MigrationRun, isWanted: (keyId: string) => boolean): Promise<MigrationRemaining['unproven']> {
  // Without clients nothing is listed: these collections alone are read.
  const search = { ...searchOf(run), clients: [], collections: run.collections, schemas: [], evidence: undefined };
  const uses = await searchForUses(search, { nested: true });
  return run.collections.map(({ namespace }) => ({ namespace, documents: 0, values: uses.nestedIn(namespace, isWanted) })).filter(({ values }) => values > 0);
}

/** Moves old keys that nothing needs any more to the retired keys; the others are named as failures with their uses. */
export async function retireOldKeys(run: MigrationRun, replaced: readonly ReplacedKey[]): Promise<readonly KeyOutcome[]> {
  const replacements = new Map(replaced.map(({ old, replacement }) => [idText(old._id), replacement]));
  const store = run.engine.store;
  const progress = run.progress('delete-keys', replaced.length);
  try {
    // As they are stored now: their alternate names moved.
    const keys: Document[] = [];
    for (const { old } of replaced) keys.push((await run.engine.findKey(old._id as BsonBinary, run.signal)) ?? old);
    const outcomes = await retireUnused(
      {
        store: requireRetirement(store),
        search: searchOf(run),
        execute: true,
        noteOf: (key) => ({
          reason: `re-encrypted${skippedText(run)}`,
          requestedBy: 'migrate deleteOldKeys',
          replacedBy: replacements.get(idText(key['_id'])),
        }),
        fail: (key, error) => failKey(run, key, error),
        async retired(key) {
          const replacement = replacements.get(idText(key['_id']));
          if (replacement !== undefined) await fromStore(() => store.removeKeyAltName(replacement, keyMarker(idText(key['_id']))));
        },
      },
      keys,
    );
    for (const { id, keyAltNames, outcome, uses } of outcomes) {
      progress.advance(1, outcome === 'retired' || outcome === 'gone' ? 0 : 1);
      if (outcome !== 'kept' && outcome !== 'restored') continue;
      const what = outcome === 'kept' ? 'stays' : 'was retired and is in the key vault again';
      const error = new CsfleError('MIGRATION_OLD_KEYS_IN_USE', `key ${id} ${what}: ${usesText(uses)}`, { details: { keyId: id } });
      if (uses.length > 0) run.fail({ kind: 'key', id, keyAltNames }, error);
    }
    return outcomes;
  } catch (error) {
    run.fail({ kind: 'check', id: 'evidence' }, error);
    return [];
  }
}

function searchOf(run: MigrationRun): Search {
  const { evidence, dataClients, batchSize, keyVault } = run.options;
  const collections = [...run.collections, ...run.otherCollections];
  return {
    engine: run.engine,
    clients: deploymentsOf(keyVault, collections, dataClients),
    collections,
    schemas: run.schemas,
    evidence,
    batchSize,
    signal: run.signal,
    progress: (total, namespace) => run.progress('evidence', total, namespace),
  };
}

function skippedText({ options: { evidence } }: MigrationRun): string {
  return evidence === undefined ? '' : `; not searched: ${evidence.skipNamespaces.join(', ')} (${evidence.reason})`;
}
