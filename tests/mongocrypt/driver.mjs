// The official driver, unmodified, in a folder where `mongodb-client-encryption` is this package.
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../../js/dev/paths.mjs';

const folderOf = (name) => realpathSync(join(root, 'node_modules', name));

/** Resolves to the driver's exports and `remove()`. `modules` are names of the driver's optional modules that it shall find. */
export function aliasedDriver({ modules: optional = [] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'csfle-driver-'));
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '@mongodb-js'), { recursive: true });
  // A copy: a link would make Node look for the alias beside the original.
  cpSync(folderOf('mongodb'), join(modules, 'mongodb'), { recursive: true });
  for (const name of ['bson', 'mongodb-connection-string-url', '@mongodb-js/saslprep']) symlinkSync(folderOf(name), join(modules, name), 'dir');
  symlinkSync(root, join(modules, 'mongodb-client-encryption'), 'dir');
  mkdirSync(join(modules, '@aws-sdk'));
  for (const name of optional) symlinkSync(folderOf(name), join(modules, name), 'dir');
  // The driver asks for this module even when the application brings its own way to credentials.
  const credentials = join(modules, '@aws-sdk', 'credential-providers');
  if (!optional.includes('@aws-sdk/credential-providers')) {
    mkdirSync(credentials);
    writeFileSync(join(credentials, 'index.js'), "exports.fromNodeProviderChain = () => async () => { throw new Error('not to be used'); };\n");
  }
  const require = createRequire(join(folder, 'index.cjs'));
  return { driver: require('mongodb'), alias: require('mongodb-client-encryption'), remove: () => rmSync(folder, { recursive: true, force: true }) };
}
