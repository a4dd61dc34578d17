// The rules of the source tree that no compiler checks.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import test from 'node:test';
import { brotliDecompressSync, gzipSync } from 'node:zlib';
import { cargoBin, root } from '../../js/dev/paths.mjs';
import { crateImports, importsOf } from './imports.mjs';

function output(command, args, options = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20, ...options });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const sources = readdirSync(join(root, 'js'), { recursive: true })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('generated'))
  .map((path) => `js/${path.replaceAll('\\', '/')}`)
  .sort();

// ---- crates

const ofJavaScript = /^(wasm-bindgen|js-sys|web-sys|serde-wasm-bindgen|gloo)/;
const ofInputOutput = /^(tokio|async-std|reqwest|hyper|mongodb|rustls|openssl|mio|socket2) /;

test('the core crate depends on no JavaScript and no input or output crate', () => {
  const tree = output(cargoBin('cargo'), ['tree', '--package', 'csfle-core', '--edges', 'normal', '--prefix', 'none']).split('\n');
  assert.ok(tree.length > 10, 'the tree has lines to look at');
  assert.deepEqual(
    tree.filter((line) => ofJavaScript.test(line) || ofInputOutput.test(line)),
    [],
  );
});

test('compiled to wasm, the core has no direct dependency on a JavaScript crate', () => {
  const direct = output(cargoBin('cargo'), [
    'tree',
    '--package',
    'csfle-core',
    '--edges',
    'normal',
    '--prefix',
    'none',
    '--depth',
    '1',
    '--target',
    'wasm32-unknown-unknown',
  ]).split('\n');
  assert.deepEqual(
    direct.filter((line) => ofJavaScript.test(line)),
    [],
  );
});

// From the lowest up, as in js/ below. `lib` re-exports and may name all.
const crateLayers = [
  ['error'],
  ['secret'],
  ['crypto', 'raw', 'payload'],
  ['key_vault', 'kms'],
  ['schema', 'census', 'value_cipher', 'sealed_backup'],
  ['key_cache'],
  ['engine'],
  ['machine'],
  ['mongocrypt'],
  ['lib'],
];
const crateLayerOf = (module) => crateLayers.findIndex((layer) => layer.includes(module));

const crateEdges = readdirSync(join(root, 'crate', 'core', 'src'), { recursive: true })
  .filter((path) => path.endsWith('.rs') && !/(^|[/\\])tests(\.rs$|[/\\])/.test(path))
  .flatMap((path) => {
    const from = path.split(/[/\\]/)[0].replace(/\.rs$/, '');
    // A capitalised name is one that lib.rs re-exports.
    return crateImports(readFileSync(join(root, 'crate', 'core', 'src', path), 'utf8')).map((to) => ({ from, to: /^[A-Z]/.test(to) ? 'lib' : to }));
  });

test('the list of layers names every module of the core', () => {
  const modules = new Set(crateEdges.flatMap(({ from, to }) => [from, to]));
  assert.ok(modules.size > 8);
  assert.deepEqual(
    [...modules].filter((module) => crateLayerOf(module) === -1),
    [],
  );
});

test('a module of the core imports only from its own layer and lower layers', () => {
  // Errors and results are named by everyone as crate::Error and crate::Result.
  const up = crateEdges.filter(({ to }) => to !== 'lib').filter(({ from, to }) => crateLayerOf(to) > crateLayerOf(from));
  assert.deepEqual(up.map(spelled), []);
});

test('crypto imports only error and secret, payload only error', () => {
  const allowed = { crypto: ['error', 'secret', 'lib'], payload: ['error', 'lib'] };
  const stray = crateEdges.filter(({ from, to }) => from in allowed && to !== from && !allowed[from].includes(to));
  assert.deepEqual(stray.map(spelled), []);
});

