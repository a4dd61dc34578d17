// A lab for tests of the command: with a folder for its files, which goes when the lab is closed, and `keyFileOf(place)`, which writes the
// local master key of a hospital into it and resolves to the path.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLab } from '../../migration/fixtures.mjs';

export async function openCommandLab(options) {
  const lab = await openLab(options);
  const folder = await mkdtemp(join(tmpdir(), 'csfle-cli-'));
  const keyFileOf = async ({ database, masterKey }) => {
    const file = join(folder, `${database}.bin`);
    await writeFile(file, masterKey, { mode: 0o600 });
    return file;
  };
  const close = async () => {
    await rm(folder, { recursive: true, force: true });
    await lab.close();
  };
  return { ...lab, folder, keyFileOf, close };
}
