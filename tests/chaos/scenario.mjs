// One fault from beginning to end: a world, a job, the fault, perhaps a run without faults afterwards, and the reader's verdict.
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import * as bson from 'bson';
import { filesOf, KMS_TIMEOUTS_MS, oldKeyIds } from './jobs.mjs';
import { startProxy } from './proxy.mjs';
import { runCommand } from './runners.mjs';
import { judge, needlesOf, readWorld, undoneWork } from './verify.mjs';
import { buildWorld } from './world.mjs';

/**
 * Plays a scenario in `lab`: `{ client, serverUri, kms, emulatorArns, reader, workers }`. `sabotage(world)` breaks something on purpose
 * before the reader looks. Resolves to `{ injected, skipped, jobs, losses, leaks, detail }`.
 */
export async function playScenario(lab, scenario, { sabotage } = {}) {
  const { job } = scenario;
  const { client, kms, reader, serverUri } = lab;
  const world = await buildWorld({
    client,
    kms,
    emulatorArns: scenario.onEmulator ? lab.emulatorArns : [],
    keysUnder: job.keysUnder,
    nested: job.nested,
    name: `chaos_${process.pid}_${scenario.index}_${randomBytes(3).toString('hex')}`,
  });
  const context = { ...scenario, world };
  const plan = scenario.fault.plan(context);
  const outcome = { injected: false, jobs: 0, losses: [], leaks: [], detail: { ...plan.detail } };
  const proxies = [];
  try {
    if (plan.skipped !== undefined) return { ...outcome, skipped: plan.skipped };
    const disk = plan.disk?.folder ?? world.folder;
    await prepare(world, job, disk);
    plan.disk?.fill(plan.pages);
    if (plan.liar !== undefined) kms.lie(world.database, plan.liar);

    const start = async (started, onCommand, via) => {
      const proxy = await startProxy(serverUri, { onCommand, needles: needlesOf(world, job).filter(({ but }) => but.length === 0) });
      proxies.push(proxy);
      outcome.jobs += 1;
      const call = { uri: proxy.uri, kmsEndpoint: kms.endpointOf(world.database), disk, kmsTimeoutMs: KMS_TIMEOUTS_MS[plan.hanging ? 'hanging' : 'usual'] };
      const startedAt = performance.now();
      const running =
        via === 'command'
          ? runCommand(started, world, {
              ...call,
              withBackup: plan.withBackup ?? scenario.withBackup,
              streams: plan.streams,
              fileLimit: plan.fileLimit,
              json: scenario.rng.chance(0.5),
            })
          : await lab.workers.run({
              ...call,
              job: started,
              database: world.database,
              masterKey: world.masterKey.toString('base64'),
              arns: world.arns,
              oldKeys: oldKeyIds(started, world.keys),
            });
      return {
        running,
        proxy,
        finished: running.finished.then((result) => ({ ...result, startedAt, endedAt: performance.now(), writes: proxy.counts.writes })),
      };
    };
    const onCommand = async (command) => plan.onCommand?.(command);
    const main = start(
      job,
      async (command) => {
        const { running, proxy } = await main;
        context.running = running;
        context.proxy = proxy;
        return onCommand(command);
      },
      scenario.via,
    );
    const other = plan.other === undefined ? undefined : start(plan.other, plan.onOtherCommand, 'library');
    let result = await (await main).finished;
    const otherResult = await (await other)?.finished;
    const results = [result, ...(otherResult === undefined ? [] : [otherResult])];
    outcome.injected = plan.injected({
      overlapped:
        otherResult !== undefined &&
        otherResult.startedAt < result.endedAt &&
        result.startedAt < otherResult.endedAt &&
        result.writes > 0 &&
        otherResult.writes > 0,
    });
    outcome.detail = { ...outcome.detail, writes: result.writes, code: result.code };
    if (results.some(({ hung }) => hung)) outcome.losses.push({ what: 'hangs', detail: `longer than the time that a job may take` });
    kms.lie(world.database, undefined);
    if (plan.planted?.length > 0) outcome.losses.push(...(await plantedKeys(world, plan.planted)));
    plan.disk?.free();

    let asked = plan.asked ?? true;
    const rerun = plan.rerun ?? job.rerun ?? (scenario.reruns ? 'sometimes' : 'never');
    if (plan.mustFinish && !job.partial) outcome.losses.push(...(await unfinished(context, lab, result, 'stopped by a stream')));
    if (outcome.injected && rerun !== 'never' && job.mode !== 'create') {
      // A second run would make good what the first one only claimed.
      if (result.ok && asked) outcome.losses.push(...(await unfinished(context, lab, result, 'reported done, but is not')));
      plan.streams = undefined;
      plan.fileLimit = undefined;
      plan.hanging = false;
      result = await (await start(job, undefined, scenario.via)).finished;
      results.push(result);
      asked = true;
      const isDone = result.ok || job.partial || (plan.mayLeaveUnread?.() === true && saysOnlyUnread(result));
      if (!isDone) outcome.losses.push({ what: 'cannot be taken up again', detail: failureOf(result) });
    }
    await sabotage?.(world);
    const found = await readWorld(reader, world, job, serverUri);
    const verdict = await judge({ world, job, found, claims: { ok: result.ok, asked }, outputs: results.map(({ text }) => text), disk });
    outcome.losses.push(...verdict.losses);
    outcome.leaks.push(...verdict.leaks, ...proxies.flatMap(({ seen }) => [...seen].map((what) => ({ what, detail: 'a command to the server' }))));
    return outcome;
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    plan.disk?.remove();
    await world.drop();
  }
}

