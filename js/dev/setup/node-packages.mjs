// `npm ci`, where node_modules is not what package-lock.json says.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../paths.mjs';
import { runQuietly } from '../process.mjs';

// What building, the command and the demo need.
export const installNodePackages = (report) => install(report, root, 'npm ci', 10);

// What only the tests need: the shell, other bundlers, the browser's driver, the linter.
export const installTestTools = (report) => install(report, join(root, 'tests', 'tools'), 'npm ci in tests/tools', 40);

async function install(report, folder, what, firstTimeSeconds) {
  if (isCurrent(folder)) report.found(`${what}: node_modules`);
  else {
    // No install scripts: what we use with a native part (esbuild, koffi, typescript) carries its binary as a package.
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    const options = { cwd: folder, shell: process.platform === 'win32' };
    await report.doing(what, firstTimeSeconds, () => runQuietly(npm, ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], options));
  }
  return {};
}

// npm keeps what it installed in node_modules/.package-lock.json. Packages for other machines are absent there.
function isCurrent(folder) {
  const installedPath = join(folder, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return false;
  const wanted = readJson(join(folder, 'package-lock.json')).packages;
  const installed = readJson(installedPath).packages;
  const direct = new Set(Object.keys(wanted[''].devDependencies).map((name) => `node_modules/${name}`));
  return Object.entries(wanted).every(([path, { version, optional, devOptional }]) => {
    if (path === '') return true;
    if (installed[path] !== undefined) return installed[path].version === version;
    return !direct.has(path) && (optional === true || devOptional === true);
  });
}

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
