// Operations of the drivers' test formats by name, on the object of the driver or of ClientEncryption that they name.
import { setTimeout as delay } from 'node:timers/promises';

const cased = ({ returnDocument, ...options }) => ({ ...options, ...(returnDocument && { returnDocument: returnDocument.toLowerCase() }) });

/** Of the older format; the unified one writes these as the driver takes them. */
const bulkRequest = ({ name, arguments: given, ...request }) => (name ? { [name]: given } : request);

export const COLLECTION_OPERATIONS = {
  find: (collection, { filter, ...options }) => collection.find(filter, options).toArray(),
  findOne: (collection, { filter, ...options }) => collection.findOne(filter, options),
  aggregate: (target, { pipeline, ...options }) => target.aggregate(pipeline, options).toArray(),
  count: (collection, { filter, ...options }) => collection.count(filter, options),
  countDocuments: (collection, { filter, ...options }) => collection.countDocuments(filter, options),
  distinct: (collection, { fieldName, filter, ...options }) => collection.distinct(fieldName, filter, options),
  insertOne: (collection, { document, ...options }) => collection.insertOne(document, options),
  insertMany: (collection, { documents, ...options }) => collection.insertMany(documents, options),
  updateOne: (collection, { filter, update, ...options }) => collection.updateOne(filter, update, options),
  updateMany: (collection, { filter, update, ...options }) => collection.updateMany(filter, update, options),
  replaceOne: (collection, { filter, replacement, ...options }) => collection.replaceOne(filter, replacement, options),
  deleteOne: (collection, { filter, ...options }) => collection.deleteOne(filter, options),
  deleteMany: (collection, { filter, ...options }) => collection.deleteMany(filter, options),
  findOneAndDelete: (collection, { filter, ...options }) => collection.findOneAndDelete(filter, options),
  findOneAndReplace: (collection, { filter, replacement, ...options }) => collection.findOneAndReplace(filter, replacement, cased(options)),
  findOneAndUpdate: (collection, { filter, update, ...options }) => collection.findOneAndUpdate(filter, update, cased(options)),
  bulkWrite: (collection, { requests, ordered, options }) => collection.bulkWrite(requests.map(bulkRequest), options ?? { ordered }),
  createIndex: (collection, { keys, ...options }) => collection.createIndex(keys, options),
  // This driver has no helper for it any more; the name is as its helper sent it.
  mapReduce: (collection, given) => collection.db.command({ mapreduce: collection.collectionName, ...given }),
};

export const DATABASE_OPERATIONS = {
  aggregate: COLLECTION_OPERATIONS.aggregate,
  runCommand: (database, { command }) => database.command(command),
  createCollection: async (database, { collection, ...options }) => {
    await database.createCollection(collection, options);
  },
  dropCollection: async (database, { collection }) => {
    await database.dropCollection(collection);
  },
};

export const ENCRYPTION_OPERATIONS = {
  createDataKey: (encryption, { kmsProvider, opts = {} }) => encryption.createDataKey(kmsProvider, opts),
  rewrapManyDataKey: (encryption, { filter, opts }) => encryption.rewrapManyDataKey(filter, opts),
  getKey: (encryption, { id }) => encryption.getKey(id),
  getKeys: (encryption) => encryption.getKeys().toArray(),
  getKeyByAltName: (encryption, { keyAltName }) => encryption.getKeyByAltName(keyAltName),
  addKeyAltName: (encryption, { id, keyAltName }) => encryption.addKeyAltName(id, keyAltName),
  removeKeyAltName: (encryption, { id, keyAltName }) => encryption.removeKeyAltName(id, keyAltName),
  deleteKey: (encryption, { id }) => encryption.deleteKey(id),
  encrypt: (encryption, { value, opts }) => encryption.encrypt(value, opts),
  decrypt: (encryption, { value }) => encryption.decrypt(value),
};

/** Operations of the test runner itself; `plain` is a client that encrypts nothing. */
export const RUNNER_OPERATIONS = {
  wait: async (_plain, { ms }) => {
    await delay(ms);
  },
  async assertCollectionExists(plain, { databaseName, collectionName }) {
    const found = await plain.db(databaseName).listCollections({ name: collectionName }).toArray();
    if (found.length !== 1) throw new Error(`there is no collection ${collectionName}`);
  },
  async assertIndexExists(plain, { databaseName, collectionName, indexName }) {
    const names = (await plain.db(databaseName).collection(collectionName).indexes()).map(({ name }) => name);
    if (!names.includes(indexName)) throw new Error(`there is no index ${indexName} in ${names.join()}`);
  },
};

/** Runs an operation and judges its end: `failure(error)` where it has to fail, `matchResult(actual, result)` where it has a result. */
export async function perform(name, run, { result, failure }, matchResult) {
  let actual;
  try {
    actual = await run();
  } catch (error) {
    if (!failure) throw error;
    failure(error);
    return;
  }
  if (failure) throw new Error(`${name}: was expected to fail`);
  if (result !== undefined) matchResult(actual ?? null, result);
}
