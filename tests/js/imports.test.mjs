// The architecture test is as good as its reading of imports.
import assert from 'node:assert/strict';
import test from 'node:test';
import { crateImports, importsOf } from './imports.mjs';

const cases = [
  ["import { a } from './a.js';", [{ specifier: './a.js', isTypeOnly: false, isDynamic: false }]],
  ["import {\n  type A,\n  b,\n} from './a.js';", [{ specifier: './a.js', isTypeOnly: false, isDynamic: false }]],
  ["import type { A } from './a.js';", [{ specifier: './a.js', isTypeOnly: true, isDynamic: false }]],
  ["import { type A, type B } from './a.js';", [{ specifier: './a.js', isTypeOnly: true, isDynamic: false }]],
  ["import './a.js';", [{ specifier: './a.js', isTypeOnly: false, isDynamic: false }]],
  ["import * as a from 'node:fs';", [{ specifier: 'node:fs', isTypeOnly: false, isDynamic: false }]],
  ["export { a } from './a.js';", [{ specifier: './a.js', isTypeOnly: false, isDynamic: false }]],
  ["export * from './a.js';", [{ specifier: './a.js', isTypeOnly: false, isDynamic: false }]],
  ["export type { A } from './a.js';", [{ specifier: './a.js', isTypeOnly: true, isDynamic: false }]],
  ["const a = await import('@aws-sdk/client-kms');", [{ specifier: '@aws-sdk/client-kms', isTypeOnly: false, isDynamic: true }]],
  ["// import { a } from './a.js';", []],
  ["/* import { a } from './a.js'; */", []],
  ["export const a = 'from';", []],
  ["export function f() { return 'x'; }", []],
  ["export type A = 'x' | 'y';", []],
];

for (const [source, expected] of cases) {
  test(`imports of ${JSON.stringify(source)}`, () => assert.deepEqual(importsOf(source), expected));
}

const crateCases = [
  ['use crate::a::B;', ['a']],
  ['use crate::{a::B, c};', ['a', 'c']],
  ['use crate::{\n    a::{B, C},\n    d::{self, E},\n    f,\n};', ['a', 'd', 'f']],
  ['fn f() -> crate::g::H {}', ['g']],
  ['// crate::a', []],
  ['use super::a;\n#[cfg(test)]\nmod tests { use crate::b; }', []],
];

for (const [source, expected] of crateCases) {
  test(`crate imports of ${JSON.stringify(source)}`, () => assert.deepEqual(crateImports(source), expected));
}
