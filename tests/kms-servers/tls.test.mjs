// TLS as the driver does it for this package: prose tests 10 and 11 of the specification.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { testPython } from '../env.mjs';
import { makeCertificates } from './certificates.mjs';
import { startHttpsService } from './https-service.mjs';
import { workplace } from './workplace.mjs';

const types = ['aws', 'azure', 'gcp', 'kmip'];
const place = await workplace(types);
const { certificates } = place.cloud;
const { encryption } = place;

const make = (provider, options) => encryption(options).createDataKey(provider, { masterKey: place.cloud.masterKeys[provider] });
const connections = () => types.reduce((sum, type) => sum + place.cloud[type].service.connections, 0);
const failsWith =
  (...codes) =>
  ({ name, message, cause }) => {
    if (name !== 'MongoCryptError' || message !== 'KMS request failed') return false;
    assert.ok(codes.includes(cause.code), cause.code);
    return true;
  };

describe('10: a server that is not to be trusted', () => {
  for (const [name, code] of [
    ['expired', 'CERT_HAS_EXPIRED'],
    ['elsewhere', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ]) {
    test(`its certificate is ${name === 'expired' ? 'expired' : 'for another host'}`, async () => {
      const never = () => {
        throw new Error('a request was sent');
      };
      const service = await startHttpsService(name, certificates.file(name), never);
      const routes = new Map(place.cloud.routes);
      for (const route of routes.keys()) place.cloud.routes.set(route, service.port);
      try {
        for (const type of types) await assert.rejects(make(type), failsWith(code), type);
        assert.deepEqual(service.requests, []);
      } finally {
        for (const [route, port] of routes) place.cloud.routes.set(route, port);
        await service.stop();
      }
    });
  }
});

describe('11: options of each provider', () => {
  test('no authority, or another one', async () => {
    const other = makeCertificates(await testPython(), {});
    const clientOnly = (type) => (type === 'kmip' ? { tlsCertificateKeyFile: certificates.file('kmip-client') } : {});
    try {
      const before = connections();
      for (const type of types) {
        await assert.rejects(
          make(type, { tlsOptions: { [type]: clientOnly(type) } }),
          failsWith('UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN'),
          type,
        );
        const wrong = { ...clientOnly(type), tlsCAFile: other.caFile };
        await assert.rejects(make(type, { tlsOptions: { [type]: wrong } }), failsWith('UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN'), type);
        // Options of another provider do not help.
        await assert.rejects(
          make(type, { tlsOptions: { [type]: undefined, [`${type}:x`]: place.cloud.tlsOptions[type] } }),
          failsWith('UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN'),
          type,
        );
      }
      assert.deepEqual(
        types.flatMap((type) => place.cloud[type].service.requests ?? []),
        [],
      );
      assert.ok(connections() >= before);
    } finally {
      other.remove();
    }
  });

  test('no certificate of the client, or one of another authority', async () => {
    const other = makeCertificates(await testPython(), { client: { usage: 'client' } });
    try {
      for (const more of [{}, { tlsCertificateKeyFile: other.file('client') }]) {
        await assert.rejects(make('kmip', { tlsOptions: { kmip: { tlsCAFile: certificates.caFile, ...more } } }), {
          name: 'MongoCryptError',
          message: /^KMS request (failed|closed)$/,
        });
      }
      assert.deepEqual(place.cloud.kmip.service.operations, []);
    } finally {
      other.remove();
    }
  });

  test('insecure ones, and files that are not there', async () => {
    for (const type of types) {
      for (const option of ['tlsInsecure', 'tlsAllowInvalidCertificates', 'tlsAllowInvalidHostnames']) {
        await assert.rejects(make(type, { tlsOptions: { [type]: { ...place.cloud.tlsOptions[type], [option]: true } } }), {
          name: 'MongoCryptError',
          message: `Insecure TLS options prohibited for ${type}: ${option}`,
        });
      }
      await assert.rejects(make(type, { tlsOptions: { [type]: { tlsCAFile: '/nowhere/ca.pem' } } }), failsWith('ENOENT'));
    }
  });

  test('right ones', async () => {
    for (const type of types) await make(type);
  });
});
