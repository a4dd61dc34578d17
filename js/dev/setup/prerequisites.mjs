// What the scripts cannot bring themselves. All that is missing is named at once, each with the way to get it.
import { ScriptFailure, answerOf } from '../process.mjs';
import { cargoBin } from '../paths.mjs';

export const minimum = { node: [20, 0], rust: [1, 90], python: [3, 10] };

export function checkPrerequisites(needs) {
  const missing = [checkNode(), checkGit()];
  if (needs.includes('rust') || needs.includes('wasmTarget')) missing.push(checkRust());
  if (needs.includes('python') || needs.includes('services')) missing.push(checkPython());
  const problems = missing.filter((problem) => problem !== undefined);
  if (problems.length > 0) throw new ScriptFailure(`missing:\n  ${problems.join('\n  ')}`);
}

function checkNode() {
  if (isAtLeast(process.versions.node, minimum.node)) return undefined;
  return `Node.js >= 20 (this is ${process.versions.node}): https://nodejs.org/en/download, or nvm install 20`;
}

function checkGit() {
  return answerOf('git', ['--version']) ? undefined : 'git: https://git-scm.com/downloads, or apt-get install git';
}

function checkRust() {
  if (!answerOf(cargoBin('rustup'), ['--version'])) {
    return 'rustup, with a stable toolchain: https://rustup.rs';
  }
  const version = /^rustc (\S+)/.exec(answerOf(cargoBin('rustc'), ['--version']) ?? '')?.[1];
  if (version === undefined) return 'a Rust toolchain: rustup toolchain install stable';
  return isAtLeast(version, minimum.rust) ? undefined : `Rust >= 1.90 (this is ${version}): rustup update stable`;
}

function checkPython() {
  const python = findPython();
  if (python === undefined) {
    return 'Python >= 3.10 (looked for $PYTHON, python3, python): https://www.python.org/downloads, or apt-get install python3 python3-venv';
  }
  if (answerOf(python, ['-c', 'import venv, ensurepip; print("both")']) === 'both') return undefined;
  return "Python's venv and ensurepip modules: apt-get install python3-venv";
}

// The first of $PYTHON, python3 and python that is new enough.
export function findPython() {
  const names = process.env.PYTHON ? [process.env.PYTHON] : ['python3', 'python'];
  return names.find((name) => isAtLeast(pythonVersion(name) ?? '0.0', minimum.python));
}

export function pythonVersion(python) {
  return answerOf(python, ['-c', 'import platform; print(platform.python_version())']);
}

function isAtLeast(version, [major, minor]) {
  const [haveMajor = 0, haveMinor = 0] = version.split('.').map(Number);
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}
