// A client that encrypts automatically decrypts what it reads: what it shows is no proof of a key.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ClientEncryption } from 'csfle-wasm';
import { hospital, openLab } from './fixtures.mjs';

describe('the proof of rewrapManyDataKey', { timeout: 60_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  it('a connection that encrypts automatically is not searched for proof, unless another client names the collections', async () => {
    const place = await hospital(lab, { documents: 2 });
    await place.migrate({ execute: true });
    const read = [];
    const automatic = {
      options: { autoEncryption: {} },
      db: (name) => {
        const database = lab.client.db(name);
        return {
          collection: (one) => {
            read.push(one);
            return database.collection(one);
          },
          command: (...given) => database.command(...given),
        };
      },
    };
    const rewrap = async (client, proof) => {
      read.length = 0;
      const encryption = new ClientEncryption(client, { keyVaultNamespace: place.namespace, kmsProviders: place.kmsProviders });
      const { bulkWriteResult } = await encryption.rewrapManyDataKey(
        { _id: place.keys.ssn },
        { provider: 'aws', masterKey: lab.to, ...(proof === undefined ? {} : { proof }) },
      );
      encryption.close();
      return [bulkWriteResult.modifiedCount, read.includes('patients')];
    };
    assert.deepEqual(await rewrap(automatic), [1, false]);
    const namespace = place.patientsNamespace;
    await assert.rejects(rewrap(automatic, { collections: [{ client: automatic, namespace }] }), { code: 'ARGUMENT_INVALID' });
    const searching = { ...automatic, options: {} };
    assert.deepEqual(await rewrap(automatic, { collections: [{ client: searching, namespace }] }), [1, true]);
    assert.deepEqual(await rewrap(searching), [1, true]);
  });
});
