// A module of js/ that no entry exports, bundled and loaded as it is. `url` is what it takes for its own place.
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from '../../js/dev/paths.mjs';

export async function sourceModule(path, url) {
  const {
    outputFiles: [{ contents }],
  } = await build({
    entryPoints: [join(root, path)],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    logLevel: 'silent',
    // Packages of CommonJS that it bundles ask for modules of Node.
    banner: { js: `import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(${JSON.stringify(join(root, 'package.json'))});` },
    define: url === undefined ? {} : { 'import.meta.url': JSON.stringify(url) },
  });
  return import(`data:text/javascript;base64,${Buffer.from(contents).toString('base64')}`);
}
