// Numbered prose tests of the specification (client-side-encryption, tests/README) through the official driver on this
// package, as far as they need no query analysis.
import { ALGORITHM } from '../../interop/samples.mjs';
import { PROVIDERS } from '../corpus.mjs';
import { PROSE_1 } from '../keys.mjs';
import { jsonFiles, vectorsFolder } from '../published.mjs';
import { same, Skip, Suite } from '../suite.mjs';
import { expectation } from '../unified-match.mjs';

const [MIB_2, MIB_16] = [2_097_152, 16_777_216];
const APP_NAME = 'csfle-conformance';
const DETERMINISTIC = { algorithm: ALGORITHM.deterministic };
const allProviders = () => Object.fromEntries(PROVIDERS.map((provider) => [provider, {}]));
const local = () => ({ local: {} });

export async function runProseThroughDriver(world) {
  const prose = new Prose(world);
  const suites = [];
  for (const [name, cases] of Object.entries(PROSE)) {
    const suite = new Suite(`driver/prose/${name}`);
    for (const [description, run] of Object.entries(cases)) await suite.case(description, () => prose.start().then(() => world.judge(() => run(prose))));
    suites.push(suite);
  }
  for (const suite of await runRoundTrips(prose)) suites.push(suite);
  return suites;
}

/** What the tests share: an empty vault, an empty collection, and ways to open clients that are closed afterwards. */
class Prose {
  constructor(world) {
    this.world = world;
    this.databaseName = `${world.prefix}db`;
    // The keys of the corpus say which master keys the accounts hold.
    const files = jsonFiles(vectorsFolder('driver-specs', 'corpus').folder);
    this.masterKeys = Object.fromEntries(PROVIDERS.map((provider) => [provider, masterKeyOf(files.get(`corpus-key-${provider}`))]));
    this.limits = jsonFiles(vectorsFolder('driver-specs', 'limits').folder);
    this.external = jsonFiles(vectorsFolder('driver-specs', 'external').folder);
  }

  async start(vault = []) {
    const [databaseName, collectionName] = this.world.keyVaultNamespace.split('.');
    await this.world.prepare({ databaseName, collectionName, documents: vault });
    await this.world.prepare({ databaseName: this.databaseName, collectionName: 'coll', documents: [] });
  }

  get vault() {
    const [database, collection] = this.world.keyVaultNamespace.split('.');
    return this.world.plain.db(database).collection(collection);
  }

  get plain() {
    return this.world.plain.db(this.databaseName);
  }

  encryption(kmsProviders = local(), client = this.world.plain) {
    return this.world.clientEncryption(client, { kmsProviders });
  }

  /** Runs `work(database, events)` with a client. */
  async withClient(options, work, more = {}) {
    const { client, commands, close } = await this.world.client(
      { ...options, observeEvents: ['commandStartedEvent', 'commandSucceededEvent', 'commandFailedEvent'] },
      more,
    );
    try {
      return await work(client.db(this.databaseName), commands, client);
    } finally {
      await close();
    }
  }
}

function masterKeyOf({ masterKey: { provider: _provider, keyId: _keyId, ...masterKey } }) {
  return masterKey;
}

function equal(actual, expected, what) {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what}: found ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
}

async function rejected(promise, judge) {
  const error = await promise.then(
    () => undefined,
    (one) => one,
  );
  if (!error) throw new Error('was expected to fail');
  if (!judge(error)) throw error;
  return error;
}

/** The key of the test itself: its id and material are given, and one ciphertext follows. */
async function customKeyMaterial(prose) {
  const id = await prose.encryption().createDataKey('local', { keyMaterial: Buffer.from(PROSE_1.material) });
  const key = await prose.vault.findOne({ _id: id });
  const keyId = new prose.world.driver.Binary(PROSE_1.keyId, 4);
  await prose.vault.deleteOne({ _id: id });
  await prose.vault.insertOne({ ...key, _id: keyId }, { writeConcern: { w: 'majority' } });
  const encrypted = await prose.encryption().encrypt('test', { ...DETERMINISTIC, keyId });
  same(encrypted.value(), PROSE_1.payload, 'ciphertext');
  equal(await prose.encryption().decrypt(encrypted), 'test', 'value');
}

