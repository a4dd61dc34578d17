// What an application does with the driver, whatever loads it: a key, a value, and both ways of reading it.
module.exports = async function use({ ClientEncryption, MongoClient }, uri) {
  const name = `application_${process.pid}`;
  const options = { keyVaultNamespace: `${name}.keys`, kmsProviders: { local: { key: Buffer.alloc(96, 7) } } };
  const client = new MongoClient(uri, { autoEncryption: { ...options, bypassAutoEncryption: true } });
  const plain = new MongoClient(uri);
  try {
    const encryption = new ClientEncryption(client, options);
    const keyId = await encryption.createDataKey('local');
    const value = await encryption.encrypt('hello', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
    await client.db(name).collection('c').insertOne({ _id: 1, value });
    const [stored, read] = await Promise.all([plain, client].map((either) => either.db(name).collection('c').findOne({ _id: 1 })));
    return {
      library: ClientEncryption.libmongocryptVersion,
      stored: `${stored.value._bsontype} ${stored.value.sub_type}`,
      read: read.value,
      explicit: await encryption.decrypt(stored.value),
    };
  } finally {
    await plain.db(name).dropDatabase();
    await Promise.all([plain.close(), client.close()]);
  }
};
