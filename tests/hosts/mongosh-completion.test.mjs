// Tab completion in the real shell, on a terminal.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { testServices } from '../env.mjs';
import { installForShell } from './mongosh/shell.mjs';

const SCRIPT = fileURLToPath(new URL('./mongosh/completion.py', import.meta.url));
const tools = createRequire(new URL('../tools/package.json', import.meta.url));
const program = join(dirname(tools.resolve('mongosh/package.json')), tools('mongosh/package.json').bin.mongosh);

describe('tab completion in mongosh', { timeout: 240_000 }, () => {
  let shell;
  let uri;
  before(async () => {
    ({ mongodbUri: uri } = await testServices());
    shell = await installForShell({ files: { 'key.bin': randomBytes(96) } });
  });
  after(() => shell.remove());

  // The names that are offered after each of `objects`, apart from those of every object.
  function offered(objects) {
    const options = "{ keyVaultNamespace: 'completion.__keyVault', kmsProviders: { local: csfle.localKeyFile('key.bin') } }";
    const lines = [
      ["const csfle = require('csfle-wasm/mongosh')\r", '> '],
      [`const encryption = csfle.clientEncryption(${options})\r`, '> '],
      ['const vault = csfle.keyVault(encryption)\r', '> '],
      // The first completion loads the completer, which takes seconds. It adds one letter.
      ['csfle.statu', ''],
      ['<TAB>', 's'],
      ['\u0015', ''],
    ];
    // With several matches the first key prints nothing, the second one the list.
    const typed = objects.flatMap((object) => [
      [`${object}.`, ''],
      ['<TAB>', ''],
      ['<TAB>', `${object}.help`],
      ['\u0015', ''],
    ]);
    const { stdout, stderr } = spawnSync('python3', [SCRIPT, process.execPath, program, '--quiet', '--norc', uri], {
      cwd: shell.folder,
      env: { ...process.env, HOME: join(shell.folder, 'home'), TERM: 'xterm' },
      input: JSON.stringify([...lines, ...typed]),
      encoding: 'utf8',
    });
    assert.notEqual(stdout, '', stderr);
    const shown = JSON.parse(stdout);
    return objects.map((object, index) => {
      const text = shown.slice(lines.length + 4 * index, lines.length + 4 * index + 3).join('');
      const names = [...text.matchAll(/([\w$]+(?:\.[\w$]+)*)\.([\w$]+)/g)].filter(([, of]) => of === object).map(([, , name]) => name);
      return [...new Set(names)].filter((name) => !(name in {})).sort();
    });
  }

  it('every public method of csfle and of its objects is offered, and nothing else', () => {
    const [csfle, backup, encryption, vault] = offered(['csfle', 'csfle.backup', 'encryption', 'vault']);
    assert.deepEqual(csfle, ['awsKms', 'backup', 'clientEncryption', 'help', 'keyVault', 'localKeyFile', 'migrate', 'status']);
    assert.deepEqual(backup, ['create', 'help', 'restore', 'verify']);
    assert.deepEqual(encryption, [
      'close',
      'createEncryptedCollection',
      'decrypt',
      'decryptDocument',
      'decryptDocuments',
      'encrypt',
      'encryptDocument',
      'encryptDocuments',
      'encryptExpression',
      'help',
    ]);
    for (const name of [
      'addKeyAlternateName',
      'createDataKey',
      'createKey',
      'deleteKey',
      'getKey',
      'getKeyByAltName',
      'getKeys',
      'help',
      'removeKeyAlternateName',
      'rewrapManyDataKey',
    ])
      assert.ok(vault.includes(name), name);
    assert.deepEqual(
      vault.filter((name) => /^[_#]/.test(name)),
      [],
    );
  });
});
