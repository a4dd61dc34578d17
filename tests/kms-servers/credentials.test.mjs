// Credentials that the driver looks for when they are needed: prose tests 15, 17, 18, 19 and 26 of the specification, with the
// modules that the driver itself uses. State 7 of a context asks for them.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { startMetadata } from './metadata.mjs';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp'], { modules: ['@aws-sdk/credential-providers', 'gcp-metadata'] });
const metadata = await startMetadata(place.cloud);
after(() => metadata.stop());
afterEach(() => assert.deepEqual(metadata.violations.splice(0), []));

const { encryption } = place;
const onDemand = (name, options) => encryption({ kmsProviders: { [name]: {} } }, options);
const make = (name, by) => by.createDataKey(name, { masterKey: place.cloud.masterKeys[name] });
// Makes a key, uses it with the same client and with another, and reads it with a MongoClient.
async function roundTrip(name, options) {
  const maker = onDemand(name, options);
  const id = await make(name, maker);
  const value = await maker.encrypt('test', { algorithm: RANDOM, keyId: id });
  assert.equal(await onDemand(name, options).decrypt(value), 'test');
  await place.withClient({ kmsProviders: { [name]: {} }, ...options }, async (automatic) => {
    const { insertedId } = await place.collection('read').insertOne({ value });
    assert.equal((await automatic.collection('read').findOne({ _id: insertedId })).value, 'test');
  });
  return [maker, id, value];
}

