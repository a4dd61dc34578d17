// Providers of one type under several names, each with credentials, ports and trust of its own.
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { testPython } from '../env.mjs';
import { startCloud } from './cloud.mjs';
import { RANDOM, workplace } from './workplace.mjs';

const types = ['aws', 'azure', 'gcp', 'kmip'];
const PORT = 8443;
const place = await workplace(types);
const { encryption } = place;

// A second cloud under the same names on another port, whose certificates are another authority's.
const other = await startCloud(await testPython(), types);
for (const type of types) for (const host of other[type].hosts) place.cloud.routes.set(`${host}:${PORT}`, other[type].service.port);
after(() => other.stop());
afterEach(() => assert.deepEqual(other.takeViolations(), []));

const name = (type) => `${type}:x`;
const second = () => {
  const { aws, azure, gcp, kmip } = other;
  return {
    kmsProviders: {
      'aws:x': aws.kmsProvider,
      'azure:x': { ...azure.kmsProvider, identityPlatformEndpoint: `login.microsoftonline.com:${PORT}` },
      'gcp:x': { ...gcp.kmsProvider, endpoint: `https://oauth2.googleapis.com:${PORT}/token` },
      'kmip:x': { endpoint: `${kmip.hosts[0]}:${PORT}` },
    },
    tlsOptions: Object.fromEntries(types.map((type) => [name(type), other.tlsOptions[type]])),
  };
};
const masterKeys = () => ({
  aws: { ...other.masterKeys.aws, endpoint: `kms.us-east-1.amazonaws.com:${PORT}` },
  azure: { ...other.masterKeys.azure, keyVaultEndpoint: `https://csfle-test.vault.azure.net:${PORT}/keys` },
  gcp: { ...other.masterKeys.gcp, endpoint: `cloudkms.googleapis.com:${PORT}` },
  kmip: {},
});

for (const type of types) {
  test(`${type}:x has its own credentials, endpoints and authorities`, async () => {
    const unnamed = await encryption(second()).createDataKey(type, { masterKey: place.cloud.masterKeys[type] });
    const count = other[type].service.connections;
    const id = await encryption(second()).createDataKey(name(type), { masterKey: masterKeys()[type] });
    assert.ok(other[type].service.connections > count);
    // COMPAT: the port is part of AWS's host when unwrapping, and not when wrapping.
    const hosts = () => other.aws.service.requests.slice(-1).map(({ host }) => host);
    if (type === 'aws') assert.deepEqual(hosts(), ['kms.us-east-1.amazonaws.com']);
    const { masterKey } = await place.vault().findOne({ _id: id });
    assert.equal(masterKey.provider, name(type));
    assert.equal(masterKey.keyVaultEndpoint, type === 'azure' ? `csfle-test.vault.azure.net:${PORT}` : undefined);
    const value = await encryption(second()).encrypt('x', { algorithm: RANDOM, keyId: id });
    if (type === 'aws') assert.deepEqual(hosts(), [`kms.us-east-1.amazonaws.com:${PORT}`]);
    assert.equal(await encryption(second()).decrypt(value), 'x');
    await assert.rejects(encryption().decrypt(value), { message: `KMS provider \`${name(type)}\` is not configured` });
    // The other's authority is not trusted.
    const { kmsProviders, tlsOptions } = second();
    const { tlsCAFile } = place.cloud.tlsOptions[type];
    const wrong = { kmsProviders, tlsOptions: { ...tlsOptions, [name(type)]: { ...tlsOptions[name(type)], tlsCAFile } } };
    await assert.rejects(
      encryption(wrong).decrypt(value),
      ({ message, cause }) => message === 'KMS request failed' && ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN'].includes(cause.code),
    );
    // From one to the other and back: two clouds in one call.
    const both = { _id: { $in: [id, unnamed] } };
    await encryption(second()).rewrapManyDataKey(both, { provider: type, masterKey: place.cloud.masterKeys[type] });
    assert.equal(await encryption().decrypt(value), 'x');
    await encryption(second()).rewrapManyDataKey(both, { provider: name(type), masterKey: masterKeys()[type] });
    assert.equal(await encryption(second()).decrypt(value), 'x');
  });
}
