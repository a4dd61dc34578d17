// A node:test reporter for js/dev/test.mjs: one JSON line for each test that failed or was skipped, and at the end the counts and the
// seconds of each file.
export default async function* report(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const seconds = {};
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.nesting === 0 && data.file !== undefined) seconds[data.file] = (seconds[data.file] ?? 0) + (data.details?.duration_ms ?? 0) / 1000;
    // A suite, and a file as a whole, sums up tests that are counted by themselves.
    const isSummary = data.details?.type === 'suite';
    if (data.skip !== undefined) {
      counts.skipped += 1;
      yield line({ skipped: data.name, file: data.file, reason: typeof data.skip === 'string' ? data.skip : '' });
    } else if (type === 'test:fail') {
      if (!isSummary) counts.failed += 1;
      yield line({ failed: data.name, file: data.file });
    } else if (!isSummary) counts.passed += 1;
  }
  yield line({ counts, seconds });
}

const line = (value) => `${JSON.stringify(value)}\n`;
