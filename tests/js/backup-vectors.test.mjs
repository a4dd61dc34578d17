// The vectors of sealed backups through the package: the same files that the core's own tests read.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { isSealedBackup, readBackup, verifyBackup } from 'csfle-wasm';
import { root } from '../../js/dev/paths.mjs';

const folder = join(root, 'tests', 'vectors', 'sealed-backup');
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
const known = ['origin', 'comment', 'expect', 'localMasterKey', 'file', 'passphrase', 'content'];

test('the folder has vectors, and each vector has only known fields', () => {
  assert.ok(names.length >= 30);
  for (const name of names) {
    const unknown = Object.keys(JSON.parse(readFileSync(join(folder, name), 'utf8'))).filter((field) => !known.includes(field));
    assert.deepEqual(unknown, [], name);
  }
});

for (const name of names) {
  const vector = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  test(`${name}: ${vector.comment}`, async () => {
    const file = new Uint8Array(Buffer.from(vector.file, 'base64'));
    const local = { key: Buffer.from(vector.localMasterKey, 'hex') };
    const key = vector.passphrase === undefined ? { kmsProviders: { local } } : { passphrase: vector.passphrase };
    if (vector.expect !== 'ok') {
      await assert.rejects(verifyBackup(file, key), { code: vector.expect });
      return;
    }
    assert.equal(isSealedBackup(file), true);
    const contents = await readBackup(file, key);
    assert.equal(contents.keyDocuments.length, 6);
    assert.deepEqual([contents.indexes.length, contents.collections.length, contents.schemas.length, contents.localMasterKeys.length], [1, 1, 1, 1]);
    assert.equal(contents.manifest.keyVault, 'encryption.__keyVault');
    assert.equal(contents.manifest.createdAt.getTime(), 1_700_000_000_000);
    // Each document stands in the content as it came out, in this order.
    let rest = Buffer.from(vector.content, 'base64');
    for (const document of contents.keyDocuments) {
      const at = rest.indexOf(document);
      assert.notEqual(at, -1);
      rest = rest.subarray(at + document.length);
    }
  });
}
