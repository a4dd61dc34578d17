// dist/THIRD-PARTY-NOTICES.txt: the licences of what is inside our artifacts, that is the crates linked into the .wasm and the
// packages bundled into the command. Their terms ask for it.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { cargoBin, root } from './paths.mjs';
import { runQuietly } from './process.mjs';

// `metafiles`: esbuild's, one for each bundle.
export async function thirdPartyNotices(metafiles) {
  const parts = [...(await linkedCrates()), ...bundledPackages(metafiles)];
  const text = parts.map(({ what, licence, texts }) => [what, `Licence: ${licence}`, ...texts.map((one) => one.trim())].join('\n\n'));
  return `Third-party software in this package\n\n${text.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

async function linkedCrates() {
  const tree = await runQuietly(cargoBin('cargo'), [
    ...['tree', '--package', 'csfle-wasm', '--target', 'wasm32-unknown-unknown', '--edges', 'normal,no-proc-macro'],
    ...['--prefix', 'none', '--format', '{p}', '--no-dedupe', '--quiet'],
  ]);
  const linked = new Set(tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' ')));
  const metadata = JSON.parse(
    await runQuietly(cargoBin('cargo'), ['metadata', '--format-version', '1', '--quiet', '--filter-platform', 'wasm32-unknown-unknown']),
  );
  return metadata.packages
    .filter(({ name, version, source }) => source !== null && linked.has(`${name} v${version}`))
    .map(({ name, version, license, manifest_path: manifest }) =>
      ({ what: `${name} ${version} (crate)`, licence: license, texts: licenceTexts(dirname(manifest)) }))
    .sort(byName);
}

function bundledPackages(metafiles) {
  const folders = new Set(metafiles.flatMap(({ inputs }) => Object.keys(inputs)).map(packageFolder).filter(Boolean));
  return [...folders].map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return { what: `${name} ${version} (npm package)`, licence: license, texts: licenceTexts(folder) };
  }).sort(byName);
}

// 'node_modules/@inquirer/password/dist/x.js' -> its package's folder; undefined for our own sources.
function packageFolder(input) {
  const at = input.lastIndexOf('node_modules/');
  if (at === -1) return undefined;
  const words = input.slice(at + 'node_modules/'.length).split('/');
  const name = words.slice(0, words[0].startsWith('@') ? 2 : 1);
  return join(root, input.slice(0, at), 'node_modules', ...name).split('/').join(sep);
}

function licenceTexts(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file)).sort()
    // The Apache text is ours too, and long: one copy is in LICENSE.
    .filter((file) => !/apache/i.test(file)).map((file) => readFileSync(join(folder, file), 'utf8'))
    .map((text) => (/Apache License\s+Version 2\.0/.test(text) ? 'The Apache License, Version 2.0, as in the file LICENSE of this package.' : text));
}

const byName = (a, b) => (a.what < b.what ? -1 : 1);
