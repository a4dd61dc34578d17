// Brings a machine with Node, rustup, Python and git to where every script of package.json works. Each step looks first and
// does nothing when it is done already, so calling it again costs well under a second.
//
//   node js/dev/setup.mjs            everything
//
// Node built-ins only: it runs before `npm ci`.
import { pathToFileURL } from 'node:url';
import { ScriptFailure, runScript } from './process.mjs';
import { installChromium, installLibmongocrypt } from './setup/debian.mjs';
import { installNodePackages, installTestTools } from './setup/node-packages.mjs';
import { checkPrerequisites } from './setup/prerequisites.mjs';
import { installPython, installServices } from './setup/python.mjs';
import { reporter } from './setup/report.mjs';
import { installRust, installWasmTarget } from './setup/rust.mjs';

const steps = {
  wasmTarget: installWasmTarget,
  rust: installRust,
  packages: installNodePackages,
  testTools: installTestTools,
  services: installServices,
  python: installPython,
  chromium: installChromium,
  libmongocrypt: installLibmongocrypt,
};
export const everything = Object.keys(steps);

// `needs`: names of `steps`. Resolves to what the steps found: { services, python, chromium, libmongocrypt }.
export async function setUp(needs = everything, log = note) {
  checkPrerequisites(needs);
  const started = performance.now();
  // Side by side: cargo compiles while npm and pip wait for their downloads.
  const results = await Promise.allSettled(needs.map((need) => steps[need](reporter(need, log))));
  const failures = results.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  const bug = failures.find((reason) => !(reason instanceof ScriptFailure));
  if (bug) throw bug;
  if (failures.length > 0) throw new ScriptFailure(failures.map(({ message }) => message).join('\n'));
  log(`ready in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  return Object.assign({}, ...results.map(({ value }) => value));
}

const note = (text) => process.stderr.write(`set-up: ${text}\n`);

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runScript('set-up', async () => {
    await setUp();
  });
}
