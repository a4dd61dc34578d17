// load('.../csfle.mongosh.js') in mongosh puts `csfle` into the shell; see csfle.help().
// It stays small: the shell rewrites every file that it loads, which takes seconds for a bundle. `require` in the shell
// resolves from the folder that it was started in, so the path is spelled out.
globalThis.csfle = require(`${__dirname}/mongosh.cjs`)[Symbol.for('csfle-wasm.attach')](globalThis);
