// A disk that is full: a file system in memory of a few pages, filled but for as many as a fault leaves.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PAGE = 4096;
const PAGES = 16;

const mounted = new Set();
// A run that ends early leaves no file system behind.
process.on('exit', () => {
  for (const folder of mounted) removeDisk(folder);
});

function removeDisk(folder) {
  execFileSync('umount', [folder], { stdio: 'pipe' });
  mounted.delete(folder);
  rmSync(folder, { recursive: true, force: true });
}

/** `{ folder, fill(pages), free(), remove() }`, or `{ reason }` where nothing can be mounted. */
export function smallDisk() {
  const folder = mkdtempSync(join(tmpdir(), 'csfle-chaos-disk-'));
  const filler = join(folder, 'filler');
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${PAGES * PAGE},mode=700`, 'tmpfs', folder], { stdio: 'pipe' });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    return { reason: `no file system can be mounted here: ${String(error.stderr ?? error.message).trim()}` };
  }
  mounted.add(folder);
  return {
    folder,
    /** Takes all room but about `pages` pages. */
    fill(pages) {
      for (let taken = PAGES; taken > 0; taken -= 1) {
        try {
          writeFileSync(filler, Buffer.alloc(taken * PAGE));
          break;
        } catch (error) {
          if (error.code !== 'ENOSPC') throw error;
        }
      }
      truncateSync(filler, Math.max(0, statSync(filler).size - pages * PAGE));
    },
    free() {
      unlinkSync(filler);
    },
    remove: () => removeDisk(folder),
  };
}
