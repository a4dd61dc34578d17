// A writer of the key vault plants key documents: the library's own interface refuses them before a callback is called.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, describe, it } from 'node:test';
import { Binary, UUID } from 'bson';
import { awsKms, ClientEncryption, MemoryKeyVaultStore, migrate } from 'csfle-wasm';
import { awsMasterKey, failsWith, keyBytes, padKms, RANDOM } from './fixtures.mjs';

const EVIL_ARN = 'arn:aws:kms:eu-central-1:999999999999:key/00000000-0000-0000-0000-00000000000e';
const azureKey = { keyVaultEndpoint: 'hospital.vault.azure.net', keyName: 'csfle' };

// A vault with one honest key and providers that record every call.
async function place() {
  const store = new MemoryKeyVaultStore();
  const kms = { aws: padKms('aws'), azure: padKms('azure'), gcp: padKms('gcp'), kmip: padKms('kmip') };
  const kmsProviders = { local: { key: keyBytes('local') }, ...kms };
  const encryption = (options = {}) => new ClientEncryption(null, { keyVaultStore: store, kmsProviders, ...options });
  const maker = encryption();
  const honest = await maker.createDataKey('aws', { masterKey: awsMasterKey, keyAltNames: ['patients.ssn'] });
  const value = await maker.encrypt('x', { keyId: honest, algorithm: RANDOM });
  maker.close();
  for (const { calls } of Object.values(kms)) calls.length = 0;
  const planted = async (masterKey, { keyAltNames, material = padKms(masterKey.provider).encrypt({ plaintext: keyBytes('known') }) } = {}) => {
    const _id = new UUID(randomUUID());
    const dates = { creationDate: new Date(), updateDate: new Date(), status: 0 };
    const names = keyAltNames === undefined ? {} : { keyAltNames };
    await store.insert({ _id, ...names, keyMaterial: new Binary(await material), ...dates, masterKey });
    return _id;
  };
  const called = () => Object.values(kms).flatMap(({ calls }) => calls);
  return { store, kms, kmsProviders, encryption, honest, value, planted, called };
}

