// The faults. Each has a list of jobs it makes sense for and a plan: what the proxy, the KMS, the streams or the disk do to that job,
// and whether it really happened. A fault with several slots is that much more frequent.
import { existsSync } from 'node:fs';
import { concerns, LIES, liarOf } from './lies.mjs';
import { smallDisk } from './disks.mjs';
import { OPPOSITES } from './jobs.mjs';
import { updatedIds } from './proxy.mjs';
import { idText } from './world.mjs';
import { changeDocument, DOCUMENT_WRITERS, KEY_WRITERS } from './writers.mjs';

const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
const MOST_DELAY_MS = 6;

const anyJob = () => true;
// Jobs that may be refused are for kills and cuts alone.
const rewriting = (job) => job.rewrites === true && !job.partial;
const usesKms = (job) => job.mode !== 'restore' && job.name !== 'create-local-data-key' && !job.partial;
const migrating = (job) => ['rewrap', 'reencrypt', 'decrypt'].includes(job.mode) && !job.partial;
const withFiles = (job) => migrating(job) && job.schemas === true;
const writesVault = (job) => ['rewrap', 'reencrypt', 'keys-rewrap'].includes(job.mode) && !job.partial;

/** The write at which a fault strikes: as rounds go on, every write of the job comes up. */
function writeOf({ job, round, seed }) {
  const step = [7, 5, 11, 13].find((prime) => job.writes % prime !== 0);
  return 1 + ((round * step + seed) % job.writes);
}

/** Does something once, at a command that fits. */
function once(fits, act) {
  const state = { done: false, count: 0 };
  return {
    injected: () => state.done,
    onCommand(command) {
      if (state.done || !fits(command)) return undefined;
      state.done = true;
      return act(command);
    },
  };
}

const atWrite = (context, act) => {
  const write = writeOf(context);
  return { ...once(({ isWrite, writeNumber }) => isWrite && writeNumber === write, act), detail: { write } };
};

const kill = (signal) => (context) => () => {
  context.running.kill(signal);
};

function documentWriter(name) {
  return (context) => {
    const { world, rng } = context;
    const turn = 1 + rng.below(3);
    let updates = 0;
    let acknowledged = 0;
    return {
      detail: { update: turn },
      injected: () => acknowledged > 0,
      async onCommand(command) {
        if (!command.isWrite || command.name !== 'update' || acknowledged > 0) return;
        const read = command.read();
        const ids = updatedIds(read);
        if (read.update !== 'people' || ids.length === 0) return;
        updates += 1;
        if (updates < turn) return;
        for (const id of ids) if (await changeDocument(world, name, id, idText(id))) acknowledged += 1;
      },
    };
  };
}

/** Writers that change what is being written, at every update. */
function restlessWriters({ world, rng }) {
  let acknowledged = 0;
  return {
    injected: () => acknowledged > 0,
    async onCommand(command) {
      if (!command.isWrite || command.name !== 'update') return;
      const read = command.read();
      if (read.update !== 'people') return;
      for (const id of updatedIds(read)) if (await changeDocument(world, rng.pick(DOCUMENT_WRITERS), id, idText(id))) acknowledged += 1;
    },
  };
}

function keyWriter(name, write) {
  return (context) => {
    const turn = 1 + context.rng.below(3);
    let writes = 0;
    let started = false;
    let done = false;
    let leavesUnread = false;
    return {
      detail: { write: turn },
      mayLeaveUnread: () => leavesUnread,
      asked: name === 'alternate-name-added',
      // The earlier backup does not contain the key's later wrapping: the next run refuses that file, and says so.
      ...(name === 'alternate-name-added' ? {} : { withBackup: false }),
      injected: () => done,
      async onCommand(command) {
        if (done || !command.isWrite || !Object.values(command.read()).includes('__keyVault')) return;
        writes += 1;
        if (writes < turn || started) return;
        started = true;
        leavesUnread = (await write(context.world, context.rng, context.job)) === true;
        done = true;
      },
    };
  };
}

function lie(name) {
  return (context) => {
    const { liar, counts, first, planted } = liarOf(name, context);
    return { liar, planted, hanging: LIES[name].told?.hang === true, detail: { call: first }, injected: () => counts.lies > 0 };
  };
}

/** The other runner is a job of the library that goes the other way at the same time, each with pauses at its writes. */
function opposite({ job, rng }) {
  const other = { ...OPPOSITES[job.name] };
  const pausing = async ({ isWrite }) => {
    if (isWrite) await sleep(rng.below(MOST_DELAY_MS));
  };
  return {
    other,
    onCommand: pausing,
    onOtherCommand: pausing,
    asked: false,
    rerun: 'never',
    injected: (facts) => facts.overlapped,
    detail: { other: other.name },
  };
}

