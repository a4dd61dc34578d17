// The unified test format (specifications, unified-test-format), as far as the client-side encryption tests use it, for
// whatever side is under test.
//
// A side has: `plain`, a client that encrypts nothing; `prepare(collection)`, which makes a collection with its documents;
// `client(options)`, to `{ client, commands }`, the latter filled with the commands that were started; `clientEncryption(client,
// options)`; `isClientError(error)`; and, where it needs them, `readable(commands)` and `unmet(requirements)`.
import { COLLECTION_OPERATIONS, DATABASE_OPERATIONS, ENCRYPTION_OPERATIONS, perform, RUNNER_OPERATIONS } from './operations.mjs';
import { Skip } from './suite.mjs';
import { expectation, match, settled } from './unified-match.mjs';

const KNOWN = {
  file: new Set(['description', 'schemaVersion', 'runOnRequirements', 'createEntities', 'initialData', 'tests', '_yamlAnchors']),
  test: new Set(['description', 'operations', 'expectEvents', 'outcome', 'skipReason']),
  event: new Set(['command', 'commandName', 'databaseName']),
};

export function refuseUnknown(object, known, what) {
  for (const key of Object.keys(object)) if (!known.has(key)) throw new Error(`this runner does not know ${key} of ${what}`);
}

/** Runs one test of a file; resolves when it passed. */
export async function runUnifiedTest(side, file, test) {
  refuseUnknown(file, KNOWN.file, 'a file');
  refuseUnknown(test, KNOWN.test, 'a test');
  const unmet = test.skipReason ? `skipReason of the test: ${test.skipReason}` : side.unmet?.(file.runOnRequirements ?? []);
  if (unmet) throw new Skip(unmet);
  const world = { side, entities: new Map([['testRunner', { kind: 'testRunner', raw: side.plain }]]) };
  for (const collection of file.initialData ?? []) await side.prepare(collection);
  try {
    for (const entity of file.createEntities) await createEntity(world, entity);
    for (const operation of test.operations) await runOperation(world, operation);
    for (const expected of test.expectEvents ?? []) matchEvents(world, expected);
  } finally {
    for (const { close } of world.entities.values()) await close?.();
  }
  for (const outcome of test.outcome ?? []) await matchOutcome(side.plain, outcome);
}

async function createEntity({ side, entities }, entity) {
  const [[kind, { id, ...options }]] = Object.entries(entity);
  const of = (name) => entities.get(name).raw;
  const add = (raw, more) => entities.set(id, { kind, raw, ...more });
  switch (kind) {
    case 'client': {
      const { client, commands, close } = await side.client(options);
      return add(client, { commands, close });
    }
    case 'database':
      return add(of(options.client).db(options.databaseName));
    case 'collection': {
      const database = of(options.database);
      return add(Object.assign(database.collection(options.collectionName), { db: database }));
    }
    case 'clientEncryption': {
      const { keyVaultClient, ...more } = options.clientEncryptionOpts;
      const encryption = await side.clientEncryption(of(keyVaultClient), more);
      return add(encryption, { close: () => encryption.close?.() });
    }
    default:
      throw new Error(`this runner does not know the entity ${kind}`);
  }
}

const OPERATIONS = { collection: COLLECTION_OPERATIONS, database: DATABASE_OPERATIONS, clientEncryption: ENCRYPTION_OPERATIONS, testRunner: RUNNER_OPERATIONS };

async function runOperation({ side, entities }, { name, object, arguments: given = {}, expectResult, expectError, ...unknown }) {
  refuseUnknown(unknown, new Set(), name);
  const { kind, raw } = entities.get(object);
  const run = () => {
    if (!(name in OPERATIONS[kind])) throw new Error(`this runner does not know ${name} of ${kind}`);
    return OPERATIONS[kind][name](raw, expectation(given));
  };
  const failure = expectError && ((error) => judgeError(side, error, expectError));
  await perform(name, run, { result: expectResult, failure }, (actual, expected) => match(settled(actual), expectation(expected), { path: name }));
}

function judgeError(side, error, { isError, errorContains, isClientError, isTimeoutError, ...unknown }) {
  refuseUnknown(unknown, new Set(), 'expectError');
  if (error.message.startsWith('this runner')) throw error;
  if (isClientError !== undefined && side.isClientError(error) !== isClientError) throw error;
  if (isTimeoutError !== undefined && (error.name === 'MongoOperationTimeoutError') !== isTimeoutError) throw error;
  if (errorContains && !error.message.toLowerCase().includes(errorContains.toLowerCase()))
    throw new Error(`expected an error with "${errorContains}", found: ${error.message}`);
}

function matchEvents({ side, entities }, { client, events: expected, ...unknown }) {
  refuseUnknown(unknown, new Set(), 'expectEvents');
  const started = entities.get(client).commands.map((event) => ({ ...event, command: settled({ ...event.command, $db: event.databaseName }) }));
  matchCommands(side.readable?.(started) ?? started, expected);
}

export function matchCommands(seen, expected) {
  const names = (events) => events.map(({ command }) => Object.keys(command ?? {})[0]).join();
  if (seen.length !== expected.length)
    throw new Error(`expected the commands ${names(expected.map((event) => event.commandStartedEvent))}; found ${names(seen)}`);
  expected.forEach((event, index) => {
    const [[kind, wanted]] = Object.entries(event);
    if (kind !== 'commandStartedEvent') throw new Error(`this runner does not know ${kind}`);
    refuseUnknown(wanted, KNOWN.event, kind);
    const { command, commandName, databaseName } = wanted;
    if (command !== undefined) match(seen[index].command, expectation(withDefaults(command)), { path: `command ${index}` });
    if (commandName !== undefined && Object.keys(seen[index].command)[0] !== commandName) throw new Error(`command ${index} is not ${commandName}`);
    if (databaseName !== undefined && seen[index].databaseName !== databaseName) throw new Error(`command ${index} went to ${seen[index].databaseName}`);
  });
}

/** The driver does not send `multi` and `upsert` of an update when they are false; to the server that says the same. */
function withDefaults(command) {
  const optional = (statement, name) => (statement[name] === false ? { [name]: { $$unsetOrMatches: false } } : {});
  const updates = command.updates?.map((statement) => ({ ...statement, ...optional(statement, 'multi'), ...optional(statement, 'upsert') }));
  return { ...command, ...(updates && { updates }) };
}

/** What a collection holds in the end, read by a client that decrypts nothing. */
export async function matchOutcome(plain, { databaseName, collectionName, documents }) {
  const found = await plain.db(databaseName).collection(collectionName).find().sort({ _id: 1 }).toArray();
  const actual = found.map(settled);
  if (actual.length !== documents.length) throw new Error(`outcome: expected ${documents.length} documents, found ${actual.length}`);
  documents.forEach((expected, index) => match(actual[index], expectation(expected), { root: false, path: `outcome.${index}` }));
}
