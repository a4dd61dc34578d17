// Reads the imports of a TypeScript module from its text: static and dynamic ones and re-exports, in the forms the sources use.
const statement = /^[ \t]*(?:import|export)\b(?<clause>[^'";]*?)(?:\bfrom\s*)?['"](?<specifier>[^'"\n]+)['"]/gm;
const dynamic = /\b(?<kind>import|require)\s*\(\s*['"](?<specifier>[^'"\n]+)['"]\s*\)/g;

// Resolves to [{ specifier, isTypeOnly, isDynamic }].
export function importsOf(source) {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1');
  return [
    ...[...code.matchAll(statement)]
      .filter(({ groups }) => isImport(groups.clause))
      .map(({ groups }) => ({ specifier: groups.specifier, isTypeOnly: isTypeOnly(groups.clause), isDynamic: false })),
    // `import('./x.js').Name` in a type position asks for a type; the sources write `import type` for that.
    ...[...code.matchAll(dynamic)].map(({ groups }) => ({ specifier: groups.specifier, isTypeOnly: false, isDynamic: true })),
  ];
}

// What stands between the keyword and the string: nothing, names, or a star; not the start of a declaration.
const isImport = (clause) =>
  /^\s*(type\s+)?($|[\w$*{])/.test(clause) &&
  !/^\s*(const|let|function|class|default|interface|async|abstract|declare|enum)\b/.test(clause) &&
  !clause.includes('=');

// `import type { A }`, and `import { type A, type B }`.
function isTypeOnly(clause) {
  if (/^\s*type\b(?!\s*,)/.test(clause)) return true;
  const names = /^\s*\{([^}]*)\}\s*$/
    .exec(clause)?.[1]
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
  return names !== undefined && names.length > 0 && names.every((name) => /^type\s/.test(name));
}

// The modules of its own crate that a Rust source names: `crate::a::b` and `use crate::{a::B, c}` give a and c. Tests inside
// the file are left out: they may build what they test from anywhere.
export function crateImports(source) {
  const code = source.replace(/\/\/.*$/gm, '').replace(/#\[cfg\(test\)\][\s\S]*$/, '');
  const names = new Set();
  for (const { index, 0: match } of code.matchAll(/\bcrate::/g)) {
    const rest = code.slice(index + match.length);
    if (rest.startsWith('{')) for (const name of topLevelNames(rest)) names.add(name);
    else names.add(/^\w+/.exec(rest)?.[0]);
  }
  names.delete(undefined);
  return [...names];
}

// '{a::{B, C}, d}' -> a, d
function topLevelNames(group) {
  const names = [];
  let depth = 0;
  let expectsName = false;
  for (const { 0: token } of group.matchAll(/\w+|[{},]/g)) {
    if (token === '{') depth += 1;
    else if (token === '}') depth -= 1;
    else if (token !== ',' && expectsName && depth === 1) names.push(token);
    if (depth === 0) break;
    expectsName = depth === 1 && (token === '{' || token === ',');
  }
  return names;
}
