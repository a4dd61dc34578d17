// An empty project into which the packed tarball was installed, as a reader of the README would do it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../../js/dev/paths.mjs';

const packagesOfProject = Object.fromEntries(['bson', 'mongodb', '@types/node'].map((name) => [name, join(root, 'node_modules', name)]));

/** Makes one: its folder, a `run` for programs in it that must succeed, and `remove`. `packages`: folders of others than those of the project. */
export function consumerProject(prefix, packages = {}) {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const run = (command, args, cwd = folder) => {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' });
    assert.equal(status, 0, `${command} ${args.join(' ')}\n${stdout}\n${stderr}`);
    return stdout;
  };
  run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], root);
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true }));
  // Offline: nothing may have to be fetched. The peers are linked, as an application has them already.
  run('npm', ['install', '--offline', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', `./${name}-${version}.tgz`]);
  for (const [name, target] of Object.entries({ ...packagesOfProject, ...packages })) {
    mkdirSync(join(folder, 'node_modules', name, '..'), { recursive: true });
    symlinkSync(target, join(folder, 'node_modules', name), 'junction');
  }
  return { folder, run, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
