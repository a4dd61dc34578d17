// Rolls the declarations of the compiler up into one file per entry and module kind, beside the bundle that each describes.
import { join, sep } from 'node:path';
import { ScriptFailure } from './process.mjs';

// `names`: what the bundle exports at run time. `hasBson`: it brings the package bson, of which results are made then. `isShell`: the
// library's types are those of node.d.cts, as its code is that of node.cjs.
const entries = [
  { entry: 'entry/node', out: 'node.d.cts', names: 'node.cjs', hasBson: true },
  { entry: 'entry/browser', out: 'browser.d.mts', names: 'browser.mjs', hasBson: true },
  { entry: 'entry/slim', out: 'slim.d.mts', names: 'slim.mjs' },
  { entry: 'mongosh/index', out: 'mongosh.d.cts', isShell: true },
];

// node.mjs hands on the names of node.cjs, and all of it as default.
const ofNodeModule = "export * from './node.cjs';\nexport * as default from './node.cjs';\n";

/** File names in dist/ and their text. `folder`: what the compiler emitted. `exported`: names by bundle. */
export async function rollUpDeclarations(folder, exported) {
  const files = await Promise.all(
    entries.map(async ({ entry, out, names, hasBson, isShell }) => {
      const rolled = tidied(await rolledUp(folder, entry, isShell));
      const text = hasBson ? withBson(rolled) : rolled;
      return [out, isShell ? asShellObject(text) : withValues(text, exported[names], out)];
    }),
  );
  return { ...Object.fromEntries(files), 'node.d.mts': ofNodeModule };
}

async function rolledUp(folder, entry, isShell) {
  const [{ rollup }, { dts }] = await Promise.all([import('rollup'), import('rollup-plugin-dts')]);
  const bundle = await rollup({
    input: join(folder, `${entry}.d.ts`),
    external: ['bson', 'node.cjs'],
    plugins: [...(isShell ? [libraryOutside(folder)] : []), dts()],
    onwarn: ({ message }) => {
      throw new ScriptFailure(`declarations of ${entry}: ${message}`);
    },
  });
  const { output } = await bundle.generate({ format: 'es' });
  await bundle.close();
  if (output.length !== 1) throw new ScriptFailure(`declarations of ${entry}: ${output.length} files`);
  return output[0].code;
}

function libraryOutside(folder) {
  const index = join(folder, 'index.js');
  return {
    name: 'library-outside',
    resolveId: (id, importer) => (importer?.startsWith(folder + sep) && join(importer, '..', id) === index ? { id: './node.cjs', external: true } : null),
  };
}

const REFERENCE = /^\/\/\/ <reference .*\/>\n/gm;
// The comment that a source file begins with is about the file, not about the declaration that follows it.
const OF_FILE = /^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n+(?=\/\*\*)/gm;

/** References count at the top of a file only. */
function tidied(text) {
  return [...new Set(text.match(REFERENCE)), text.replace(REFERENCE, '').replace(OF_FILE, '')].join('');
}

const DEFAULT_BSON = 'type DefaultBson = BsonLibrary;\n';

/** `DefaultBson` as the entry sets it. */
function withBson(text) {
  const [before, after, ...more] = text.split(DEFAULT_BSON);
  if (after === undefined || more.length > 0) throw new ScriptFailure(`declarations that do not have once: ${DEFAULT_BSON}`);
  const references = text.match(REFERENCE) ?? [];
  const rest = `${before}type DefaultBson = typeof bson;\n${after}`.slice(references.join('').length);
  return `${references.join('')}import type * as bson from 'bson';\n\n${rest}`;
}

/** What a bundle does not export, such as a class that is exported as a type, is a type in its declarations too. */
function withValues(text, names, out) {
  const { rest, listed } = exportsOf(text);
  const missing = names.filter((name) => !listed.includes(name));
  if (missing.length > 0) throw new ScriptFailure(`${out} lacks ${missing.join(', ')}`);
  const types = listed.filter((name) => !names.includes(name));
  return `${rest}${list('export', names.toSorted())}${list('export type', types)}`;
}

// `module.exports` of mongosh.cjs is the object itself. Types are beside it, in a namespace that has no value: classes get there as types
// of another name first.
function asShellObject(text) {
  const { rest, listed } = exportsOf(text);
  const types = listed.filter((name) => name !== 'csfle');
  if (types.length === listed.length) throw new ScriptFailure('mongosh.d.cts lacks csfle');
  const classes = types.filter((name) => rest.includes(`\ndeclare class ${name} `));
  const aliases = classes.map((name) => `type ${name}Type = ${name};\n`).join('');
  const named = types.map((name) => (classes.includes(name) ? `${name}Type as ${name}` : name));
  return `${rest}${aliases}declare namespace csfle {\n${list('export', named)}}\nexport = csfle;\n`;
}

/** The names of the export lists at the end, and what is before them. */
function exportsOf(text) {
  const listed = [];
  const rest = text.replace(/^export (?:type )?\{ (.*) \};\n?/gm, (_, names) => {
    listed.push(...names.split(', '));
    return '';
  });
  if (listed.some((name) => / as /.test(name))) throw new ScriptFailure(`declarations that are exported under another name: ${listed.join(', ')}`);
  return { rest: `${rest.trimEnd()}\n\n`, listed: listed.sort() };
}

const list = (word, names) => (names.length === 0 ? '' : `${word} {\n  ${names.join(',\n  ')},\n};\n`);
