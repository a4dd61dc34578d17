// What the published tests find when they are run through the official driver on this package: the driver, unmodified, with
// this package under the name of mongodb-client-encryption; a real server; a stand-in for mongocryptd; KMS services over TLS.
import { randomBytes } from 'node:crypto';
import { testPython } from '../../env.mjs';
import { startAnalyser } from '../../mongocrypt/analyser.mjs';
import { aliasedDriver } from '../../mongocrypt/driver.mjs';
import { startSchemaProxy } from '../../mongocrypt/schema-proxy.mjs';
import { refuseUnknown } from '../unified-runner.mjs';
import { Skip } from '../suite.mjs';
import { expectation } from '../unified-match.mjs';
import { startPublishedKms } from './kms.mjs';

const NAMESPACE = { database: 'keyvault', collection: 'datakeys' };
const KNOWN_OPTIONS = new Set(['keyVaultNamespace', 'kmsProviders', 'schemaMap', 'bypassAutoEncryption', 'bypassQueryAnalysis', 'keyExpirationMS']);

const EVENTS = { commandStartedEvent: 'commandStarted', commandSucceededEvent: 'commandSucceeded', commandFailedEvent: 'commandFailed' };

/** Why a server cannot be used, or undefined: the proxy speaks to one host, without TLS. */
export function unusable(uri) {
  try {
    const { protocol, hostname, searchParams } = new URL(uri);
    const isPlain = protocol === 'mongodb:' && hostname !== '' && searchParams.get('tls') !== 'true' && searchParams.get('ssl') !== 'true';
    return isPlain ? undefined : `the proxy of these tests cannot stand before ${protocol}//${hostname}`;
  } catch {
    return 'the proxy of these tests stands before one host only';
  }
}

export async function startDriverWorld(uri) {
  const url = new URL(uri);
  const { driver, alias, remove } = aliasedDriver();
  const [proxy, analyser, kms, plain] = await Promise.all([
    startSchemaProxy({ host: url.hostname, port: Number(url.port || 27017) }),
    startAnalyser(),
    testPython().then(startPublishedKms),
    new driver.MongoClient(uri).connect(),
  ]);
  url.host = `127.0.0.1:${proxy.port}`;
  url.searchParams.set('directConnection', 'true');
  url.searchParams.delete('replicaSet');
  const { version } = await plain.db('admin').command({ buildInfo: 1 });
  const hello = await plain.db('admin').command({ hello: 1 });
  const stop = async () => {
    await plain.close();
    await Promise.all([proxy.stop(), analyser.stop(), kms.stop()]);
    remove();
  };
  const prefix = `csfle_conformance_${randomBytes(4).toString('hex')}_`;
  return new DriverWorld({
    driver,
    alias,
    proxy,
    analyser,
    kms,
    plain,
    stop,
    prefix,
    proxyUri: url.href,
    version,
    topology: hello.setName ? 'replicaset' : 'single',
  });
}

/** A side of the unified runner, and more. */
export class DriverWorld {
  constructor(parts) {
    Object.assign(this, parts);
    this.keyVaultNamespace = `${this.prefix}${NAMESPACE.database}.${NAMESPACE.collection}`;
  }

  /** Runs one test from a clean start. What the stand-in for mongocryptd had to decline was not tested. */
  async judge(work) {
    const { proxy, analyser } = this;
    proxy.schemas.clear();
    analyser.declined.length = 0;
    let failure;
    await work().catch((error) => {
      failure = error;
    });
    if (analyser.declined.length > 0) throw new Skip(analyser.declined[0]);
    const violations = this.kms.violations();
    if (failure) throw failure;
    if (violations.length > 0) throw new Error(`the KMS found wrong: ${violations.join('; ')}`);
  }

  /** Makes a collection; a schema with `encrypt` in it is told to clients by the proxy alone. */
  async prepare({ databaseName, collectionName, documents, createOptions = {} }) {
    const database = this.plain.db(databaseName);
    const { validator, ...options } = createOptions;
    const schema = validator?.$jsonSchema;
    const isStorable = !JSON.stringify(schema ?? {}).includes('"encrypt"');
    await database.dropCollection(collectionName);
    await database.createCollection(collectionName, { ...options, ...(validator && isStorable && { validator }) });
    if (!isStorable) this.proxy.schemas.set(`${databaseName}.${collectionName}`, expectation(schema));
    if (documents.length > 0) await database.collection(collectionName, { writeConcern: { w: 'majority' } }).insertMany(documents.map(expectation));
  }

