// Writes the index by which mongosh finds the package in js/mongosh/snippet: BSON, compressed with Brotli, as `snippetIndexSourceURLs` of
// the shell's configuration names it.
//
//   node js/dev/snippet-index.mjs <file>
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { serialize } from 'bson';
import { root } from './paths.mjs';
import { ScriptFailure, runScript } from './process.mjs';

const folder = join(root, 'js', 'mongosh', 'snippet');
const require = createRequire(join(folder, 'package.json'));

await runScript('snippet-index', async () => {
  const [file] = process.argv.slice(2);
  if (file === undefined) throw new ScriptFailure('name the file to write, such as index.bson.br');
  const { name, snippetName, version, description, license, errorMatchers } = require('./package.json');
  const readme = readFileSync(join(folder, 'README.md'), 'utf8');
  const entry = { name, snippetName, version, description, license, readme, errorMatchers: require(`./${errorMatchers}`) };
  const homepage = require(join(root, 'package.json')).repository.url.replace(/^git\+|\.git$/g, '');
  writeFileSync(file, brotliCompressSync(serialize({ indexFileVersion: 1, metadata: { homepage }, index: [entry] })));
  return 0;
});
