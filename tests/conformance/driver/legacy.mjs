// The older test format (specifications, client-side-encryption/tests/legacy, README): commands that applications give, commands
// that must reach the server, and what collections hold in the end.
import { COLLECTION_OPERATIONS, DATABASE_OPERATIONS, perform, RUNNER_OPERATIONS } from '../operations.mjs';
import { Skip } from '../suite.mjs';
import { expectation, match, settled } from '../unified-match.mjs';
import { matchCommands, matchOutcome, refuseUnknown } from '../unified-runner.mjs';

const KNOWN = {
  file: new Set(['runOn', 'database_name', 'collection_name', 'data', 'json_schema', 'key_vault_data', 'tests']),
  test: new Set(['description', 'clientOptions', 'operations', 'expectations', 'outcome', 'skipReason', 'failPoint']),
  operation: new Set(['name', 'object', 'arguments', 'result', 'command_name']),
};

/** Runs one test of a file; resolves when it passed. */
export async function runLegacyTest(world, file, test) {
  refuseUnknown(file, KNOWN.file, 'a file');
  refuseUnknown(test, KNOWN.test, 'a test');
  const unmet = test.skipReason ? `skipReason of the test: ${test.skipReason}` : world.unmet(file.runOn ?? []);
  if (unmet) throw new Skip(unmet);
  const { database_name: databaseName, collection_name: collectionName } = file;
  const [vaultDatabase, vaultCollection] = world.keyVaultNamespace.split('.');
  await world.prepare({
    databaseName,
    collectionName,
    documents: file.data ?? [],
    createOptions: { ...(file.json_schema && { validator: { $jsonSchema: file.json_schema } }) },
  });
  await world.prepare({ databaseName: vaultDatabase, collectionName: vaultCollection, documents: file.key_vault_data ?? [] });
  const { autoEncryptOpts, timeoutMS, ...unknown } = test.clientOptions;
  refuseUnknown(unknown, new Set(), 'clientOptions');
  const { client, commands, close } = await world.client({
    autoEncryptOpts,
    observeEvents: ['commandStartedEvent'],
    ...(timeoutMS && { uriOptions: { timeoutMS } }),
  });
  if (test.failPoint) throw new Error('this runner knows no fail points');
  try {
    const database = client.db(databaseName);
    for (const operation of test.operations) await runOperation(world, database, database.collection(collectionName), operation);
  } finally {
    await close();
  }
  if (test.expectations) {
    const seen = commands
      .filter(({ commandName }) => commandName !== 'endSessions')
      .map((event) => ({ ...event, command: settled({ ...event.command, $db: event.databaseName }) }));
    matchCommands(seen, test.expectations.map(asUnified));
  }
  for (const { name = collectionName, data } of test.outcome ? [test.outcome.collection] : []) {
    await matchOutcome(world.plain, { databaseName, collectionName: name, documents: data });
  }
}

/** An expected event in the words of the unified format: there null means null, and not that a field is absent. */
function asUnified({ command_started_event: { command, command_name: commandName, ...unknown }, ...others }) {
  refuseUnknown({ ...unknown, ...others }, new Set(), 'expectations');
  const fields = Object.entries(command).map(([name, value]) => [name, value === null ? { $$exists: false } : value]);
  return { commandStartedEvent: { commandName, command: Object.fromEntries(fields) } };
}

async function runOperation(world, database, collection, operation) {
  refuseUnknown(operation, KNOWN.operation, 'an operation');
  const { name, object = 'collection', arguments: given = {}, result } = operation;
  const isFailure = typeof result === 'object' && result !== null && ['errorContains', 'isTimeoutError'].some((key) => key in result);
  const run = () => {
    if (object === 'testRunner')
      return RUNNER_OPERATIONS[name](world.plain, { ...given, databaseName: given.database, collectionName: given.collection, indexName: given.index });
    const [operations, target] = object === 'database' ? [DATABASE_OPERATIONS, database] : [COLLECTION_OPERATIONS, Object.assign(collection, { db: database })];
    if (!(name in operations)) throw new Error(`this runner does not know ${name} of ${object}`);
    return operations[name](target, expectation(given));
  };
  const failure = (error) => {
    const { errorContains, isTimeoutError, ...unknown } = result;
    refuseUnknown(unknown, new Set(), 'a result');
    if (error.message.startsWith('this runner')) throw error;
    if (errorContains && !error.message.toLowerCase().includes(errorContains.toLowerCase()))
      throw new Error(`expected an error with "${errorContains}", found: ${error.message}`);
    if (isTimeoutError !== undefined && (error.name === 'MongoOperationTimeoutError') !== isTimeoutError) throw error;
  };
  await perform(name, run, isFailure ? { failure } : { result }, (actual, expected) => match(settled(actual), expectation(expected), { path: name }));
}
