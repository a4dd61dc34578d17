// js/node/text.ts: whatever others wrote, a person sees one line and everything in it.
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { sourceModule } from './source-module.mjs';

const { visible, visibleJson } = await sourceModule('js/node/text.ts');

test('what moves the cursor, ends a line, turns its direction or is not seen stands there as its code', () => {
  assert.equal(visible('a\nok    data key'), 'a\\u000aok    data key');
  const unseen = [
    '\u0000',
    '\u001b',
    '\r',
    '\t',
    '\u007f',
    '\u0085',
    '\u009b',
    '\u00ad',
    '\u061c',
    '\u115f',
    '\u180e',
    '\u200b',
    '\u200d',
    '\u200e',
    '\u2028',
    '\u2029',
    '\u202e',
    '\u2066',
    '\u2060',
    '\u3164',
    '\ufe0f',
    '\ufeff',
    '\u{e0041}',
    '\ud800',
    '\u00a0',
    '\u3000',
  ];
  for (const character of unseen) assert.match(visible(`a${character}b`), /^a\\u(?:[0-9a-f]{4}|\{[0-9a-f]+\})b$/, JSON.stringify(character));
  const seen = 'ward B, Größe 5 µm, 患者, \u{1f3e5}, é';
  assert.equal(visible(seen), seen);
});

test('JSON with escapes is the same JSON, and has no such character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const json = visibleJson(JSON.stringify({ [text]: text }, null, 2));
      assert.deepEqual(JSON.parse(json), { [text]: text });
      assert.doesNotMatch(json.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u);
      assert.doesNotMatch(visible(text), /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u);
    }),
  );
});
