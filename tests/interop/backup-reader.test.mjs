// Sealed backups against an independent reader and writer: OpenSSL through Python, written from the description alone.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { ClientEncryption, createBackup, MemoryKeyVaultStore, readBackup } from 'csfle-wasm';
import { root } from '../../js/dev/paths.mjs';
import { testPython } from '../env.mjs';

let python;
before(async () => {
  python = await testPython();
});

function theirs(requests) {
  const input = requests.map((request) => `${JSON.stringify(request)}\n`).join('');
  const { status, stdout, stderr } = spawnSync(python, [join(root, 'tests', 'interop', 'backup_reader.py')], { input, encoding: 'utf8', maxBuffer: 256 << 20 });
  assert.equal(status, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const base64 = (bytes) => Buffer.from(bytes).toString('base64');

// More than one chunk: 200 keys are some 70 kB.
async function vault() {
  const store = new MemoryKeyVaultStore();
  const local = { key: randomBytes(96) };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local } });
  for (let n = 0; n < 200; n += 1) await encryption.createDataKey('local', { keyAltNames: [`key ${n}`] });
  encryption.close();
  return { store, local };
}

test('a backup sealed by one implementation is opened by the other, in both directions', async () => {
  const { store, local } = await vault();
  const localKey = local.key.toString('hex');
  const passphrase = 'pass\u00e9 compos\u00e9';
  const schemas = [{ name: 'schema.json', bytes: randomBytes(1000) }];
  const ours = [
    { given: { passphrase }, key: { passphrase, argon2: { memoryKiB: 20_000, iterations: 2 } } },
    { given: { localKey }, key: { kmsProviders: { local }, masterKey: { provider: 'local' } } },
  ];
  for (const { given, key } of ours) {
    const { bytes } = await createBackup({ keyVault: store, key, schemas });
    const [{ content }] = theirs([{ open: base64(bytes), ...given }]);
    const expected = await readBackup(bytes, key);
    let at = 0;
    const plain = Buffer.from(content, 'base64');
    for (const document of expected.keyDocuments) {
      at = plain.indexOf(document, at);
      assert.notEqual(at, -1);
    }
    for (const chunkLength of [1024, 65_536, 1_048_576]) {
      const [{ file }] = theirs([{ seal: content, chunkLength, ...given }]);
      assert.deepEqual(await readBackup(new Uint8Array(Buffer.from(file, 'base64')), key), expected);
    }
  }
});

test('the other implementation reads the same content from every valid vector', () => {
  const folder = join(root, 'tests', 'vectors', 'sealed-backup');
  const vectors = readdirSync(folder)
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
    .filter(({ expect }) => expect === 'ok');
  assert.equal(vectors.length, 2);
  const answers = theirs(
    vectors.map(({ file, passphrase, localMasterKey }) => ({ open: file, ...(passphrase === undefined ? { localKey: localMasterKey } : { passphrase }) })),
  );
  assert.deepEqual(
    answers.map(({ content }) => content),
    vectors.map(({ content }) => content),
  );
});