/** A stream of the command without a reader or without room; the work has to be done all the same. */
const streams = (kinds) => () => noFullDevice(kinds) ?? { streams: kinds, mustFinish: true, injected: () => true };

const noFullDevice = (kinds) => (Object.values(kinds).includes('full') && !existsSync('/dev/full') ? { skipped: 'this system has no /dev/full' } : undefined);

/** The same while the KMS denies everything: no exit code may call that done. */
const streamsAndFailure = (kinds) => (context) => {
  const skipped = noFullDevice(kinds);
  if (skipped !== undefined) return skipped;
  const { liar, counts } = liarOf('denies', { ...context, rng: { below: () => 0, pick: (list) => list[0] } });
  return { streams: kinds, liar, injected: () => counts.lies > 0 };
};

/** A disk that is full, or has room for one of the files only. */
const fullDisk = (pages) => () => {
  const disk = smallDisk();
  if (disk.reason !== undefined) return { skipped: disk.reason };
  return { disk, pages, withBackup: true, rerun: 'always', injected: () => true };
};

/** `slots` (how often in a round, 1 by default), `jobs`, `via` ('command', 'library' or, by default, both) and `plan(context)` of each fault by name. */
export const FAULTS = {
  'kill-before-write': { slots: 12, jobs: anyJob, plan: (context) => atWrite(context, () => ({ before: kill('SIGKILL')(context) })) },
  'kill-after-write': { slots: 12, jobs: anyJob, plan: (context) => atWrite(context, () => ({ after: kill('SIGKILL')(context) })) },
  'terminate-at-write': { slots: 4, jobs: anyJob, via: 'command', plan: (context) => atWrite(context, kill('SIGTERM')(context)) },
  'cut-before-write': { slots: 6, jobs: anyJob, plan: (context) => atWrite(context, () => ({ before: () => context.proxy.cut() })) },
  'cut-after-write': { slots: 6, jobs: anyJob, plan: (context) => atWrite(context, () => ({ after: () => context.proxy.cut() })) },
  'cut-at-read': {
    slots: 4,
    jobs: anyJob,
    plan: (context) => {
      const read = 1 + context.rng.below(8);
      return {
        ...once(
          ({ isRead, readNumber }) => isRead && readNumber === read,
          () => ({ [context.rng.pick(['before', 'after'])]: () => context.proxy.cut() }),
        ),
        detail: { read },
      };
    },
  },
  ...Object.fromEntries(DOCUMENT_WRITERS.map((name) => [`writer-${name}`, { jobs: rewriting, plan: documentWriter(name) }])),
  'writers-at-every-update': { slots: 4, jobs: rewriting, plan: restlessWriters },
  ...Object.fromEntries(Object.entries(KEY_WRITERS).map(([name, write]) => [`writer-${name}`, { jobs: writesVault, plan: keyWriter(name, write) }])),
  ...Object.fromEntries(Object.keys(LIES).map((name) => [`kms-${name}`, { jobs: (job) => usesKms(job) && concerns(name, job), plan: lie(name) }])),
  'opposite-runners': { slots: 6, jobs: (job) => job.name in OPPOSITES, plan: opposite },
  'stdout-closed': { jobs: anyJob, via: 'command', plan: streams({ stdout: 'closed' }) },
  'stderr-closed': { jobs: migrating, via: 'command', plan: streams({ stderr: 'closed' }) },
  'both-streams-closed': { jobs: migrating, via: 'command', plan: streams({ stdout: 'closed', stderr: 'closed' }) },
  'stdout-full': { jobs: anyJob, via: 'command', plan: streams({ stdout: 'full' }) },
  'stderr-full': { jobs: migrating, via: 'command', plan: streams({ stderr: 'full' }) },
  'stdout-closed-and-kms-denies': { jobs: usesKms, via: 'command', plan: streamsAndFailure({ stdout: 'closed' }) },
  'stdout-full-and-kms-denies': { jobs: usesKms, via: 'command', plan: streamsAndFailure({ stdout: 'full' }) },
  'file-size-limit': {
    jobs: withFiles,
    via: 'command',
    plan: (context) => ({ fileLimit: context.rng.below(3), withBackup: true, rerun: 'always', injected: () => true }),
  },
  'disk-full': { jobs: withFiles, via: 'command', plan: fullDisk(0) },
  'disk-with-room-for-one-page': { jobs: withFiles, via: 'command', plan: fullDisk(1) },
  'disk-with-room-for-two-pages': { jobs: withFiles, via: 'command', plan: fullDisk(2) },
  'disk-with-room-for-three-pages': { jobs: withFiles, via: 'command', plan: fullDisk(3) },
};
