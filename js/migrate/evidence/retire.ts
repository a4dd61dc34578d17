/** Moves data keys to the retired keys, each only on the evidence that nothing needs it. */

import type { BsonBinary, Document } from '../../bson.js';
import { CsfleError } from '../../errors.js';
import type { RetiredKey, RetirementNote } from '../../key-vault.js';
import type { RetiringStore } from '../../key-vault/retirement.js';
import { fromStore } from '../../run.js';
import { idText } from '../engine.js';
import type { KeyUse, KeyUses } from './key-uses.js';
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
 * the vault at once. After an abort, and when the second search fails, every key that it did not clear goes back.
 */
export async function retireUnused(retirement: Retirement, keys: readonly Document[]): Promise<readonly KeyOutcome[]> {
  const { search, execute } = retirement;
  const before = await searchForUses(search, { nested: true });
  const outcomes = new Map<string, KeyOutcome>();
  const settle = (key: Document, outcome: KeyOutcome['outcome'], uses?: readonly KeyUse[]): void => {
    outcomes.set(idText(key['_id']), outcomeOf(key, outcome, uses));
  };
  const moved: MovedKey[] = [];
  for (const key of keys) {
    if (search.signal?.aborted) break;
    const uses = before.of(judged(key));
    if (uses.length > 0) settle(key, 'kept', uses);
    else if (!execute) settle(key, 'unused');
    else {
      let entry: RetiredKey | null | undefined;
      try {
        entry = await fromStore(() => retirement.store.retireKey(key['_id'] as BsonBinary, retirement.noteOf(key)));
        await requireMoved(retirement, key, entry);
        if (entry === null) settle(key, 'gone');
        else moved.push({ key, entry });
      } catch (error) {
        // The server may have removed it all the same: then the second search decides about it as about the others.
        const isThere = await search.engine
          .findKey(key['_id'] as BsonBinary)
          .then((found) => found !== undefined)
          .catch(() => undefined);
        if (entry && isThere !== true) moved.push({ key, entry });
        else if (isThere !== true) moved.push({ key, isUncertain: isThere === undefined });
        if (isThere !== false) retirement.fail(key, error);
        settle(key, 'failed');
      }
    }
  }
  if (moved.length === 0) return [...outcomes.values()];
  // Others may have encrypted under a key while it was searched for, or with one that they keep unwrapped.
  const { after, error } = await secondSearch(search);
  for (const one of moved) {
    const { key } = one;
    const uses = after?.of(judged(key)) ?? [];
    const isProven = after !== undefined && uses.length === 0 && !search.signal?.aborted;
    if (after === undefined) retirement.fail(key, error);
    if (isProven && one.isUncertain === true) continue;
    try {
      if (isProven) await retirement.retired?.(key);
      else await restore(retirement, one);
      settle(key, isProven ? 'retired' : 'restored', uses);
    } catch (error) {
      retirement.fail(key, error);
      settle(key, isProven ? 'retired' : 'failed', uses);
    }
  }
  return [...outcomes.values()];
}

/**
 * Looks whether a store did what it says: the key is gone from the vault, and its copy is among the retired keys. Without a
 * copy the key goes back into the vault.
 */
async function requireMoved({ store, search: { engine, signal } }: Retirement, key: Document, entry: RetiredKey | null): Promise<void> {
  // After an abort every key goes back anyway.
  if (signal?.aborted) return;
  const id = key['_id'] as BsonBinary;
  const wrong = (what: string): CsfleError => new CsfleError('KEY_VAULT_COPY_MISMATCH', `key ${idText(id)}: ${what}`, { details: { keyId: idText(id) } });
  const present = await engine.findKey(id);
  if (present !== undefined && engine.sameWrapping(present, key)) throw wrong('the store says that it is out of the key vault, and it is there');
  if (entry === null || (await fromStore(() => store.retiredKeys(id))).some(({ document }) => engine.sameWrapping(document, key))) return;
  if (present === undefined) await fromStore(() => store.insert(key));
  throw wrong('the store says that it retired the key, and there is no copy of it');
}

/** A key that was moved to the retired keys, or may have been. */
interface MovedKey {
  readonly key: Document;
  /** Its entry; undefined when the store failed after the move. */
  readonly entry?: RetiredKey;
  /** Whether nobody knows whether it was moved. */
  readonly isUncertain?: boolean;
}

/** What the second search found, or why there is none: then nothing is proven. */
async function secondSearch(search: Search): Promise<{ readonly after?: KeyUses; readonly error?: unknown }> {
  try {
    return { after: await searchForUses(search, { nested: true }) };
  } catch (error) {
    return { error };
  }
}

/** Puts back the entry of this very move. Where the store did not say which one that is, it is the latest of this wrapping. */
async function restore({ store, search: { engine } }: Retirement, { key, entry }: MovedKey): Promise<void> {
  const id = key['_id'] as BsonBinary;
  const ofKey = ({ document }: RetiredKey): boolean => engine.sameWrapping(document, key);
  const found = entry ?? (await fromStore(() => store.retiredKeys(id))).find(ofKey);
  if (found === undefined) throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `there is no retired key ${idText(id)}`, { details: { keyId: idText(id) } });
  await fromStore(() => store.restoreKey(found));
}
