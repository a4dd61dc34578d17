// Each bundler as its documentation begins: what goes in, what comes out, and that it is for Node. Nothing about this package.
import { join } from 'node:path';
import * as esbuild from 'esbuild';
import { commonjs, json, nodeResolve, rollup, vite, webpack } from '../../tools/bundlers.mjs';

function withWebpack(options) {
  return (project, out) =>
    new Promise((resolve, reject) => {
      webpack({ context: project, target: 'node', ...options, output: { path: out, ...options.output } }, (error, stats) => {
        if (error) reject(error);
        else if (stats.hasErrors()) reject(new Error(stats.toString({ all: false, errors: true })));
        else resolve();
      });
    });
}

export const withEsbuild = (entry, file, more) => (project, out) =>
  esbuild.build({ absWorkingDir: project, entryPoints: [entry], bundle: true, platform: 'node', outfile: join(out, file), logLevel: 'error', ...more });

// The driver is CommonJS and requires a JSON file: these three plugins are what rollup needs for any such package.
function withRollup(entry, file, format, resolution) {
  return async (project, out) => {
    const bundle = await rollup({ input: join(project, entry), plugins: [nodeResolve(resolution), commonjs(), json()], onLog() {} });
    await bundle.write({ file: join(out, file), format });
    await bundle.close();
  };
}

// In a project `vite build` runs in its folder; without that its comments hold the way from the folder of the tests to each module.
export const withVite =
  ({ rolldownOptions, ...build }, ssr) =>
  (project, out) =>
    vite.build({
      root: project,
      configFile: false,
      logLevel: 'error',
      ssr,
      build: { outDir: out, emptyOutDir: true, rolldownOptions: { cwd: project, ...rolldownOptions }, ...build },
    });

// Left to itself Vite leaves packages out of what it builds for servers.
const wholeWithVite = (build) => withVite(build, { noExternal: true });

// What the driver needs of esbuild for an ES module, with this package or without: it is CommonJS and requires Node's modules.
export const esbuildBanner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" };

export const bundlers = [
  { name: 'webpack, CommonJS, minified', file: 'app.cjs', build: withWebpack({ mode: 'production', entry: './app.cjs', output: { filename: 'app.cjs' } }) },
  {
    name: 'webpack, ES module',
    file: 'app.mjs',
    build: withWebpack({ mode: 'none', entry: './app.mjs', experiments: { outputModule: true }, output: { module: true, filename: 'app.mjs' } }),
  },
  { name: 'esbuild, CommonJS', file: 'app.cjs', build: withEsbuild('app.cjs', 'app.cjs', { format: 'cjs' }) },
  { name: 'esbuild, CommonJS, minified', file: 'app.cjs', build: withEsbuild('app.cjs', 'app.cjs', { format: 'cjs', minify: true }) },
  {
    name: 'esbuild, ES module with the banner of the driver, minified',
    file: 'app.mjs',
    build: withEsbuild('app.mjs', 'app.mjs', { format: 'esm', minify: true, banner: esbuildBanner }),
  },
  { name: 'rollup, CommonJS', file: 'app.cjs', build: withRollup('app.cjs', 'app.cjs', 'cjs') },
  { name: 'rollup, ES module', file: 'app.mjs', build: withRollup('app.mjs', 'app.mjs', 'es') },
  { name: 'Vite, server build', file: 'app.mjs', build: wholeWithVite({ ssr: 'app.mjs' }) },
  { name: 'Vite, server build, minified', file: 'app.mjs', build: wholeWithVite({ ssr: 'app.mjs', minify: true }) },
  {
    name: 'Vite, server build, CommonJS',
    file: 'app.cjs',
    build: wholeWithVite({ ssr: 'app.cjs', rolldownOptions: { output: { format: 'cjs', entryFileNames: 'app.cjs' } } }),
  },
];

/** A program that imports this package itself. Its entry for Node is what the condition `node` leads to, which rollup does not set. */
export const libraryBundlers = [
  {
    name: 'webpack',
    build: withWebpack({ mode: 'none', entry: './library.mjs', experiments: { outputModule: true }, output: { module: true, filename: 'library.mjs' } }),
  },
  { name: 'esbuild', build: withEsbuild('library.mjs', 'library.mjs', { format: 'esm', banner: esbuildBanner }) },
  { name: 'rollup with the condition `node`', build: withRollup('library.mjs', 'library.mjs', 'es', { exportConditions: ['node'] }) },
  { name: 'Vite', build: wholeWithVite({ ssr: 'library.mjs' }) },
];
