// Key management in the unified test format (specifications, client-side-encryption/tests/unified), on a real server, through
// the package's own ClientEncryption.
//
// The tests name four clouds; their keys and accounts are closed, so a pretend KMS stands in for each. What is tested is what
// these files test: results, and the commands that reach the server.
import { randomBytes } from 'node:crypto';
import { account } from './accounts.mjs';
import { skippedSuite } from './corpus.mjs';
import { jsonFiles, LOCAL_MASTER_KEY, vectorsFolder } from './published.mjs';
import { databasesOf, withDatabases } from './restate.mjs';
import { Suite } from './suite.mjs';
import { expectation, match } from './unified-match.mjs';
import { runUnifiedTest } from './unified-runner.mjs';

export const KEY_MANAGEMENT_FILES = [
  'addKeyAltName',
  'createDataKey',
  'createDataKey-kms_providers-invalid',
  'deleteKey',
  'getKey',
  'getKeyByAltName',
  'getKeys',
  'keyCache',
  'namedKMS-createDataKey',
  'namedKMS-explicit',
  'namedKMS-rewrapManyDataKey',
  'removeKeyAltName',
  'rewrapManyDataKey',
  'rewrapManyDataKey-decrypt_failure',
  'rewrapManyDataKey-encrypt_failure',
];

export const serverUri = () => process.env.TEST_MONGODB_URI || process.env.MONGODB_URI;

/** Runs the files above; `open` tells only which side is under test. */
export async function runUnified(open) {
  const { folder, missing } = vectorsFolder('driver-specs', 'unified');
  if (missing) return [skippedSuite('unified', missing)];
  if (!serverUri()) return [skippedSuite('unified', 'no server: TEST_MONGODB_URI is not set')];
  if (open.side !== 'csfle-wasm') return [skippedSuite('unified', 'this side has no ClientEncryption')];
  const files = jsonFiles(folder);
  const suites = [];
  for (const name of KEY_MANAGEMENT_FILES) {
    const suite = new Suite(`unified/${name}`);
    if (!files.has(name)) throw new Error(`unified/${name}.json is not there`);
    for (const unifiedTest of files.get(name).tests) {
      await suite.case(unifiedTest.description, () => runTest(files.get(name), unifiedTest, readableOf(name)));
    }
    suites.push(suite);
  }
  return suites;
}

const readableOf = (name) => (name === 'deleteKey' ? readableDeletion : /rewrap/i.test(name) ? readableRewrap : readable);

async function runTest(published, { description }, readable) {
  const file = withDatabases(published, `csfle_conformance_${randomBytes(4).toString('hex')}_`);
  const test = file.tests.find((one) => one.description === description);
  const [{ MongoClient }, csfle] = await Promise.all([import('mongodb'), import('csfle-wasm')]);
  const plain = await new MongoClient(serverUri()).connect();
  const side = {
    plain,
    async prepare({ databaseName, collectionName, documents }) {
      if (documents.length > 0)
        await plain
          .db(databaseName)
          .collection(collectionName, { writeConcern: { w: 'majority' } })
          .insertMany(documents.map(expectation));
    },
    async client() {
      const client = await new MongoClient(serverUri(), { monitorCommands: true }).connect();
      const commands = [];
      client.on('commandStarted', (event) => commands.push(event));
      return { client, commands, close: () => client.close() };
    },
    clientEncryption: (client, options) => clientEncryption(csfle, client, options),
    isClientError: (error) => error.name === 'CsfleError' || error.code !== undefined,
    readable,
  };
  try {
    await runUnifiedTest(side, file, test);
  } finally {
    for (const name of databasesOf(file)) await plain.db(name).dropDatabase();
    await plain.close();
  }
}