/** The files that a job needs, and what was done before it. */
async function prepare(world, job, disk) {
  const { schema, backup } = filesOf(disk);
  if (job.schemas) await writeFile(schema, world.schemaText);
  if (job.mode !== 'restore') return;
  const vault = world.client.db(world.database).collection('__keyVault');
  const documents = await vault.find({}, { promoteValues: false }).toArray();
  await writeFile(backup, documents.map((document) => `${bson.EJSON.stringify(document, { relaxed: false })}\n`).join(''));
  await world.encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: world.masterKeys.a });
  await vault.deleteOne({ _id: world.keys.files.id });
}

/** New keys whose key material the KMS chose, not the product. */
async function plantedKeys({ client, database, kms, keys }, planted) {
  const known = Object.values(keys).map(({ id }) => id.toHexString(true));
  const stored = await client.db(database).collection('__keyVault').find({ 'masterKey.provider': 'aws' }).toArray();
  const losses = [];
  for (const { _id, keyMaterial, masterKey } of stored) {
    const id = _id.toString('hex');
    if (known.some((one) => one.replaceAll('-', '') === id.replaceAll('-', ''))) continue;
    const material = await kms.decrypt(masterKey.key, keyMaterial.buffer).catch(() => undefined);
    if (material !== undefined && planted.some((bytes) => bytes.equals(material)))
      losses.push({ what: 'new key of material that the KMS chose', detail: `key ${id}` });
  }
  return losses;
}

/** What a run left undone, as a loss of the name `what`. */
async function unfinished({ world, job }, { reader, serverUri }, result, what) {
  const undone = undoneWork(world, job, await readWorld(reader, world, job, serverUri));
  return undone.slice(0, 1).map((detail) => ({ what, detail: `${detail}; exit ${result.code}` }));
}

/** Whether a run reports, as JSON or in words, no failure but encrypted documents and arrays that it could not search. */
function saysOnlyUnread({ text }) {
  return /"failures":\s*\[\]/.test(text)
    ? /"unproven":\s*\[\s*\{/.test(text)
    : /inside encrypted documents or arrays/.test(text) && !/\[[A-Z_]+\]$/m.test(text);
}

/** Why a run failed, in one line. */
function failureOf({ code, report, error, text, hung }) {
  if (hung) return 'hangs';
  if (error !== undefined) return `${error.code ?? error.name}: ${error.message}`;
  const first = report?.failures?.[0] ?? report?.error;
  if (first !== undefined) return `${first.code}: ${first.message}`;
  const lines = text.trim().split('\n');
  return `exit ${code}: ${lines.find((line) => /\[[A-Z_]+\]$/.test(line)) ?? lines.at(-1)}`;
}
