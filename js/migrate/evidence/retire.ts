/** Moves data keys to the retired keys, each only on the evidence that nothing needs it. */

import type { BsonBinary, Document } from '../../bson.js';
import type { RetirementNote } from '../../key-vault.js';
import type { RetiringStore } from '../../key-vault/retirement.js';
import { fromStore } from '../../run.js';
import { idText } from '../engine.js';
import type { KeyUse } from './key-uses.js';
import { judged, type KeyOutcome, outcomeOf } from './outcome.js';
import { type Search, searchForUses } from './search.js';

/** What retiring works with. */
export interface Retirement {
  readonly store: RetiringStore;
  readonly search: Search;
  readonly execute: boolean;
  readonly noteOf: (key: Document) => RetirementNote;
  /** Names a key that could not be retired or restored; returns false for an abort. */
  readonly fail: (key: Document, error: unknown) => boolean;
  /** Called for each key that was retired and is still needed by nothing. */
  readonly retired?: (key: Document) => Promise<void>;
}

/**
 * Searches, retires what nothing needs, and searches again: a key that something came to need in between goes back into
 * the vault at once. After an abort, every key that the second search did not clear goes back.
 */
export async function retireUnused(retirement: Retirement, keys: readonly Document[]): Promise<readonly KeyOutcome[]> {
  const { search, execute } = retirement;
  const before = await searchForUses(search, { nested: true });
  const outcomes = new Map<string, KeyOutcome>();
  const settle = (key: Document, outcome: KeyOutcome['outcome'], uses?: readonly KeyUse[]): void => {
    outcomes.set(idText(key['_id']), outcomeOf(key, outcome, uses));
  };
  const retired: Document[] = [];
  for (const key of keys) {
    if (search.signal?.aborted) break;
    const uses = before.of(judged(key));
    if (uses.length > 0) settle(key, 'kept', uses);
    else if (!execute) settle(key, 'unused');
    else
      try {
        const removed = await fromStore(() => retirement.store.retireKey(key['_id'] as BsonBinary, retirement.noteOf(key)));
        if (removed > 0) retired.push(key);
        else settle(key, 'gone');
      } catch (error) {
        retirement.fail(key, error);
        settle(key, 'failed');
      }
  }
  if (retired.length === 0) return [...outcomes.values()];
  // Others may have encrypted under a key while it was searched for, or with one that they keep unwrapped.
  const after = await searchForUses(search, { nested: true });
  for (const key of retired) {
    const uses = after.of(judged(key));
    const isProven = uses.length === 0 && !search.signal?.aborted;
    try {
      if (isProven) await retirement.retired?.(key);
      else await restoreLatest(retirement.store, key['_id'] as BsonBinary);
      settle(key, isProven ? 'retired' : 'restored', uses);
    } catch (error) {
      retirement.fail(key, error);
      settle(key, isProven ? 'retired' : 'failed', uses);
    }
  }
  return [...outcomes.values()];
}

async function restoreLatest(store: RetiringStore, id: BsonBinary): Promise<void> {
  const [latest] = await fromStore(() => store.retiredKeys(id));
  if (latest !== undefined) await fromStore(() => store.restoreKey(latest));
}
