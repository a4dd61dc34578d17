// Python environments, in the user's cache folder under names that hold their pins: every clone with the same pins shares them.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from '../lock.mjs';
import { cacheFolder, venvProgram } from '../paths.mjs';
import { answerOf, runQuietly } from '../process.mjs';
import { findPython, pythonVersion } from './prerequisites.mjs';
import { silent } from './report.mjs';

const requirementsOf = (name) => join(dirname(dirname(fileURLToPath(import.meta.url))), 'requirements', `${name}.txt`);

// The server and the KMS emulator of tests and demo. Resolves to { services }, the folder of the environment.
export async function installServices(report = silent) {
  return { services: (await installEnvironment('services', 20, report)).venv };
}

// The independent implementations that tests compare with. Resolves to { python }, the program.
export async function installPython(report = silent) {
  return { python: (await installEnvironment('tests', 30, report)).python };
}

async function installEnvironment(name, firstTimeSeconds, report) {
  const requirements = requirementsOf(name);
  const basePython = findPython();
  const identity = createHash('sha256')
    .update(readFileSync(requirements))
    .update(`${pythonVersion(basePython)} ${process.arch}`);
  const cache = cacheFolder();
  const venv = join(cache, `venv-${name}-${identity.digest('hex').slice(0, 12)}`);
  const python = venvProgram(venv, 'python');
  mkdirSync(cache, { recursive: true });
  await withLock(`${venv}.lock`, async () => {
    if (isComplete(venv, python)) report.found(venv);
    else {
      await report.doing(`the Python environment '${name}' in ${venv}`, firstTimeSeconds, async () => {
        rmSync(venv, { recursive: true, force: true });
        await runQuietly(basePython, ['-m', 'venv', venv]);
        await runQuietly(python, ['-m', 'pip', 'install', '--disable-pip-version-check', '--requirement', requirements]);
        writeFileSync(stampOf(venv), '');
      });
    }
  });
  return { venv, python };
}

const stampOf = (venv) => join(venv, 'complete');

// The stamp comes last, so an interrupted installation is made again; the call notices a Python that has gone since.
function isComplete(venv, python) {
  return existsSync(stampOf(venv)) && answerOf(python, ['-c', 'print("alive")']) === 'alive';
}