  /** A connected client of the driver, and the commands it starts. */
  async client({ autoEncryptOpts, observeEvents = [], uriOptions = {}, ...unknown }, { keyVaultClient } = {}) {
    refuseUnknown(unknown, new Set(), 'a client');
    if ('timeoutMS' in uriOptions) this.refuseTimeout(uriOptions.timeoutMS);
    refuseUnknown(Object.fromEntries(observeEvents.map((name) => [name])), new Set(Object.keys(EVENTS)), 'observeEvents');
    const client = new this.driver.MongoClient(this.proxyUri, {
      monitorCommands: true,
      ...uriOptions,
      ...(autoEncryptOpts && { autoEncryption: { ...this.autoEncryption(autoEncryptOpts), keyVaultClient } }),
    });
    const commands = [];
    for (const name of observeEvents) client.on(EVENTS[name], (event) => commands.push(event));
    await client.connect();
    return { client, commands, close: () => client.close() };
  }

  /** Tests of it judge nothing while the driver takes the option and forgets it. */
  refuseTimeout(timeoutMS) {
    this.takesTimeout ??= new this.driver.MongoClient(this.proxyUri, { timeoutMS }).options.timeoutMS !== undefined;
    if (!this.takesTimeout) throw new Skip('the driver ignores timeoutMS ("timeoutMS has no effect and will be removed in a future release")');
  }

  autoEncryption({ schemaMap, ...options }) {
    refuseUnknown(options, KNOWN_OPTIONS, 'autoEncryptOpts');
    const extraOptions = { mongocryptdURI: this.analyser.uri, mongocryptdBypassSpawn: true };
    return { ...this.encryptionOptions(options), ...(schemaMap && { schemaMap: expectation(schemaMap) }), extraOptions };
  }

  clientEncryption(client, options) {
    refuseUnknown(options, KNOWN_OPTIONS, 'clientEncryptionOpts');
    return new this.driver.ClientEncryption(client, this.encryptionOptions(options));
  }

  /** Credentials and the way to the KMS services, for the providers that a test names. */
  encryptionOptions({ kmsProviders, keyVaultNamespace = this.keyVaultNamespace, ...options }) {
    const { kms } = this;
    const providers = Object.fromEntries(Object.entries(kmsProviders).map(([id, settings]) => this.provider(id, settings)));
    return {
      ...options,
      keyVaultNamespace,
      kmsProviders: providers,
      tlsOptions: kms.tlsOptions(Object.keys(providers)),
      kmsConnectCallback: kms.kmsConnectCallback,
    };
  }

  provider(id, settings) {
    const { credentials } = this.kms;
    // Names of the older format for sets of credentials.
    if (id.startsWith('awsTemporary')) return ['aws', credentials[id]];
    if ('accessToken' in settings) return [id, credentials[`${id}Token`]];
    if ('sessionToken' in settings)
      return [id, { ...credentials.awsTemporary, ...(typeof settings.sessionToken === 'string' && { sessionToken: settings.sessionToken }) }];
    const isGiven = id.startsWith('local') && settings.key && !settings.key.$$placeholder;
    return [id, isGiven ? expectation(settings) : credentials[id.split(':')[0]]];
  }

  isClientError(error) {
    return !(error instanceof this.driver.MongoServerError);
  }

  /** The requirement that is not met, or undefined; one of several is enough. */
  unmet(requirements) {
    const reasons = requirements.map((one) => this.unmetOf(one));
    return reasons.length > 0 && reasons.every(Boolean) ? reasons.join(', or ') : undefined;
  }

  unmetOf({ minServerVersion, maxServerVersion, topology, topologies = topology, csfle = true, serverless, ...unknown }) {
    refuseUnknown(unknown, new Set(), 'runOnRequirements');
    const own = this.driver.ClientEncryption.libmongocryptVersion;
    if (minServerVersion && compareVersions(this.version, minServerVersion) < 0) return `wants server ${minServerVersion}, found ${this.version}`;
    if (maxServerVersion && compareVersions(this.version, maxServerVersion) > 0) return `wants server ${maxServerVersion} at most, found ${this.version}`;
    if (topologies && !topologies.includes(this.topology)) return `wants topology ${topologies.join()}, found ${this.topology}`;
    if (csfle === false) return 'wants a driver without client-side encryption';
    if (csfle.minLibmongocryptVersion && compareVersions(own, csfle.minLibmongocryptVersion) < 0)
      return `wants libmongocrypt ${csfle.minLibmongocryptVersion}, found ${own}`;
    return serverless === 'require' ? 'wants a serverless instance' : undefined;
  }

  async drop(databases) {
    for (const name of databases) await this.plain.db(name).dropDatabase();
  }
}

/** Negative, zero or positive, by the numbers that both state. */
export function compareVersions(left, right) {
  const numbers = (text) => text.split(/[+-]/)[0].split('.').map(Number);
  const [ours, theirs] = [numbers(left), numbers(right)];
  const at = theirs.findIndex((number, index) => number !== (ours[index] ?? 0));
  return at < 0 ? 0 : (ours[at] ?? 0) - theirs[at];
}
