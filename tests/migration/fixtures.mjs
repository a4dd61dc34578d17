// What migration tests start from: a database with a key vault under a local master key, and patients encrypted with it.
import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import { awsKms, ClientEncryption, driverKeyVaultStore, migrate } from 'csfle-wasm';
import { MongoClient } from 'mongodb';
import { startServices } from '../../js/dev/services.mjs';
import { testServices } from '../env.mjs';

export const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

// Opens server and KMS once per test file. `after` of the file calls close().
// With `ownServer` nobody else writes to the server, and a search of the whole deployment finds only what the test put there.
export async function openLab({ ownServer = false } = {}) {
  const { mongodbUri: shared, kmsEndpoint, keyArn, region } = await testServices();
  const server = ownServer ? await startServices({ kms: false, env: {} }) : undefined;
  const mongodbUri = server?.mongodbUri ?? shared;
  const client = await new MongoClient(mongodbUri).connect();
  const databases = new Set();
  if (!ownServer) listOnly(client, databases);
  const kms = (more = {}) => new KMSClient({ region, endpoint: kmsEndpoint, maxAttempts: 1, ...more });
  return {
    uri: mongodbUri,
    kmsEndpoint,
    client,
    region,
    to: { provider: 'aws', region, key: keyArn },
    aws: awsKms(kms()),
    database() {
      const name = `mig_${randomUUID().slice(0, 8)}`;
      databases.add(name);
      return name;
    },
    // What other tests of the file left does not concern a test: evidence is looked for in its own database alone.
    elsewhere: (...own) => ({
      skipNamespaces: ['admin', ...databases].filter((name) => !own.includes(name)).map((name) => `${name}.*`),
      reason: 'databases of other tests',
    }),
    async close() {
      for (const name of databases) await client.db(name).dropDatabase();
      await client.close();
      await server?.stop();
    },
  };
}

// Other test files use this server at the same time: a client that lists `databases` alone looks for evidence there alone.
function listOnly(client, databases) {
  const open = client.db.bind(client);
  client.db = (name, options) => {
    const database = open(name, options);
    if (name !== 'admin') return database;
    const run = database.command.bind(database);
    database.command = async (command, given) => {
      const answer = await run(command, given);
      return 'listDatabases' in command ? { ...answer, databases: answer.databases.filter((one) => databases.has(one.name)) } : answer;
    };
    return database;
  };
}

// A key vault with three keys (two of them named) and, unless told otherwise, a collection of `documents` patients.
export async function hospital(lab, { documents = 12, index = true, masterKey = randomBytes(96) } = {}) {
  const database = lab.database();
  const namespace = `${database}.__keyVault`;
  const vault = lab.client.db(database).collection('__keyVault');
  const patients = lab.client.db(database).collection('patients');
  if (index) await vault.createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  const local = { key: masterKey };
  const kmsProviders = { local, aws: lab.aws };
  const encryption = new ClientEncryption(lab.client, { keyVaultNamespace: namespace, kmsProviders });
  const keys = {
    ssn: await encryption.createDataKey('local', { keyAltNames: ['ssn', 'patients.ssn'] }),
    notes: await encryption.createDataKey('local', { keyAltNames: ['notes'] }),
    plain: await encryption.createDataKey('local'),
  };
  const originals = Array.from({ length: documents }, (_, n) => patient(n));
  // createDataKey made it.
  if (!index) await vault.dropIndex('keyAltNames_1');
  if (documents > 0) {
    await patients.insertMany(
      await encryption.encryptDocuments(originals, {
        fields: {
          ssn: { algorithm: DETERMINISTIC, keyId: keys.ssn },
          'records.note': { algorithm: RANDOM, keyAltName: 'notes' },
          'insurance.policy': { algorithm: RANDOM, keyId: keys.plain },
        },
      }),
    );
  }
  // Every key is made before it, every key of a migration after it.
  await new Promise((resolve) => setTimeout(resolve, 2));
  const cutOff = new Date();
  const lookAt = {
    vault: () => vault.find({}, { promoteValues: false }).sort({ _id: 1 }).toArray(),
    patients: () => patients.find({}, { promoteValues: false }).sort({ _id: 1 }).toArray(),
  };
  return {
    database,
    namespace,
    cutOff,
    masterKey,
    local,
    kmsProviders,
    keys,
    originals,
    vault,
    patients,
    encryption,
    lookAt,
    patientsNamespace: `${database}.patients`,
    store: driverKeyVaultStore(lab.client, namespace),
    // Everything in the database, as bytes: what a dry run must not change.
    async dump() {
      const lines = [];
      for (const { name } of await lab.client.db(database).listCollections().toArray()) {
        for await (const document of lab.client.db(database).collection(name).find({}, { raw: true }).sort({ _id: 1 }))
          lines.push(`${name} ${Buffer.from(document).toString('base64')}`);
      }
      return lines.sort();
    },
    migrate: (options = {}) =>
      migrate({
        keyVault: { client: lab.client, namespace },
        kmsProviders,
        // A re-encryption goes by the age of the keys, unless the test says otherwise.
        ...(options.mode === 'reencrypt'
          ? ['createdBefore', 'keyIds', 'all'].some((name) => name in options)
            ? {}
            : { createdBefore: cutOff }
          : { from: { provider: 'local' } }),
        ...(options.mode === 'decrypt' ? {} : { to: lab.to }),
        ...(options.mode === 'reencrypt' ? { evidence: lab.elsewhere(database) } : {}),
        ...options,
      }),
    // Decrypts with these providers alone and compares with what was encrypted.
    async readsAs(providers) {
      const reader = new ClientEncryption(lab.client, { keyVaultNamespace: namespace, kmsProviders: providers });
      try {
        const stored = await patients.find({}, { raw: true }).sort({ _id: 1 }).toArray();
        const decrypted = [];
        for (const document of stored) decrypted.push(textOf(await reader.decryptDocument(Uint8Array.from(document))));
        assert.deepEqual(
          decrypted,
          originals.map((original) => textOf(bson.serialize(original))),
        );
      } finally {
        reader.close();
      }
    },
  };
}

