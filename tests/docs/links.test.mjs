// Links lead somewhere, and prose names what exists.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { anchorsOf, linksOf, markdownFiles, proseOf, textOf } from './markdown.mjs';
import { manifest } from './project.mjs';
import { pinned as npmVersions } from '../tools/versions.mjs';

const files = markdownFiles();

test('the documents are there', () => {
  for (const name of ['README.md', 'DROP-IN.md', 'SECURITY.md', 'CHANGELOG.md', 'CONTRIBUTING.md']) assert.ok(files.includes(name), name);
  assert.ok(existsSync(join(root, 'LICENSE')));
});

for (const path of files) {
  test(`${path}: links to files and headings exist`, () => {
    const broken = linksOf(textOf(path))
      .filter((target) => !/^https?:/.test(target))
      .filter((target) => {
        const [file, anchor] = target.split('#');
        const found = file === '' ? path : normalize(join(dirname(path), file));
        if (found.startsWith('..') || !existsSync(join(root, found))) return true;
        if (anchor === undefined) return false;
        return statSync(join(root, found)).isDirectory() || !anchorsOf(textOf(found)).includes(anchor);
      });
    assert.deepEqual(broken, []);
  });

  test(`${path}: scripts that are named are those of package.json`, () => {
    const named = [...proseOf(textOf(path)).matchAll(/`npm run ([\w:-]+)/g)].map(([, name]) => name);
    assert.deepEqual(
      named.filter((name) => !(name in manifest.scripts)),
      [],
    );
  });
}

test('addresses outside are those of specifications and manuals, over https', () => {
  const outside = files.flatMap((path) => linksOf(textOf(path))).filter((target) => /^[a-z]+:/.test(target));
  assert.deepEqual(
    outside.filter((target) => new URL(target).protocol !== 'https:'),
    [],
  );
});

test('no TypeScript doc comment holds a fence, which nothing would run', () => {
  const sources = readdirSync(join(root, 'js'), { recursive: true })
    .filter((path) => path.endsWith('.ts') && !path.startsWith('generated'))
    .map((path) => join('js', path));
  assert.ok(sources.length > 20);
  assert.deepEqual(
    sources.filter((path) => /^\s*\*\s*```/m.test(textOf(path))),
    [],
  );
});

const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' });
const packedFiles = JSON.parse(packed.stdout)[0].files.map(({ path }) => path);

test('the npm package contains every document for its users', () => {
  const forUsers = files.filter((path) => /^docs\//.test(path) || ['README.md', 'DROP-IN.md', 'SECURITY.md', 'CHANGELOG.md'].includes(path));
  assert.ok(forUsers.length > 15);
  assert.deepEqual(
    forUsers.filter((path) => !packedFiles.includes(path)),
    [],
  );
});

test('every page of docs is linked from the README and links to another document', () => {
  const pages = files.filter((path) => path.startsWith('docs/'));
  const linked = linksOf(textOf('README.md'));
  assert.deepEqual(
    pages.filter((path) => !linked.includes(path) || !linksOf(textOf(path)).some((target) => /\.md(#|$)/.test(target))),
    [],
  );
});

test('documents that source files and help texts name exist', () => {
  const { stdout } = spawnSync('git', ['ls-files', '-z', 'js', 'crate', 'tests'], { cwd: root, encoding: 'utf8' });
  const sources = stdout.split('\0').filter((path) => /\.(ts|mjs|rs|py|json)$/.test(path) && existsSync(join(root, path)));
  const named = sources.flatMap((path) =>
    [...textOf(path).matchAll(/\b(?:docs\/[\w-]+|README|DROP-IN|SECURITY)\.md(?:#[\w-]+)?/g)].map(([target]) => ({ path, target })),
  );
  assert.ok(named.length > 5);
  assert.deepEqual(
    named.filter(({ target }) => {
      const [file, anchor] = target.split('#');
      return !files.includes(file) || (anchor !== undefined && !anchorsOf(textOf(file)).includes(anchor));
    }),
    [],
  );
});

test('prose has at most 160 columns outside tables', () => {
  const tooLong = (path) =>
    textOf(path)
      .split('\n')
      .flatMap((line, index) => (line.length > 160 && !line.startsWith('|') && !/^\[[^\]]+\]: /.test(line) ? [`${path}:${index + 1}`] : []));
  assert.deepEqual(files.flatMap(tooLong), []);
});

test('versions that docs/compatibility.md and the README name are the pinned ones', () => {
  const requirements = ['services', 'tests'].map((name) => textOf(`js/dev/requirements/${name}.txt`)).join('');
  const python = Object.fromEntries([...requirements.matchAll(/^([\w-]+)(?:\[.*\])?==(\S+)$/gm)].map(([, name, version]) => [name, version]));
  const pinned = { ...python, ...npmVersions };
  const named = [...textOf('docs/compatibility.md').matchAll(/`([@\w/-]+)` (\d+\.\d+\.\d+)/g)].map(([, name, version]) => ({ name, version }));
  assert.ok(named.length > 5);
  assert.deepEqual(
    named.filter(({ name, version }) => pinned[name] !== version),
    [],
  );
  assert.ok(textOf('README.md').includes(`csfle-wasm-${manifest.version}.tgz`));
  assert.ok(textOf('README.md').includes(`Node ${manifest.engines.node.replace('>=', '>= ')}`));
});
