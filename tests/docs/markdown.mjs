// Reads the documents of this repository: their code fences, and their links.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../js/dev/paths.mjs';

// Committed documents and those about to be.
export function markdownFiles() {
  const { stdout } = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' });
  return stdout
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(root, path)))
    .sort();
}

export const textOf = (path) => readFileSync(join(root, path), 'utf8');

/**
 * The code fences of a document, in order. `language` is the first word after the backticks, which readers' viewers colour by;
 * `kind` is the rest, which says what runs it: `js node`, `js mongosh`, `sh project` ...
 */
export function fencesOf(text) {
  const fences = [];
  let open;
  for (const [index, line] of text.split('\n').entries()) {
    const mark = /^( *)```(.*)$/.exec(line);
    if (open !== undefined) {
      if (mark !== null && mark[2].trim() === '') {
        fences.push({ ...open, text: open.lines.map((one) => `${one}\n`).join('') });
        open = undefined;
      } else open.lines.push(line.slice(open.indent));
    } else if (mark !== null) {
      const [language = '', ...kind] = mark[2].trim().split(/\s+/);
      open = { line: index + 1, language, kind: kind.join(' '), indent: mark[1].length, lines: [] };
    }
  }
  if (open !== undefined) throw new Error(`the fence of line ${open.line} is never closed`);
  return fences;
}

/** A document without its fences, where a link or a code is prose. Lines keep their numbers. */
export function proseOf(text) {
  let inside = false;
  return text
    .split('\n')
    .map((line) => {
      const isMark = /^ *```/.test(line);
      if (isMark) inside = !inside;
      return isMark || inside ? '' : line;
    })
    .join('\n');
}

/** Targets of links and images: `[text](target)` and `[name]: target`. */
export function linksOf(text) {
  const prose = proseOf(text);
  return [...prose.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g), ...prose.matchAll(/^\[[^\]]+\]:\s+(\S+)/gm)].map(([, target]) => target);
}

/** The anchors that viewers make of headings. */
export function anchorsOf(text) {
  return [...proseOf(text).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading
      .replace(/[`*_]/g, '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} -]/gu, '')
      .replaceAll(' ', '-'),
  );
}