test('only secret.rs uses zeroize', () => {
  const folder = join(root, 'crate');
  const sources = readdirSync(folder, { recursive: true }).filter((path) => /src[/\\].*\.rs$/.test(path));
  const naming = sources.filter((path) => /\bzeroize::/.test(readFileSync(join(folder, path), 'utf8')));
  assert.deepEqual(
    naming.map((path) => path.replaceAll('\\', '/')),
    ['core/src/secret.rs'],
  );
});

// ---- layers of js/

// From the lowest up; a module may import its own layer and lower ones.
const layers = [
  ['glue', /^js\/generated\//],
  ['host', /^js\/node\/(?!known-master-key\.ts$)/],
  ['ground', /^js\/(error-codes|errors|foreign-error|bytes|node-crypto|wasm|wasm-handles|compile|abort)\.ts$/],
  ['services', /^js\/((run|rewrap|session|suggestion|trust|field-rules|documents|key-vault|key-cursor|bson)\.ts$|key-vault\/|kms\/|run\/)/],
  ['work', /^js\/(client-encryption\.ts$|client-encryption\/|backup\/|migrate\/|mongocrypt\/)/],
  ['index', /^js\/index\.ts$/],
  ['entries', /^js\/entry\//],
  // What the command and the shell share and that uses the library.
  ['shared', /^js\/node\/known-master-key\.ts$/],
  ['products', /^js\/(mongosh|cli)\//],
];

const layerOf = (path) => layers.findIndex(([, pattern]) => pattern.test(path));

test('the list of layers names every module of js/', () => {
  assert.ok(sources.length > 10);
  assert.deepEqual(
    sources.filter((path) => layerOf(path) === -1),
    [],
  );
});

const edges = sources.flatMap((from) =>
  importsOf(readFileSync(join(root, from), 'utf8')).map((one) => ({
    from,
    ...one,
    to: one.specifier.startsWith('.') ? resolved(from, one.specifier) : one.specifier,
  })),
);

function resolved(from, specifier) {
  const path = join(dirname(from), specifier).replaceAll('\\', '/');
  return path.startsWith('js/generated/') ? path : path.replace(/\.js$/, '.ts');
}

const isInTree = ({ to }) => to.startsWith('js/');
const spelled = ({ from, to }) => `${from} -> ${to}`;

test('a module of js/ imports only from its own layer and lower layers', () => {
  const up = edges.filter(isInTree).filter(({ from, to }) => layerOf(to) > layerOf(from));
  assert.deepEqual(up.map(spelled), []);
});

test('value imports between modules of js/ form no cycle', () => {
  const next = new Map(sources.map((path) => [path, edges.filter((edge) => edge.from === path && isInTree(edge) && !edge.isTypeOnly).map(({ to }) => to)]));
  const finished = new Set();
  const visit = (path, trail) => {
    assert.ok(!trail.includes(path), `cycle: ${[...trail, path].join(' -> ')}`);
    if (finished.has(path)) return;
    for (const to of next.get(path) ?? []) visit(to, [...trail, path]);
    finished.add(path);
  };
  for (const path of sources) visit(path, []);
});

test('only wasm.ts imports the generated glue', () => {
  const importers = new Set(edges.filter(({ to }) => to.startsWith('js/generated/')).map(({ from }) => from));
  assert.deepEqual([...importers], ['js/wasm.ts']);
});

test('js/mongosh and js/cli import only public entries and js/node, and not each other', () => {
  const entries = ['js/index.ts', 'js/entry/node.ts'];
  const product = (path) => path.split('/')[1];
  const deep = edges
    .filter((edge) => /^js\/(mongosh|cli)\//.test(edge.from) && isInTree(edge))
    .filter(({ from, to }) => !entries.includes(to) && product(to) !== 'node' && product(from) !== product(to));
  assert.deepEqual(deep.map(spelled), []);
});

test('the library (js/ without entry, node, mongosh and cli) imports no package and no module of Node', () => {
  const library = edges.filter(({ from, to }) => !/^js\/(entry|node|mongosh|cli)\//.test(from) && (!to.startsWith('js/') || to.startsWith('js/node/')));
  assert.deepEqual(library.map(spelled), []);
});

// ---- files and streams

/** The names that a module takes from node:fs. */
function fileFunctionsOf(path) {
  const code = readFileSync(join(root, path), 'utf8');
  assert.doesNotMatch(code, /\* as \w+ from 'node:fs|from 'node:fs\/promises'|(import|require)\('(node:)?fs|from 'fs'/, path);
  return [...code.matchAll(/import \{([^}]*)\} from 'node:fs'/g)].flatMap(([, names]) => names.split(',').map((name) => name.trim()));
}

test('only node/files.ts reads and writes files; two modules read a file of an installed package', () => {
  // existsSync and the closing of a descriptor touch no contents.
  const harmless = ['existsSync', 'closeSync'];
  const using = sources
    .map((path) => [path, fileFunctionsOf(path).filter((name) => !harmless.includes(name))])
    .filter(([path, names]) => names.length > 0 && path !== 'js/node/files.ts');
  assert.deepEqual(using, [
    ['js/cli/doctor-command.ts', ['readFileSync']],
    ['js/entry/node.ts', ['readFileSync']],
  ]);
  // One reads the package.json of a package, the other the csfle.wasm beside it.
  assert.match(readFileSync(join(root, 'js/cli/doctor-command.ts'), 'utf8'), /const file = join\([^;]*'package\.json'\);[\s\S]*?readFileSync\(file, 'utf8'\)/);
  assert.match(readFileSync(join(root, 'js/entry/node.ts'), 'utf8'), /readFileSync\(join\(__dirname, 'csfle\.wasm'\)\)/);
});

test('the command writes to its streams only through cli/stream.ts, with control characters escaped', () => {
  const command = sources.filter((path) => path.startsWith('js/cli/'));
  const codeOf = (path) =>
    readFileSync(join(root, path), 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/\/\/.*$/gm, '');
  const naming = (pattern) => command.filter((path) => pattern.test(codeOf(path)));
  assert.deepEqual(naming(/\bconsole\.|process\.std(out|err)\.(write|end)|\bwriteSync\b/), []);
  assert.deepEqual(naming(/new TextStream\(/), ['js/cli/stream.ts']);
  assert.deepEqual(naming(/standard(Output|Error)\.write\(|\bstream\.write\(|\.raw\b/), [
    'js/cli/interrupt.ts',
    'js/cli/output.ts',
    'js/cli/progress-view.ts',
    'js/cli/stream.ts',
  ]);
  const written = (path) => [...codeOf(path).matchAll(/\b(?:standardOutput|standardError|stream)\.write\((.*)\);/g)].map(([, text]) => text);
  assert.deepEqual(written('js/cli/interrupt.ts'), ["'\\u001b[?25h\\n'"]);
  assert.equal(written('js/cli/output.ts').length, 3);
  assert.deepEqual(
    written('js/cli/output.ts').filter((text) => !/^`\$\{(visibleJson|forTerminal)\([^`]*\)\}\\n`$/.test(text)),
    [],
  );
  // The bar of progress is drawn by a library, and so are questions.
  assert.match(
    codeOf('js/cli/progress-view.ts'),
    /const title = visible\(titleOf\(progress\)\)[\s\S]*?stream: this\.#stream\.raw,\s*format: [^\n]*\$\{title\}/,
  );
  // commander writes its errors of usage itself.
  assert.match(codeOf('js/cli/index.ts'), /outputError: \(text, write\) => write\(text\.split\('\\n'\)\.map\(visible\)/);
});

// ---- types

test('no source file disables the type checker or the linter by a comment', () => {
  const switches = /@ts-(ignore|nocheck|expect-error)|biome-ignore/;
  assert.deepEqual(
    sources.filter((path) => switches.test(readFileSync(join(root, path), 'utf8'))),
    [],
  );
});

test('no published declaration uses the type any', () => {
  const folder = join(root, 'dist');
  // One file per entry and module kind.
  const declarations = readdirSync(folder, { recursive: true })
    .filter((path) => /\.d\.[cm]?ts$/.test(path))
    .sort();
  assert.deepEqual(declarations, ['browser.d.mts', 'mongosh.d.cts', 'node.d.cts', 'node.d.mts', 'slim.d.mts']);
  const offenders = declarations.filter((path) => {
    const code = readFileSync(join(folder, path), 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/\/\/.*$/gm, '')
      .replace(/'[^'\n]*'|"[^"\n]*"/g, '');
    return /\bany\b/.test(code);
  });
  assert.deepEqual(offenders, []);
});

// ---- what is committed

const committed = output('git', ['ls-files', '-z'])
  .split('\0')
  .filter((path) => path !== '' && existsSync(join(root, path)));
const textOf = (path) => readFileSync(join(root, path), 'latin1');

test('no committed file names the host of a package registry', () => {
  const hosts = [
    ['registry', 'npmjs', 'org'],
    ['registry', 'yarnpkg', 'com'],
    ['index', 'crates', 'io'],
    ['static', 'crates', 'io'],
    ['pypi', 'org'],
    ['files', 'pythonhosted', 'org'],
  ].map((labels) => labels.join('.'));
  assert.deepEqual(
    committed.filter((path) => hosts.some((host) => textOf(path).includes(host))),
    [],
  );
});

test('no committed file contains an absolute path of a home folder or of this checkout', () => {
  const folders = /(?<![\w.$}])\/(?:root|home\/\w+|Users\/\w+)\/\w/;
  const here = [`${homedir()}/`, `${root}/`];
  const offenders = committed.filter((path) => folders.test(textOf(path)) || here.some((folder) => textOf(path).includes(folder)));
  assert.deepEqual(offenders, []);
});

// `npm ci` refuses a lock file that lacks a platform's package, which happens when a registry did not have it.
for (const lockFile of ['package-lock.json', 'tests/tools/package-lock.json'])
  test(`${lockFile} has an entry for every dependency, on every platform`, () => {
    const entries = JSON.parse(textOf(lockFile)).packages;
    const isFound = (from, name) => {
      for (let folder = from; ; folder = folder.slice(0, Math.max(folder.lastIndexOf('/node_modules/'), 0))) {
        if (entries[`${folder}${folder === '' ? '' : '/'}node_modules/${name}`] !== undefined) return true;
        if (folder === '') return false;
      }
    };
    const missing = Object.entries(entries).flatMap(([path, { dependencies, optionalDependencies, devDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies })
        .filter((name) => !isFound(path, name))
        .map((name) => `${path} -> ${name}`),
    );
    assert.deepEqual(missing, []);
  });

test('no committed file is native code or wasm', () => {
  assert.deepEqual(
    committed.filter((path) => /\.(node|so|dylib|dll|exe|wasm|a|o)$/.test(path)),
    [],
  );
});

test('the top-level folders are .cargo, .ci, crate, docs, js and tests', () => {
  const folders = new Set(committed.filter((path) => path.includes('/')).map((path) => path.split('/')[0]));
  assert.deepEqual([...folders].sort(), ['.cargo', '.ci', 'crate', 'docs', 'js', 'tests']);
});

test('no file is called utils, helpers or common', () => {
  assert.deepEqual(
    committed.filter((path) => /(^|\/)(utils?|helpers?|common)(\.|\/)/.test(path)),
    [],
  );
});

// ---- what is published

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
let packed;
function packedFiles() {
  packed ??= JSON.parse(output('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { stdio: ['ignore', 'pipe', 'ignore'] }))[0].files.map(
    ({ path }) => path,
  );
  return packed;
}

test('the package contains every file that exports and bin of package.json name', () => {
  const named = [...targets(manifest.exports), ...Object.values(manifest.bin)].map((path) => path.replace(/^\.\//, ''));
  assert.ok(named.length > 10);
  assert.deepEqual(
    named.filter((path) => !packedFiles().includes(path)),
    [],
  );
});

const targets = (entry) => (typeof entry === 'string' ? [entry] : Object.values(entry).flatMap(targets));

test('the package holds the shell loader, the licence and no native code, install script, source or test', () => {
  for (const path of ['dist/csfle.mongosh.js', 'LICENSE', 'README.md', 'CHANGELOG.md', 'DROP-IN.md', 'SECURITY.md'])
    assert.ok(packedFiles().includes(path), path);
  const stray = packedFiles().filter(
    (path) => /\.(node|so|dylib|dll|exe|a|o|gyp)$/.test(path) || /^(js|tests|crate|target|\.ci)\//.test(path) || /\.(new|lock)$/.test(path),
  );
  assert.deepEqual(stray, []);
  assert.deepEqual(
    ['preinstall', 'install', 'postinstall', 'prepare'].filter((script) => script in manifest.scripts),
    [],
  );
});

test('the package has one .wasm file, the same bytes in csfle.wasm.cjs, no runtime dependency and no path of the build machine', () => {
  assert.deepEqual(
    packedFiles().filter((path) => path.endsWith('.wasm')),
    ['dist/csfle.wasm'],
  );
  const inModule = brotliDecompressSync(Buffer.from(createRequire(import.meta.url)('../../dist/csfle.wasm.cjs'), 'base64'));
  assert.ok(inModule.equals(readFileSync(join(root, 'dist', 'csfle.wasm'))));
  assert.equal(manifest.dependencies, undefined);
  for (const bundle of packedFiles().filter((path) => /\.(cjs|mjs)$/.test(path))) {
    assert.ok(!textOf(bundle).includes(relative('/', root)), `${bundle} names the folder it was built in`);
  }
});

test('THIRD-PARTY-NOTICES names every crate that is linked and every package that is bundled', () => {
  const notices = textOf('dist/THIRD-PARTY-NOTICES.txt');
  const linked = output(cargoBin('cargo'), [
    'tree',
    '--package',
    'csfle-wasm',
    '--target',
    'wasm32-unknown-unknown',
    '--edges',
    'normal,no-proc-macro',
    '--prefix',
    'none',
    '--format',
    '{p}',
  ])
    .split('\n')
    .map((line) => line.split(' ').slice(0, 2))
    .filter(([name]) => name && !name.startsWith('csfle-'));
  assert.ok(linked.length > 20);
  const missing = linked.filter(([name, version]) => !notices.includes(`\n${name} ${version.slice(1)} (crate)\n`));
  assert.deepEqual(missing, []);
  for (const name of new Set(
    edges
      .filter(
        ({ from, to, isTypeOnly }) => from.startsWith('js/cli/') && !isTypeOnly && !/^(js\/|node:|csfle-wasm)/.test(to) && !(to in manifest.peerDependencies),
      )
      .map(({ to }) => to.split('/', to.startsWith('@') ? 2 : 1).join('/')),
  )) {
    assert.ok(notices.includes(`\n${name} `), name);
  }
});

test('the size of csfle.wasm in README is right within 2 %', () => {
  const [, said] = /`csfle\.wasm` is (\d+) kB gzipped/.exec(textOf('README.md'));
  const size = gzipSync(readFileSync(join(root, 'dist', 'csfle.wasm')), { level: 9 }).length / 1000;
  assert.ok(Math.abs(size - said) < size / 50, `${size} kB`);
});

test('README and SECURITY name the peers of package.json as required or optional', () => {
  const peers = Object.keys(manifest.peerDependencies);
  const optional = peers.filter((name) => manifest.peerDependenciesMeta[name]?.optional === true).sort();
  for (const path of ['README.md', 'SECURITY.md']) {
    const text = textOf(path).replace(/\s+/g, ' ');
    const [, required, first, second] = /no runtime dependencies[.;] [Ii]ts peers are `([^`]+)` and, both optional, `([^`]+)` and `([^`]+)`/.exec(text) ?? [];
    assert.deepEqual([required, ...[first, second].sort()], [...peers.filter((name) => !optional.includes(name)), ...optional], path);
  }
});
