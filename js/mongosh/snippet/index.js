// Loaded by the shell at its start once `snippet install csfle` has run, and puts `csfle` into it.
// `require` in the shell resolves from the folder that it was started in; the package lies beside this file.
globalThis.csfle = require('node:module').createRequire(__filename)('csfle-wasm/mongosh')[Symbol.for('csfle-wasm.attach')](globalThis);
