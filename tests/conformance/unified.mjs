// Key management in the unified test format (specifications, client-side-encryption/tests/unified), on a real server.
//
// The tests name four clouds; their keys and accounts are closed, so a pretend KMS stands in for each: it wraps, unwraps
// what it wrapped, and answers fixed material for the wrapped keys of the published documents. What is tested is what
// these files test: results, and the commands that reach the server.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fakeKms } from '../interop/fake-kms.mjs';
import { skippedSuite } from './corpus.mjs';
import { jsonFiles, KMIP_SECRET_1, LOCAL_MASTER_KEY, vectorsFolder } from './published.mjs';
import { Suite } from './suite.mjs';
import { expectation, match, settled } from './unified-match.mjs';

const FILES = [
  'addKeyAltName', 'createDataKey', 'createDataKey-kms_providers-invalid', 'deleteKey', 'getKey', 'getKeyByAltName', 'getKeys', 'keyCache',
  'namedKMS-createDataKey', 'namedKMS-explicit', 'namedKMS-rewrapManyDataKey', 'removeKeyAltName',
  'rewrapManyDataKey', 'rewrapManyDataKey-decrypt_failure', 'rewrapManyDataKey-encrypt_failure',
];
const SUBSTITUTE = new Uint8Array(96).fill(5);
const KNOWN_TEST_KEYS = new Set(['description', 'operations', 'expectEvents', 'outcome']);

/** The accounts these files were written for hold exactly these keys; anything else in them is refused. */
const HELD = {
  aws: ({ key, region }) => region === 'us-east-1' && key.startsWith('arn:aws:kms:us-east-1:'),
  azure: ({ keyVaultEndpoint, keyName }) => keyVaultEndpoint === 'drivers-3392-key-vault.vault.azure.net' && keyName === 'drivers-3392-keyname',
  gcp: ({ projectId, keyRing, keyName }) => projectId === 'devprod-drivers' && keyRing === 'key-ring-csfle' && keyName === 'key-name-csfle',
  kmip: () => true,
};

/** The pretend KMS of one provider type, with these keys only. */
function account(type) {
  const kms = fakeKms(type, { substitute: SUBSTITUTE, kmipSecrets: { 1: KMIP_SECRET_1 } });
  const held = (call) => {
    if (!HELD[type](call.masterKey)) throw new Error('no such key');
    return call;
  };
  return { encrypt: (call) => kms.encrypt(held(call)), decrypt: (call) => kms.decrypt(held(call)) };
}

/** Runs the files above; `open` tells only which side is under test. */
export async function runUnified(open) {
  const { folder, missing } = vectorsFolder('driver-specs', 'unified');
  if (missing) return [skippedSuite('unified', missing)];
  const uri = process.env.TEST_MONGODB_URI || process.env.MONGODB_URI;
  if (!uri) return [skippedSuite('unified', 'no server: TEST_MONGODB_URI is not set')];
  if (open.side !== 'csfle-wasm') return [skippedSuite('unified', 'this side has no ClientEncryption')];
  const files = jsonFiles(folder);
  const suites = [];
  for (const name of FILES) {
    const suite = new Suite(`unified/${name}`);
    const file = files.get(name);
    if (!file) throw new Error(`unified/${name}.json is not there`);
    for (const unifiedTest of file.tests) {
      await suite.case(unifiedTest.description, () => runTest(uri, file, unifiedTest));
    }
    suites.push(suite);
  }
  return suites;
}

async function runTest(uri, file, unifiedTest) {
  for (const key of Object.keys(unifiedTest)) if (!KNOWN_TEST_KEYS.has(key)) throw new Error(`unknown key ${key}`);
  const [{ MongoClient }, csfle] = await Promise.all([import('mongodb'), import('csfle-wasm')]);
  // The files use databases of fixed names; on someone's server they get names of their own.
  const prefix = `csfle_conformance_${randomBytes(4).toString('hex')}_`;
  const world = { prefix, entities: new Map(), events: [], databases: new Set(), csfle, client: await new MongoClient(uri, { monitorCommands: true }).connect() };
  try {
    await insertInitialData(world, file.initialData ?? []);
    for (const entity of file.createEntities) createEntity(world, entity);
    world.client.on('commandStarted', (event) => world.events.push(event));
    for (const operation of unifiedTest.operations) await runOperation(world, operation);
    for (const expected of unifiedTest.expectEvents ?? []) matchEvents(world, expected);
    world.events = [];
    for (const outcome of unifiedTest.outcome ?? []) await matchOutcome(world, outcome);
  } finally {
    for (const entity of world.entities.values()) entity.close?.();
    for (const name of world.databases) await world.client.db(name).dropDatabase();
    await world.client.close();
  }
}

function databaseName({ prefix, databases }, name) {
  databases.add(prefix + name);
  return prefix + name;
}

async function insertInitialData(world, initialData) {
  for (const { databaseName: database, collectionName, documents } of initialData) {
    const collection = world.client.db(databaseName(world, database)).collection(collectionName, { writeConcern: { w: 'majority' } });
    if (documents.length > 0) await collection.insertMany(documents.map(expectation));
  }
}

function createEntity(world, entity) {
  const [[kind, { id, ...options }]] = Object.entries(entity);
  const { entities, client } = world;
  if (kind === 'client') entities.set(id, { raw: client });
  else if (kind === 'database') entities.set(id, { raw: client.db(databaseName(world, options.databaseName)) });
  else if (kind === 'collection') entities.set(id, { raw: entities.get(options.database).raw.collection(options.collectionName) });
  else if (kind === 'clientEncryption') entities.set(id, clientEncryption(world, options.clientEncryptionOpts));
  else throw new Error(`unknown entity ${kind}`);
}

