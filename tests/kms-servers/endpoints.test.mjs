// Custom endpoints: prose test 7 of the specification, with its case numbers.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { listening } from '../listening.mjs';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp', 'kmip']);
const { encryption } = place;

const REGIONAL = 'kms.us-east-1.amazonaws.com';
const NOWHERE = 'doesnotexist.invalid';
const invalid = () =>
  encryption({
    kmsProviders: {
      azure: { ...place.cloud.azure.kmsProvider, identityPlatformEndpoint: `${NOWHERE}:443` },
      gcp: { ...place.cloud.gcp.kmsProvider, endpoint: `${NOWHERE}:443` },
      kmip: { endpoint: `${NOWHERE}:5698` },
    },
  });
const hasNoHost = ({ name, message, cause }) => name === 'MongoCryptError' && message === 'KMS request failed' && cause.code === 'ENOTFOUND';

async function works(provider, masterKey, expected = masterKey) {
  const maker = encryption();
  const id = await maker.createDataKey(provider, { masterKey });
  const {
    masterKey: { keyId, ...stored },
  } = await place.vault().findOne({ _id: id });
  assert.deepEqual(stored, { provider, ...expected });
  const value = await maker.encrypt('test', { algorithm: RANDOM, keyId: id });
  assert.equal(await encryption().decrypt(value), 'test');
  return id;
}

