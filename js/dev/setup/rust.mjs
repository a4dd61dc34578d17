// The wasm target; for a full build also the two cargo components our checks use, wasm-bindgen's CLI and wasm-pack.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from '../lock.mjs';
import { cacheFolder, cargoBin, cargoHome, ownTools, root } from '../paths.mjs';
import { answerOf, runQuietly } from '../process.mjs';

const target = 'wasm32-unknown-unknown';
const components = ['clippy', 'rustfmt'];

// Enough for a quick build, which uses crate/bindgen.
export async function installWasmTarget(report) {
  await alone(() => addTarget(report));
  return {};
}

export async function installRust(report) {
  await alone(async () => {
    await addTarget(report);
    await addComponents(report);
    await installTool(report, 'wasm-bindgen-cli', 'wasm-bindgen', lockedVersion('wasm-bindgen'));
    await installTool(report, 'wasm-pack', 'wasm-pack', '0.15.1');
  });
  return {};
}

function alone(work) {
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true });
  return withLock(join(cache, 'rust.lock'), work);
}

// The CLI has to be of the crate's own version: it reads what the macro wrote.
function lockedVersion(crate) {
  const lock = readFileSync(join(root, 'Cargo.lock'), 'utf8');
  return new RegExp(`^name = "${crate}"\nversion = "(.+)"$`, 'm').exec(lock)[1];
}

async function addTarget(report) {
  const installed = answerOf(cargoBin('rustup'), ['target', 'list', '--installed']) ?? '';
  if (installed.split('\n').includes(target)) return report.found(target);
  return report.doing(`rustup target add ${target}`, 10, () => runQuietly(cargoBin('rustup'), ['target', 'add', target]));
}

async function addComponents(report) {
  const installed = answerOf(cargoBin('rustup'), ['component', 'list', '--installed']) ?? '';
  const missing = components.filter((name) => !installed.split('\n').some((line) => line.startsWith(name)));
  if (missing.length === 0) return report.found(components.join(', '));
  return report.doing(`rustup component add ${missing.join(' ')}`, 10, () => runQuietly(cargoBin('rustup'), ['component', 'add', ...missing]));
}

// Into cargo's bin folder, where every later clone finds it; into our own cache instead when another version is there,
// which some other project may need.
async function installTool(report, crate, program, version) {
  const what = `${crate} ${version}`;
  const installed = answerOf(cargoBin(program), ['--version'])?.split(' ')[1];
  if (installed === version) return report.found(what);
  const place = installed === undefined ? cargoHome() : ownTools();
  // Not --locked: the published lock file of wasm-bindgen-cli 0.2.130 does not resolve.
  return report.doing(`cargo install ${what}`, 100, () => runQuietly(cargoBin('cargo'), ['install', crate, '--version', version, '--force', '--root', place]));
}
