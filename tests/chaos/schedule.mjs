// Which fault comes when, upon which job: the same for the same seed and index.
import { FAULTS } from './faults.mjs';
import { JOBS } from './jobs.mjs';
import { randomOf } from './random.mjs';

const COMMAND_SHARE = 0.2;
const EMULATOR_SHARE = 0.15;
const RERUN_SHARE = 0.5;

// Neighbours in the list are far from each other in the run.
const slots = Object.entries(FAULTS).flatMap(([name, { slots: count = 1 }]) => Array.from({ length: count }, (_, number) => ({ name, number, count })));
const STRIDE = [41, 43, 47, 53].find((prime) => slots.length % prime !== 0);

/** How many faults there are in one round of all kinds. */
export const ROUND = slots.length;

/** The scenario at an index: `{ index, seed, faultName, fault, job, round, via, onEmulator, reruns, withBackup, rng }`. */
export function scenarioAt(seed, index) {
  const { name, number, count } = slots[(index * STRIDE) % slots.length];
  const fault = FAULTS[name];
  const jobs = JOBS.filter(fault.jobs);
  const occurrence = Math.floor(index / slots.length) * count + number;
  const kind = Object.keys(FAULTS).indexOf(name);
  const rng = randomOf(seed, index);
  return {
    index,
    seed,
    faultName: name,
    fault,
    job: jobs[(occurrence + kind * 5 + seed) % jobs.length],
    round: Math.floor(occurrence / jobs.length),
    via: fault.via ?? (rng.chance(COMMAND_SHARE) ? 'command' : 'library'),
    onEmulator: rng.chance(EMULATOR_SHARE),
    reruns: rng.chance(RERUN_SHARE),
    withBackup: rng.chance(0.5),
    rng,
  };
}
