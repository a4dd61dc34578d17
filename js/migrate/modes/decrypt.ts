import { idText } from '../engine.js';
import { type MigrationRun, altNamesOf } from '../run-state.js';
import { type ChosenKey, isFilteredOut, isUnder, keysChosen, type Mode } from './mode.js';

/** Goes by the values in the collections; `from` and `keyFilter` restrict them to those of some keys. */
export const DECRYPT: Mode = {
  choose(run, look) {
    const used = new Set(look.censuses.flatMap(({ keyIds }) => keyIds));
    return look.documents.map((document): ChosenKey => {
      const id = idText(document._id);
      const provider = String((document.masterKey as { provider?: unknown } | undefined)?.provider);
      const key = { id, keyAltNames: altNamesOf(document), provider };
      const isLeftOut = isFilteredOut(look, id) || (run.from !== null && !isUnder(run, document, run.from));
      if (isLeftOut) return { ...key, disposition: 'other', reason: 'left-out' };
      return used.has(id) ? { ...key, disposition: 'migrate', reason: 'used' } : { ...key, disposition: 'other', reason: 'not-used' };
    });
  },

  checks(run, look, keys) {
    const values = look.censuses.reduce((sum, census) => sum + census.values, 0);
    if (leavesEveryKey(run) || values === 0 || keys.some(({ reason }) => reason !== 'left-out')) return [];
    return [keysChosen(`no data key is what from and keyFilter ask for, and the collections hold ${values} values`, '')];
  },

  wantsValues(run, keys) {
    if (leavesEveryKey(run)) return () => true;
    // A key that no value used at the time of the plan is asked for all the same.
    const wanted = new Set(keys.filter(({ reason }) => reason === 'used' || reason === 'not-used').map(({ id }) => id));
    return (keyId) => wanted.has(keyId);
  },
};

/** Whether no limit on keys was given, so that a value of a lost key is a named failure. */
export function leavesEveryKey(run: MigrationRun): boolean {
  return run.from === null && run.options.keyFilter === undefined;
}