const aws = (more) => ({ provider: 'aws', ...awsMasterKey, ...more });
const foreign = {
  'an endpoint of the attacker': [aws({ endpoint: 'kms.evil.example:443' }), 'KMS_ENDPOINT_NOT_ALLOWED'],
  'an endpoint that begins like the own one': [aws({ endpoint: 'kms.eu-central-1.amazonaws.com.evil.example' }), 'KMS_ENDPOINT_NOT_ALLOWED'],
  'a host of another customer of AWS': [aws({ endpoint: 'a1.execute-api.eu-central-1.amazonaws.com' }), 'KMS_ENDPOINT_NOT_ALLOWED'],
  'a region that leads elsewhere': [aws({ region: 'evil.example/#' }), 'KMS_ENDPOINT_NOT_ALLOWED'],
  'a vault outside Azure': [{ provider: 'azure', keyVaultEndpoint: 'vault.evil.example', keyName: 'x' }, 'KMS_ENDPOINT_NOT_ALLOWED'],
  'an endpoint outside Google': [
    { provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k', endpoint: 'evil.example' },
    'KMS_ENDPOINT_NOT_ALLOWED',
  ],
  'a KMIP server of the attacker': [{ provider: 'kmip', endpoint: 'kmip.evil.example', keyId: '1' }, 'KMS_ENDPOINT_NOT_ALLOWED'],
  'a CMK of the attacker': [aws({ key: EVIL_ARN }), undefined],
  'a vault of the attacker in Azure': [{ provider: 'azure', keyVaultEndpoint: 'evil.vault.azure.net', keyName: 'x' }, undefined],
  'another provider': [{ provider: 'kmip', keyId: '1' }, undefined],
};

describe('without trusted master keys', () => {
  for (const [what, [masterKey, code]] of Object.entries(foreign)) {
    it(`${what}: ${code ?? 'used, since nobody said otherwise'}`, async () => {
      const { encryption, planted, called } = await place();
      const keyId = await planted(masterKey);
      const one = encryption();
      if (code === undefined) {
        await one.encrypt('x', { keyId, algorithm: RANDOM });
        assert.equal(called().length, 1);
        return;
      }
      const { details } = await failsWith(code, () => one.encrypt('x', { keyId, algorithm: RANDOM }));
      assert.deepEqual([details.keyId, details.provider], [keyId.toHexString(true), masterKey.provider]);
      await failsWith(code, () => one.rewrapManyDataKey({ _id: keyId }));
      await failsWith(code, () => one.rewrapManyDataKey({ _id: keyId }, { provider: 'local' }));
      assert.deepEqual(called(), []);
    });
  }

  it('an endpoint that is allowed by name, or that the caller hands in, is used', async () => {
    const { encryption, planted, called } = await place();
    const keyId = await planted(aws({ endpoint: 'kms.hospital.example:8443' }));
    await encryption({ allowedEndpoints: ['KMS.hospital.example.:8443'] }).encrypt('x', { keyId, algorithm: RANDOM });
    const made = await encryption().createDataKey('aws', { masterKey: { ...awsMasterKey, endpoint: 'kms.mine.example' } });
    assert.deepEqual(
      called().map(({ operation, masterKey }) => [operation, masterKey.endpoint]),
      [
        ['decrypt', 'kms.hospital.example:8443'],
        ['encrypt', 'kms.mine.example'],
        ['decrypt', 'kms.mine.example'],
      ],
    );
    await failsWith('KMS_ENDPOINT_NOT_ALLOWED', () => encryption().encrypt('x', { keyId: made, algorithm: RANDOM }));
    await failsWith('KMS_ENDPOINT_NOT_ALLOWED', () => encryption({ allowedEndpoints: ['kms.hospital.example'] }).encrypt('x', { keyId, algorithm: RANDOM }));
  });
});

describe('with trusted master keys', () => {
  const trustedMasterKeys = [awsMasterKey.key, 'local'];

  for (const [what, [masterKey]] of Object.entries(foreign)) {
    it(`${what}: refused, and no callback is called`, async () => {
      const { encryption, planted, called, store } = await place();
      const keyId = await planted(masterKey);
      const one = encryption({ trustedMasterKeys });
      for (const attempt of [
        () => one.encrypt('x', { keyId, algorithm: RANDOM }),
        () => one.rewrapManyDataKey({ _id: keyId }, { provider: 'local' }),
        () => one.createDataKey(masterKey.provider, { masterKey: Object.fromEntries(Object.entries(masterKey).filter(([name]) => name !== 'provider')) }),
      ])
        await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', attempt);
      assert.deepEqual(called(), []);
      assert.equal((await store.find({})).length, 2);
    });
  }

  it('a planted key takes no alternate name over', async () => {
    const { encryption, planted, called, store, honest } = await place();
    await store.removeKeyAltName(honest, 'patients.ssn');
    await planted(aws({ key: EVIL_ARN }), { keyAltNames: ['patients.ssn'] });
    const refused = await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () =>
      encryption({ trustedMasterKeys }).encrypt('x', { keyAltName: 'patients.ssn', algorithm: RANDOM }),
    );
    assert.equal(refused.details.keyAltNames, 'patients.ssn');
    assert.match(refused.message, /999999999999/);
    assert.deepEqual(called(), []);
    await encryption().encrypt('x', { keyAltName: 'patients.ssn', algorithm: RANDOM });
    assert.equal(called().length, 1, 'without the list the planted key is used');
  });

  it('one planted key among many keeps the others from being asked for', async () => {
    const { encryption, planted, called, value } = await place();
    const evil = await planted(aws({ key: EVIL_ARN }));
    const unpinned = encryption();
    const other = await unpinned.encrypt('y', { keyId: evil, algorithm: RANDOM });
    const count = called().length;
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => encryption({ trustedMasterKeys }).decryptDocument({ a: value, b: other }));
    assert.equal(called().length, count);
  });

  it('a local key is refused before it is unwrapped', async () => {
    const { encryption } = await place();
    const keyId = await encryption().createDataKey('local');
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => encryption({ trustedMasterKeys: [awsMasterKey.key] }).encrypt('x', { keyId, algorithm: RANDOM }));
  });

  it('trusted keys work, and a new wrapping under another one is refused before it is made', async () => {
    const { encryption, value, honest, called, store } = await place();
    const one = encryption({ trustedMasterKeys });
    assert.equal(await one.decrypt(value), 'x');
    assert.ok(called().every(({ isPinned }) => isPinned));
    await one.rewrapManyDataKey({ _id: honest }, { provider: 'local' });
    const before = called().length;
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => one.rewrapManyDataKey({ _id: honest }, { provider: 'azure', masterKey: azureKey }));
    assert.equal(called().length, before);
    assert.equal((await store.find({}))[0].masterKey.provider, 'local');
  });

  it('an empty list trusts nothing', async () => {
    const { encryption, value, called } = await place();
    const one = encryption({ trustedMasterKeys: [] });
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => one.decrypt(value));
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => one.createDataKey('local'));
    assert.deepEqual(called(), []);
  });

  it('what is no list of patterns is an error', async () => {
    const { encryption } = await place();
    for (const wrong of [
      null,
      'local',
      {},
      [null],
      [1],
      [undefined],
      [['local']],
      [{}],
      [{ provider: 'aws', key: undefined }],
      ['*'],
      [{ provider: 'aws', arn: EVIL_ARN }],
      ['arn:aws:kms:us-*:1:key/*'],
    ]) {
      const { details } = await failsWith('OPTION_INVALID', () => encryption({ trustedMasterKeys: wrong }));
      assert.equal(details.option, 'trustedMasterKeys');
    }
    for (const wrong of [null, 'a.b', [1], ['*.example.com'], ['a@b']]) await failsWith('OPTION_INVALID', () => encryption({ allowedEndpoints: wrong }));
    await failsWith('OPTION_INVALID', () => encryption({ trustedMasterKey: [] }));
  });

  it('a list that is changed afterwards changes nothing', async () => {
    const { encryption, planted } = await place();
    const patterns = [{ provider: 'aws', key: awsMasterKey.key }];
    const one = encryption({ trustedMasterKeys: patterns });
    patterns[0].key = EVIL_ARN;
    patterns.push('aws');
    const keyId = await planted(aws({ key: EVIL_ARN }));
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => one.encrypt('x', { keyId, algorithm: RANDOM }));
  });

  it('AWS is told which key to decrypt with, whatever a key document says', async () => {
    const inputs = [];
    const client = {
      send: async () => undefined,
      encrypt: async ({ Plaintext }) => ({ CiphertextBlob: padKms('a').encrypt({ plaintext: Plaintext }) && Plaintext.map((byte) => byte ^ 1) }),
      decrypt: async (input) => {
        inputs.push(input.KeyId);
        return { Plaintext: input.CiphertextBlob.map((byte) => byte ^ 1) };
      },
    };
    const store = new MemoryKeyVaultStore();
    const masterKey = { region: 'eu-central-1', key: 'alias/csfle' };
    const open = (options) => new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: awsKms(client) }, ...options });
    const keyId = await open().createDataKey('aws', { masterKey });
    await open().encrypt('x', { keyId, algorithm: RANDOM });
    await open({ trustedMasterKeys: [{ provider: 'aws', ...masterKey }] }).encrypt('x', { keyId, algorithm: RANDOM });
    // The new wrapping is unwrapped once before the key is stored.
    assert.deepEqual(inputs, [undefined, undefined, 'alias/csfle']);
  });
});

