// A model whose values are encrypted before they are written, and read as they were.
import mongoose from 'mongoose';

const uri = process.argv[2];
const dbName = `application_${process.pid}`;
const options = { keyVaultNamespace: `${dbName}.keys`, kmsProviders: { local: { key: Buffer.alloc(96, 7) } } };
const connection = await mongoose.createConnection(uri, { dbName, autoEncryption: { ...options, bypassAutoEncryption: true } }).asPromise();
const plain = await mongoose.createConnection(uri, { dbName }).asPromise();
try {
  const { ClientEncryption } = mongoose.mongo;
  const encryption = new ClientEncryption(connection.getClient(), options);
  await encryption.createDataKey('local', { keyAltNames: ['ssn'] });
  const encrypt = (value) => encryption.encrypt(value, { keyAltName: 'ssn', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' });

  const schema = new mongoose.Schema({ name: String, ssn: mongoose.Schema.Types.Mixed, visits: [new mongoose.Schema({ note: mongoose.Schema.Types.Mixed })] });
  const Patient = connection.model('Patient', schema);
  const ssn = await encrypt('457-55-5462');
  await Patient.create({ name: 'Ada', ssn, visits: [{ note: await encrypt('healthy') }] });
  const stored = await plain.collection('patients').findOne({ name: 'Ada' });
  const found = await Patient.findOne({ ssn });
  await Patient.updateOne({ ssn }, { $set: { ssn: await encrypt('987-65-4320') } });
  console.log(
    JSON.stringify({
      library: ClientEncryption.libmongocryptVersion,
      stored: [stored.ssn, stored.visits[0].note].map(({ _bsontype, sub_type }) => `${_bsontype} ${sub_type}`),
      found: [found.ssn, found.visits[0].note, (await Patient.findById(found._id).lean()).ssn, await encryption.decrypt(stored.ssn)],
    }),
  );
} finally {
  await plain.db.dropDatabase();
  await Promise.all([connection.close(), plain.close()]);
}
