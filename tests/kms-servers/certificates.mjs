// Certificates of a throw-away authority. The test Python makes them: it has the package for it for the emulator's sake.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('./certificates.py', import.meta.url));

/** Makes `wanted`, `{ name: { hosts, usage, ends } }`. Returns `{ file(name), caFile, remove() }`; a file holds key and certificate. */
export function makeCertificates(python, wanted) {
  const folder = mkdtempSync(join(tmpdir(), 'csfle-tls-'));
  execFileSync(python, [script, folder, JSON.stringify(wanted)]);
  return {
    caFile: join(folder, 'ca.pem'),
    file: (name) => join(folder, `${name}.pem`),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