/** A vault on another client: with wrong credentials everything that needs a key fails there, and nothing else does. */
async function externalVault(prose, isExternal) {
  const { world, external, databaseName } = prose;
  await prose.start([external.get('external-key')]);
  const keyVaultClient = isExternal ? new world.driver.MongoClient(world.proxyUri, { auth: { username: 'fake-user', password: 'fake-pwd' } }) : world.plain;
  const schemaMap = { [`${databaseName}.coll`]: external.get('external-schema') };
  const isAuthentication = (error) => error.code === 18 || /authentication/i.test(error.message);
  const judged = (promise) => (isExternal ? rejected(promise, isAuthentication) : promise);
  try {
    await prose.withClient({ autoEncryptOpts: { kmsProviders: local(), schemaMap } }, (db) => judged(db.collection('coll').insertOne({ encrypted: 'test' })), {
      keyVaultClient: isExternal ? keyVaultClient : undefined,
    });
    const keyId = expectation(external.get('external-key'))._id;
    await judged(prose.encryption(local(), keyVaultClient).encrypt('test', { ...DETERMINISTIC, keyId }));
    equal(await prose.plain.collection('coll').countDocuments(), isExternal ? 0 : 1, 'documents');
  } finally {
    if (isExternal) await keyVaultClient.close();
  }
}

/** Sizes: the driver fills batches up to 2 MiB before encryption, and a document may outgrow the server by it. */
async function limits(prose, documents, expected) {
  const files = prose.limits;
  await prose.start([files.get('limits-key')]);
  prose.world.proxy.schemas.set(`${prose.databaseName}.coll`, expectation(files.get('limits-schema')));
  const small = expectation(files.get('limits-doc'));
  const filled = documents.map(({ hasLimits, length }, index) => ({ ...(hasLimits && small), _id: `document ${index}`, unencrypted: 'a'.repeat(length) }));
  await prose.withClient({ autoEncryptOpts: { kmsProviders: local() } }, async (db, events) => {
    const writing = db.collection('coll').bulkWrite(filled.map((document) => ({ insertOne: { document } })));
    if (expected.fails) await rejected(writing, ({ message }) => /after encryption, more than the 16777216 a server stores$/.test(message));
    else await writing;
    equal(await prose.plain.collection('coll').countDocuments(), expected.fails ? 0 : documents.length, 'documents');
    const inserts = events.filter(({ commandName, command }) => commandName === 'insert' && command);
    if (!expected.fails) equal(inserts.length, expected.inserts, 'commands');
  });
}

/** Without analysis there is no connection to mongocryptd. */
async function withoutMongocryptd(prose, option) {
  const before = prose.world.analyser.connections;
  await prose.withClient({ autoEncryptOpts: { kmsProviders: local(), [option]: true } }, (db) => db.collection('coll').insertOne({ unencrypted: 'test' }));
  equal(prose.world.analyser.connections, before, 'connections to mongocryptd');
}

