// A Python environment with the test services, in the user's cache folder under a name that holds its pins: every clone with
// the same pins shares it.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from '../lock.mjs';
import { cacheFolder, venvProgram } from '../paths.mjs';
import { answerOf, runQuietly } from '../process.mjs';
import { findPython, pythonVersion } from './prerequisites.mjs';
import { silent } from './report.mjs';

const requirements = join(dirname(dirname(fileURLToPath(import.meta.url))), 'requirements.txt');

export async function installPython(report = silent) {
  const basePython = findPython();
  const identity = createHash('sha256').update(readFileSync(requirements)).update(`${pythonVersion(basePython)} ${process.arch}`);
  const cache = cacheFolder();
  const venv = join(cache, `venv-${identity.digest('hex').slice(0, 12)}`);
  const python = venvProgram(venv, 'python');
  mkdirSync(cache, { recursive: true });
  await withLock(`${venv}.lock`, async () => {
    if (isComplete(venv, python)) report.found(venv);
    else {
      await report.doing(`a Python environment in ${venv}`, 60, async () => {
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
