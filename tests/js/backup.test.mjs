import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, createBackup, describeSealedBackup, isSealedBackup, MemoryKeyVaultStore, readBackup, restoreBackup, verifyBackup } from 'csfle-wasm';
import { invertingKms } from './inverting-kms.mjs';

const cost = { memoryKiB: 19_456, iterations: 2 };
const passphrase = 'correct horse';
const words = { passphrase, argon2: cost };
const aws = { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:111122223333:key/one' };

// A vault of three keys, two under a local master key and one under a KMS.
async function vault() {
  const store = new MemoryKeyVaultStore();
  const kmsProviders = { local: { key: randomBytes(96) }, aws: invertingKms() };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
  const { provider, ...masterKey } = aws;
  const ids = [
    await encryption.createDataKey('local', { keyAltNames: ['ssn'] }),
    await encryption.createDataKey('local'),
    await encryption.createDataKey(provider, { masterKey, keyAltNames: ['notes'] }),
  ];
  const bytes = async () => (await store.find({})).map((document) => Buffer.from(bson.serialize(document)).toString('hex'));
  return { store, kmsProviders, encryption, ids, idTexts: ids.map((id) => id.toHexString(true)), bytes };
}

const failuresOf = ({ failures }) => failures.map(({ kind, id, code }) => ({ kind, id, code }));

describe('createBackup', () => {
  it('holds key documents byte for byte, in order, with schemas and local master keys on request', async () => {
    const { store, kmsProviders, bytes } = await vault();
    const schema = { name: 'schema.json', bytes: new TextEncoder().encode('{ }') };
    const made = await createBackup({ keyVault: store, key: words, schemas: [schema], localMasterKeys: [{ provider: 'local', key: kmsProviders.local.key }] });
    assert.equal(made.sha256, createHash('sha256').update(made.bytes).digest('hex'));
    assert.equal(made.keys, 3);
    const contents = await readBackup(made.bytes, { passphrase });
    assert.deepEqual(
      contents.keyDocuments.map((document) => Buffer.from(document).toString('hex')),
      await bytes(),
    );
    assert.deepEqual(contents.schemas, [schema]);
    assert.deepEqual(
      contents.localMasterKeys.map(({ key }) => Buffer.from(key)),
      [kmsProviders.local.key],
    );
    assert.match(contents.manifest.tool, /^csfle-wasm \d+\.\d+\.\d+/);
  });

  it('a sealed backup shows only the size of the vault', async () => {
    const { store, idTexts } = await vault();
    const { bytes } = await createBackup({ keyVault: store, key: words });
    const text = Buffer.from(bytes).toString('latin1');
    for (const secret of ['ssn', 'notes', 'keyMaterial', Buffer.from(idTexts[0].replaceAll('-', ''), 'hex').toString('latin1')])
      assert.ok(!text.includes(secret), secret);
  });

  it('under a KMS, the wrapping is unwrapped again before the file is given out', async () => {
    const { store, kmsProviders } = await vault();
    const kms = invertingKms();
    const made = await createBackup({ keyVault: store, key: { kmsProviders: { aws: kms }, masterKey: aws } });
    assert.deepEqual([kms.encrypts, kms.decrypts], [1, 1]);
    assert.deepEqual(describeSealedBackup(made.bytes), { method: 'masterKey', masterKey: aws });
    assert.equal((await verifyBackup(made.bytes, { kmsProviders })).keys.length, 3);
  });

  it('no backup is returned when the KMS does not unwrap the backup key correctly', async () => {
    const { store } = await vault();
    const lies = [
      { ...invertingKms(), decrypt: () => randomBytes(96) },
      { ...invertingKms(), encrypt: () => randomBytes(136) },
    ];
    for (const kms of lies)
      await assert.rejects(createBackup({ keyVault: store, key: { kmsProviders: { aws: kms }, masterKey: aws } }), { code: 'KMS_REPLY_MISMATCH' });
    const short = { ...invertingKms(), decrypt: () => randomBytes(95) };
    await assert.rejects(createBackup({ keyVault: store, key: { kmsProviders: { aws: short }, masterKey: aws } }), { code: 'KMS_REPLY_LENGTH' });
  });

  it('a passphrase opens in every normal form of Unicode and as bytes', async () => {
    const { store } = await vault();
    const made = await createBackup({ keyVault: store, key: { passphrase: 'pass\u00e9 compos\u00e9', argon2: cost } });
    const decomposed = 'pass\u00e9 compos\u00e9'.normalize('NFD');
    for (const given of [decomposed, new TextEncoder().encode(decomposed)])
      assert.equal((await verifyBackup(made.bytes, { passphrase: given })).keys.length, 3);
  });

  it('refuses passphrases that are too short, too long or not valid text, and Argon2 costs outside the limits', async () => {
    const { store } = await vault();
    const refused = async (key, code) => assert.rejects(createBackup({ keyVault: store, key }), { code });
    for (const weak of ['', 'seven77', 'e\u0301'.repeat(7), '\ud800 correct horse', Uint8Array.of(0xff, 1, 2, 3, 4, 5, 6, 7), 'a'.repeat(1025)])
      await refused({ passphrase: weak }, 'BACKUP_PASSPHRASE_INVALID');
    for (const argon2 of [{ memoryKiB: 8 }, { memoryKiB: 4 * 1024 * 1024 }, { iterations: 1 }, { iterations: 1000 }])
      await refused({ passphrase, argon2 }, 'BACKUP_LIMIT_EXCEEDED');
    await refused({ passphrase, argon2: { memoryKiB: -1 } }, 'ARGUMENT_INVALID');
    await refused({ passphrase: 5 }, 'ARGUMENT_INVALID');
    await refused(null, 'ARGUMENT_INVALID');
    await refused({ kmsProviders: {} }, 'ARGUMENT_INVALID');
    await refused({ passphrase, hint: 'a horse' }, 'OPTION_INVALID');
    await assert.rejects(createBackup({ keyVault: store, key: words, localMasterKeys: [{ provider: 'local', key: randomBytes(95) }] }), {
      code: 'ARGUMENT_INVALID',
    });
    await assert.rejects(createBackup({ keyVault: store, key: words, compress: true }), { code: 'OPTION_INVALID' });
  });
});

describe('verifyBackup', () => {
  it('lists the contents, and names malformed key documents', async () => {
    const { store, idTexts } = await vault();
    await store.insert({ _id: new bson.UUID(), keyMaterial: 5 });
    const made = await createBackup({ keyVault: store, key: words });
    const summary = await verifyBackup(made.bytes, { passphrase });
    assert.deepEqual(summary.keys.slice(0, 3), [
      { id: idTexts[0], keyAltNames: ['ssn'], provider: 'local', malformed: false },
      { id: idTexts[1], keyAltNames: [], provider: 'local', malformed: false },
      { id: idTexts[2], keyAltNames: ['notes'], provider: 'aws', malformed: false },
    ]);
    assert.equal(summary.keys[3].malformed, true);
    assert.deepEqual([summary.method, summary.sha256, summary.keyVault], ['passphrase', made.sha256, null]);
  });

  it('a key of another kind or another value has a code of its own', async () => {
    const { store, kmsProviders } = await vault();
    const { bytes } = await createBackup({ keyVault: store, key: { kmsProviders, masterKey: { provider: 'local' } } });
    await assert.rejects(verifyBackup(bytes, { kmsProviders: {} }), { code: 'BACKUP_KEY_MISSING' });
    await assert.rejects(verifyBackup(bytes, { kmsProviders: { local: { key: randomBytes(96) } } }), { code: 'BACKUP_KEY_WRONG' });
    await assert.rejects(verifyBackup('text', { passphrase }), { code: 'ARGUMENT_INVALID' });
    assert.equal(isSealedBackup(bytes), true);
    assert.equal(isSealedBackup(bytes.subarray(1)), false);
  });
});

describe('restoreBackup', () => {
  it('plans by default, puts back what is gone, and changes nothing the second time', async () => {
    const place = await vault();
    const { bytes } = await createBackup({ keyVault: place.store, key: words });
    const before = await place.bytes();
    await place.store.retireKey(place.ids[0], { reason: 'a test', requestedBy: 'a test' });
    const options = { bytes, key: { passphrase }, keyVault: place.store };
    const plan = await restoreBackup(options);
    assert.deepEqual([plan.executed, plan.ok, plan.inserted, plan.unchanged], [false, true, [place.idTexts[0]], place.idTexts.slice(1)]);
    assert.equal((await place.bytes()).length, 2);
    const report = await restoreBackup({ ...options, execute: true });
    assert.deepEqual([report.executed, report.ok, report.inserted], [true, true, [place.idTexts[0]]]);
    assert.deepEqual((await place.bytes()).sort(), before.sort());
    const again = await restoreBackup({ ...options, execute: true });
    assert.deepEqual([again.inserted, again.unchanged.length], [[], 3]);
  });

  // The vault of `vault()`, backed up, then wrapped under the KMS.
  async function rewrapped() {
    const place = await vault();
    const { bytes } = await createBackup({ keyVault: place.store, key: words });
    const before = await place.bytes();
    const { provider, ...masterKey } = aws;
    await place.encryption.rewrapManyDataKey({ 'masterKey.provider': 'local' }, { provider, masterKey });
    const kept = [];
    const replaced = {
      key: words,
      write: (backup) => {
        kept.push(backup);
      },
    };
    return { ...place, before, kept, now: await place.bytes(), options: { bytes, key: { passphrase }, keyVault: place.store, execute: true, replaced } };
  }

  it('names keys with another wrapping and does not change them', async () => {
    const place = await rewrapped();
    const report = await restoreBackup(place.options);
    assert.deepEqual([report.ok, report.differing, report.replaced], [true, place.idTexts.slice(0, 2), []]);
    assert.deepEqual(await place.bytes(), place.now);
    assert.deepEqual(place.kept, []);
  });

  it('overwrites on proof, after a backup of the present state', async () => {
    const place = await rewrapped();
    const report = await restoreBackup({ ...place.options, overwrite: true, kmsProviders: place.kmsProviders });
    assert.deepEqual([report.ok, report.replaced, report.differing, failuresOf(report)], [true, place.idTexts.slice(0, 2), [], []]);
    assert.deepEqual(report.replacedBackup, { sha256: place.kept[0].sha256, keys: 3 });
    const kept = await readBackup(place.kept[0].bytes, { passphrase });
    assert.deepEqual(
      kept.keyDocuments.map((document) => Buffer.from(document).toString('hex')),
      place.now,
    );
    const wrappings = async () => (await place.store.find({})).map(({ masterKey }) => masterKey.provider);
    assert.deepEqual(await wrappings(), ['local', 'local', 'aws']);
    // The kept documents restore the former state.
    await restoreBackup({ ...place.options, bytes: place.kept[0].bytes, overwrite: true, kmsProviders: place.kmsProviders });
    assert.deepEqual(await wrappings(), ['aws', 'aws', 'aws']);
  });

  it('does not overwrite without proof, without a backup, or with other key material', async () => {
    const place = await rewrapped();
    const overwrite = { ...place.options, overwrite: true };
    await assert.rejects(restoreBackup({ ...overwrite, replaced: undefined }), { code: 'OPTION_INVALID' });
    for (const kmsProviders of [
      undefined,
      { local: place.kmsProviders.local },
      { aws: place.kmsProviders.aws },
      { ...place.kmsProviders, local: { key: randomBytes(96) } },
    ]) {
      const report = await restoreBackup({ ...overwrite, kmsProviders });
      assert.deepEqual(
        failuresOf(report),
        place.idTexts.slice(0, 2).map((id) => ({ kind: 'key', id, code: 'BACKUP_RESTORE_UNPROVEN' })),
      );
      assert.equal(report.ok, false);
    }
    assert.deepEqual(await place.bytes(), place.now);
    // The same id with other key material: the present one is the only copy.
    const [id] = place.ids;
    const [document] = await place.store.find({ _id: id });
    const other = await place.encryption.createDataKey('local');
    const [{ keyMaterial, masterKey }] = await place.store.find({ _id: other });
    await place.store.rewrapIf(id, { keyMaterial: document.keyMaterial, masterKey: document.masterKey }, { keyMaterial, masterKey });
    const report = await restoreBackup({ ...overwrite, kmsProviders: place.kmsProviders });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.idTexts[0], code: 'BACKUP_RESTORE_UNPROVEN' }]);
    assert.deepEqual(report.replaced, [place.idTexts[1]]);
    assert.deepEqual((await place.store.find({ _id: id }))[0].keyMaterial, keyMaterial);
  });

  it('allowUnproven overwrites, but still not without the backup', async () => {
    const place = await rewrapped();
    const full = {
      key: words,
      write: () => {
        throw new Error('disk full');
      },
    };
    const stopped = await restoreBackup({ ...place.options, overwrite: true, allowUnproven: true, replaced: full });
    assert.deepEqual(failuresOf(stopped), [{ kind: 'backup', id: 'replaced', code: 'HOST_CALLBACK_FAILED' }]);
    assert.deepEqual(await place.bytes(), place.now);
    const report = await restoreBackup({ ...place.options, overwrite: true, allowUnproven: true });
    assert.deepEqual([report.ok, report.replaced.length, place.kept.length], [true, 2, 1]);
  });

  it('a key that another client changes during the restore is not overwritten', async () => {
    const place = await rewrapped();
    const racing = new Proxy(place.store, { get: (store, name) => (name === 'rewrapIf' ? async () => false : store[name].bind(store)) });
    const report = await restoreBackup({ ...place.options, keyVault: racing, overwrite: true, allowUnproven: true });
    assert.deepEqual(
      failuresOf(report).map(({ code }) => code),
      ['KEY_VAULT_CONFLICT', 'KEY_VAULT_CONFLICT'],
    );
    const forgetful = new Proxy(place.store, { get: (store, name) => (name === 'rewrapIf' ? async () => true : store[name].bind(store)) });
    const unverified = await restoreBackup({ ...place.options, keyVault: forgetful, overwrite: true, allowUnproven: true });
    assert.deepEqual(
      failuresOf(unverified).map(({ code }) => code),
      ['BACKUP_VERIFICATION_FAILED', 'BACKUP_VERIFICATION_FAILED'],
    );
    assert.deepEqual(await place.bytes(), place.now);
  });

  it('accepts key documents of a plain backup, and refuses other documents', async () => {
    const place = await vault();
    const documents = await place.store.find({});
    await place.store.retireKey(place.ids[1], { reason: 'a test', requestedBy: 'a test' });
    const report = await restoreBackup({ documents, keyVault: place.store, execute: true });
    assert.deepEqual([report.inserted, report.unchanged.length], [[place.idTexts[1]], 2]);
    await assert.rejects(restoreBackup({ documents: [{ _id: 1 }], keyVault: place.store }), { code: 'ARGUMENT_INVALID' });
    await assert.rejects(restoreBackup({ keyVault: place.store }), { code: 'ARGUMENT_INVALID' });
    await assert.rejects(restoreBackup({ documents, keyVault: place.store, force: true }), { code: 'OPTION_INVALID' });
  });

  it('an abort stops it, and the report says so', async () => {
    const place = await vault();
    const documents = await place.store.find({});
    await place.store.retireKey(place.ids[0], { reason: 'a test', requestedBy: 'a test' });
    const report = await restoreBackup({ documents, keyVault: place.store, execute: true, signal: AbortSignal.abort() });
    assert.deepEqual([report.interrupted, report.ok, report.inserted, report.failures], [true, false, [], []]);
  });
});
