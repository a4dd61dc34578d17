// The checks of restoreBackup() before it writes, and the wiping of a backup's secrets in memory.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, CsfleError, createBackup, MemoryKeyVaultStore, readBackup, restoreBackup, verifyBackup } from 'csfle-wasm';
import { invertingKms, invert } from './inverting-kms.mjs';
import { sourceModule } from './source-module.mjs';

const words = { passphrase: 'correct horse', argon2: { memoryKiB: 19_456, iterations: 2 } };
const aws = { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:111122223333:key/one' };
const failuresOf = ({ failures }) => failures.map(({ id, code }) => [id, code]);

// The key documents of a vault with a key under a local master key and two under a KMS, and an empty vault.
async function lost() {
  const store = new MemoryKeyVaultStore();
  const kmsProviders = { local: { key: randomBytes(96) }, aws: invertingKms() };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
  const { provider, ...masterKey } = aws;
  const ids = [
    await encryption.createDataKey('local'),
    await encryption.createDataKey(provider, { masterKey }),
    await encryption.createDataKey(provider, { masterKey }),
  ];
  encryption.close();
  kmsProviders.aws.asked.length = 0;
  const empty = new MemoryKeyVaultStore();
  return {
    documents: await store.find({}),
    kmsProviders,
    keyVault: empty,
    ids: ids.map((id) => id.toHexString(true)),
    stored: async () => (await empty.find({})).length,
  };
}

describe('a restore of keys that are gone', () => {
  it('opens each key whose provider is given, a KMS key twice, and lists the others as unproven', async () => {
    const { documents, keyVault, kmsProviders, ids, stored } = await lost();
    const plan = await restoreBackup({ documents, keyVault, kmsProviders });
    assert.deepEqual([plan.inserted, plan.unproven, kmsProviders.aws.asked.length], [ids, [], 4]);
    const report = await restoreBackup({ documents, keyVault, kmsProviders: { local: kmsProviders.local }, execute: true });
    assert.deepEqual([report.ok, report.inserted, report.unproven, await stored()], [true, ids, ids.slice(1), 3]);
    const none = await restoreBackup({ documents, keyVault: new MemoryKeyVaultStore(), execute: true });
    assert.deepEqual([none.ok, none.inserted, none.unproven], [true, ids, ids]);
  });

  it('comes back without alternate names that other keys have now, as the plan says', async () => {
    const store = new MemoryKeyVaultStore();
    const kmsProviders = { local: { key: randomBytes(96) } };
    const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
    const old = await encryption.createDataKey('local', { keyAltNames: ['ssn', 'people.ssn'] });
    const other = await encryption.createDataKey('local', { keyAltNames: ['notes'] });
    const { bytes } = await createBackup({ keyVault: store, key: words });
    for (const id of [old, other]) {
      await encryption.deleteKey(id);
      for (const entry of await store.retiredKeys(id)) await store.purgeRetiredKey(entry);
    }
    const owner = await encryption.createDataKey('local', { keyAltNames: ['ssn', 'notes'] });
    const given = { bytes, key: words, keyVault: store, kmsProviders };
    const left = [
      [old, 'ssn'],
      [other, 'notes'],
    ].map(([id, name]) => ({ id: id.toHexString(true), name, ownerId: owner.toHexString(true) }));
    const plan = await restoreBackup(given);
    assert.deepEqual([plan.ok, plan.inserted.length, plan.namesLeftOut], [true, 2, left]);
    assert.equal((await store.find({})).length, 1);
    const report = await restoreBackup({ ...given, execute: true });
    assert.deepEqual([report.ok, report.inserted, report.namesLeftOut], [true, plan.inserted, left]);
    const names = await Promise.all([old, other, owner].map(async (id) => (await encryption.getKey(id)).keyAltNames));
    assert.deepEqual(
      names.map((one) => [...(one ?? [])].sort()),
      [['people.ssn'], [], ['notes', 'ssn']],
    );
    encryption.close();
  });

  it('refuses what its own provider does not open, with allowUnproven too', async () => {
    const { documents, keyVault, ids, kmsProviders } = await lost();
    let calls = 0;
    const unsteady = { ...invertingKms(), decrypt: () => new Uint8Array(96).fill(++calls) };
    const refusing = {
      ...invertingKms(),
      decrypt: () => {
        throw new CsfleError('KMS_CIPHERTEXT_REFUSED', 'not mine');
      },
    };
    for (const [providers, refused] of [
      [{ local: { key: randomBytes(96) } }, ids.slice(0, 1)],
      [{ local: kmsProviders.local, aws: unsteady }, ids.slice(1)],
      [{ aws: refusing }, ids.slice(1)],
    ]) {
      for (const allowUnproven of [false, true]) {
        const report = await restoreBackup({ documents, keyVault: new MemoryKeyVaultStore(), kmsProviders: providers, allowUnproven, execute: true });
        assert.deepEqual(
          failuresOf(report),
          refused.map((id) => [id, 'BACKUP_RESTORE_UNPROVEN']),
        );
        assert.deepEqual(
          report.inserted,
          ids.filter((id) => !refused.includes(id)),
        );
      }
    }
    assert.deepEqual(await keyVault.find({}), []);
  });

  it('checks every key against trustedMasterKeys and allowedEndpoints, for sealed and plain backups', async () => {
    const { documents, keyVault, kmsProviders, ids } = await lost();
    documents[2] = { ...documents[2], masterKey: { ...documents[2].masterKey, endpoint: 'kms.attacker.example' } };
    const source = new MemoryKeyVaultStore();
    for (const document of documents) await source.insert(document);
    const { bytes } = await createBackup({ keyVault: source, key: words });
    for (const content of [{ documents }, { bytes, key: words }]) {
      for (const providers of [{}, kmsProviders]) {
        const given = { ...content, keyVault: new MemoryKeyVaultStore(), kmsProviders: providers, allowUnproven: true, execute: true };
        const report = await restoreBackup(given);
        assert.deepEqual([failuresOf(report), report.inserted], [[[ids[2], 'KMS_ENDPOINT_NOT_ALLOWED']], ids.slice(0, 2)]);
        const pinned = await restoreBackup({ ...given, keyVault, trustedMasterKeys: ['local'] });
        assert.deepEqual(
          failuresOf(pinned),
          ids.slice(1).map((id) => [id, 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED']),
        );
      }
    }
    assert.equal(kmsProviders.aws.asked.length, 4);
    assert.equal((await keyVault.find({})).length, 1);
  });

  it('inserts malformed key documents only with allowUnproven', async () => {
    const { documents, keyVault } = await lost();
    const malformed = { ...documents[0], masterKey: { provider: 'nobody' } };
    const refused = await restoreBackup({ documents: [malformed], keyVault, execute: true });
    assert.deepEqual(
      refused.failures.map(({ code }) => code),
      ['BACKUP_RESTORE_UNPROVEN'],
    );
    const report = await restoreBackup({ documents: [malformed], keyVault, allowUnproven: true, execute: true });
    assert.deepEqual([report.ok, report.inserted, report.unproven], [true, report.inserted, report.inserted]);
    assert.equal(report.inserted.length, 1);
  });

  it('asks a KMS that is out of reach once for each master key, within the limits it was given', async () => {
    const { documents, keyVault, ids } = await lost();
    let calls = 0;
    const hanging = {
      ...invertingKms(),
      decrypt: () => {
        calls += 1;
        return new Promise(() => undefined);
      },
    };
    const report = await restoreBackup({
      documents,
      keyVault,
      kmsProviders: { aws: hanging },
      kmsTimeoutMS: 20,
      kmsRetries: 1,
      kmsConcurrency: 1,
      execute: true,
    });
    assert.deepEqual([report.ok, report.unproven, calls], [true, ids, 2]);
    const { bytes } = await createBackup({ keyVault, key: { kmsProviders: { aws: invertingKms() }, masterKey: aws } });
    const limited = { kmsProviders: { aws: hanging }, kmsConcurrency: 1, kmsTimeoutMS: 20, kmsRetries: 0 };
    await assert.rejects(verifyBackup(bytes, limited), { code: 'KMS_TIMED_OUT' });
  });

  it('the report does not repeat messages of errors that callbacks threw', async () => {
    const { documents, keyVault } = await lost();
    await restoreBackup({ documents, keyVault, execute: true });
    const [{ _id, keyMaterial, masterKey }] = documents;
    await keyVault.rewrapIf(_id, { keyMaterial, masterKey }, { keyMaterial: new bson.Binary(randomBytes(160), 0), masterKey });
    const replaced = {
      key: words,
      write: () => {
        throw new Error('E11000 dup key: { ssn: "457-55-5462" }');
      },
    };
    const report = await restoreBackup({ documents, keyVault, overwrite: true, allowUnproven: true, replaced, execute: true });
    assert.deepEqual(failuresOf(report), [['replaced', 'HOST_CALLBACK_FAILED']]);
    assert.equal(JSON.stringify(report).includes('457-55'), false);
  });
});

describe('a restore that overwrites', () => {
  // Keys under a local master key, whose present wrapping is under a KMS.
  async function rewrapped() {
    const store = new MemoryKeyVaultStore();
    const kmsProviders = { local: { key: randomBytes(96) }, aws: invertingKms() };
    const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders });
    const id = await encryption.createDataKey('local');
    const documents = await store.find({});
    const { provider, ...masterKey } = aws;
    await encryption.rewrapManyDataKey({}, { provider, masterKey });
    encryption.close();
    const replaced = { key: words, write: () => undefined };
    return { kmsProviders, id: id.toHexString(true), options: { documents, keyVault: store, overwrite: true, execute: true, replaced } };
  }

  it('without the KMS, allowUnproven opens the wrapping of the backup and reports that none was compared', async () => {
    const { kmsProviders, id, options } = await rewrapped();
    const hanging = { ...kmsProviders.aws, decrypt: () => new Promise(() => undefined) };
    const limits = { kmsTimeoutMS: 20, kmsRetries: 0 };
    const refused = await restoreBackup({ ...options, ...limits, kmsProviders: { local: kmsProviders.local, aws: hanging } });
    assert.deepEqual([failuresOf(refused), refused.replaced], [[[id, 'BACKUP_RESTORE_UNPROVEN']], []]);
    const wrong = await restoreBackup({ ...options, allowUnproven: true, kmsProviders: { local: { key: randomBytes(96) } } });
    assert.deepEqual([failuresOf(wrong), wrong.replaced], [[[id, 'BACKUP_RESTORE_UNPROVEN']], []]);
    const report = await restoreBackup({ ...options, ...limits, allowUnproven: true, kmsProviders: { local: kmsProviders.local, aws: hanging } });
    assert.deepEqual([report.ok, report.replaced, report.unproven], [true, [id], [id]]);
  });

  it('leaves alternate names as they are now', async () => {
    const { kmsProviders, id, options } = await rewrapped();
    const [{ _id }] = options.documents;
    await options.keyVault.addKeyAltName(_id, 'now');
    const documents = [{ ...options.documents[0], keyAltNames: ['then'] }];
    const report = await restoreBackup({ ...options, documents, kmsProviders });
    assert.deepEqual([report.ok, report.replaced], [true, [id]]);
    const [{ keyAltNames, masterKey }] = await options.keyVault.find({});
    assert.deepEqual([keyAltNames, masterKey], [['now'], { provider: 'local' }]);
  });

  it('a key whose KMS gives two different answers for one wrapping is refused', async () => {
    const { kmsProviders, id, options } = await rewrapped();
    const [present] = await options.keyVault.find({});
    const material = invert(present.keyMaterial.buffer.subarray(40));
    let calls = 0;
    const lying = { ...kmsProviders.aws, decrypt: () => (++calls % 2 === 1 ? Uint8Array.from(material) : randomBytes(96)) };
    const report = await restoreBackup({ ...options, kmsProviders: { local: kmsProviders.local, aws: lying } });
    assert.deepEqual([failuresOf(report), report.replaced], [[[id, 'BACKUP_RESTORE_UNPROVEN']], []]);
  });
});

describe('secrets of a backup', () => {
  const passphrase = 'correct horse';
  const masterKey = randomBytes(96);
  const holds = (bytes, secret) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(secret);

  it('a local master key goes through no BSON library, and a reader wipes what one hands out', async () => {
    const seen = [];
    const spy = {
      ...bson,
      serialize: (...given) => {
        const bytes = bson.serialize(...given);
        if (holds(bytes, masterKey)) seen.push(bytes);
        return bytes;
      },
    };
    const { bytes } = await createBackup({
      keyVault: new MemoryKeyVaultStore(),
      key: words,
      localMasterKeys: [{ provider: 'local:ü', key: masterKey }],
      bson: spy,
    });
    assert.deepEqual(seen, []);
    const handedOut = [];
    const copying = {
      ...bson,
      deserialize: (...given) => {
        const record = bson.deserialize(...given);
        if (record.key?._bsontype !== 'Binary') return record;
        record.key = new bson.Binary(Buffer.from(record.key.buffer.subarray(0, record.key.position)), 0);
        handedOut.push(record.key.buffer);
        return record;
      },
    };
    const contents = await readBackup(bytes, { passphrase }, { bson: copying });
    assert.deepEqual(
      contents.localMasterKeys.map(({ provider, key }) => [provider, Buffer.from(key)]),
      [['local:ü', masterKey]],
    );
    assert.deepEqual(handedOut, [Buffer.alloc(96)]);
  });

  it('a local master key is wiped when another reader fails later', async () => {
    const { decodeContent } = await sourceModule('js/backup/records.ts');
    const document = (value) => bson.serialize(value);
    const content = Buffer.concat([
      document({}),
      document({ type: 'localMasterKey', provider: 'local', key: new bson.Binary(masterKey, 0) }),
      document({ type: 'schema', name: 'x', bytes: 5 }),
    ]);
    const wiped = [];
    const { fill } = Uint8Array.prototype;
    Uint8Array.prototype.fill = function (...given) {
      if (this.length === 96 && this.buffer.byteLength === 96 && holds(this, masterKey)) wiped.push(this);
      return fill.apply(this, given);
    };
    try {
      assert.throws(() => decodeContent(bson, content), { code: 'BACKUP_CONTENT_INVALID' });
    } finally {
      Uint8Array.prototype.fill = fill;
    }
    assert.equal(wiped.length, 1);
  });

  it('a passphrase in bytes of ASCII is never made a string', async () => {
    const given = new TextEncoder().encode(passphrase);
    const { bytes } = await createBackup({ keyVault: new MemoryKeyVaultStore(), key: words });
    const texts = [];
    const { decode } = TextDecoder.prototype;
    TextDecoder.prototype.decode = function (...args) {
      const text = decode.apply(this, args);
      texts.push(text);
      return text;
    };
    try {
      await verifyBackup(bytes, { passphrase: given });
    } finally {
      TextDecoder.prototype.decode = decode;
    }
    assert.equal(texts.includes(passphrase), false);
    assert.equal(new TextDecoder().decode(given), passphrase);
  });
});
