// The official driver on this package, with a database of its own on the test server and clients that encrypt automatically.
import { randomBytes } from 'node:crypto';
import { after } from 'node:test';
import { testServices } from '../env.mjs';
import { aliasedDriver } from './driver.mjs';
import { startSchemaProxy } from './schema-proxy.mjs';

/**
 * Opens one until the tests of the file are over. With `onRequest`, what its clients send passes a proxy that asks it about
 * each message. `client` is a plain one, past the proxy.
 */
export async function encryptingPlace(name, { onRequest } = {}) {
  const { mongodbUri } = await testServices();
  const { driver, remove } = aliasedDriver();
  const { hostname, port } = new URL(mongodbUri);
  const proxy = onRequest && (await startSchemaProxy({ host: hostname, port: Number(port), onRequest }));
  const uri = proxy ? `mongodb://127.0.0.1:${proxy.port}/?directConnection=true` : mongodbUri;
  const client = await new driver.MongoClient(mongodbUri).connect();
  const database = `${name}_${randomBytes(4).toString('hex')}`;
  const keys = { keyVaultNamespace: `${database}.keys`, kmsProviders: { local: { key: randomBytes(96) } } };
  after(async () => {
    await client.db(database).dropDatabase();
    await client.close();
    await proxy?.stop();
    remove();
  });
  return {
    client,
    database,
    kmsProviders: keys.kmsProviders,
    proxy,
    encryptionOf: (someClient) => new driver.ClientEncryption(someClient, keys),
    /** Runs `work` with a client that asks the analyser at `mongocryptdURI`; `more` are further options of `autoEncryption`. */
    async withClient(mongocryptdURI, more, work) {
      const extraOptions = { mongocryptdURI, mongocryptdBypassSpawn: true };
      const encrypting = new driver.MongoClient(uri, { autoEncryption: { ...keys, extraOptions, ...more } });
      try {
        return await work(encrypting);
      } finally {
        await encrypting.close();
      }
    },
  };
}

/** A schema whose field `ssn` is encrypted under a key, such that it can be searched for. */
export const schemaOf = (keyId) => ({
  bsonType: 'object',
  properties: { ssn: { encrypt: { keyId: [keyId], bsonType: 'string', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' } } },
});
