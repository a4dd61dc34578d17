/** The trusted master keys of every `MongoCrypt` of this copy of the package and this thread: the driver passes no option of ours to its automatic encrypter. */

import { trustLists, type TrustedMasterKey, trustedMasterKeysOf } from '../trust.js';
import { trustMasterKeys } from '../wasm.js';

let given: readonly TrustedMasterKey[] | undefined;
let inForce = '[]';

/**
 * Trusts these master keys only, in every `MongoCrypt` of this copy of the package and this thread, those that are there
 * included; cached data keys are forgotten. A worker thread needs a call of its own. `undefined` removes the list; an empty list trusts no master key. The variable `CSFLE_TRUSTED_MASTER_KEYS`
 * holds beside it: a key has to match both.
 * Errors: a `CsfleError` with `OPTION_INVALID`; then everything stays as it was.
 */
export function setTrustedMasterKeys(patterns: readonly TrustedMasterKey[] | undefined): void {
  const before = given;
  given = trustedMasterKeysOf(patterns);
  try {
    followTrust();
  } catch (error) {
    given = before;
    throw error;
  }
}

/**
 * Puts into force what the environment and the application say now.
 * Errors: `OPTION_INVALID`.
 */
export function followTrust(): void {
  const lists = trustLists(given);
  const text = JSON.stringify(lists.map((list) => list.map((pattern) => (typeof pattern === 'string' ? pattern : [...pattern]))));
  if (text === inForce) return;
  trustMasterKeys(lists);
  inForce = text;
}
