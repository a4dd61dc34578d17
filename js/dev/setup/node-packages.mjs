// `npm ci`, when node_modules is not what package-lock.json says.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../paths.mjs';
import { runQuietly } from '../process.mjs';

export async function installNodePackages(report) {
  if (isCurrent()) report.found('node_modules');
  else {
    // No install scripts: what we use with a native part (esbuild, koffi, typescript) carries its binary as a package.
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    await report.doing('npm ci', 40, () => runQuietly(npm, ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { shell: process.platform === 'win32' }));
  }
  return {};
}

// npm keeps what it installed in node_modules/.package-lock.json. Packages for other machines are absent there.
function isCurrent() {
  const installedPath = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return false;
  const wanted = readJson(join(root, 'package-lock.json')).packages;
  const installed = readJson(installedPath).packages;
  const direct = new Set(Object.keys(wanted[''].devDependencies).map((name) => `node_modules/${name}`));
  return Object.entries(wanted).every(([path, { version, optional, devOptional }]) => {
    if (path === '') return true;
    if (installed[path] !== undefined) return installed[path].version === version;
    return !direct.has(path) && (optional === true || devOptional === true);
  });
}

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
