/** What became of a data key that was to be removed. */

import type { Document } from '../../bson.js';
import { altNamesIn } from '../../key-vault/retirement.js';
import { idText } from '../engine.js';
import type { JudgedKey, KeyUse } from './key-uses.js';

/** One data key that was to be removed. */
export interface KeyOutcome {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  /**
   * `unused`: nothing needs it, and nothing was asked to be written. `retired`: moved to the retired keys. `purged`:
   * its retired document was destroyed. `kept`: see `uses`. `restored`: it was retired, then something came to need it,
   * and it is back in the vault. `gone`: it was not there any more. `failed`: see the failures.
   */
  readonly outcome: 'unused' | 'retired' | 'purged' | 'kept' | 'restored' | 'gone' | 'failed';
  /** Why it was kept or restored. */
  readonly uses: readonly KeyUse[];
}

/** A key document as evidence is asked for. */
export function judged(document: Document): JudgedKey {
  return { id: idText(document['_id']), keyAltNames: altNamesIn(document) };
}

/** The outcome of one key. */
export function outcomeOf(document: Document, outcome: KeyOutcome['outcome'], uses: readonly KeyUse[] = []): KeyOutcome {
  return { ...judged(document), outcome, uses };
}
