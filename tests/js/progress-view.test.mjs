// The progress bar of the command is not wider than the terminal.
import assert from 'node:assert/strict';
import test from 'node:test';
import { sourceModule } from './source-module.mjs';

const { ProgressView } = await sourceModule('js/cli/progress-view.ts');

test('a progress bar fits into a narrow terminal and does not change its line wrapping', () => {
  for (const columns of [40, 60, 100]) {
    const written = [];
    const raw = { isTTY: true, columns, write: (text) => written.push(text) };
    const view = new ProgressView(() => {}, { isTTY: true, raw });
    const tick = { phase: 'census', namespace: 'hospital.patients', total: 2000, failed: 3, ratePerSec: 1234, etaMs: 3000 };
    view.show({ ...tick, done: 1 });
    view.show({ ...tick, done: 1500 });
    view.close();
    const text = written.join('');
    assert.ok(text.includes('counting encrypted values'), text);
    assert.ok(!text.includes('\u001b[?7l'), 'wrapping is switched off');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked at.
    for (const line of text.split(/\u001b\[[\d?]*[A-Za-z]|\u001b[78]|\r?\n/)) assert.ok(line.length <= columns, `${line.length} of ${columns}: ${line}`);
  }
});
