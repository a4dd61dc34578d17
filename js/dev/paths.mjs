// Where things are on this machine. Node built-ins only: it runs before `npm ci`.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export const cargoHome = () => process.env.CARGO_HOME ?? join(homedir(), '.cargo');

// Cargo tools of ours that must not replace another version in cargo's own bin folder.
export const ownTools = () => join(cacheFolder(), 'cargo');

const toolFolders = () => [join(ownTools(), 'bin'), join(cargoHome(), 'bin')];

// A tool of these folders; its bare name where it is in neither, for PATH to answer.
export function cargoBin(name) {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return (
    toolFolders()
      .map((folder) => join(folder, name + suffix))
      .find((path) => existsSync(path)) ?? name
  );
}

// Child processes find cargo's tools even when the caller's PATH does not name its bin folder.
export function toolEnvironment() {
  return { ...process.env, PATH: [...toolFolders(), process.env.PATH ?? ''].join(delimiter) };
}

// Survives a fresh clone: the Python environment is found here again.
export function cacheFolder() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'csfle-wasm');
}

export function venvProgram(venv, name) {
  return process.platform === 'win32' ? join(venv, 'Scripts', `${name}.exe`) : join(venv, 'bin', name);
}

// The published vectors: read in place, absent on most machines.
export function vectorsFolder() {
  return process.env.CSFLE_VECTORS ?? join(root, '..', 'shared', 'vectors');
}
