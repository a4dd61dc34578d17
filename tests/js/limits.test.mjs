// The limits that SECURITY.md names: what a writer of the key vault can do in spite of pins, what a server sees and can do.
import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, privateDecrypt, publicEncrypt } from 'node:crypto';
import { describe, it } from 'node:test';
import * as bson from 'bson';
import { azureKms, ClientEncryption, MemoryKeyVaultStore, migrate } from 'csfle-wasm';
import { awsMasterKey, DETERMINISTIC, failsWith, keyBytes, localEncryption, padKms, RANDOM } from './fixtures.mjs';

const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
const known = keyBytes('known to the attacker');
const keyIdOf = (value) => new bson.UUID(Buffer.from(value.buffer.subarray(1, 17))).toHexString();

/** Stores a key document that the attacker made, and returns its id. */
async function plant(store, masterKey, wrapped) {
  const _id = new bson.UUID();
  await store.insert({ _id, keyMaterial: new bson.Binary(wrapped), creationDate: new Date(), updateDate: new Date(), status: 0, masterKey });
  return _id;
}

/** Decrypts a value with nothing but key material that the attacker knows. */
async function readWith(material, value) {
  const store = new MemoryKeyVaultStore();
  const own = localEncryption({ store });
  const made = await own.createDataKey('local', { keyMaterial: material });
  const [document] = await store.find({ _id: made });
  const theirs = new MemoryKeyVaultStore();
  await theirs.insert({ ...document, _id: new bson.UUID(keyIdOf(value)) });
  const opened = localEncryption({ store: theirs });
  try {
    return await opened.decrypt(value);
  } finally {
    for (const one of [own, opened]) one.close();
  }
}

describe('trusted master keys do not', () => {
  it('tell one data key from another: a name that was moved to another own key is used, and an old document too', async () => {
    const store = new MemoryKeyVaultStore();
    const encryption = localEncryption({ store, trustedMasterKeys: ['local'] });
    const first = await encryption.createDataKey('local', { keyAltNames: ['ssn'] });
    const second = await encryption.createDataKey('local');
    await store.removeKeyAltName(first, 'ssn');
    await store.addKeyAltName(second, 'ssn');
    assert.equal(keyIdOf(await encryption.encrypt('x', { keyAltName: 'ssn', algorithm: RANDOM })), second.toHexString());
    // By id it is the key that was meant.
    assert.equal(keyIdOf(await encryption.encrypt('x', { keyId: first, algorithm: RANDOM })), first.toHexString());

    const value = await encryption.encrypt('x', { keyId: first, algorithm: RANDOM });
    const [old] = await store.find({ _id: first });
    await encryption.rewrapManyDataKey({ _id: first }, { provider: 'local' });
    const back = new MemoryKeyVaultStore();
    await back.insert(old);
    const reader = localEncryption({ store: back, trustedMasterKeys: ['local'] });
    assert.equal(await reader.decrypt(value), 'x');
    for (const one of [encryption, reader]) one.close();
  });

  it('see who wrapped a data key under Azure: the public half of the RSA key is enough', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const client = {
      wrapKey: async (_, bytes) => ({ result: publicEncrypt({ key: publicKey, ...oaep }, bytes) }),
      unwrapKey: async (_, bytes) => ({ result: privateDecrypt({ key: privateKey, ...oaep }, bytes) }),
    };
    const store = new MemoryKeyVaultStore();
    const encryption = new ClientEncryption(null, {
      keyVaultStore: store,
      kmsProviders: { azure: azureKms(() => client) },
      trustedMasterKeys: ['https://hospital.vault.azure.net/keys/csfle'],
    });
    const keyId = await plant(
      store,
      { provider: 'azure', keyVaultEndpoint: 'hospital.vault.azure.net', keyName: 'csfle' },
      publicEncrypt({ key: publicKey, ...oaep }, known),
    );
    assert.equal(await readWith(known, await encryption.encrypt('secret', { keyId, algorithm: RANDOM })), 'secret');
    encryption.close();
  });

  it('keep out a data key of somebody who may encrypt under the same master key', async () => {
    const kms = padKms('aws');
    const store = new MemoryKeyVaultStore();
    const keyId = await plant(store, { provider: 'aws', ...awsMasterKey }, await kms.encrypt({ plaintext: known }));
    const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: kms }, trustedMasterKeys: [awsMasterKey.key] });
    assert.equal(await readWith(known, await encryption.encrypt('secret', { keyId, algorithm: RANDOM })), 'secret');
    encryption.close();
  });

  it('tell accounts apart by a pattern of a provider alone, which no pattern with an ARN does', async () => {
    const kms = padKms('aws');
    const store = new MemoryKeyVaultStore();
    const keyId = await plant(
      store,
      { provider: 'aws', ...awsMasterKey, key: awsMasterKey.key.replace('111122223333', '999999999999') },
      await kms.encrypt({ plaintext: known }),
    );
    const pinned = (pattern) => new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: kms }, trustedMasterKeys: [pattern] });
    const [provider, key] = [pinned('aws'), pinned(awsMasterKey.key)];
    assert.equal(await readWith(known, await provider.encrypt('secret', { keyId, algorithm: RANDOM })), 'secret');
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => key.encrypt('secret', { keyId, algorithm: RANDOM }));
    for (const one of [provider, key]) one.close();
  });

  it('keep a planted key out of a migration from a whole provider, but the named key and the trusted ones do', async () => {
    const kms = padKms('aws');
    const kmsProviders = { aws: kms, local: { key: keyBytes('local') } };
    const foreign = { provider: 'aws', ...awsMasterKey, key: awsMasterKey.key.replace('111122223333', '999999999999') };
    const own = { provider: 'aws', ...awsMasterKey };
    for (const [more, providers] of [
      [{ from: { provider: 'aws' } }, ['local', 'local']],
      [{ from: own }, ['local', 'aws']],
      [{ from: { provider: 'aws' }, trustedMasterKeys: [awsMasterKey.key, 'local'] }, ['local', 'aws']],
    ]) {
      const store = new MemoryKeyVaultStore();
      const ids = [
        await plant(store, own, await kms.encrypt({ plaintext: keyBytes('own') })),
        await plant(store, foreign, await kms.encrypt({ plaintext: known })),
      ];
      await migrate({ keyVault: store, kmsProviders, to: { provider: 'local' }, execute: true, ...more });
      const found = await Promise.all(ids.map(async (_id) => (await store.find({ _id }))[0].masterKey.provider));
      assert.deepEqual(found, providers, JSON.stringify(more));
    }
  });
});