function clientEncryption(csfle, client, { keyVaultNamespace, kmsProviders, keyExpirationMS, ...unknown }) {
  if (Object.keys(unknown).length > 0) throw new Error(`unknown options ${Object.keys(unknown)}`);
  const providers = Object.fromEntries(
    Object.entries(kmsProviders).map(([id, settings]) => {
      const type = id.split(':')[0];
      if (type !== 'local') return [id, account(type)];
      return [id, { key: typeof settings.key === 'string' ? settings.key : LOCAL_MASTER_KEY }];
    }),
  );
  const encryption = new csfle.ClientEncryption(client, {
    keyVaultNamespace,
    kmsProviders: providers,
    ...(keyExpirationMS !== undefined && { keyExpirationMS }),
  });
  // The proof by values reads further collections, which these tests do not expect.
  const rewrap = encryption.rewrapManyDataKey.bind(encryption);
  encryption.rewrapManyDataKey = (filter, options) => rewrap(filter, { ...options, proof: false });
  return encryption;
}

/** DIFFERS: a rewrap reads its keys twice, to compare what a KMS unwraps. The second look is left out. */
function readableRewrap(commands) {
  const isRepeated = ({ command }, before) =>
    command.find !== undefined && before?.command.find === command.find && JSON.stringify(before.command.filter) === JSON.stringify(command.filter);
  return readable(commands.filter((entry, index) => !isRepeated(entry, commands[index - 1])));
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
 * DIFFERS: before the first key of a client the unique index on alternate names is looked for and made, as mongosh does; the drivers leave
 * that to the application. Both commands are left out after checking that they are just these.
 */
function isOfIndex(command, next) {
  if (command.listIndexes !== undefined) return next?.createIndexes === command.listIndexes || next?.insert === command.listIndexes;
  if (command.createIndexes === undefined) return false;
  match(
    command.indexes.map(({ key, unique }) => ({ key, unique })),
    [{ key: { keyAltNames: 1 }, unique: true }],
    { root: false, path: 'index' },
  );
  return true;
}

/**
 * DIFFERS: a rewrap writes key by key, each on the condition that the key is still wrapped as it was read; the drivers
 * write all in one command and on the id alone. Such commands are read as the drivers' one, after checking that the
 * condition is exactly that.
 */
function readable(commands) {
  const out = [];
  for (const entry of commands.filter(({ command }, index) => !isOfIndex(command, commands[index + 1]?.command))) {
    const command = readableRemoval(entry.command);
    const [update, ...others] = command.updates ?? [];
    const conditional = others.length === 0 && update && Object.keys(update.q).join() === '_id,$expr' && update.u.$set?.keyMaterial;
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

/**
 * DIFFERS: deleting a key looks for its document, copies it to the retired keys, reads the copy back, deletes exactly
 * what was copied, and looks whether the copy is still there; the drivers delete on the id alone. The commands are read as
 * the drivers' one, after checking that the copy comes first and that the delete names the whole document.
 */
function readableDeletion(commands) {
  const out = [];
  for (let at = 0; at < commands.length; at += 1) {
    const { command: look } = commands[at];
    match({ find: look.find, filter: Object.keys(look.filter ?? {}) }, { find: 'datakeys', filter: ['_id'] }, { root: false, path: 'deletion' });
    const plain = { delete: 'datakeys', deletes: [{ q: { _id: look.filter._id }, limit: 1 }], writeConcern: { w: 'majority' } };
    out.push({ ...commands[at], commandName: 'delete', command: plain });
    // A key that is not there is not deleted either.
    if (commands[at + 1] === undefined) break;
    const steps = commands.slice(at + 1, at + 10).map(({ command }) => command);
    const shown = steps.map((command) => `${Object.keys(command)[0]} ${Object.values(command)[0]}`);
    const retired = 'datakeys.retired';
    match(
      shown,
      [
        'find datakeys',
        `find ${retired}`,
        `insert ${retired}`,
        `find ${retired}`,
        `find ${retired}`,
        `update ${retired}`,
        'delete datakeys',
        `find ${retired}`,
        `find ${retired}`,
      ],
      { root: false, path: 'steps' },
    );
    const [copy] = steps[2].documents;
    const [{ q, limit }] = steps[6].deletes;
    match({ q, limit }, { q: { _id: look.filter._id, $expr: { $eq: ['$$ROOT', { $literal: copy.key }] } }, limit: 1 }, { root: false, path: 'delete' });
    match(steps[6].writeConcern, { w: 'majority' }, { root: false, path: 'delete' });
    at += 9;
  }
  return out;
}