function clientEncryption(world, { keyVaultClient, keyVaultNamespace, kmsProviders, keyExpirationMS, ...unknown }) {
  if (Object.keys(unknown).length > 0) throw new Error(`unknown options ${Object.keys(unknown)}`);
  const [database, collection] = keyVaultNamespace.split('.');
  const providers = Object.fromEntries(Object.entries(kmsProviders).map(([id, settings]) => {
    const type = id.split(':')[0];
    if (type !== 'local') return [id, account(type)];
    return [id, { key: typeof settings.key === 'string' ? settings.key : LOCAL_MASTER_KEY }];
  }));
  return new world.csfle.ClientEncryption(world.entities.get(keyVaultClient).raw, {
    keyVaultNamespace: `${databaseName(world, database)}.${collection}`, kmsProviders: providers, ...(keyExpirationMS !== undefined && { keyExpirationMS }),
  });
}

/** Operations by name, on the object they name. */
const OPERATIONS = {
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
  find: ({ raw }, { filter, ...options }) => raw.find(filter, options).toArray(),
  aggregate: ({ raw }, { pipeline, ...options }) => raw.aggregate(pipeline, options).toArray(),
  wait: (_runner, { ms }) => delay(ms),
};

async function runOperation({ entities }, { name, object, arguments: given = {}, expectResult, expectError, ...unknown }) {
  if (!(name in OPERATIONS)) throw new Error(`unknown operation ${name}`);
  if (Object.keys(unknown).length > 0) throw new Error(`unknown keys ${Object.keys(unknown)} of ${name}`);
  let result;
  try {
    result = await OPERATIONS[name](entities.get(object), expectation(given));
  } catch (error) {
    if (!expectError) throw error;
    if (expectError.isClientError && error.name !== 'CsfleError' && error.code === undefined) throw error;
    return;
  }
  if (expectError) throw new Error(`${name} was expected to fail`);
  if (expectResult !== undefined) match(settled(result) ?? null, expectation(expectResult));
}

function matchEvents({ events, prefix }, { client, events: expected, ...unknown }) {
  if (client !== 'client0' || Object.keys(unknown).length > 0) throw new Error(`unknown keys ${Object.keys(unknown)} of expectEvents`);
  const seen = readableWrites(events.map(({ databaseName: database, command }) => ({ databaseName: database, command: { ...settled(command), $db: database.slice(prefix.length) } })));
  if (seen.length !== expected.length) throw new Error(`expected ${expected.length} commands, found ${seen.map(({ command }) => Object.keys(command)[0]).join()}`);
  expected.forEach((event, index) => {
    const [[kind, { command, databaseName: database, ...rest }]] = Object.entries(event);
    if (kind !== 'commandStartedEvent' || Object.keys(rest).some((key) => key !== 'commandName')) throw new Error(`unknown event ${kind} ${Object.keys(rest)}`);
    if (command !== undefined) match(seen[index].command, expectation(command), { path: `command ${index}` });
    if (database !== undefined && seen[index].databaseName !== prefix + database) throw new Error(`command ${index} went to ${seen[index].databaseName}`);
  });
}

/**
 * DIFFERS: the update that removes an alternate name takes the name literally (one that begins with "$" is no field path)
 * and leaves a document without names alone. It is read as the drivers' pipeline after checking that it is just that.
 */
function readableRemoval(command) {
  const condition = Array.isArray(command.update) && command.update[0]?.$set?.keyAltNames?.$cond;
  const name = condition?.[2]?.$filter?.cond?.$ne?.[1]?.$literal;
  if (name === undefined) return command;
  const filter = (input, literal) => ({ $filter: { input, cond: { $ne: ['$$this', literal] } } });
  const ours = filter({ $ifNull: ['$keyAltNames', []] }, { $literal: name });
  match(condition, [{ $eq: [ours, []] }, '$$REMOVE', ours], { root: false, path: 'removal' });
  return { ...command, update: [{ $set: { keyAltNames: { $cond: [{ $eq: ['$keyAltNames', [name]] }, '$$REMOVE', filter('$keyAltNames', name)] } } }] };
}

/**
 * DIFFERS: a rewrap writes key by key, each on the condition that the key is still wrapped as it was read; the drivers
 * write all in one command and on the id alone. Such commands are read as the drivers' one, after checking that the
 * condition is exactly that.
 */
function readableWrites(commands) {
  const out = [];
  for (const entry of commands) {
    const command = readableRemoval(entry.command);
    const [update, ...others] = command.updates ?? [];
    const conditional = others.length === 0 && update && Object.keys(update.q).join() === '_id,keyMaterial,masterKey' && update.u.$set?.keyMaterial;
    if (!conditional) {
      out.push({ ...entry, command });
      continue;
    }
    const plain = { ...update, q: { _id: update.q._id } };
    const last = out.at(-1);
    if (last?.rewrap) last.command.updates.push(plain);
    else out.push({ ...entry, rewrap: true, command: { ...command, updates: [plain] } });
  }
  return out;
}

async function matchOutcome(world, { databaseName: database, collectionName, documents }) {
  const found = await world.client.db(databaseName(world, database)).collection(collectionName).find().sort({ _id: 1 }).toArray();
  const actual = found.map(settled);
  if (actual.length !== documents.length) throw new Error(`outcome: expected ${documents.length} documents, found ${actual.length}`);
  documents.forEach((expected, index) => match(actual[index], expectation(expected), { root: false, path: `outcome.${index}` }));
}
