// What each file of this folder works with: the aliased driver, a vault of its own and a cloud.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, afterEach } from 'node:test';
import { testPython, testServices } from '../env.mjs';
import { aliasedDriver } from '../mongocrypt/driver.mjs';
import { startCloud } from './cloud.mjs';

export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

/** Starts everything, and expects after each of them that no service complained. */
export async function workplace(providers, { modules } = {}) {
  const { mongodbUri } = await testServices();
  const { driver, alias, remove } = aliasedDriver({ modules });
  const { ClientEncryption, MongoClient } = driver;
  const database = `kms_${randomBytes(4).toString('hex')}`;
  const keyVaultNamespace = `${database}.keys`;
  const client = await new MongoClient(mongodbUri).connect();
  const cloud = await startCloud(await testPython(), providers);
  const place = {
    driver,
    alias,
    database,
    cloud,
    vault: () => client.db(database).collection('keys'),
    collection: (name) => client.db(database).collection(name),
    /** A ClientEncryption on the cloud; `more.kmsProviders` and `more.tlsOptions` are added to those of the cloud. */
    encryption: (more = {}, options = {}) => new ClientEncryption(client, { keyVaultNamespace, ...cloud.options(more), ...options }),
    /** A client that decrypts what it reads, for as long as `work` takes. */
    async withClient(options, work) {
      const autoEncryption = { keyVaultNamespace, bypassAutoEncryption: true, ...cloud.options(), ...options };
      const automatic = new MongoClient(mongodbUri, { autoEncryption });
      try {
        return await work(automatic.db(database));
      } finally {
        await automatic.close();
      }
    },
  };
  after(async () => {
    await client.db(database).dropDatabase();
    await client.close();
    await cloud.stop();
    remove();
  });
  afterEach(() => assert.deepEqual(cloud.takeViolations(), []));
  return place;
}