/** A client whose pool is small asks the vault and the server for what it needs without waiting for itself. */
async function withoutDeadlock(prose, { maxPoolSize, bypassAutoEncryption, hasVaultClient }) {
  const { world, external } = prose;
  await prose.start([external.get('external-key')]);
  world.proxy.schemas.set(`${prose.databaseName}.coll`, expectation(external.get('external-schema')));
  const encrypted = await prose.encryption().encrypt('string0', { ...DETERMINISTIC, keyAltName: 'local' });
  const vault = hasVaultClient ? await world.client({ observeEvents: ['commandStartedEvent'], uriOptions: { maxPoolSize: 1 } }) : undefined;
  try {
    await prose.withClient(
      { autoEncryptOpts: { kmsProviders: local(), bypassAutoEncryption }, uriOptions: { maxPoolSize } },
      async (db, events) => {
        if (bypassAutoEncryption) await prose.plain.collection('coll').insertOne({ _id: 0, encrypted });
        else await db.collection('coll').insertOne({ _id: 0, encrypted: 'string0' });
        equal(await db.collection('coll').findOne({ _id: 0 }), { _id: 0, encrypted: 'string0' }, 'document');
        const started = (list) =>
          list.filter(({ command }) => command).map(({ commandName, databaseName }) => `${commandName} ${databaseName.slice(world.prefix.length)}`);
        // Without a limit the client asks for keys itself, and analyses what it asks.
        const isOwnVault = maxPoolSize === 0 && !bypassAutoEncryption;
        const asked = hasVaultClient ? [] : [...(isOwnVault ? ['listCollections keyvault'] : []), 'find keyvault'];
        const own = bypassAutoEncryption ? ['find db', ...asked] : ['listCollections db', ...asked, 'insert db', 'find db'];
        equal(started(events), own, 'commands');
        if (vault) equal(started(vault.commands), ['find keyvault'], 'commands to the vault');
      },
      { keyVaultClient: vault?.client },
    );
  } finally {
    await vault?.close();
  }
}

async function views(prose) {
  await prose.plain.dropCollection('view');
  await prose.plain.createCollection('view', { viewOn: 'coll' });
  const isRefusal = ({ message }) => message.startsWith('cannot auto encrypt a view');
  await prose.withClient({ autoEncryptOpts: { kmsProviders: local() } }, (db) => rejected(db.collection('view').insertOne({ a: 1 }), isRefusal));
}

/** With the unique index that applications make, names belong to one key. */
async function uniqueNames(prose) {
  await prose.vault.createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  const encryption = prose.encryption();
  const isDuplicate = ({ code }) => code === 11000;
  const first = await encryption.createDataKey('local', { keyAltNames: ['def'] });
  await encryption.createDataKey('local', { keyAltNames: ['abc'] });
  await rejected(encryption.createDataKey('local', { keyAltNames: ['abc'] }), isDuplicate);
  await rejected(encryption.createDataKey('local', { keyAltNames: ['def'] }), isDuplicate);
  const other = await encryption.createDataKey('local');
  await encryption.addKeyAltName(other, 'ghi');
  equal((await encryption.addKeyAltName(other, 'ghi')).keyAltNames, ['ghi'], 'names before');
  await rejected(encryption.addKeyAltName(other, 'def'), isDuplicate);
  equal((await encryption.addKeyAltName(first, 'def')).keyAltNames, ['def'], 'names before');
}

/** A fail point for the clients of this test alone. On servers without fail points the case is skipped with the server's words. */
async function failAggregate(prose, data) {
  const configure = (mode, more) => prose.world.plain.db('admin').command({ configureFailPoint: 'failCommand', mode, ...more });
  try {
    await configure({ times: 1 }, { data: { failCommands: ['aggregate'], appName: APP_NAME, ...data } });
  } catch (error) {
    throw new Skip(`the server has no fail points: ${error.message}`);
  }
  return () => configure('off');
}

