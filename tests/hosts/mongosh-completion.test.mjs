// Tab completion in the real mongosh, on a terminal: the objects of csfle offer their public methods, and nothing else of their own.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { testServices } from '../env.mjs';
import { installForShell } from './mongosh/shell.mjs';

const METHODS = {
  csfle: ['backup', 'clientEncryption', 'keyVault', 'migrate', 'status', 'awsKms', 'localKeyFile', 'help'],
  'csfle.backup': ['create', 'verify', 'restore', 'help'],
  vault: [
    ...['createKey', 'getKey', 'getKeyByAltName', 'getKeys', 'deleteKey', 'retiredKeys', 'restoreKey', 'rewrapManyDataKey', 'close', 'help'],
    ...['addKeyAlternateName', 'removeKeyAlternateName', 'createDataKey', 'addKeyAltName', 'removeKeyAltName'],
  ],
  encryption: [
    ...['encrypt', 'decrypt', 'encryptExpression', 'createEncryptedCollection', 'close', 'help'],
    ...['encryptDocument', 'encryptDocuments', 'decryptDocument', 'decryptDocuments'],
  ],
};

describe('Tab in mongosh', { timeout: 300_000 }, () => {
  let uri;
  let shell;
  const database = `tab_${randomUUID().slice(0, 8)}`;
  const options = `{ keyVaultNamespace: '${database}.__keyVault', kmsProviders: { local: csfle.localKeyFile('master-key.bin') } }`;
  const declarations = `const vault = csfle.keyVault(${options}), encryption = csfle.clientEncryption(${options})`;

  before(async () => {
    uri = (await testServices()).mongodbUri;
    shell = await installForShell({ files: { 'master-key.bin': randomBytes(96) } });
  });
  after(async () => {
    const client = await MongoClient.connect(uri);
    await client.db(database).dropDatabase();
    await client.close();
    await shell?.remove();
  });

  it('offers every public method of every object, and no other name of theirs', { skip: process.platform === 'win32' && 'no pseudo-terminal' }, async () => {
    const objects = Object.keys(METHODS);
    const [, , part, , ...shown] = await shell.type(
      [
        { keys: `${shell.load}\r`, until: '> ' },
        { keys: `${declarations}\r`, until: '> ' },
        // Part of a name becomes the whole. The first Tab of a session loads the shell's completer, which takes a while.
        { keys: 'vault.rewr\t', until: 'vault\\.rewrapManyDataKey' },
        { keys: '\u0015', until: '> ' },
        // Not the line again that stands behind the list, but the list as well: `csfle.` alone is what was typed.
        ...objects.flatMap((object) => [
          { keys: `${object}.`, until: `${object}\\.` },
          { keys: '\t', until: `${object}\\.\\w[\\s\\S]*> ${object}\\.`, again: 2 },
          // Ctrl+U: an empty line for the next object.
          { keys: '\u0015', until: '> ' },
        ]),
      ],
      { uri },
    );
    assert.match(part, /vault\.rewrapManyDataKey$/);
    const own = (text, object) => [...text.matchAll(new RegExp(`(?<![\\w.])${object.replace('.', '\\.')}\\.(\\w+)`, 'g'))].map(([, name]) => name);
    const inherited = Object.getOwnPropertyNames(Object.prototype);
    for (const [index, object] of objects.entries()) {
      const offered = own(shown[3 * index + 1], object).filter((name) => !inherited.includes(name));
      assert.deepEqual([...new Set(offered)].sort(), [...METHODS[object]].sort(), object);
    }
  });

  it('changes neither what is printed nor what becomes JSON', async () => {
    const prelude = `${shell.load} ${declarations};`;
    const { stdout } = await shell.run(`${prelude} print([csfle, vault, encryption]); print({ deep: { csfle: csfle.backup } })`, { uri, json: false });
    assert.deepEqual(
      stdout.trimEnd().replaceAll(/\s+/g, ' '),
      '[ Csfle { backup: CsfleBackup {} }, KeyVault {}, ClientEncryption {} ] { deep: { csfle: CsfleBackup {} } }',
    );
    const value = await shell.evaluate(
      `${prelude} ({ nested: [csfle, vault, encryption], text: [JSON.stringify(csfle), EJSON.stringify({ vault, encryption })] })`,
      { uri },
    );
    assert.deepEqual(value, { nested: [{ backup: {} }, {}, {}], text: ['{"backup":{}}', '{"vault":{},"encryption":{}}'] });
  });
});
