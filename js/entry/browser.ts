/** Browsers and bundlers: `init()` fetches and starts the instance. */

import * as bson from 'bson';
import { setDefaultBson } from '../bson.js';
import { compileWasm, type WasmInput } from '../compile.js';
import { load } from '../wasm.js';

export * from '../index.js';
export type { WasmContents, WasmInput } from '../compile.js';

setDefaultBson(bson);

/**
 * Starts the WebAssembly instance; call it once before anything else. Further calls share the first one's promise.
 * Shape: without an argument, `csfle.wasm` is fetched from beside this module; pass a URL, a `Response`, bytes or a
 * compiled module to use another one.
 * Errors: `HOST_WASM_FAILED`; the next call tries again.
 */
export function init(input?: WasmInput): Promise<void> {
  return load(() => compileWasm(input ?? new URL('./csfle.wasm', import.meta.url)));
}
