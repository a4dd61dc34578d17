// The shell from npm, unmodified, with its own classes on this package.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { root } from '../../js/dev/paths.mjs';
import { testServices } from '../env.mjs';

const { mongodbUri } = await testServices();
const alias = fileURLToPath(new URL('./alias.cjs', import.meta.url));
const shell = join(root, 'node_modules', 'mongosh', 'bin', 'mongosh.js');

function run(script) {
  const home = mkdtempSync(join(tmpdir(), 'csfle-mongosh-'));
  try {
    const { stdout, stderr, status } = spawnSync(process.execPath, ['-r', alias, shell, '--quiet', mongodbUri, '--eval', script], {
      encoding: 'utf8', timeout: 120_000, env: { ...process.env, HOME: home, USERPROFILE: home },
    });
    assert.equal(status, 0, stderr + stdout);
    return JSON.parse(stdout.trim().split('\n').at(-1));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

const open = (name) => `
  const local = { key: BinData(0, "${Buffer.alloc(96, 5).toString('base64')}") };
  const m = Mongo("${mongodbUri}", { keyVaultNamespace: '${name}.keys', kmsProviders: { local, 'local:other': local }, bypassAutoEncryption: true });
  const vault = m.getKeyVault();
  const encryption = m.getClientEncryption();
  const db = m.getDB('${name}');
`;

test("the shell's KeyVault and ClientEncryption make, use, rename and rewrap keys", () => {
  const found = run(`${open('dropin_shell')}
    const id = vault.createKey('local', ['shell']);
    const value = encryption.encrypt(id, 'hello', 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic');
    db.c.insertOne({ _id: 1, value });
    const before = vault.addKeyAlternateName(id, 'later');
    const found = {
      subtype: value.sub_type, explicit: encryption.decrypt(value), automatic: db.c.findOne({ _id: 1 }).value,
      names: [before.keyAltNames.length, vault.getKeyByAltName('later').keyAltNames.length],
      rewrapped: vault.rewrapManyDataKey({}, { provider: 'local:other' }).bulkWriteResult.modifiedCount, provider: vault.getKey(id).masterKey.provider,
      again: encryption.decrypt(value), deleted: vault.deleteKey(id).deletedCount,
    };
    db.dropDatabase();
    print(JSON.stringify(found));
  `);
  assert.deepEqual(found, {
    subtype: 6, explicit: 'hello', automatic: 'hello', names: [1, 2], rewrapped: 1, provider: 'local:other', again: 'hello', deleted: 1,
  });
});

test('a refusal reaches the shell with its message', () => {
  const message = run(`${open('dropin_shell_refused')}
    const id = vault.createKey('local');
    let message = '';
    try { encryption.encrypt(id, 1.5, 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic'); } catch (error) { message = error.message; }
    db.dropDatabase();
    print(JSON.stringify(message));
  `);
  assert.equal(message, 'BSON type invalid for deterministic encryption');
});
