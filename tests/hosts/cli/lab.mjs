// A lab for tests of the command: with a folder for its files, which goes when the lab is closed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLab } from '../../migration/fixtures.mjs';

export async function openCommandLab(options) {
  const lab = await openLab(options);
  const folder = await mkdtemp(join(tmpdir(), 'csfle-cli-'));
  const close = async () => {
    await rm(folder, { recursive: true, force: true });
    await lab.close();
  };
  return { ...lab, folder, close };
}
