// js/node/files.ts: what is no regular file is refused before it blocks, and a name stands for a whole file or for none.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { sourceModule } from './source-module.mjs';

const { createFile, createFileSync, inspectRegularFile, readRegularFile, replaceFile } = await sourceModule('js/node/files.ts');
const { readPassphraseFile } = await sourceModule('js/node/backup-files.ts');
const folder = mkdtempSync(join(tmpdir(), 'csfle-files-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (text) => new TextEncoder().encode(text);
const text = async (path, options) => Buffer.from(await readRegularFile(path, { maxBytes: 1 << 20, ...options })).toString();
const refused = (work, code) =>
  assert.rejects(work, (error) => (error.name === 'FileError' && error.code === code) || assert.fail(`${error.code}: ${error.message}`));
const isRoot = process.getuid?.() === 0;
let count = 0;
function place() {
  const path = join(folder, `place-${count++}`);
  mkdirSync(path);
  return path;
}
const withoutTemporaries = (path) =>
  assert.deepEqual(
    readdirSync(path).filter((name) => name.startsWith('.csfle-')),
    [],
  );

test('a FIFO, a device, a directory and a socket are refused at once, also behind a symbolic link', async () => {
  const path = place();
  assert.equal(spawnSync('mkfifo', [join(path, 'fifo')]).status, 0);
  const server = createServer().listen(join(path, 'socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    symlinkSync('fifo', join(path, 'link'));
    for (const one of [join(path, 'fifo'), join(path, 'socket'), join(path, 'link'), path, '/dev/zero', '/dev/null', '/dev/tty', '/dev/full']) {
      await refused(readRegularFile(one, { maxBytes: 100 }), 'FILE_NOT_REGULAR');
      await refused(inspectRegularFile(one), 'FILE_NOT_REGULAR');
      await refused(replaceFile(one, bytes('x')), 'FILE_NOT_REGULAR');
      await refused(createFile(one, bytes('x')), 'FILE_EXISTS');
    }
  } finally {
    server.close();
  }
  await refused(readRegularFile(join(path, 'absent'), { maxBytes: 100 }), 'FILE_NOT_FOUND');
});

test('reading follows links to regular files and stops at the limit', async () => {
  const path = place();
  writeFileSync(join(path, 'file'), 'x'.repeat(200_000));
  symlinkSync('file', join(path, 'link'));
  assert.equal((await text(join(path, 'link'))).length, 200_000);
  assert.equal((await text(join(path, 'file'), { maxBytes: 200_000 })).length, 200_000);
  await refused(readRegularFile(join(path, 'file'), { maxBytes: 199_999 }), 'FILE_TOO_LARGE');
  writeFileSync(join(path, 'empty'), '');
  assert.equal(await text(join(path, 'empty')), '');
  // A file that says that it is empty, and is not.
  if (existsSync('/proc/cpuinfo')) assert.equal((await text('/proc/cpuinfo')).length > 0, true);
});

test('a file that others may read is refused where it is to be private', async () => {
  const path = join(place(), 'key');
  writeFileSync(path, 'secret', { mode: 0o640 });
  await refused(readRegularFile(path, { maxBytes: 100, ownerOnly: true }), 'FILE_EXPOSED');
  assert.deepEqual(await inspectRegularFile(path), { mode: '640', exposed: true });
  chmodSync(path, 0o600);
  assert.equal(await text(path, { ownerOnly: true }), 'secret');
});

test("a new file is its owner's alone, and nothing that is there is overwritten", async () => {
  const path = place();
  await createFile(join(path, 'new'), bytes('whole'));
  assert.equal(readFileSync(join(path, 'new'), 'utf8'), 'whole');
  assert.equal(lstatSync(join(path, 'new')).mode & 0o777, 0o600);
  assert.equal(lstatSync(join(path, 'new')).nlink, 1);
  await refused(createFile(join(path, 'new'), bytes('other')), 'FILE_EXISTS');
  symlinkSync('nowhere', join(path, 'planted'));
  await refused(createFile(join(path, 'planted'), bytes('other')), 'FILE_EXISTS');
  assert.equal(existsSync(join(path, 'nowhere')), false);
  assert.equal(readFileSync(join(path, 'new'), 'utf8'), 'whole');
  await refused(createFile(join(path, 'absent', 'new'), bytes('x')), 'FILE_UNWRITABLE');
  assert.throws(() => createFileSync(join(path, 'new'), bytes('x')), { code: 'FILE_EXISTS' });
  withoutTemporaries(path);
});

test('a replaced file keeps its permissions, its owner and the link that leads to it', async () => {
  const path = place();
  mkdirSync(join(path, 'inner'));
  const file = join(path, 'inner', 'file');
  writeFileSync(file, 'before', { mode: 0o640 });
  chmodSync(file, 0o640);
  if (isRoot) chownSync(file, 12345, 23456);
  symlinkSync(join('inner', 'file'), join(path, 'link'));
  await replaceFile(join(path, 'link'), bytes('after'), { expected: bytes('before') });
  assert.equal(readlinkSync(join(path, 'link')), join('inner', 'file'));
  assert.equal(readFileSync(file, 'utf8'), 'after');
  const { mode, uid, gid } = statSync(file);
  assert.equal(mode & 0o777, 0o640);
  if (isRoot) assert.deepEqual([uid, gid], [12345, 23456]);
  await refused(replaceFile(file, bytes('other'), { expected: bytes('before') }), 'FILE_CHANGED');
  await refused(replaceFile(file, bytes('other'), { expected: bytes('aft') }), 'FILE_CHANGED');
  await refused(replaceFile(join(path, 'absent'), bytes('other')), 'FILE_NOT_FOUND');
  assert.equal(readFileSync(file, 'utf8'), 'after');
  withoutTemporaries(join(path, 'inner'));
});

test('replacing one of two hard links leaves the other as it was', async () => {
  const path = place();
  writeFileSync(join(path, 'one'), 'before');
  linkSync(join(path, 'one'), join(path, 'two'));
  await replaceFile(join(path, 'one'), bytes('after'));
  assert.deepEqual(
    ['one', 'two'].map((name) => readFileSync(join(path, name), 'utf8')),
    ['after', 'before'],
  );
});

test('a full disk leaves the old file, or no file, and the next attempt works', async (t) => {
  const path = place();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path], { encoding: 'utf8' });
  if (mounted.status !== 0) return t.skip(`no file system of a few kilobytes can be mounted here: ${mounted.stderr ?? mounted.error}`);
  try {
    const large = new Uint8Array(40_000).fill(120);
    await createFile(join(path, 'old'), large);
    await refused(replaceFile(join(path, 'old'), large), 'FILE_UNWRITABLE');
    await refused(createFile(join(path, 'new'), large), 'FILE_UNWRITABLE');
    assert.deepEqual(readdirSync(path), ['old']);
    assert.equal(statSync(join(path, 'old')).size, 40_000);
    spawnSync('mount', ['-o', 'remount,size=256k', path]);
    await replaceFile(join(path, 'old'), large.fill(121));
    await createFile(join(path, 'new'), large);
    assert.equal(readFileSync(join(path, 'old'))[0], 121);
  } finally {
    spawnSync('umount', [path]);
  }
});

// Another process takes the name at the worst moment: just after this one has published its file, or its empty file.
const overtaken = (name, original) =>
  function (...given) {
    const result = original.apply(this, given);
    const path = name === 'openSync' ? given[0] : given[1];
    if (!path.endsWith('/new')) return result;
    rmSync(path);
    writeFileSync(path, 'of another process');
    return result;
  };

test('a failed write does not remove a file that another process created under the same name', async () => {
  const noLinks = () => {
    throw Object.assign(new Error('no links'), { code: 'EPERM' });
  };
  for (const replaced of [
    { linkSync: overtaken('linkSync', linkSync) },
    { linkSync: noLinks, openSync: overtaken('openSync', fs.openSync) },
    { linkSync: noLinks, renameSync: overtaken('renameSync', fs.renameSync) },
  ]) {
    const path = place();
    const originals = Object.fromEntries(Object.keys(replaced).map((name) => [name, fs[name]]));
    Object.assign(fs, replaced);
    syncBuiltinESMExports();
    try {
      await assert.rejects(createFile(join(path, 'new'), bytes('whole')), { name: 'FileError' });
    } finally {
      Object.assign(fs, originals);
      syncBuiltinESMExports();
    }
    assert.equal(readFileSync(join(path, 'new'), 'utf8'), 'of another process');
    assert.deepEqual(readdirSync(path), ['new']);
  }
});

test('a passphrase is the bytes of its file without the end of the line', () => {
  const file = join(place(), 'words');
  const words = (contents, mode = 0o600) => {
    writeFileSync(file, contents);
    chmodSync(file, mode);
    return Buffer.from(readPassphraseFile(file)).toString();
  };
  for (const end of ['', '\n', '\r\n']) assert.equal(words(` correct hörse ${end}`), ' correct hörse ');
  assert.equal(words('one\n\n'), 'one\n');
  assert.equal(words(''), '');
  assert.equal(words('\n'), '');
  assert.throws(() => words('x', 0o644), { code: 'FILE_EXPOSED' });
  assert.throws(() => words(Buffer.from([0xff, 0xfe])), { code: 'FILE_MALFORMED' });
  assert.throws(() => words('x'.repeat(5000)), { code: 'FILE_TOO_LARGE' });
});