/** What events say of an aggregate whose answer holds `cipher`. */
async function decryptionEvents(prose, { failPoint, isMalformed, judge }) {
  const keyId = await prose.encryption().createDataKey('local');
  const cipher = await prose.encryption().encrypt('hello', { ...DETERMINISTIC, keyId });
  const bytes = Buffer.from(cipher.value());
  if (isMalformed) bytes[bytes.length - 1] ^= 1;
  const stored = new prose.world.driver.Binary(bytes, 6);
  await prose.plain.collection('coll').insertOne({ encrypted: stored });
  const off = failPoint ? await failAggregate(prose, failPoint) : () => {};
  try {
    await prose.withClient({ autoEncryptOpts: { kmsProviders: local() }, uriOptions: { retryReads: false, appName: APP_NAME } }, async (db, events) => {
      const outcome = await db
        .collection('coll')
        .aggregate([])
        .toArray()
        .catch((error) => error);
      const ended = events.filter(({ commandName, command }) => commandName === 'aggregate' && command === undefined);
      if (ended.length !== 1) throw new Error(`${ended.length} events of the end of the aggregate`);
      judge(outcome, ended[0], stored);
    });
  } finally {
    await off();
  }
}

function mustFail(outcome, event) {
  if (!(outcome instanceof Error) || !event.failure) throw new Error('was expected to fail, with an event that says so');
}

function mustCarry(outcome, { reply }, stored, isReadable) {
  if (isReadable !== !(outcome instanceof Error)) throw new Error(isReadable ? outcome.message : 'was expected to fail');
  if (isReadable)
    equal(
      outcome.map(({ encrypted }) => encrypted),
      ['hello'],
      'documents',
    );
  same(reply.cursor.firstBatch[0].encrypted.value(), stored.value(), 'ciphertext of the event');
}

/** A key of every provider comes under the master key of every other, and still opens what it encrypted. */
async function rewrapBetween(prose, from, to) {
  const keyId = await prose.encryption(allProviders()).createDataKey(from, { masterKey: prose.masterKeys[from] });
  const encrypted = await prose.encryption(allProviders()).encrypt('test', { ...DETERMINISTIC, keyId });
  const { bulkWriteResult } = await prose.encryption(allProviders()).rewrapManyDataKey({}, { provider: to, masterKey: prose.masterKeys[to] });
  equal(bulkWriteResult.modifiedCount, 1, 'keys');
  equal((await prose.vault.findOne({ _id: keyId })).masterKey.provider, to, 'provider');
  equal(await prose.encryption({ [to]: {} }).decrypt(encrypted), 'test', 'value');
  equal(await prose.encryption(allProviders()).decrypt(encrypted), 'test', 'value');
}

/** Prose 2: a key of each provider, made, used by id and by name, and a value that a client decrypts by itself. */
async function roundTrip(prose, provider) {
  const { world, databaseName } = prose;
  const pointer = { encrypt: { keyId: '/placeholder', bsonType: 'string', algorithm: ALGORITHM.random } };
  const schemaMap = { [`${databaseName}.coll`]: { bsonType: 'object', properties: { encrypted_placeholder: pointer } } };
  const name = `${provider}_altname`;
  const text = `hello ${provider}`;
  await prose.withClient({}, async (_db, events, keyVaultClient) => {
    const encryption = world.clientEncryption(keyVaultClient, { kmsProviders: allProviders() });
    const keyId = await encryption.createDataKey(provider, { masterKey: prose.masterKeys[provider], keyAltNames: [name] });
    equal([keyId.sub_type, keyId.length()], [4, 16], 'key id');
    equal((await prose.vault.findOne({ _id: keyId })).masterKey.provider, provider, 'provider');
    const inserts = events.filter(({ commandName, command }) => commandName === 'insert' && command);
    equal(
      inserts.map(({ command }) => command.writeConcern),
      [{ w: 'majority' }],
      'write concern',
    );
    const encrypted = await encryption.encrypt(text, { ...DETERMINISTIC, keyId });
    equal(encrypted.sub_type, 6, 'subtype');
    await prose.withClient({ autoEncryptOpts: { kmsProviders: allProviders(), schemaMap } }, async (db) => {
      await db.collection('coll').insertOne({ _id: provider, value: encrypted });
      equal((await db.collection('coll').findOne({ _id: provider })).value, text, 'value');
    });
    same((await encryption.encrypt(text, { ...DETERMINISTIC, keyAltName: name })).value(), encrypted.value(), 'ciphertext by name');
  });
}

