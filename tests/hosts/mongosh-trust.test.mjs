// Trusted master keys in the shell: carried from the options and from the Mongo, or refused.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { Binary, UUID } from 'bson';

const require = createRequire(import.meta.url);
const bson = require('bson');
const csfle = require('csfle-wasm/mongosh');
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const EVIL = { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:999999999999:key/1' };

function place(fleOptions) {
  const calls = [];
  const aws = {
    encrypt: async (call) => {
      calls.push(call);
      return call.plaintext.map((byte) => byte ^ 1);
    },
    decrypt: async (call) => {
      calls.push(call);
      return call.ciphertext.map((byte) => byte ^ 1);
    },
  };
  const dates = { creationDate: new Date(), updateDate: new Date(), status: 0 };
  const planted = (masterKey) => ({ _id: new UUID(randomUUID()), keyMaterial: new Binary(randomBytes(96)), ...dates, masterKey });
  const keys = [planted(EVIL)];
  const options = { keyVaultNamespace: 'encryption.__keyVault', kmsProviders: { local: { key: randomBytes(96) }, aws } };
  const client = {
    getDB: () => ({}),
    _fleOptions: fleOptions && { ...options, ...fleOptions },
    _serviceProvider: {
      bsonLibrary: bson,
      find: () => ({ toArray: async () => keys }),
      insertOne: async (_database, _collection, document) => void keys.push(document),
      getIndexes: async () => [{ key: { keyAltNames: 1 } }],
      runCommandWithCheck: async () => ({ ok: 1 }),
    },
  };
  return { calls, client, options: { ...options, client }, keyId: keys[0]._id, planted, keys };
}

const NOT_TRUSTED = { code: 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED' };
const trustedMasterKeys = ['local', 'arn:aws:kms:*:111122223333:key/*'];

describe('csfle in the shell', () => {
  it('takes the option everywhere, and calls nobody for a planted key', async () => {
    const { calls, options, keyId } = place();
    const pinned = { ...options, trustedMasterKeys };
    const encryption = csfle.clientEncryption(pinned);
    await assert.rejects(encryption.encrypt(keyId, 'x', RANDOM), NOT_TRUSTED);
    await assert.rejects((await csfle.keyVault(pinned)).createKey('aws', { region: EVIL.region, key: EVIL.key }), NOT_TRUSTED);
    const { keyVault } = await csfle.status(pinned);
    assert.deepEqual(
      keyVault.closedKeys.map(({ code }) => code),
      ['KEY_VAULT_MASTER_KEY_NOT_TRUSTED'],
    );
    const report = await csfle.migrate({ ...pinned, from: { provider: 'aws' }, to: { provider: 'local' } });
    assert.ok(report.plan.checks.some(({ code }) => code === 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED'));
    assert.deepEqual(calls, []);
    encryption.close();
  });

  it('carries the option from the Mongo that was opened with it', async () => {
    const { calls, client, keyId } = place({ trustedMasterKeys });
    for (const given of [client, { client }]) {
      const encryption = csfle.clientEncryption(given);
      await assert.rejects(encryption.encrypt(keyId, 'x', RANDOM), NOT_TRUSTED);
      encryption.close();
    }
    assert.deepEqual(calls, []);
  });

  it('carries the allowed endpoints too', async () => {
    const endpoint = 'kms.hospital.example';
    for (const [allowedEndpoints, count] of [
      [undefined, 0],
      [[endpoint], 1],
    ]) {
      const { calls, client, keys, planted } = place({ allowedEndpoints });
      keys.push(planted({ ...EVIL, endpoint }));
      keys.shift();
      const encryption = csfle.clientEncryption(client);
      const encrypting = encryption.encrypt(keys[0]._id, 'x', RANDOM);
      if (count === 0) await assert.rejects(encrypting, { code: 'KMS_ENDPOINT_NOT_ALLOWED' });
      else await encrypting;
      assert.equal(calls.length, count);
      encryption.close();
    }
  });

  it('refuses a misspelt option, of its own and of the Mongo', () => {
    for (const name of ['trustedMasterKey', 'trustMasterKeys', 'trusted_master_keys', 'allowedEndpoint']) {
      assert.throws(() => csfle.clientEncryption({ ...place().options, [name]: [] }), { code: 'OPTION_INVALID', details: { option: name } });
      assert.throws(() => csfle.clientEncryption(place({ [name]: [] }).client), { code: 'OPTION_INVALID', details: { option: name } });
    }
  });
});
