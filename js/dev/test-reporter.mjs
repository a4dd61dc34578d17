// A node:test reporter for js/dev/test.mjs: one JSON line for each test that failed or was skipped, and the counts at the end.
export default async function* report(source) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
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
  yield line({ counts });
}

const line = (value) => `${JSON.stringify(value)}\n`;
