import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { inspect } from 'node:util';
import { CsfleError, errorCodes } from 'csfle-wasm';

const released = JSON.parse(readFileSync(new URL('../vectors/error-codes.json', import.meta.url), 'utf8'));

test('the released codes are exactly those of the core and of the JavaScript layer', () => {
  const { core, js } = errorCodes();
  assert.deepEqual([...core].sort(), [...released.core].sort());
  assert.deepEqual([...js].sort(), [...released.js].sort());
  assert.equal(new Set([...core, ...js]).size, core.length + js.length, 'no code is in both lists');
});

test('every released code has a remedy and says whether a retry helps', () => {
  for (const code of [...released.core, ...released.js]) {
    const error = new CsfleError(code, 'message');
    assert.match(error.remedy, /^[A-Z].{15,}[.)]$/, code);
    assert.equal(typeof error.retryable, 'boolean', code);
    assert.match(code, /^[A-Z]+(_[A-Z]+)*$/);
  }
});

test('an error carries code, details, cause and remedy, and its JSON leaves the cause out', () => {
  const cause = new Error('inner');
  const error = new CsfleError('KMS_THROTTLED', 'slow down', { cause, details: { provider: 'aws' } });
  assert.equal(error.cause, cause);
  assert.ok(error instanceof Error);
  assert.ok(Object.isFrozen(error.details));
  assert.equal(error.retryable, true);
  assert.equal(new CsfleError('KMS_THROTTLED', '', { retryable: false }).retryable, false);
  assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(error))).sort(), ['code', 'details', 'message', 'name', 'remedy', 'retryable']);
  assert.match(inspect(error), /CsfleError: slow down/);
  assert.equal('cause' in new CsfleError('INTERNAL', ''), false);
});

test('an error of another copy of the package is recognised', () => {
  const foreign = Object.assign(new Error('x'), { name: 'CsfleError', code: 'KMS_THROTTLED' });
  assert.equal(CsfleError.is(foreign), true);
  assert.equal(CsfleError.is(Object.assign(new Error('x'), { name: 'CsfleError', code: 'NO_SUCH_CODE' })), false);
  assert.equal(CsfleError.is({ name: 'CsfleError', code: 'KMS_THROTTLED' }), false);
});

test('every code of the JavaScript layer is expected by some test', () => {
  const folder = new URL('../', import.meta.url);
  const sources = readdirSync(folder, { recursive: true })
    .filter((path) => path.endsWith('.test.mjs') && !path.endsWith('errors.test.mjs'))
    .map((path) => readFileSync(new URL(path, folder), 'utf8'));
  assert.ok(sources.length > 15);
  assert.deepEqual(
    released.js.filter((code) => !sources.some((source) => source.includes(`'${code}'`))),
    [],
  );
});
