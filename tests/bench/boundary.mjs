// The WebAssembly boundary itself (js/wasm.ts), which dist/ bundles away: compiled into a temporary module so that bytes
// can go in and come out without the public API around them.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The artifact every entry point ships; `npm run build` makes it. */
export const wasmPath = join(root, 'dist/csfle.wasm');

/** Compiles js/wasm.ts, loads the artifact into it and returns its exports. Each call is an instance of its own. */
export async function openBoundary(wasm) {
  const bytes = wasm ?? (await readFile(wasmPath));
  const folder = await mkdtemp(join(tmpdir(), 'csfle-boundary-'));
  try {
    const outfile = join(folder, 'wasm.mjs');
    await build({ entryPoints: [join(root, 'js/wasm.ts')], outfile, bundle: true, format: 'esm', platform: 'neutral', logLevel: 'warning' });
    const boundary = await import(pathToFileURL(outfile).href);
    boundary.loadWasm(bytes);
    return boundary;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
