// Interleaved timing. The machine's clock rate drifts between seconds, so the two sides take turns in short slices and
// only slices next to each other are compared. What is counted is processor time of this process: on an idle machine it
// is the time that passed, and on a busy one the neighbours do not count.

const SLICE_MS = 40;

/**
 * Times the given functions in turn and returns, per function, the median microseconds of one call and the spread
 * (distance of the quartiles as a share of the median). Functions may return promises: `asynchronous` says so.
 *
 * @param {Record<string, {run: () => unknown, asynchronous?: boolean}>} contestants
 */
export async function race(contestants, { rounds = 15, sliceMs = SLICE_MS } = {}) {
  const names = Object.keys(contestants);
  const calls = {};
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) calls[name] = await calibrate(contestants[name], sliceMs);
  for (let round = 0; round < rounds; round += 1) {
    // Whoever goes first finds other caches than whoever follows; take turns at that too.
    const order = round % 2 === 0 ? names : names.toReversed();
    for (const name of order) samples[name].push((await slice(contestants[name], calls[name])) / calls[name]);
  }
  return Object.fromEntries(names.map((name) => [name, summary(samples[name])]));
}

/** Warms a function up and finds how many calls fill one slice. */
async function calibrate(contestant, sliceMs) {
  let calls = 1;
  for (;;) {
    const elapsedUs = await slice(contestant, calls);
    if (elapsedUs >= sliceMs * 1000) return calls;
    calls = Math.max(calls + 1, Math.min(calls * 8, Math.ceil((calls * sliceMs * 1100) / Math.max(elapsedUs, 1))));
  }
}

async function slice({ run, asynchronous = false }, calls) {
  const start = process.cpuUsage();
  if (asynchronous) for (let call = 0; call < calls; call += 1) await run();
  else for (let call = 0; call < calls; call += 1) run();
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

export function summary(samples) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return { median: at(0.5), spread: (at(0.75) - at(0.25)) / at(0.5) };
}