// A port of this machine where nothing listens.
async function closedPort() {
  const server = createServer();
  await listening(server);
  const { port } = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

describe('aws', () => {
  const key = () => place.cloud.masterKeys.aws;

  test('1 to 3: none, a host, a host with its port', async () => {
    await works('aws', key());
    await works('aws', { ...key(), endpoint: REGIONAL });
    await works('aws', { ...key(), endpoint: `${REGIONAL}:443` });
    await works('aws', { ...key(), endpoint: `https://${REGIONAL}:443/path?query` }, { ...key(), endpoint: `${REGIONAL}:443` });
  });

  test('5: of another region', async () => {
    await assert.rejects(encryption().createDataKey('aws', { masterKey: { ...key(), endpoint: 'kms.us-east-2.amazonaws.com' } }), {
      name: 'MongoCryptError',
      message:
        'Error in KMS response. HTTP status=400. Response body=\n{"__type":"InvalidSignatureException","message":"Credential ' +
        'should be scoped to a valid region."}',
    });
  });

  test('6: of no host', async () => {
    await assert.rejects(encryption().createDataKey('aws', { masterKey: { ...key(), endpoint: NOWHERE } }), hasNoHost);
  });

  test('of a port where nobody listens, over the connection of the driver itself', async () => {
    const direct = encryption({}, { kmsConnectCallback: undefined });
    const masterKey = { ...key(), endpoint: `127.0.0.1:${await closedPort()}` };
    await assert.rejects(direct.createDataKey('aws', { masterKey }), ({ message, cause }) => message === 'KMS request failed' && cause.code === 'ECONNREFUSED');
  });

  test('that would split a request or is none', async () => {
    for (const [endpoint, message] of [
      [`${REGIONAL}\r\nX-Injected: 1`, `Invalid character in endpoint at offset ${REGIONAL.length}: 0x0d`],
      ['localhost', 'Invalid endpoint, expected dot separator in host, but got: localhost'],
      [`${REGIONAL}:`, 'Invalid endpoint, expected a port after the colon'],
      [`${REGIONAL}:x`, 'Invalid character in endpoint port: 0x78'],
    ])
      await assert.rejects(encryption().createDataKey('aws', { masterKey: { ...key(), endpoint } }), { name: 'MongoCryptError', message });
  });
});

describe('azure', () => {
  test('7: the key vault, with and without a version of the key; an identity platform that is none', async () => {
    const { keyVersion, ...unversioned } = place.cloud.masterKeys.azure;
    const id = await works('azure', unversioned);
    assert.equal(place.cloud.azure.service.paths().at(-1), '/keys/csfle-key//unwrapkey?api-version=7.1');
    await works('azure', { ...unversioned, keyVersion });
    await assert.rejects(invalid().createDataKey('azure', { masterKey: unversioned }), hasNoHost);
    const value = await encryption().encrypt('x', { algorithm: RANDOM, keyId: id });
    await assert.rejects(invalid().decrypt(value), hasNoHost);
  });

  test('a name of a key that holds what splits a path does not leave its segment', async () => {
    for (const keyName of ['../secrets/x?', 'a/b', 'a b\r\nX: y']) {
      await assert.rejects(encryption().createDataKey('azure', { masterKey: { ...place.cloud.masterKeys.azure, keyName } }), {
        name: 'MongoCryptError',
        message: /HTTP status=404\. .*KeyNotFound/s,
      });
      assert.equal(place.cloud.azure.service.paths().at(-1), `/keys/${encodeURIComponent(keyName)}/b2c0f6d4e8/wrapkey?api-version=7.1`);
    }
    const keyName = '..';
    await assert.rejects(encryption().createDataKey('azure', { masterKey: { ...place.cloud.masterKeys.azure, keyName } }), {
      name: 'MongoCryptError',
      message: /dot segment/,
    });
  });
});

describe('gcp', () => {
  const key = () => place.cloud.masterKeys.gcp;

  test('8: of Cloud KMS; a token endpoint that is none', async () => {
    await works('gcp', { ...key(), endpoint: 'cloudkms.googleapis.com:443' });
    await assert.rejects(invalid().createDataKey('gcp', { masterKey: { ...key(), endpoint: 'cloudkms.googleapis.com:443' } }), hasNoHost);
  });

  test('9: of no host: the token for its scope is refused', async () => {
    await assert.rejects(encryption().createDataKey('gcp', { masterKey: { ...key(), endpoint: `${NOWHERE}:443` } }), {
      name: 'MongoCryptError',
      message: /^Error in KMS response\. HTTP status=400\. Response body=\n\{"error":"invalid_scope"/,
    });
  });

  test('a version of the key is named to encrypt, and never to decrypt', async () => {
    await works('gcp', { ...key(), keyVersion: '3' });
    const [encrypting, decrypting, again] = place.cloud.gcp.service
      .paths()
      .filter((path) => path !== '/token')
      .slice(-3);
    assert.match(encrypting, /\/cryptoKeys\/key-one\/cryptoKeyVersions\/3:encrypt$/);
    for (const path of [decrypting, again]) assert.match(path, /\/cryptoKeys\/key-one:decrypt$/);
  });

  test('a part of the name of a key that is none is refused before anything is sent', async () => {
    const count = place.cloud.gcp.service.requests.length;
    const masterKey = { ...key(), keyRing: 'ring/one' };
    const accessToken = place.cloud.gcp.issueToken();
    await assert.rejects(encryption({ kmsProviders: { gcp: { accessToken } } }).createDataKey('gcp', { masterKey }), {
      name: 'MongoCryptError',
      message: 'error constructing GCP KMS encrypt message: Invalid character in GCP KMS key identifier: keyRing',
    });
    assert.equal(place.cloud.gcp.service.requests.length, count);
  });
});

describe('kmip', () => {
  for (const delegated of [false, true]) {
    test(`10 to 12: of the provider, of the key, of no host${delegated ? '; delegated' : ''}`, async () => {
      const kind = delegated ? { delegated } : {};
      const id = await works('kmip', kind);
      const { keyId } = (await place.vault().findOne({ _id: id })).masterKey;
      const again = await encryption().createDataKey('kmip', { masterKey: { ...kind, keyId } });
      assert.equal((await place.vault().findOne({ _id: again })).masterKey.keyId, keyId);
      await assert.rejects(invalid().createDataKey('kmip', { masterKey: { ...kind, keyId } }), hasNoHost);
      const endpoint = place.cloud.kmip.hosts[0];
      const elsewhere = await works('kmip', { ...kind, endpoint: `${endpoint}:5696` });
      const value = await encryption().encrypt('x', { algorithm: RANDOM, keyId: elsewhere });
      assert.equal(await invalid().decrypt(value), 'x', 'the endpoint of the key goes before that of the provider');
      await assert.rejects(encryption().createDataKey('kmip', { masterKey: { ...kind, keyId, endpoint: 'doesnotexist.local:5698' } }), hasNoHost);
    });
  }

  test('PyKMIP itself, over the connection of the driver, wants the certificate of the client', async () => {
    const { service } = place.cloud.kmip;
    const direct = (options) =>
      encryption({ kmsProviders: { kmip: { endpoint: `127.0.0.1:${service.directPort}` } }, ...options }, { kmsConnectCallback: undefined });
    await direct().createDataKey('kmip');
    const { tlsCAFile } = place.cloud.tlsOptions.kmip;
    await assert.rejects(direct({ tlsOptions: { kmip: { tlsCAFile } } }).createDataKey('kmip'), {
      name: 'MongoCryptError',
      message: /^KMS request (failed|closed)$/,
    });
  });

  test('an object that is not there', async () => {
    await assert.rejects(encryption().createDataKey('kmip', { masterKey: { keyId: '9999' } }), {
      name: 'MongoCryptError',
      message:
        'Error getting SecretData from KMIP Get response: KMIP response error. Result Status (1): Operation Failed. ' +
        'Result Reason (1): Item Not Found. Result Message: Could not locate object: 9999',
    });
    // PyKMIP refuses what it does not know, as it has to.
    assert.equal(place.cloud.takeViolations().length, 1);
  });
});
