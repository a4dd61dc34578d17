// The published types, compiled as a user would: with the real driver, SDK and BSON library, from modules and CommonJS.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const project = fileURLToPath(new URL('./typings', import.meta.url));
const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));

test('the public types fit the driver, the SDK and the BSON library, and find mistakes', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [compiler, '--project', project], { encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
});
