/** Hosts that bring the WebAssembly and the BSON library themselves: nothing is fetched, nothing is imported. */

import { compileWasm, type WasmContents } from '../compile.js';
import { argumentError, kindOf } from '../errors.js';
import { load } from '../wasm.js';

export * from '../index.js';
export type { WasmContents } from '../compile.js';

/**
 * Starts the WebAssembly instance from `input`: bytes, a `Response` or a compiled module of `csfle-wasm/csfle.wasm`.
 * Call it once before anything else; further calls share the first one's promise.
 * Errors: `ARGUMENT_INVALID` without an input; `HOST_WASM_FAILED`.
 */
export async function init(input: WasmContents): Promise<void> {
  if (typeof input !== 'object' || input === null || input instanceof URL) {
    throw argumentError(`init() of the slim entry needs the bytes, a Response or a WebAssembly.Module of csfle.wasm, found ${kindOf(input)}`);
  }
  return load(() => compileWasm(input));
}
