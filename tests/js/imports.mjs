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
const isImport = (clause) => /^\s*(type\s+)?($|[\w$*{])/.test(clause) && !/^\s*(const|let|function|class|default|interface|async|abstract|declare|enum)\b/.test(clause) && !clause.includes('=');

// `import type { A }`, and `import { type A, type B }`.
function isTypeOnly(clause) {
  if (/^\s*type\b(?!\s*,)/.test(clause)) return true;
  const names = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1].split(',').map((name) => name.trim()).filter(Boolean);
  return names !== undefined && names.length > 0 && names.every((name) => /^type\s/.test(name));
}
