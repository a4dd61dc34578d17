/** From whatever a host has to a compiled module. */

import { CsfleError } from './errors.js';

/** The WebAssembly itself. `object` keeps text out, which the empty interface of a module would let in. */
export type WasmContents = Response | Promise<Response> | BufferSource | (WebAssembly.Module & object);

/** Where the WebAssembly comes from. */
export type WasmInput = string | URL | WasmContents;

/**
 * Compiles the WebAssembly that `input` stands for.
 * Errors: `HOST_WASM_FAILED` for an answer other than success; whatever fetching or compiling throws.
 */
export async function compileWasm(input: WasmInput): Promise<WebAssembly.Module> {
  const source: unknown = await (typeof input === 'string' || input instanceof URL ? fetch(input) : input);
  if (source instanceof WebAssembly.Module) return source;
  if (typeof Response !== 'function' || !(source instanceof Response)) return WebAssembly.compile(source as BufferSource);
  if (!source.ok)
    throw new CsfleError('HOST_WASM_FAILED', `csfle.wasm was not delivered: HTTP status ${source.status}`, {
      details: { status: source.status },
    });
  // Streaming needs the right MIME type; a server without it costs time, not the page.
  const streaming = typeof WebAssembly.compileStreaming === 'function' && /^application\/wasm\b/i.test(source.headers.get('content-type') ?? '');
  return streaming ? WebAssembly.compileStreaming(source) : WebAssembly.compile(await source.arrayBuffer());
}
