// The part of TOML that wasm-pack.toml and .cargo/config.toml use: tables, strings, integers, booleans and arrays of these.
// Anything else is an error rather than a guess. Node built-ins only: it runs before `npm ci`.
import { readFileSync } from 'node:fs';

export function readToml(path) {
  return parseToml(readFileSync(path, 'utf8'), path);
}

export function parseToml(text, origin = 'toml') {
  const root = {};
  let table = root;
  let pending;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = withoutComment(raw).trim();
    if (line === '') continue;
    const fail = (why) => new Error(`${origin}:${index + 1}: ${why}: ${line}`);
    if (pending !== undefined) {
      pending.source += ` ${line}`;
      if (!line.endsWith(']')) continue;
      pending.table[pending.key] = parseValue(pending.source, fail);
      pending = undefined;
      continue;
    }
    const header = /^\[([\w."-]+)\]$/.exec(line);
    if (header) {
      table = root;
      for (const part of header[1].split('.')) table = table[part.replaceAll('"', '')] ??= {};
      continue;
    }
    const entry = /^([\w-]+)\s*=\s*(.+)$/.exec(line);
    if (!entry) throw fail('neither a table nor a key');
    const [, key, source] = entry;
    if (source.startsWith('[') && !source.endsWith(']')) pending = { table, key, source };
    else table[key] = parseValue(source, fail);
  }
  if (pending !== undefined) throw new Error(`${origin}: the array ${pending.key} has no end`);
  return root;
}

function withoutComment(line) {
  let quoted = false;
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === '\\' && quoted) at += 1;
    else if (line[at] === '"') quoted = !quoted;
    else if (line[at] === '#' && !quoted) return line.slice(0, at);
  }
  return line;
}

// Strings, booleans and arrays of them are JSON once a trailing comma and the digits' underscores are gone.
function parseValue(source, fail) {
  const json = /^[\d_]+$/.test(source) ? source.replaceAll('_', '') : source.replace(/,\s*\]$/, ']');
  try {
    return JSON.parse(json);
  } catch {
    throw fail('a value this reader does not know');
  }
}