describe('aws', () => {
  const VARIABLES = [
    'AWS_ACCESS_KEY_ID',
    'AWS_SECRET_ACCESS_KEY',
    'AWS_SESSION_TOKEN',
    'AWS_EC2_METADATA_DISABLED',
    'AWS_CONFIG_FILE',
    'AWS_SHARED_CREDENTIALS_FILE',
  ];
  const saved = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
  const setVariables = (values) => {
    for (const name of VARIABLES) {
      if (values[name] === undefined) delete process.env[name];
      else process.env[name] = values[name];
    }
  };
  const nothing = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/nowhere', AWS_SHARED_CREDENTIALS_FILE: '/nowhere' };
  const variablesOf = ({ accessKeyId, secretAccessKey, sessionToken }) => ({
    ...nothing,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  });
  beforeEach(() => setVariables(nothing));
  afterEach(() => setVariables(nothing));
  after(() => setVariables(saved));

  test("15.1: the SDK's chain finds none", async () => {
    await assert.rejects(make('aws', onDemand('aws')), { name: 'MongoAWSError', message: 'Could not load credentials from any providers' });
  });

  test("15.2: the SDK's chain finds them in the environment, permanent and temporary", async () => {
    for (const isTemporary of [false, true]) {
      setVariables(variablesOf(place.cloud.aws.addAccount({ isTemporary })));
      await roundTrip('aws');
    }
  });

  test('26.1 and 26.3: a provider of credentials beside credentials is refused', async () => {
    const message = /^Can only provide a custom AWS credential provider when the state machine is configured for automatic AWS credential fetching$/;
    const credentialProviders = { aws: async () => place.cloud.aws.kmsProvider };
    assert.throws(() => encryption({}, { credentialProviders }), { name: 'MongoCryptInvalidArgumentError', message });
    await assert.rejects(
      place.withClient({ credentialProviders }, () => {}),
      { name: 'MongoCryptInvalidArgumentError', message },
    );
  });

  test('26.2 and 26.4: a provider of credentials is asked, whatever the environment says', async () => {
    setVariables({ ...nothing, AWS_ACCESS_KEY_ID: 'invalid', AWS_SECRET_ACCESS_KEY: 'invalid' });
    const account = place.cloud.aws.addAccount({ isTemporary: true });
    let asked = 0;
    const credentialProviders = {
      aws: async () => {
        asked += 1;
        return account;
      },
    };
    await roundTrip('aws', { credentialProviders });
    assert.equal(asked, 4, 'once for each operation that does not find its key in a cache');
    await assert.rejects(make('aws', onDemand('aws')), {
      message: /^Error in KMS response\. HTTP status=400\. Response body=\n\{"__type":"UnrecognizedClientException"/,
    });
  });

  test('empty credentials are refused by name', async () => {
    const credentialProviders = { aws: async () => ({}) };
    await assert.rejects(make('aws', onDemand('aws', { credentialProviders })), {
      name: 'MongoCryptError',
      message: 'failed to create KMS message: Access key ID not set',
    });
  });
});

describe('gcp', () => {
  test('17: the metadata service gives a token for each operation, or none', async () => {
    const before = metadata.requests.length;
    const [maker, id] = await roundTrip('gcp');
    assert.equal(metadata.requests.length, before + 4);
    // The key is in the cache of this client: no token, no request.
    await maker.encrypt('again', { algorithm: RANDOM, keyId: id });
    assert.equal(metadata.requests.length, before + 4);
    metadata.fail(404, 'Not Found');
    await assert.rejects(make('gcp', onDemand('gcp')), { status: 404 });
    metadata.lifetimeS = -1;
    try {
      await assert.rejects(make('gcp', onDemand('gcp')), { name: 'MongoCryptError', message: /^Error in KMS response\. HTTP status=401\. Response body=\n/ });
    } finally {
      metadata.lifetimeS = 3600;
    }
  });

  test('an answer of the metadata service without a token is refused', async () => {
    metadata.fail(200, {});
    await assert.rejects(make('gcp', onDemand('gcp')), { name: 'MongoCryptError', message: 'KMS provider `gcp` is not configured' });
  });
});

describe('azure', () => {
  // The driver keeps one token for the whole process, up to six seconds before its end.
  const SHORT_S = 5;
  beforeEach(() => {
    metadata.lifetimeS = SHORT_S;
  });
  after(() => {
    metadata.lifetimeS = 3600;
  });

  test('19: the metadata service gives a token, and the driver keeps it while it lives', async () => {
    const before = metadata.requests.length;
    await roundTrip('azure');
    assert.equal(metadata.requests.length, before + 4);
  });

  test('18: what is no token is the driver’s own error', async () => {
    for (const [status, body] of [
      [404, '{"error":"not found"}'],
      [500, '{}'],
      [200, 'no JSON'],
      [200, '{}'],
      [200, '{"access_token":"x"}'],
      [200, '{"access_token":"x","expires_in":"soon"}'],
    ]) {
      metadata.fail(status, body);
      await assert.rejects(make('azure', onDemand('azure')), { name: 'MongoCryptAzureKMSRequestError' }, body);
    }
    metadata.fail(200, { access_token: 'a\r\nX: y', expires_in: SHORT_S });
    await assert.rejects(make('azure', onDemand('azure')), { name: 'MongoCryptError', message: /control character/ });
  });

  test('a token that lives is asked for once by a process', async () => {
    metadata.lifetimeS = 3600;
    const before = metadata.requests.length;
    await roundTrip('azure');
    await roundTrip('azure');
    assert.equal(metadata.requests.length, before + 1);
  });
});

test('all three at once: each is asked, whichever of them the keys need', async () => {
  const account = place.cloud.aws.addAccount();
  const kmsProviders = { aws: {}, azure: {}, gcp: {} };
  let asked = 0;
  const credentialProviders = {
    aws: async () => {
      asked += 1;
      return account;
    },
  };
  const maker = encryption({ kmsProviders }, { credentialProviders });
  const before = metadata.requests.length;
  const ids = [];
  for (const name of Object.keys(kmsProviders)) ids.push(await make(name, maker));
  // Making a key asks when its own provider has no credentials, and the driver then brings those of all.
  assert.equal(asked, 3);
  const local = await maker.createDataKey('local');
  assert.equal(asked, 3);
  const values = [];
  for (const keyId of [...ids, local]) values.push(await maker.encrypt('x', { algorithm: RANDOM, keyId }));
  await place.withClient({ kmsProviders: { ...place.cloud.options().kmsProviders, ...kmsProviders }, credentialProviders }, async (automatic) => {
    const { insertedId } = await place.collection('all').insertOne({ values });
    asked = 0;
    assert.deepEqual((await automatic.collection('all').findOne({ _id: insertedId })).values, ['x', 'x', 'x', 'x']);
    assert.equal(asked, 1);
  });
  assert.ok(metadata.requests.length > before);
  // Named providers have theirs from the start.
  assert.throws(() => encryption({ kmsProviders: { 'azure:x': {} } }), {
    message: /^Unexpected empty document for named KMS provider: 'azure:x'\. On-demand credentials are not supported for named KMS providers\.$/,
  });
});
