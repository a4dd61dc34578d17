// `npm run lint`: Biome's rules and its formatter over js/ and tests/, as biome.json says. `npm run lint -- --write` formats and applies safe fixes.
import { join } from 'node:path';
import { root } from './paths.mjs';
import { runInForeground, runScript } from './process.mjs';

await runScript('lint', () =>
  runInForeground(process.execPath, [
    join(root, 'tests', 'tools', 'node_modules', '@biomejs', 'biome', 'bin', 'biome'),
    'check',
    '--error-on-warnings',
    ...process.argv.slice(2),
    'js',
    'tests',
  ]),
);
