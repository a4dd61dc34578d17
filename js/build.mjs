// Builds dist/ from crate/ and js/: cargo and wasm-pack, wasm-opt, bundles, declarations, size budget.
//
//   node js/build.mjs          everything
//   node js/build.mjs --js     bundles and declarations only, with the .wasm of an earlier build
//   node js/build.mjs --wasm   the .wasm, and the bundles anew if there are any
//   node js/build.mjs --direct the glue through crate/bindgen instead of wasm-pack; the same bytes
//   node js/build.mjs --quick  for running from the clone: as --direct, without wasm-opt, declarations and size budget
//   node js/build.mjs --compile  only cargo's part of --quick, which needs no npm package
//
// Settings are read from wasm-pack.toml and .cargo/config.toml.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { rollUpDeclarations } from './dev/declarations.mjs';
import { withLock } from './dev/lock.mjs';
import { thirdPartyNotices } from './dev/notices.mjs';
import { cargoBin, cargoHome, toolEnvironment } from './dev/paths.mjs';
import { ScriptFailure, runQuietly } from './dev/process.mjs';
import { readToml } from './dev/toml.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
const settings = readToml(join(root, 'wasm-pack.toml'));
const generated = join(root, settings.build['out-dir']);
const note = (text) => process.stderr.write(`build: ${text}\n`);

class BuildFailure extends Error {}

