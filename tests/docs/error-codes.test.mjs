// Every error code is explained, where it is defined and where it is looked up, and documents name no code that does not exist.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CsfleError, errorCodes } from 'csfle-wasm';
import { root } from '../../js/dev/paths.mjs';
import { markdownFiles, textOf } from './markdown.mjs';

const codes = errorCodes();
const all = [...codes.core, ...codes.js];

// A sentence that says more than the code itself does.
const isExplanation = (text) => /^[A-Z].{19,}[.)]$/s.test(text);

test('every code of the core has its doc comment', () => {
  const entries = [...textOf('crate/core/src/error.rs').matchAll(/((?: {4}\/\/\/ .*\n)*) {4}\w+ = "([A-Z_]+)",/g)];
  assert.deepEqual(
    entries.map(([, , code]) => code),
    codes.core,
  );
  const unexplained = entries.filter(
    ([, comment]) =>
      !isExplanation(
        comment
          .replace(/^ *\/\/\/ /gm, '')
          .replaceAll('\n', ' ')
          .trim(),
      ),
  );
  assert.deepEqual(
    unexplained.map(([, , code]) => code),
    [],
  );
});

test('every code has a remedy, and none repeats its code', () => {
  assert.deepEqual(
    all.filter((code) => !isExplanation(new CsfleError(code, '').remedy)),
    [],
  );
  assert.deepEqual(
    all.filter((code) => new CsfleError(code, '').remedy.includes(code)),
    [],
  );
});

// The compiler asks for a remedy wherever one is raised.
test('every code of the command is raised somewhere', () => {
  const declared = [...textOf('js/cli/failure.ts').matchAll(/\| '(CLI_[A-Z_]+)'/g)].map(([, code]) => code);
  const folder = join(root, 'js', 'cli');
  const source = readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
  const raised = new Set([...source.matchAll(/new CliError\(\s*'([A-Z_]+)'/g)].map(([, code]) => code));
  assert.ok(declared.length > 5);
  assert.deepEqual(
    declared.filter((code) => !raised.has(code)),
    [],
  );
});

const variables = [
  'MONGODB_URI',
  'AWS_ENDPOINT_URL_KMS',
  'CSFLE_LOCAL_KEY',
  'CSFLE_BACKUP_PASSPHRASE',
  'CSFLE_TRUSTED_MASTER_KEYS',
  'CSFLE_ALLOWED_ENDPOINTS',
  'CSFLE_DATA_URIS',
  'CSFLE_VECTORS',
  'CSFLE_DEMO_KEY_ARN',
];

for (const path of markdownFiles()) {
  test(`${path} names codes that exist`, () => {
    const words = [...textOf(path).matchAll(/`([A-Z]+(?:_[A-Z]+)*_)\*`|`([A-Z]+(?:_[A-Z]+)+)`/g)];
    // `KMS_*` stands for all codes that begin so.
    const unknown = words.filter(([, family, code]) =>
      family === undefined ? !all.includes(code) && !variables.includes(code) : family !== 'CLI_' && !all.some((one) => one.startsWith(family)),
    );
    assert.deepEqual(
      unknown.map(([whole]) => whole),
      [],
    );
  });
}

test('the families of docs/errors.md cover every code', () => {
  const families = [...textOf('docs/errors.md').matchAll(/`([A-Z]+(?:_[A-Z]+)*_)\*`/g)].map(([, family]) => family);
  const named = [...textOf('docs/errors.md').matchAll(/`([A-Z]+(?:_[A-Z]+)*)`/g)].map(([, code]) => code);
  assert.deepEqual(
    all.filter((code) => !named.includes(code) && !families.some((family) => code.startsWith(family))),
    [],
  );
});
