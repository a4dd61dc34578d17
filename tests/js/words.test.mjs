// The command and the shell print errors of the library with their own flags and options: every code, remedy and message.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CsfleError } from 'csfle-wasm';
import { root } from '../../js/dev/paths.mjs';
import { sourceModule } from './source-module.mjs';

const released = JSON.parse(readFileSync(new URL('../vectors/error-codes.json', import.meta.url), 'utf8'));
const codes = [...released.core, ...released.js];
const { inCommand } = await sourceModule('js/cli/words.ts');
const { inShell } = await sourceModule('js/mongosh/words.ts');

// Options and functions of the library that a host does not have, at least under that name.
const ofLibrary = [
  'keyVaultStore',
  'createBackup',
  'restoreBackup',
  'verifyBackup',
  'readBackup',
  'proveKeys',
  'retireKeys',
  'restoreRetiredKeys',
  'purgeRetiredKeys',
  'ClientEncryption',
  'MongoClient',
  'cause`',
];
const notInCommand = [
  ...ofLibrary,
  'callback',
  'kmsProviders',
  'keyVault',
  'keyVaultNamespace',
  'keyVaultClient',
  'trustedMasterKeys',
  'allowedEndpoints',
  'deleteOldKeys',
  'confirmPlaintext',
  'createdBefore',
  'keyIds',
  'keyFilter',
  'otherCollections',
  'dataClients',
  'skipNamespaces',
  'evidence',
  'onBackup',
  'batchSize',
  'kmsConcurrency',
  'kmsTimeoutMS',
  'kmsRetries',
  'allowUnproven',
  'fromAnotherKeyVault',
  'withoutTakenNames',
  'awsKms',
  'retiredKeys',
];
const word = (names) => new RegExp(`(?<![\\w.])(?:${names.join('|')})(?!\\w)|\`(?:from|to|mode|all|collections|schemas|proof)\``);
const hosts = [
  { name: 'the command', wording: inCommand, forbidden: word(notInCommand) },
  {
    name: 'the shell',
    wording: inShell,
    // csfle.keyVault() and keyVault.createKey() are of the shell, an option keyVault is not.
    forbidden: new RegExp(
      `${word([...ofLibrary, 'onProgress', 'onBackup']).source.split('|`')[0]}|(?<![\\w./"'-])keyVault(?![\\w/"'(-]|\\.\\w)|--[a-z]|csfle (?:backup|migrate|keys|doctor|decrypt) `,
    ),
  },
];

for (const { name, wording, forbidden } of hosts) {
  test(`${name} says the remedy of every code in its own terms`, () => {
    for (const code of codes) {
      const { message, remedy } = new CsfleError(code, 'what is wrong');
      const said = wording.error({ code, message, remedy });
      assert.match(said.remedy, /^[A-Z].{5,}[.)>\w]$/, code);
      assert.doesNotMatch(said.remedy, forbidden, code);
      assert.doesNotMatch(wording.report({ checks: [{ name: 'x', ok: false, detail: 'd', code }] }).checks[0].remedy, forbidden, code);
    }
  });

  test(`${name} says every message of the library in its own terms`, () => {
    const all = messages();
    assert.ok(all.length > 200, String(all.length));
    const left = all.filter(({ text, option }) =>
      forbidden.test(wording.error({ code: 'OPTION_INVALID', message: text, remedy: '', details: option === undefined ? {} : { option } }).message),
    );
    assert.deepEqual(
      left.map(({ text, path }) => `${path}: ${wording.text(text)}`).filter((one) => !unreachable.some((part) => one.includes(part))),
      [],
    );
  });
}

// About arguments that the hosts make themselves: they cannot be wrong there.
const unreachable = ['a MongoClient is needed for the key vault'];

test('texts of the command name no option of the library, except where they refer to the library', () => {
  const own = messages(/^cli\/(?!words\.ts)/).map(({ text }) => text);
  assert.ok(own.length > 200, String(own.length));
  assert.deepEqual(
    own.filter((one) => hosts[0].forbidden.test(one) && !/\bthe library\b/.test(one)),
    [],
  );
});

test('texts of the shell name no option of the library', () => {
  const own = messages(/^mongosh\/(?!words\.ts)/).map(({ text }) => text);
  assert.ok(own.length > 100, String(own.length));
  // The name of a class of the shell, and the variable that holds an object of one.
  const allowed = ['ClientEncryption class for x, key vault x', 'csfle.status({ keyVaultNamespace, kmsProviders } | keyVault)'];
  assert.deepEqual(
    own.filter((one) => hosts[1].forbidden.test(one) && !allowed.includes(one)),
    [],
  );
});

test('the shell says its own options in place of those of the library', () => {
  for (const [text, said] of [
    ['keyVault must be a key vault store', 'keyVaultNamespace must be a key vault store'],
    ['the options `keyVault` and onBackup are missing', 'the options `keyVaultNamespace` and backupFile are missing'],
    ['csfle.keyVault() and keyVault.createKey() make one', 'csfle.keyVault() and keyVault.createKey() make one'],
    ['hospital.keyVault and "keyVault" stay', 'hospital.keyVault and "keyVault" stay'],
  ])
    assert.equal(inShell.text(text), said);
});

