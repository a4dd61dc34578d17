import Table from 'cli-table3';
import { visible } from '../node/text.js';

const BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
} as const;

/** The lines of a table without rules, as commands print them: one header row, columns two spaces apart. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[], indent = ''): readonly string[] {
  const table = new Table({
    head: [...head],
    chars: BORDERS,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  });
  table.push(...rows.map((row) => row.map(visible)));
  return table
    .toString()
    .split('\n')
    .map((line) => `${indent}${line.trimEnd()}`);
}
