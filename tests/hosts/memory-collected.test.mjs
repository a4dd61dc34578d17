// An instance that nobody closes is wiped when it is collected.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the keys of a ClientEncryption that was collected are wiped, without close()', () => {
  const script = fileURLToPath(new URL('./memory/collected.mjs', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', script], { encoding: 'utf8' });
  assert.deepEqual(JSON.parse(stdout || '{}'), { before: true, after: false }, stderr);
});