async function runRoundTrips(prose) {
  const [trips, rewraps] = [new Suite('driver/prose/2-data-key-and-double-encryption'), new Suite('driver/prose/16-rewrap')];
  for (const provider of PROVIDERS) {
    await trips.case(provider, () => prose.start().then(() => prose.world.judge(() => roundTrip(prose, provider))));
    trips.skip(`${provider}, encrypted twice`, 'needs query analysis: a value that is encrypted already, for an encrypted field');
    for (const other of PROVIDERS)
      await rewraps.case(`${provider} to ${other}`, () => prose.start().then(() => prose.world.judge(() => rewrapBetween(prose, provider, other))));
  }
  await rewraps.case('a master key without its provider', () =>
    prose.start().then(async () => {
      await prose.encryption().createDataKey('local');
      await rejected(prose.encryption().rewrapManyDataKey({}, { masterKey: prose.masterKeys.aws }), ({ name }) => name === 'MongoCryptError');
    }),
  );
  return [trips, rewraps];
}

const PROSE = {
  '1-custom-key-material': { 'the key encrypts "test" to the published bytes': customKeyMaterial },
  '3-external-key-vault': {
    'without an external vault': (prose) => externalVault(prose, false),
    'with an external vault': (prose) => externalVault(prose, true),
  },
  '4-size-limits': {
    'a value of 2 MiB': (prose) => limits(prose, [{ length: MIB_2 }], { inserts: 1 }),
    'a document that exceeds 2 MiB once it is encrypted': (prose) => limits(prose, [{ hasLimits: true, length: MIB_2 - 2000 }], { inserts: 1 }),
    'two values of 2 MiB go in two commands': (prose) => limits(prose, [{ length: MIB_2 }, { length: MIB_2 }], { inserts: 2 }),
    'two documents that exceed 2 MiB once they are encrypted go in two commands': (prose) =>
      limits(
        prose,
        [
          { hasLimits: true, length: MIB_2 - 2000 },
          { hasLimits: true, length: MIB_2 - 2000 },
        ],
        { inserts: 2 },
      ),
    'a value of almost 16 MiB': (prose) => limits(prose, [{ length: MIB_16 - 2000 }], { inserts: 1 }),
    'a document that exceeds 16 MiB once it is encrypted is refused': (prose) => limits(prose, [{ hasLimits: true, length: MIB_16 - 2000 }], { fails: true }),
  },
  '5-views': { 'a view cannot be encrypted': views },
  '8-no-mongocryptd': {
    'with bypassAutoEncryption': (prose) => withoutMongocryptd(prose, 'bypassAutoEncryption'),
    'with bypassQueryAnalysis': (prose) => withoutMongocryptd(prose, 'bypassQueryAnalysis'),
  },
  '9-deadlocks': Object.fromEntries(
    [1, 0].flatMap((maxPoolSize) =>
      [false, true].flatMap((bypassAutoEncryption) =>
        [false, true].map((hasVaultClient) => {
          const options = { maxPoolSize, bypassAutoEncryption, hasVaultClient };
          return [JSON.stringify(options), (prose) => withoutDeadlock(prose, options)];
        }),
      ),
    ),
  ),
  '13-unique-index': { 'names belong to one key': uniqueNames },
  '14-decryption-events': {
    'command error': (prose) => decryptionEvents(prose, { failPoint: { errorCode: 123 }, judge: mustFail }),
    'network error': (prose) => decryptionEvents(prose, { failPoint: { errorCode: 123, closeConnection: true }, judge: mustFail }),
    'decrypt error': (prose) => decryptionEvents(prose, { isMalformed: true, judge: (...given) => mustCarry(...given, false) }),
    'decrypt success': (prose) => decryptionEvents(prose, { judge: (...given) => mustCarry(...given, true) }),
  },
};
