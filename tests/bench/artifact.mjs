// What the artifact costs before it encrypts anything: bytes on the wire, and the time until it can be called.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { summary } from './measure.mjs';

// A fresh process each time: V8 keeps compiled modules by their bytes, so a second compilation in one process is free.
const PROBE = `
  const bytes = require('node:fs').readFileSync(process.argv[1]);
  const start = performance.now();
  const module = new WebAssembly.Module(bytes);
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) (imports[from] ??= {})[name] = () => 0;
  new WebAssembly.Instance(module, imports);
  console.log(performance.now() - start);
`;

/** Median milliseconds to compile and instantiate the artifact, synchronously, in a fresh Node process. */
export function instantiateMs(wasmPath, { runs = 7 } = {}) {
  const once = () => Number(execFileSync(process.execPath, ['-e', PROBE, wasmPath], { encoding: 'utf8' }));
  return summary(Array.from({ length: runs }, once));
}

/** Bytes of the artifact as a web server sends it. */
export function gzipBytes(wasmPath) {
  return gzipSync(readFileSync(wasmPath), { level: 9 }).length;
}