describe('the environment', () => {
  afterEach(() => {
    delete process.env.CSFLE_TRUSTED_MASTER_KEYS;
  });

  it('holds beside the option, for every object that is made', async () => {
    const { encryption, value, planted } = await place();
    const evil = await planted(aws({ key: EVIL_ARN }));
    process.env.CSFLE_TRUSTED_MASTER_KEYS = JSON.stringify([{ provider: 'aws', key: awsMasterKey.key }]);
    assert.equal(await encryption().decrypt(value), 'x');
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => encryption().encrypt('x', { keyId: evil, algorithm: RANDOM }));
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => encryption({ trustedMasterKeys: ['aws'] }).encrypt('x', { keyId: evil, algorithm: RANDOM }));
    await failsWith('KEY_VAULT_MASTER_KEY_NOT_TRUSTED', () => encryption({ trustedMasterKeys: ['local'] }).decrypt(value));
  });

  it('is an error where it is no JSON array of patterns', async () => {
    const { encryption } = await place();
    for (const wrong of ['local', '"local"', '{}', 'null', '[1]', '["*"]']) {
      process.env.CSFLE_TRUSTED_MASTER_KEYS = wrong;
      await failsWith('OPTION_INVALID', () => encryption());
    }
  });
});

describe('migrate', () => {
  const from = { provider: 'aws', ...awsMasterKey };
  const to = { provider: 'local' };

  it('pins its source and its target by itself', async () => {
    const { store, kmsProviders, planted, called } = await place();
    const options = { keyVault: store, kmsProviders, to };
    // Under the provider that is migrated from, but not the key; and with an endpoint that nobody named.
    const evil = await planted(aws({ key: EVIL_ARN }));
    const elsewhere = await planted(aws({ endpoint: 'kms.evil.example' }));
    const report = await migrate({ ...options, from: { provider: 'aws', key: awsMasterKey.key }, execute: true });
    assert.deepEqual(
      report.failures.map(({ id, code }) => [id, code]),
      [[elsewhere.toHexString(true), 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED']],
    );
    assert.equal(report.ok, false);
    assert.equal(report.keys.migrated, 1);
    assert.ok(called().every(({ masterKey }) => masterKey.key === awsMasterKey.key && masterKey.endpoint === undefined));
    const left = await store.find({});
    assert.deepEqual(
      left
        .filter(({ masterKey }) => masterKey.provider === 'aws')
        .map(({ _id }) => _id.toHexString(true))
        .sort(),
      [evil, elsewhere].map((id) => id.toHexString(true)).sort(),
    );
  });

  it('allows an endpoint that `from` or the option names', async () => {
    for (const more of [{ from: { ...from, endpoint: 'kms.hospital.example' } }, { from, allowedEndpoints: ['kms.hospital.example'] }]) {
      const { store, kmsProviders, planted } = await place();
      await planted(aws({ endpoint: 'kms.hospital.example' }));
      const report = await migrate({ keyVault: store, kmsProviders, to, ...more, execute: true });
      assert.deepEqual(report.failures, []);
      assert.equal(report.ok, true);
    }
  });

  it('refuses a target that is not among the trusted master keys, and writes nothing', async () => {
    const { store, kmsProviders, called } = await place();
    const report = await migrate({
      keyVault: store,
      kmsProviders,
      from,
      to: { provider: 'azure', ...azureKey },
      trustedMasterKeys: [awsMasterKey.key],
      execute: true,
    });
    assert.equal(report.executed, false);
    assert.deepEqual(
      report.plan.checks.filter(({ ok }) => !ok).map(({ name, code }) => [name, code]),
      [['new-master-key', 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED']],
    );
    assert.ok(called().every(({ provider }) => provider === 'aws'));
  });

  it('trusts by the list where one is given', async () => {
    const { store, kmsProviders, planted, called } = await place();
    const evil = await planted(aws({ key: EVIL_ARN }));
    const report = await migrate({
      keyVault: store,
      kmsProviders,
      from: { provider: 'aws' },
      to,
      trustedMasterKeys: [awsMasterKey.key, 'local'],
      execute: true,
    });
    assert.deepEqual(
      report.failures.map(({ id, code }) => [id, code]),
      [[evil.toHexString(true), 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED']],
    );
    assert.ok(called().every(({ masterKey }) => masterKey.key === awsMasterKey.key));
  });
});
