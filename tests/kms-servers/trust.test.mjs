// A writer of the key vault plants key documents, and the unmodified driver works on this package: what leaves, and where it goes.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, describe, test } from 'node:test';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp', 'kmip']);
const { alias, driver } = place;
const { Binary, UUID } = driver;
const { masterKeys } = place.cloud;

// Every connection that the driver asks for, before anything is looked up.
const connections = [];
const kmsConnectCallback = (options) => {
  connections.push(`${options.host}:${options.port}`);
  return place.cloud.kmsConnectCallback(options);
};
const encryption = (options = {}) => place.encryption({}, { kmsConnectCallback, ...options });

const trusted = [
  'local',
  masterKeys.aws.key,
  { provider: 'azure', keyVaultEndpoint: masterKeys.azure.keyVaultEndpoint, keyName: masterKeys.azure.keyName },
  { provider: 'gcp', ...masterKeys.gcp },
  'kmip',
];
const planted = {
  'AWS, an endpoint of the attacker': { provider: 'aws', ...masterKeys.aws, endpoint: 'kms.evil.example.test' },
  'AWS, a CMK of the attacker': { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:999999999999:key/0' },
  'AWS, an alias': { provider: 'aws', region: 'us-east-1', key: 'alias/evil' },
  'AWS, another region': { provider: 'aws', region: 'us-east-2', key: masterKeys.aws.key },
  'Azure, a vault of the attacker': { provider: 'azure', keyVaultEndpoint: 'vault.evil.example.test', keyName: masterKeys.azure.keyName },
  'Azure, another vault of Azure': { provider: 'azure', keyVaultEndpoint: 'evil.vault.azure.net', keyName: masterKeys.azure.keyName },
  'Google, an endpoint of the attacker': { provider: 'gcp', ...masterKeys.gcp, endpoint: 'kms.evil.example.test' },
  'Google, a project of the attacker': { provider: 'gcp', ...masterKeys.gcp, projectId: 'evil' },
  'KMIP, a server of the attacker': { provider: 'kmip', endpoint: 'kmip.evil.example.test:5696', keyId: '1' },
  'a provider with a name': { provider: 'local:evil' },
};
const keyAltName = 'patients.ssn';

async function plant(masterKey) {
  const _id = new UUID(randomUUID());
  const dates = { creationDate: new Date(), updateDate: new Date(), status: 0 };
  await place.vault().insertOne({ _id, keyAltNames: [keyAltName], keyMaterial: new Binary(Buffer.alloc(256, 1)), ...dates, masterKey });
  return _id;
}

const services = ['aws', 'azure', 'gcp'].map((name) => place.cloud[name].service.requests);
const counted = () => services.map((requests) => requests.length);
// Fails with our code behind the driver's error, and no request of any kind was made.
async function refusedInSilence(work, code = 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED') {
  const before = counted();
  connections.length = 0;
  const error = await work().then(
    () => assert.fail('it was not refused'),
    (reason) => reason,
  );
  assert.equal(error.name, 'MongoCryptError', error.stack);
  assert.match(error.message, /is not among the trusted master keys/);
  if (error.cause?.code !== undefined) assert.equal(error.cause.code, code);
  assert.deepEqual(connections, []);
  assert.deepEqual(counted(), before);
}

afterEach(async () => {
  delete process.env.CSFLE_TRUSTED_MASTER_KEYS;
  alias.setTrustedMasterKeys(undefined);
  await place.vault().deleteMany({});
});

const ways = {
  'the option of ClientEncryption': { options: { trustedMasterKeys: trusted }, begin() {} },
  'our export': { options: {}, begin: () => alias.setTrustedMasterKeys(trusted) },
  'the environment': {
    options: {},
    begin: () => {
      process.env.CSFLE_TRUSTED_MASTER_KEYS = JSON.stringify(trusted);
    },
  },
};

for (const [way, { options, begin }] of Object.entries(ways)) {
  describe(`pinned by ${way}`, () => {
    for (const [what, masterKey] of Object.entries(planted)) {
      test(`${what}: nothing leaves`, async () => {
        begin();
        const keyId = await plant(masterKey);
        const one = encryption(options);
        await refusedInSilence(() => one.encrypt('x', { keyId, algorithm: RANDOM }));
        await refusedInSilence(() => one.encrypt('x', { keyAltName, algorithm: RANDOM }));
        await refusedInSilence(() => one.rewrapManyDataKey({ _id: keyId }, { provider: 'local' }));
        await refusedInSilence(() => one.rewrapManyDataKey({ _id: keyId }));
        const { provider, ...fields } = masterKey;
        await refusedInSilence(() => one.createDataKey(provider, { masterKey: fields }));
      });
    }

    test('trusted master keys of every provider work', async () => {
      begin();
      for (const [provider, masterKey] of Object.entries(masterKeys)) {
        const keyId = await encryption(options).createDataKey(provider, { masterKey });
        const value = await encryption(options).encrypt('x', { keyId, algorithm: RANDOM });
        assert.equal(await encryption(options).decrypt(value), 'x');
      }
    });

    test('a rewrap towards a master key that is not trusted is refused before keys are read', async () => {
      begin();
      const keyId = await encryption(options).createDataKey('local');
      await refusedInSilence(() =>
        encryption(options).rewrapManyDataKey({ _id: keyId }, { provider: 'aws', masterKey: { ...masterKeys.aws, endpoint: 'kms.evil.example.test' } }),
      );
    });
  });
}

describe('automatic encryption', () => {
  const read = (options) => place.withClient({ kmsConnectCallback, ...options }, (database) => database.collection('patients').findOne());
  const encrypted = async (masterKey) => {
    const keyId = await encryption().createDataKey('local');
    const value = await encryption().encrypt('x', { keyId, algorithm: RANDOM });
    await place.collection('patients').deleteMany({});
    await place.collection('patients').insertOne({ value });
    await place.vault().updateOne({ _id: keyId }, { $set: { masterKey } });
  };

  test('the driver does not pass the option on: it is without effect there', async () => {
    await encrypted({ provider: 'local' });
    const { value } = await read({ trustedMasterKeys: [] });
    assert.equal(value, 'x', 'when this fails the driver passes it on, and DROP-IN.md can say so');
  });

  for (const way of ['our export', 'the environment']) {
    test(`${way} holds there`, async () => {
      ways[way].begin();
      await encrypted({ provider: 'local' });
      assert.equal((await read()).value, 'x');
      for (const masterKey of Object.values(planted)) {
        await encrypted(masterKey);
        await refusedInSilence(() => read());
      }
    });
  }

  test('our export holds for clients that are open already, and forgets the keys that they cached', async () => {
    await encrypted({ provider: 'local' });
    await place.withClient({ kmsConnectCallback }, async (database) => {
      assert.equal((await database.collection('patients').findOne()).value, 'x');
      alias.setTrustedMasterKeys([]);
      await refusedInSilence(() => database.collection('patients').findOne());
      alias.setTrustedMasterKeys(['local']);
      assert.equal((await database.collection('patients').findOne()).value, 'x');
    });
  });
});

test('lists of the environment, the export and the option have to agree', async () => {
  process.env.CSFLE_TRUSTED_MASTER_KEYS = '["local", "aws"]';
  alias.setTrustedMasterKeys(['local', 'azure']);
  const keyId = await encryption().createDataKey('local');
  await refusedInSilence(() => encryption().createDataKey('aws', { masterKey: masterKeys.aws }));
  await refusedInSilence(() => encryption().createDataKey('azure', { masterKey: masterKeys.azure }));
  await refusedInSilence(() => encryption({ trustedMasterKeys: ['aws'] }).encrypt('x', { keyId, algorithm: RANDOM }));
});

test('AWS is asked to decrypt with the master key that is trusted, and with no other', async () => {
  const keyId = await encryption().createDataKey('aws', { masterKey: masterKeys.aws });
  const bodyOf = async (options) => {
    await encryption(options).encrypt('x', { keyId, algorithm: RANDOM });
    return JSON.parse(place.cloud.aws.service.requests.at(-1).body);
  };
  assert.deepEqual(Object.keys(await bodyOf({})), ['CiphertextBlob']);
  assert.equal((await bodyOf({ trustedMasterKeys: trusted })).KeyId, masterKeys.aws.key);
});

describe('without pins', () => {
  test('key documents lead where they say, as with libmongocrypt', async () => {
    connections.length = 0;
    const keyId = await plant(planted['AWS, an endpoint of the attacker']);
    await assert.rejects(encryption().encrypt('x', { keyId, algorithm: RANDOM }));
    assert.deepEqual(connections, ['kms.evil.example.test:443']);
  });
});

describe('what is wrong is refused, not passed over', () => {
  test('misspelt options', () => {
    for (const name of [
      'trustedMasterKey',
      'trustedMasterkeys',
      'trustedmasterkeys',
      'TrustedMasterKeys',
      'trusted_master_keys',
      'trustMasterKeys',
      'masterKeysTrusted',
      'trutsedMasterKeys',
      'allowedEndpoints',
      'allowedEndpoint',
    ]) {
      assert.throws(() => encryption({ [name]: ['local'] }), { name: 'TypeError', code: 'OPTION_INVALID' }, name);
    }
    assert.ok(encryption({ keyExpirationMS: 1000, anythingElse: 1 }));
  });

  test('lists that are none', () => {
    for (const wrong of [null, 'local', {}, [null], [{ provider: 'aws', key: undefined }], ['*'], [1]]) {
      assert.throws(() => encryption({ trustedMasterKeys: wrong }), { code: 'OPTION_INVALID' });
      assert.throws(() => alias.setTrustedMasterKeys(wrong), { code: 'OPTION_INVALID' });
    }
    process.env.CSFLE_TRUSTED_MASTER_KEYS = 'local';
    assert.throws(() => encryption(), { code: 'OPTION_INVALID' });
  });

  test('a list that is refused leaves the one before it in force', async () => {
    alias.setTrustedMasterKeys([]);
    assert.throws(() => alias.setTrustedMasterKeys(['*']), { code: 'OPTION_INVALID' });
    await refusedInSilence(() => encryption().createDataKey('local'));
  });
});