describe('of values that are encrypted, a server', () => {
  async function oneKey() {
    const encryption = localEncryption();
    return { encryption, keyId: await encryption.createDataKey('local') };
  }

  it('sees which are equal, with the deterministic algorithm alone', async () => {
    const { encryption, keyId } = await oneKey();
    const isEqual = async (algorithm) => {
      const [one, other] = [await encryption.encrypt('B+', { keyId, algorithm }), await encryption.encrypt('B+', { keyId, algorithm })];
      return one.buffer.equals(other.buffer);
    };
    assert.deepEqual([await isEqual(DETERMINISTIC), await isEqual(RANDOM)], [true, false]);
    encryption.close();
  });

  it('sees the length, rounded up to 16 bytes', async () => {
    const { encryption, keyId } = await oneKey();
    const lengths = [];
    for (let length = 0; length < 64; length += 1) lengths.push((await encryption.encrypt('x'.repeat(length), { keyId, algorithm: RANDOM })).buffer.length);
    const steps = [...new Set(lengths)];
    assert.deepEqual(
      steps.slice(1).map((length, index) => length - steps[index]),
      [16, 16, 16, 16],
    );
    encryption.close();
  });

  it('sees paths, the BSON type and the data key', async () => {
    const { encryption, keyId } = await oneKey();
    const rule = { keyId, algorithm: RANDOM };
    const { visits } = await encryption.encryptDocument(
      { visits: [{ note: 'text', count: new bson.Int32(1) }] },
      { fields: { 'visits.note': rule, 'visits.count': rule } },
    );
    assert.deepEqual(Object.keys(visits[0]), ['note', 'count']);
    assert.deepEqual([visits[0].note.buffer[17], visits[0].count.buffer[17]], [2, 16]);
    for (const value of Object.values(visits[0])) assert.equal(keyIdOf(value), keyId.toHexString());
    encryption.close();
  });

  it('can put one in the place of another under the same key and type, an earlier one too', async () => {
    const { encryption, keyId } = await oneKey();
    const rule = { keyId, algorithm: RANDOM };
    const encrypted = (document) => encryption.encryptDocument(document, { fields: { x: rule, y: rule } });
    const [earlier, now] = [await encrypted({ x: 'earlier', y: 'other' }), await encrypted({ x: 'now', y: 'other' })];
    assert.deepEqual(await encryption.decryptDocument({ x: now.y, y: now.x }), { x: 'other', y: 'now' });
    assert.deepEqual(await encryption.decryptDocument({ ...now, x: earlier.x }), { x: 'earlier', y: 'other' });
    encryption.close();
  });

  it('that kept a dump from before a rewrap has what the old master key opens, to the data keys of today', async () => {
    const dump = new MemoryKeyVaultStore();
    const store = new MemoryKeyVaultStore();
    const kmsProviders = { local: { key: keyBytes('local') }, aws: padKms('aws') };
    const encryption = localEncryption({ store, kmsProviders });
    const keyId = await encryption.createDataKey('local');
    for (const document of await store.find({})) await dump.insert(document);
    await migrate({ keyVault: store, kmsProviders, from: { provider: 'local' }, to: { provider: 'aws', ...awsMasterKey }, execute: true });
    const today = await encryption.encrypt('today', { keyId, algorithm: RANDOM });
    const withOldKey = (keyVaultStore) => new ClientEncryption(null, { keyVaultStore, kmsProviders: { local: kmsProviders.local } });
    const [ofDump, ofVault] = [withOldKey(dump), withOldKey(store)];
    assert.equal(await ofDump.decrypt(today), 'today');
    await failsWith('KMS_PROVIDER_NOT_CONFIGURED', () => ofVault.decrypt(today));
    for (const one of [encryption, ofDump, ofVault]) one.close();
  });
});
