// Builds the committed sources once more in another folder and compares the .wasm with dist/csfle.wasm, byte for byte. Needs a
// working tree without changes in crate/, since it compares with a build of that. The second build goes through crate/bindgen, the first
// through wasm-pack: both ways give the same bytes.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, toolEnvironment } from './paths.mjs';
import { ScriptFailure, answerOf, runQuietly, runScript } from './process.mjs';

await runScript('reproduce', async () => {
  const changed = spawnSync(
    'git', ['status', '--porcelain', '--', 'crate', 'Cargo.toml', 'Cargo.lock', '.cargo', 'wasm-pack.toml'], { cwd: root, encoding: 'utf8' },
  );
  if (changed.status !== 0 || changed.stdout !== '') throw new ScriptFailure(`sources differ from the commit:\n${changed.stdout}`);
  const built = join(root, 'dist', 'csfle.wasm');
  if (!existsSync(built)) throw new ScriptFailure('no dist/csfle.wasm: npm run build');
  const elsewhere = mkdtempSync(join(tmpdir(), 'csfle-again-'));
  try {
    await runQuietly('git', ['clone', '--quiet', root, elsewhere]);
    symlinkSync(join(root, 'node_modules'), join(elsewhere, 'node_modules'), 'junction');
    // Compiled anew: a shared target folder would prove nothing.
    const { CARGO_TARGET_DIR: _shared, ...env } = toolEnvironment();
    await runQuietly(process.execPath, [join(elsewhere, 'js', 'build.mjs'), '--wasm', '--direct'], { cwd: elsewhere, env });
    if (!readFileSync(join(elsewhere, 'dist', 'csfle.wasm')).equals(readFileSync(built))) {
      throw new ScriptFailure(`a build in ${elsewhere} gives other bytes`);
    }
    process.stderr.write(`reproduce: the same bytes in another folder, at ${answerOf('git', ['rev-parse', '--short', 'HEAD'])}\n`);
  } finally {
    rmSync(elsewhere, { recursive: true, force: true });
  }
});
