// Preloaded into programs whose modules cannot be moved: what `overrides` in a package.json does, for one process.
const Module = require('node:module');
const { join } = require('node:path');

const root = join(__dirname, '..', '..');
const aliases = { 'mongodb-client-encryption': join(root, 'dist', 'node.cjs'), 'mongodb-client-encryption/package.json': join(root, 'package.json') };
const original = Module._resolveFilename;
Module._resolveFilename = function resolve(request, ...rest) {
  return original.call(this, aliases[request] ?? request, ...rest);
};
