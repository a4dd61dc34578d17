// The chaos run must be able to fail: things are broken on purpose here, and it has to find each. `npm run chaos` is the run itself.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as bson from 'bson';
import { FAULTS } from './faults.mjs';
import { JOBS } from './jobs.mjs';
import { randomOf } from './random.mjs';
import { openLab, runChaos } from './run.mjs';
import { playScenario } from './scenario.mjs';
import { ROUND, scenarioAt } from './schedule.mjs';

let lab;
before(async () => {
  lab = await openLab({ lanes: 1 });
});
after(async () => {
  await lab?.close();
});

const jobNamed = (name) => JOBS.find((job) => job.name === name);
const nothing = { plan: () => ({ injected: () => true, rerun: 'never' }) };

/** Plays a job with one fault, by default none. */
const play = (name, { fault = nothing, via = 'library', sabotage, round = 0 } = {}) =>
  playScenario(
    lab.lanes[0],
    {
      index: 0,
      seed: 1,
      faultName: 'of the test',
      fault,
      job: jobNamed(name),
      via,
      round,
      rng: randomOf(1, 2),
      onEmulator: false,
      reruns: false,
      withBackup: false,
    },
    { sabotage },
  );

const collectionOf = (world, name) => world.client.db(world.database).collection(name);
const kindsOf = (found) => [...new Set(found.map(({ what }) => what))];

for (const name of ['rewrap-local-to-aws', 'rewrap-aws-to-local', 'reencrypt', 'decrypt', 'restore', 'create-data-key', 'keys-rewrap']) {
  for (const via of name === 'reencrypt' ? ['library', 'command'] : ['library']) {
    test(`${name} by the ${via} without a fault loses and leaks nothing`, async () => {
      const { losses, leaks, detail } = await play(name, { via });
      assert.equal(detail.code, 0);
      // Kills and cuts come at each of so many writes: jobs.mjs has to say how many there are.
      assert.equal(detail.writes, jobNamed(name).writes);
      assert.deepEqual({ losses, leaks }, { losses: [], leaks: [] });
    });
  }
}

test('a re-encryption that cannot search nested values reports it, and loses and leaks nothing', async () => {
  const { losses, leaks, detail } = await play('reencrypt-nested-and-delete');
  assert.equal(detail.code, 1);
  assert.deepEqual({ losses, leaks }, { losses: [], leaks: [] });
});

const breakages = {
  'a key document that is removed': {
    losses: 'key document gone',
    sabotage: (world) => collectionOf(world, '__keyVault').deleteOne({ _id: world.keys.notes.id }),
  },
  'a key document that holds the wrapping of another key': {
    losses: 'key does not open what was encrypted under it',
    async sabotage(world) {
      const vault = collectionOf(world, '__keyVault');
      const { keyMaterial } = await vault.findOne({ _id: world.keys.card.id });
      await vault.updateOne({ _id: world.keys.files.id }, { $set: { keyMaterial } });
    },
  },
  'an alternate name that is gone': {
    losses: 'alternate name gone',
    sabotage: (world) => collectionOf(world, '__keyVault').updateOne({ _id: world.keys.ssn.id }, { $pull: { keyAltNames: 'people.ssn' } }),
  },
  'a document that is removed': { losses: 'document gone', sabotage: (world) => collectionOf(world, 'visits').deleteOne({ _id: 1 }) },
  "a writer's change that is dropped": {
    losses: 'value changed',
    sabotage(world) {
      const visit = [...world.ledger.visits.values()][0];
      world.ledger.visits.set(bson.EJSON.stringify({ id: visit._id }, { relaxed: false }), { ...visit, note: 'written meanwhile' });
    },
  },
  'a value that was cut': {
    losses: 'value unreadable',
    async sabotage(world) {
      const visits = collectionOf(world, 'visits');
      const { text } = await visits.findOne({ _id: 0 });
      await visits.updateOne({ _id: 0 }, { $set: { text: new bson.Binary(text.buffer.subarray(0, text.position - 16), 6) } });
    },
  },
  'a key that went back under the old master key': {
    losses: 'reported done, but is not',
    sabotage: (world) => world.encryption.rewrapManyDataKey({ _id: world.keys.ssn.id }, { provider: 'local' }),
  },
  'a plaintext token in another collection': {
    leaks: 'plaintext',
    sabotage: (world) => collectionOf(world, 'audit').insertOne({ seen: [`was ${world.token()}`] }),
  },
  'the local master key in a file': {
    leaks: 'local master key in base64',
    sabotage: (world) => writeFile(join(world.folder, 'notes.txt'), `key: ${world.masterKey.toString('base64')}\n`),
  },
  'key material in the vault': {
    leaks: 'key material',
    sabotage: (world) =>
      collectionOf(world, '__keyVault').updateOne({ _id: world.keys.ssn.id }, { $set: { 'masterKey.note': new bson.Binary(world.keys.notes.material) } }),
  },
};
for (const [what, { losses, leaks, sabotage }] of Object.entries(breakages)) {
  test(`${what} is found`, async () => {
    const found = await play('rewrap-local-to-aws', { sabotage });
    if (losses !== undefined) assert.ok(kindsOf(found.losses).includes(losses), JSON.stringify(found.losses));
    if (leaks !== undefined) assert.ok(kindsOf(found.leaks).includes(leaks), JSON.stringify(found.leaks));
  });
}

