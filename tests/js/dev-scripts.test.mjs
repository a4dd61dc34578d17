// The parts of the developer scripts that others rest on.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { afterEach, beforeEach } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLock } from '../../js/dev/lock.mjs';
import { root } from '../../js/dev/paths.mjs';
import { setUp } from '../../js/dev/setup.mjs';
import { parseToml } from '../../js/dev/toml.mjs';

let folder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'csfle-scripts-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a lock lets one through at a time', async () => {
  const path = join(folder, 'lock');
  let inside = 0;
  let most = 0;
  await Promise.all(
    [1, 2, 3].map(() =>
      withLock(path, async () => {
        inside += 1;
        most = Math.max(most, inside);
        await sleep(20);
        inside -= 1;
      }),
    ),
  );
  assert.equal(most, 1);
  assert.ok(!existsSync(path));
});

test('a lock goes when its work fails', async () => {
  const path = join(folder, 'lock');
  await assert.rejects(
    withLock(path, () => {
      throw new RangeError('work');
    }),
    RangeError,
  );
  assert.ok(!existsSync(path));
});

test('a lock of a process that is gone is taken over', async () => {
  const path = join(folder, 'lock');
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  writeFileSync(path, String(pid));
  assert.equal(await withLock(path, () => readFileSync(path, 'utf8'), 5000), String(process.pid));
});

test('a lock of a live process is waited for', async () => {
  const path = join(folder, 'lock');
  writeFileSync(path, String(process.pid));
  await assert.rejects(
    withLock(path, () => {}, 300),
    /still held/,
  );
});

test('toml: tables, strings, numbers, booleans and arrays over several lines', () => {
  const text = 'top = 1 # note\n[a.b-c]\nx = "#no note"\ny = [\n  "p", # one\n  "q",\n]\nz = 10_000\nw = true\n';
  assert.deepEqual(parseToml(text), { top: 1, a: { 'b-c': { x: '#no note', y: ['p', 'q'], z: 10000, w: true } } });
});

for (const text of ['x = { a = 1 }', 'x = 1979-05-27', "x = 'literal'", '[[list]]', 'x', 'x = ["a"']) {
  test(`toml: ${text} is refused rather than guessed`, () => assert.throws(() => parseToml(text)));
}

test('a missing prerequisite is named with the way to get it', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'js', 'dev', 'setup.mjs')], {
    encoding: 'utf8',
    env: { PATH: folder, HOME: folder, CARGO_HOME: folder },
  });
  assert.equal(status, 1);
  for (const way of ['https://rustup.rs', 'https://git-scm.com', 'https://www.python.org']) assert.ok(stderr.includes(way), stderr);
});

test('set-up called again finds everything', async () => {
  const said = [];
  // What `npm test` itself has brought already.
  await setUp(['rust', 'packages', 'testTools', 'services', 'python', 'chromium'], (text) => said.push(text));
  assert.ok(said.length > 4);
  assert.deepEqual(
    said.filter((text) => !/ \(already there\)$|^ready in /.test(text)),
    [],
  );
});