test('names of collections, keys and files of the caller are not replaced in messages', () => {
  for (const text of [
    'hospital.collections cannot be read',
    'key 6c1f ("kmsProviders") is in use',
    'the file /tmp/allowUnproven is there already',
    '"from" has no key',
  ])
    for (const { wording } of hosts) assert.equal(wording.text(text), text);
  const report = { failures: [{ kind: 'key', id: 'deleteOldKeys', code: 'KMS_FAILED', message: 'm', remedy: 'r', keyAltNames: ['createdBefore'] }] };
  const [failure] = inCommand.report(report).failures;
  assert.deepEqual([failure.id, failure.keyAltNames], ['deleteOldKeys', ['createdBefore']]);
});

test("messages of the command name the flag in place of the library's option, with the remedy of that option", () => {
  const said = (option, message) => inCommand.error({ code: 'OPTION_INVALID', message, remedy: 'r', details: { option } });
  assert.match(said('collections', 'the mode reencrypt needs collections: name every one').message, /needs --collection: /);
  assert.match(said('collections', 'x').remedy, /--collection/);
  assert.match(said('deleteOldKeys', 'deleteOldKeys is of the mode reencrypt, not of rewrap').message, /^--delete-old-keys is of --mode reencrypt/);
  assert.match(inCommand.text('`from` and `to` are the same master key'), /^--from and --to /);
  assert.match(inCommand.text('trustedMasterKeys[0]: no pattern'), /--trusted-master-key/);
});

test('a key document that does not open under a local master key names the file of that key', () => {
  const fault = { code: 'CRYPTO_AUTHENTICATION_FAILED', message: 'HMAC validation failure', remedy: 'r' };
  for (const { wording, step } of [
    { wording: inCommand, step: /--local-key-file/ },
    { wording: inShell, step: /csfle\.localKeyFile/ },
  ]) {
    wording.localKeys.set('local', 'new.bin');
    const { message, remedy } = wording.error({ ...fault, details: { provider: 'local', keyId: 'x' } });
    assert.match(message, /key document does not open under the local master key of new\.bin/);
    assert.match(remedy, step);
    const {
      checks: [check],
    } = wording.report({
      checks: [{ name: 'old-keys-unwrap', ok: false, code: fault.code, detail: 'no key opens (x): HMAC validation failure' }],
    });
    assert.match(check.detail, /^no key opens \(x\): the key documents do not open under the local master key of new\.bin/);
    assert.match(check.remedy, step);
    // If the key opens, a value that does not decrypt is damaged, not encrypted under another master key.
    assert.equal(wording.error({ ...fault, details: { keyId: 'x', path: 'ssn' } }).message, fault.message);
  }
});

// Texts of the library with a blank in them, and the option that an error names beside its text.
function messages(among = /^(?!cli|mongosh|dev|node|generated|mongocrypt|entry|error-codes)/) {
  const paths = readdirSync(join(root, 'js'), { recursive: true }).map((path) => path.replaceAll('\\', '/'));
  return paths
    .filter((path) => path.endsWith('.ts') && among.test(path))
    .flatMap((path) => {
      const source = readFileSync(join(root, 'js', path), 'utf8');
      return literals(source)
        .filter(({ text }) => /\w \w/.test(text))
        .map(({ text, end }) => ({ path, text, option: /^[^;]{0,80}?(?:option|argument): '(\w+)'/.exec(source.slice(end))?.[1] }));
    });
}

// The strings and templates of a source, with `x` for what a template puts in.
function literals(source) {
  const found = [];
  const texts = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`/g;
  for (let match = texts.exec(source); match !== null; match = texts.exec(source)) {
    const text = match[1] ?? match[2] ?? (match[0] === '`' ? templateFrom(source, match.index + 1) : undefined);
    if (typeof text === 'object') texts.lastIndex = text.end;
    if (text !== undefined) found.push({ text: (text.text ?? text).replace(/\\(.)/g, '$1'), end: texts.lastIndex });
  }
  return found;
}

function templateFrom(source, start) {
  let text = '';
  for (let at = start; at < source.length; at += 1) {
    if (source[at] === '`') return { text, end: at + 1 };
    if (source[at] === '\\') {
      text += source.slice(at, at + 2);
      at += 1;
    } else if (source.startsWith('${', at)) {
      let depth = 1;
      for (at += 2; depth > 0 && at < source.length; at += 1) {
        if (source[at] === '{') depth += 1;
        if (source[at] === '}') depth -= 1;
        if (source[at] === '`') at = templateFrom(source, at + 1).end - 1;
      }
      at -= 1;
      text += 'x';
    } else text += source[at];
  }
  return { text, end: source.length };
}
