// The WebAssembly boundary itself (js/wasm.ts), which dist/ bundles away: compiled into a temporary module, so that bytes
// go in and come out without the public API around them and the instance's memory can be looked at.
import * as crypto from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

// The glue's initSync answers an instance that runs already with its exports; js/wasm.ts itself shows no memory.
const CONTENTS = `
  export * from './js/wasm.ts';
  export { initSync } from './js/generated/csfle_wasm.js';
  export { nodePrimitives } from './js/node-crypto.ts';
`;

/** The artifact every entry point ships; `npm run build` makes it. */
export const wasmPath = join(root, 'dist/csfle.wasm');

/**
 * Compiles js/wasm.ts, starts an instance of its own in it and returns its exports, with the instance's `memory`. As in
 * the entry for Node, long values are left to Node's AES.
 * `wasm` replaces the artifact's bytes.
 */
export async function openBoundary(wasm) {
  const bytes = wasm ?? (await readFile(wasmPath));
  const folder = await mkdtemp(join(tmpdir(), 'csfle-boundary-'));
  try {
    const outfile = join(folder, 'wasm.mjs');
    await build({
      stdin: { contents: CONTENTS, resolveDir: root },
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'neutral',
      logLevel: 'warning',
    });
    const { initSync, nodePrimitives, ...boundary } = await import(pathToFileURL(outfile).href);
    boundary.loadSync(bytes);
    boundary.setHostPrimitives(nodePrimitives(crypto));
    return { ...boundary, memory: initSync(bytes).memory };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