async function main(options) {
  mkdirSync(dist, { recursive: true });
  const started = performance.now();
  await withLock(join(dist, '.lock'), async () => {
    if (options.has('--compile')) return compileCrates();
    if (options.has('--js') && existsSync(join(dist, 'csfle.wasm'))) note('keeping dist/csfle.wasm');
    else await buildWasm({ isDirect: options.has('--direct') || options.has('--quick'), isQuick: options.has('--quick') });
    writeWasmModule();
    // The bundle for Node knows the sum of the .wasm: it never stays behind.
    const exported = !options.has('--wasm') || existsSync(join(dist, 'node.cjs')) ? await bundle() : undefined;
    if (!options.has('--wasm')) {
      exported['node.cjs'] = writeNodeModule();
      if (!options.has('--quick')) await declare(exported);
    }
    return options.has('--quick') ? undefined : checkBudget();
  });
  note(`done in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

// ---- crate/wasm -> js/generated -> dist/csfle.wasm

async function buildWasm({ isDirect, isQuick }) {
  const started = performance.now();
  await (isDirect ? compileDirectly() : compileWithWasmPack());
  const compiled = join(generated, `${settings.build['out-name']}_bg.wasm`);
  optimise(compiled, join(dist, 'csfle.wasm'), isQuick);
  note(`csfle.wasm in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

function compileWithWasmPack() {
  const { crate, target, 'out-name': outName } = settings.build;
  run(
    cargoBin('wasm-pack'),
    [
      ...['--log-level', 'warn', 'build', crate, '--release', '--target', target],
      ...['--out-dir', relative(join(root, crate), generated), '--out-name', outName],
      // `no-install`: wasm-bindgen is the pinned one of js/dev/setup.mjs, never a download.
      ...['--no-pack', '--no-opt', '--mode', 'no-install'],
    ],
    { env: wasmEnvironment() },
  );
}

// What wasm-pack does, without the two programs that take minutes to compile on a new machine.
async function compileDirectly() {
  const { 'out-name': outName } = settings.build;
  await compileCrates();
  const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  const program = join(target, 'tool', process.platform === 'win32' ? 'csfle-bindgen.exe' : 'csfle-bindgen');
  run(program, [join(target, 'wasm32-unknown-unknown', 'release', `${outName}.wasm`), generated, outName]);
}

// The library and the tool that writes its glue compile at the same time, in profiles of their own.
async function compileCrates() {
  const { crate } = settings.build;
  const cargo = (args, env) => runQuietly(cargoBin('cargo'), ['build', '--quiet', ...args], { env });
  await Promise.all([
    cargo(['--manifest-path', join(crate, 'Cargo.toml'), '--release', '--target', 'wasm32-unknown-unknown'], wasmEnvironment()),
    cargo(['--package', 'csfle-bindgen', '--profile', 'tool'], toolEnvironment()),
  ]);
}

const wasmEnvironment = () => ({ ...toolEnvironment(), CARGO_ENCODED_RUSTFLAGS: rustFlags().join('\x1f') });

// Paths reach the artifact through panic locations: without the remapping two checkouts would differ.
function rustFlags() {
  const config = readToml(join(root, '.cargo', 'config.toml'));
  return [...config.target['wasm32-unknown-unknown'].rustflags, `--remap-path-prefix=${cargoHome()}=/cargo`, `--remap-path-prefix=${root}=/csfle-wasm`];
}

// `isQuick`: an optimised file of the same input stays; otherwise the input is used as it is.
function optimise(input, output, isQuick) {
  const flags = [settings['wasm-opt'].level, ...settings['wasm-opt'].features.map((feature) => `--enable-${feature}`)];
  const stamp = join(generated, 'optimised.json');
  const inputHash = createHash('sha256').update(readFileSync(input)).update(flags.join(' ')).digest('hex');
  const known = existsSync(stamp) ? JSON.parse(readFileSync(stamp, 'utf8')) : {};
  if (known.inputHash === inputHash && existsSync(output) && known.outputHash === hashOf(output)) return;
  const staged = `${output}.new`;
  if (isQuick) {
    copyFileSync(input, staged);
    renameSync(staged, output);
    return;
  }
  run(process.execPath, [join(root, 'node_modules', 'binaryen', 'bin', 'wasm-opt'), ...flags, input, '-o', staged]);
  renameSync(staged, output);
  writeFileSync(stamp, JSON.stringify({ inputHash, outputHash: hashOf(output) }));
}

const hashOf = (path, encoding = 'hex') => createHash('sha256').update(readFileSync(path)).digest(encoding);

// The .wasm as a module, for bundles: a file beside the code does not follow it there. Compressed, since an engine reads a long
// text slower than it unpacks a short one.
function writeWasmModule() {
  const path = join(dist, 'csfle.wasm.cjs');
  const head = `// csfle.wasm, compressed: ${hashOf(join(dist, 'csfle.wasm'))}\n`;
  if (existsSync(path) && readFileSync(path, 'utf8').startsWith(head)) return;
  const packed = brotliCompressSync(readFileSync(join(dist, 'csfle.wasm')));
  replaceFile(path, `${head}module.exports = '${packed.toString('base64')}';\n`);
}

// ---- js/ -> dist/*.cjs, dist/*.mjs

const external = ['bson', 'mongodb', '@aws-sdk/client-kms'];
const forNode = { platform: 'node', target: 'node20', keepNames: true, external };
const forBrowser = { platform: 'browser', target: 'es2022', format: 'esm', keepNames: true, external };
// Packages bundled into the command are CommonJS in part and call require() for Node's own modules.
const requireInModule = "import { createRequire as csfleRequire } from 'node:module'; const require = csfleRequire(import.meta.url);";

// `const csfle = require('csfle-wasm/mongosh')` is what one writes in a shell; `const { csfle } = ...` works too.
const csfleItself = 'module.exports = module.exports.csfle;';

const bundles = [
  { entry: 'js/entry/node.ts', out: 'node.cjs', ...forNode, external: [...external, './csfle.wasm.cjs'], format: 'cjs' },
  { entry: 'js/entry/browser.ts', out: 'browser.mjs', ...forBrowser },
  { entry: 'js/entry/slim.ts', out: 'slim.mjs', ...forBrowser },
  { entry: 'js/mongosh/index.ts', out: 'mongosh.cjs', ...forNode, format: 'cjs', library: './node.cjs', footer: { js: csfleItself } },
  { entry: 'js/cli/index.ts', out: 'cli.mjs', ...forNode, format: 'esm', library: './node.mjs', banner: { js: requireInModule } },
];

/** Returns the names that each ES module exports, by its file in dist/. */
async function bundle() {
  const { build } = await import('esbuild');
  const results = await Promise.allSettled(
    bundles.map(({ entry, out, library, ...options }) =>
      build({
        absWorkingDir: root,
        entryPoints: [entry],
        outfile: join(dist, out),
        bundle: true,
        write: false,
        metafile: true,
        logLevel: 'warning',
        legalComments: 'inline',
        define: { CSFLE_WASM_SHA256: JSON.stringify(hashOf(join(dist, 'csfle.wasm'), 'base64')) },
        plugins: library === undefined ? [] : [onlyPublicNames(library)],
        ...options,
      }),
    ),
  );
  if (results.some(({ status }) => status === 'rejected')) throw new BuildFailure('a bundle failed');
  for (const { value } of results) for (const file of value.outputFiles) replaceFile(file.path, file.contents);
  replaceFile(join(dist, 'THIRD-PARTY-NOTICES.txt'), await thirdPartyNotices(results.map(({ value }) => value.metafile)));
  replaceFile(join(dist, 'csfle.mongosh.js'), readFileSync(join(root, 'js', 'mongosh', 'csfle.mongosh.js')));
  const outputs = results.flatMap(({ value }) => Object.entries(value.metafile.outputs));
  return Object.fromEntries(outputs.map(([path, { exports }]) => [basename(path), exports]));
}

// The shell and the command share one library instance with their users (one CsfleError class, one wasm memory): they
// import public names, and those come from the library's own bundle. Anything deeper would be a second copy.
function onlyPublicNames(library) {
  const publicModules = new Set(['js/index.ts', 'js/entry/node.ts'].map((path) => join(root, path)));
  return {
    name: 'only-public-names',
    setup(build) {
      build.onResolve({ filter: /^\.\.?\// }, ({ path, importer, resolveDir }) => {
        if (importer === '' || !importer.startsWith(join(root, 'js') + sep)) return undefined;
        const target = join(resolveDir, path).replace(/\.js$/, '.ts');
        if (publicModules.has(target)) return { path: library, external: true };
        const folder = importer.slice(0, importer.indexOf(sep, join(root, 'js').length + 1));
        // js/node/ has no state that a second copy would split.
        if (target.startsWith(folder + sep) || target.startsWith(join(root, 'js', 'node') + sep)) return undefined;
        return { errors: [{ text: `${relative(root, importer)} may import public names (../index.js) only, not ${path}` }] };
      });
    },
  };
}

// Readers of dist/ see the old file or the new one, never half of it.
function replaceFile(path, contents) {
  writeFileSync(`${path}.new`, contents);
  renameSync(`${path}.new`, path);
}

// ESM users get the CommonJS instance, so that both ways of loading share classes and keys. The names are spelled out since
// a static list is what `import { x }` needs; loading the bundle for it proves that it loads. As default they get all of it, as
// from any CommonJS package, and so from `mongodb-client-encryption`. Returns the names.
function writeNodeModule() {
  const script = 'process.stdout.write(JSON.stringify(Object.keys(require(process.argv[1]))))';
  const names = JSON.parse(run(process.execPath, ['-e', script, join(dist, 'node.cjs')], { stdio: ['ignore', 'pipe', 'inherit'] }));
  if (names.length === 0) throw new BuildFailure('dist/node.cjs exports nothing');
  replaceFile(
    join(dist, 'node.mjs'),
    `import library from './node.cjs';\nexport const {\n  ${names.sort().join(',\n  ')},\n} = library;\nexport default library;\n`,
  );
  return names;
}

// ---- declarations

async function declare(exported) {
  const emitted = join(dist, 'types.new');
  rmSync(emitted, { recursive: true, force: true });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  run(process.execPath, [compiler, '--project', root, '--outDir', emitted]);
  const files = await rollUpDeclarations(emitted, exported);
  for (const [name, text] of Object.entries(files)) replaceFile(join(dist, name), text);
  // With what builds of before left.
  for (const folder of ['types.new', 'types', 'types-cjs']) rmSync(join(dist, folder), { recursive: true, force: true });
}

// ---- size budget

function checkBudget() {
  const wasmGzipBytes = gzipSync(readFileSync(join(dist, 'csfle.wasm')), { level: 9 }).length;
  const measured = [['dist/csfle.wasm, gzip -9', wasmGzipBytes, settings.budget['wasm-gzip-bytes']]];
  const bundled = join(dist, 'node.cjs');
  // Absent after `--wasm` in a fresh tree.
  if (existsSync(bundled)) measured.push(['dist/node.cjs', statSync(bundled).size, settings.budget['node-cjs-bytes']]);
  for (const [what, bytes, limit] of measured) note(`${what}: ${bytes} of ${limit} bytes`);
  const over = measured.filter(([, bytes, limit]) => bytes > limit);
  if (over.length > 0) throw new BuildFailure(`over the budget of wasm-pack.toml: ${over.map(([what]) => what).join('; ')}`);
}

function run(command, args, options = {}) {
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 'inherit'],
    encoding: 'utf8',
    ...options,
  });
  if (error?.code === 'ENOENT') throw new BuildFailure(`${command} is not installed: npm run setup`);
  if (error) throw error;
  if (status !== 0)
    throw new BuildFailure(
      `${[command, ...args]
        .slice(0, 3)
        .map((word) => basename(word))
        .join(' ')} ... failed`,
    );
  return stdout;
}

try {
  await main(new Set(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof BuildFailure || error instanceof ScriptFailure)) throw error;
  note(error.message);
  process.exitCode = 1;
}