test('a key that was moved to a collection beside the vault is not lost', async () => {
  const { losses } = await play('create-data-key', {
    async sabotage(world) {
      const vault = collectionOf(world, '__keyVault');
      const key = await vault.findOneAndDelete({ _id: world.keys.unnamed.id });
      await collectionOf(world, '__keyVault.retired').insertOne({ retiredAt: new Date(), key });
    },
  });
  assert.deepEqual(losses, []);
});

test('the reader finds a new key whose key material the KMS chose', async () => {
  const planted = [randomBytes(96)];
  let done = false;
  const plan = ({ world }) => ({
    planted,
    rerun: 'never',
    injected: () => done,
    async onCommand({ isWrite }) {
      if (done || !isWrite) return;
      done = true;
      await world.encryption.createDataKey('aws', { masterKey: world.masterKeys.a, keyMaterial: planted[0] });
    },
  });
  const { losses } = await play('create-data-key', { fault: { plan } });
  assert.deepEqual(kindsOf(losses), ['new key of material that the KMS chose']);
});

test('the reader finds a schema file that was emptied', async () => {
  const { losses } = await play('reencrypt', { sabotage: (world) => writeFile(join(world.folder, 'schema-map.json'), '') });
  assert.ok(kindsOf(losses).includes('schema file damaged'), JSON.stringify(losses));
});

test('a kill at a write ends the process before the server has that write', async () => {
  const { injected, detail, losses, leaks } = await play('rewrap-local-to-aws', { fault: FAULTS['kill-before-write'], round: 1 });
  assert.equal(injected, true);
  assert.equal(detail.code, 'SIGKILL');
  assert.deepEqual({ losses, leaks }, { losses: [], leaks: [] });
});

test('a KMS that denies is a failure, and counts as a fault', async () => {
  const { injected, detail } = await play('rewrap-local-to-aws', {
    fault: { plan: (context) => FAULTS['kms-denies'].plan({ ...context, rng: { below: () => 0, pick: ([first]) => first } }) },
  });
  assert.equal(injected, true);
  assert.equal(detail.code, 1);
});

test('too few faults, a loss or a leak fail the run, and each finding says how to repeat it', async () => {
  const one = { what: 'x', detail: 'y' };
  const outcomes = { none: { injected: false }, fine: { injected: true }, lost: { injected: true, losses: [one] }, leaked: { injected: true, leaks: [one] } };
  const runOf = (outcome) => runChaos({ lanes: [{}] }, { faults: 3, seed: 5, play: async () => ({ jobs: 1, losses: [], leaks: [], ...outcomes[outcome] }) });
  assert.equal((await runOf('fine')).failed, false);
  assert.equal((await runOf('none')).failed, true);
  const lost = await runOf('lost');
  assert.deepEqual([lost.failed, lost.faults, lost.losses, lost.leaks], [true, 3, 3, 0]);
  assert.equal(lost.findings[1].repeat, 'npm run chaos -- --json --seed 5 --at 1');
  assert.deepEqual([(await runOf('leaked')).failed, (await runOf('leaked')).leaks], [true, 3]);
});

test('the schedule is the same for the same seed, and one round has every kind of fault', () => {
  const named = ({ faultName, job, via }) => [faultName, job.name, via];
  const round = Array.from({ length: ROUND }, (_, index) => scenarioAt(3, index));
  assert.deepEqual(
    round.map(named),
    Array.from({ length: ROUND }, (_, index) => named(scenarioAt(3, index))),
  );
  assert.deepEqual([...new Set(round.map(({ faultName }) => faultName))].sort(), Object.keys(FAULTS).sort());
  // Every job comes up for kills, at every write of it in time.
  const kills = new Set(
    Array.from({ length: 40 * ROUND }, (_, index) => scenarioAt(3, index))
      .filter(({ faultName }) => faultName === 'kill-before-write')
      .map(({ job, round: at }) => `${job.name} ${at % job.writes}`),
  );
  assert.equal(
    kills.size,
    JOBS.reduce((sum, { writes }) => sum + writes, 0),
  );
});
