// How a set-up step tells what it does: either that it found its thing, or what it does and how long a first time takes on
// two cores.
export function reporter(step, log) {
  return {
    found: (what) => log(`${step}: ${what} (already there)`),
    async doing(what, firstTimeSeconds, work) {
      log(`${step}: ${what} (about ${firstTimeSeconds} s the first time)`);
      const started = performance.now();
      const result = await work();
      log(`${step}: ${what}: done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
      return result;
    },
  };
}

export const silent = { found: () => {}, doing: (_what, _seconds, work) => work() };
