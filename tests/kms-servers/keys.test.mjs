// The official driver on this package with every provider that is spoken to over a network: whole conversations with services
// that check what is said to them.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { faults } from './https-service.mjs';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp', 'kmip']);
const { encryption } = place;

const stored = (id) => place.vault().findOne({ _id: id });
const requestsOf = (name) => (name === 'kmip' ? place.cloud.kmip.service.operations : place.cloud[name].service.paths());

// What each provider is asked to make a key, and to use it.
const conversations = {
  aws: { make: ['/'], use: ['/'] },
  azure: {
    make: ['/5e0a4a07-tenant/oauth2/v2.0/token', '/keys/csfle-key/b2c0f6d4e8/wrapkey?api-version=7.1'],
    use: ['/5e0a4a07-tenant/oauth2/v2.0/token', '/keys/csfle-key/b2c0f6d4e8/unwrapkey?api-version=7.1'],
  },
  gcp: {
    make: ['/token', '/v1/projects/project-one/locations/global/keyRings/ring-one/cryptoKeys/key-one:encrypt'],
    use: ['/token', '/v1/projects/project-one/locations/global/keyRings/ring-one/cryptoKeys/key-one:decrypt'],
  },
  kmip: { make: ['Register', 'Activate', 'Get'], use: ['Get'] },
  delegated: { provider: 'kmip', masterKey: { delegated: true }, make: ['Create', 'Activate', 'Encrypt'], use: ['Decrypt'] },
};

for (const [name, { provider = name, masterKey, make, use }] of Object.entries(conversations)) {
  describe(name, () => {
    const key = () => ({ ...place.cloud.masterKeys[provider], ...masterKey });
    const asked = async (work) => {
      const before = requestsOf(provider).length;
      const result = await work();
      return [result, requestsOf(provider).slice(before)];
    };

    test('makes a key with names and material of its own, which a new client unwraps once', async () => {
      const keyMaterial = randomBytes(96);
      const [id, making] = await asked(() => encryption().createDataKey(provider, { masterKey: key(), keyAltNames: [name, `${name}-2`], keyMaterial }));
      assert.deepEqual(making, make);
      const document = await stored(id);
      assert.deepEqual(document.keyAltNames.toSorted(), [name, `${name}-2`]);
      const { keyId, ...rest } = document.masterKey;
      assert.deepEqual(rest, { provider, ...key() });
      assert.equal(typeof keyId, provider === 'kmip' ? 'string' : 'undefined');
      const [value, using] = await asked(() => encryption().encrypt('secret', { algorithm: RANDOM, keyAltName: `${name}-2` }));
      assert.deepEqual(using, use);
      const reader = encryption();
      const [, reading] = await asked(async () => {
        for (let n = 0; n < 3; n += 1) assert.equal(await reader.decrypt(value), 'secret');
      });
      assert.deepEqual(reading, use);
      // The same material under a local key reads it too: what was wrapped is what was given.
      const local = await encryption().createDataKey('local', { keyMaterial });
      await place.vault().updateOne({ _id: id }, { $set: { keyMaterial: (await stored(local)).keyMaterial, masterKey: { provider: 'local' } } });
      assert.equal(await encryption().decrypt(value), 'secret');
    });

    test('makes and uses many at once', async () => {
      const maker = encryption();
      const ids = await Promise.all(Array.from({ length: 8 }, () => maker.createDataKey(provider, { masterKey: key() })));
      const values = await Promise.all(ids.map((keyId, n) => maker.encrypt(n, { algorithm: RANDOM, keyId })));
      await place.withClient({}, async (automatic) => {
        const people = automatic.collection(`many_${name}`);
        await people.insertOne({ _id: 1, values });
        assert.deepEqual(await people.findOne({ _id: 1 }), { _id: 1, values: ids.map((_, n) => n) });
      });
    });
  });
}

for (const provider of ['azure', 'gcp']) {
  describe(`tokens of ${provider}`, () => {
    const make = (by) => by.createDataKey(provider, { masterKey: place.cloud.masterKeys[provider] });

    test('are asked for once for all keys of a client', async () => {
      const before = place.cloud[provider].issued;
      const maker = encryption();
      for (let n = 0; n < 3; n += 1) await make(maker);
      assert.equal(place.cloud[provider].issued, before + 1);
      await make(encryption());
      assert.equal(place.cloud[provider].issued, before + 2);
    });

    test('are asked for again when they are about to expire', async () => {
      const maker = encryption();
      const before = place.cloud[provider].issued;
      // Five seconds before its end a token is taken for expired.
      place.cloud[provider].tokenLifetimeS = 5;
      try {
        await make(maker);
        await make(maker);
      } finally {
        place.cloud[provider].tokenLifetimeS = 3600;
      }
      assert.equal(place.cloud[provider].issued, before + 2);
      await make(maker);
      await make(maker);
      assert.equal(place.cloud[provider].issued, before + 3);
    });

    test('given by the application are used as they are, and an expired one is told of', async () => {
      const before = place.cloud[provider].issued;
      const withToken = (accessToken) => encryption({ kmsProviders: { [provider]: { accessToken } } });
      await make(withToken(place.cloud[provider].issueToken()));
      assert.equal(place.cloud[provider].issued, before + 1);
      await assert.rejects(make(withToken(place.cloud[provider].issueToken(-1))), {
        name: 'MongoCryptError',
        message: /^Error in KMS response\. HTTP status=401\. Response body=\n\{"error":/,
      });
    });
  });
}

for (const provider of ['aws', 'azure', 'gcp']) {
  test(`${provider} may answer in chunks, in pieces and with other letters in its headers`, async () => {
    for (const fault of [faults.chunked, faults.lowerCase]) {
      place.cloud[provider].service.fail(fault, { times: 2 });
      const id = await encryption().createDataKey(provider, { masterKey: place.cloud.masterKeys[provider] });
      const value = await encryption().encrypt('x', { algorithm: RANDOM, keyId: id });
      assert.equal(await encryption().decrypt(value), 'x');
    }
  });
}
