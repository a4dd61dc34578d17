import { counted } from '../counted.js';
import { isFilteredOut, keysChosen, type ChosenKey, type Mode } from './mode.js';

/** Goes by the master key that a key is under: from `from`, to `to`. */
export const REWRAP: Mode = {
  choose(run, look) {
    return run.engine.assess(look.documents, run.from, run.target).keys.map((key): ChosenKey => {
      const { id, disposition, provider } = key;
      if (disposition === 'malformed') {
        const isOther = isFilteredOut(look, id) || (provider !== '' && run.from !== null && provider !== run.from.provider);
        return { ...key, reason: isOther ? 'not-under-source' : 'malformed' };
      }
      if (isFilteredOut(look, id)) return { ...key, disposition: 'other', reason: 'left-out' };
      if (disposition === 'migrate') return { ...key, reason: 'under-source' };
      return { ...key, reason: disposition === 'done' ? 'under-target' : 'not-under-source' };
    });
  },

  checks(run, _look, keys) {
    if (keys.some(({ reason }) => reason === 'under-source' || reason === 'under-target' || reason === 'malformed')) return [];
    const source = Object.values(run.from ?? {}).join(' ');
    const providers = [...new Set(keys.map(({ provider }) => provider))].sort().join(', ');
    const filtered = run.options.keyFilter === undefined ? '' : ' that keyFilter matches';
    const detail = `no data key${filtered} is under ${source} or under the new master key; the key vault has ${counted(keys.length, 'key')}, under ${providers}`;
    return [keysChosen(detail, '')];
  },

  wantsValues: () => () => false,
};