function patient(n) {
  return {
    _id: n,
    name: `patient ${n}`,
    ssn: `${String(n).padStart(3, '0')}-00-${1000 + n}`,
    records: [{ note: `note ${n}`, at: new Date(1e12 + n) }, { note: { text: `second ${n}`, score: new bson.Double(n) } }],
    insurance: { policy: new bson.Int32(n), carrier: 'C' },
  };
}

// Canonical extended JSON of BSON bytes: shows the type of every value.
export function textOf(bytes) {
  return bson.EJSON.stringify(bson.deserialize(bytes, { promoteValues: false }), { relaxed: false });
}

// A key vault store that dies: after `writes` writes nothing works any more, as if the process had been killed there.
export function mortalStore(inner, writes) {
  let left = writes;
  let dead = false;
  const dying =
    (isWrite) =>
    (method) =>
    async (...args) => {
      if (dead) throw new Error('killed');
      const result = await inner[method](...args);
      if (isWrite) {
        left -= 1;
        if (left <= 0) dead = true;
      }
      return result;
    };
  const store = { writes: () => writes - left };
  for (const method of ['find', 'capabilities', 'retiredKeys']) store[method] = dying(false)(method);
  for (const method of ['insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName', 'retireKey', 'restoreKey', 'purgeRetiredKey'])
    store[method] = dying(true)(method);
  return store;
}

// A store that counts its writes.
export function countingStore(inner) {
  const store = { writes: 0 };
  for (const method of ['find', 'capabilities', 'retiredKeys']) store[method] = (...args) => inner[method](...args);
  for (const method of ['insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName', 'retireKey', 'restoreKey', 'purgeRetiredKey']) {
    store[method] = (...args) => {
      store.writes += 1;
      return inner[method](...args);
    };
  }
  return store;
}

export const failuresOf = (report) => report.failures.map(({ kind, id, code }) => ({ kind, id, code }));
export const failedChecks = (report) => report.plan.checks.filter(({ ok }) => !ok).map(({ name, code, required }) => ({ name, code, required }));

// Values per key id, counted from the stored bytes: subtype 6, one byte of kind, 16 bytes of key id.
export async function valuesByKey(collection) {
  const counts = {};
  const walk = (value) => {
    if (value?._bsontype === 'Binary') {
      if (value.sub_type !== 6) return;
      const id = new bson.UUID(value.buffer.subarray(1, 17)).toHexString(true);
      counts[id] = (counts[id] ?? 0) + 1;
    } else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) walk(inner);
  };
  for await (const document of collection.find({}, { promoteValues: false })) walk(document);
  return counts;
}
