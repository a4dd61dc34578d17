/** The key vault in the shell, with the methods, overloads and messages of the shell's own KeyVault. */

import { CsfleError, type Document, type ProviderName, type RewrapManyDataKeyOptions, type RewrapManyDataKeyResult } from '../index.js';
import { masterKeyPattern, requireArguments, requireMasterKeyFields, requireRegionOfArn } from './arguments.js';
import { ShellClientEncryption } from './client-encryption.js';
import { visible } from '../node/text.js';
import { AS_PRINTABLE, type ClassHelp, INSTANCE_STATE, interruptible, offerMethods, shellClass } from './help.js';
import { requireKnownMasterKey } from './known-master-key.js';
import { resolveKmsProviders } from './kms-providers.js';
import { namespaceOf, type ShellCollection } from './migration.js';
import { providerClient } from './provider-client.js';
import { deleteKey, listRetired, restoreKey, type ShellDeleteKeyOptions } from './retired-keys.js';
import { openSession, type ShellSession, vaultPlace } from './session.js';
import { hostsOf, printsJson, printWarning, type ShellCursor, type ShellInstanceState, splitNamespace } from './shell.js';
import { inShell } from './words.js';

const MANUAL = 'https://mongodb.com/docs/manual/reference/method';

/** Options of `createKey`, beside a plain master key. */
interface CreateKeyOptions {
  readonly masterKey?: Document;
  readonly keyAltNames?: readonly string[];
  readonly keyMaterial?: unknown;
  /** Says that a local master key which opens none of the keys under its provider is meant. */
  readonly newMasterKey?: boolean;
}

/** Options of `rewrapManyDataKey`, with collections named the shell's way. */
interface ShellRewrapOptions extends Omit<RewrapManyDataKeyOptions, 'proof'> {
  /** Where values under the keys are looked for: collections of the shell, or their names. `false`: nowhere. */
  readonly proof?: { readonly collections: readonly (string | ShellCollection)[] } | false;
  /** As in `createKey`. */
  readonly newMasterKey?: boolean;
}

/** What `csfle.keyVault()` returns. */
export class ShellKeyVault {
  readonly #session: ShellSession;

  private constructor(session: ShellSession) {
    this.#session = session;
    offerMethods(this);
  }

  /** Opens the key vault and makes sure of its index. `options` may be a ShellClientEncryption, which is then shared. */
  static async open(options: unknown): Promise<ShellKeyVault> {
    const session = ShellClientEncryption.sessionOf(options) ?? openSession(options, 'csfle.keyVault');
    await ensureIndex(session);
    return new ShellKeyVault(session);
  }

  /** The session behind `value` when that is a ShellKeyVault. */
  static sessionOf(value: unknown): ShellSession | undefined {
    return typeof value === 'object' && value !== null && #session in value ? value.#session : undefined;
  }

  async createKey(provider: string, masterKeyOrNamesOrOptions?: unknown, keyAltNames?: readonly string[]): Promise<unknown> {
    const options = createKeyOptions(provider, masterKeyOrNamesOrOptions, keyAltNames);
    const { newMasterKey, ...rest } = options;
    requireRegionOfArn('masterKey', rest.masterKey);
    await this.#requireKnown(provider, newMasterKey, false);
    return this.#withServerError(this.#session.encryption.createDataKey(provider as ProviderName, rest as never));
  }

  async getKey(keyId: unknown): Promise<Document | null> {
    requireArguments('KeyVault.getKey', [keyId], ['any']);
    return this.#session.encryption.getKey(keyId as never);
  }

  async getKeyByAltName(keyAltName: string): Promise<Document | null> {
    requireArguments('KeyVault.getKeyByAltName', [keyAltName], ['string']);
    return this.#session.encryption.getKeyByAltName(keyAltName);
  }

  // The shell's cursor rather than the library's: it prints in batches and has all the methods users know.
  async getKeys(): Promise<ShellCursor> {
    const { vaultMongo, database, collection } = this.#session;
    const cursor = await vaultMongo.getDB(database).getCollection(collection).find({});
    return cursor.readConcern('majority');
  }

  async deleteKey(keyId: unknown, options?: ShellDeleteKeyOptions): Promise<unknown> {
    requireArguments('KeyVault.deleteKey', [keyId], ['any']);
    return deleteKey(this.#session, keyId, options);
  }

  async retiredKeys(): Promise<readonly Document[]> {
    return listRetired(this.#session);
  }

  async restoreKey(keyId: unknown): Promise<Document | null> {
    requireArguments('KeyVault.restoreKey', [keyId], ['any']);
    return restoreKey(this.#session, keyId);
  }

  async addKeyAlternateName(keyId: unknown, keyAltName: string): Promise<Document | null> {
    requireArguments('KeyVault.addKeyAlternateName', [keyId, keyAltName], ['any', 'string']);
    return this.#withServerError(this.#session.encryption.addKeyAltName(keyId as never, keyAltName));
  }

  async removeKeyAlternateName(keyId: unknown, keyAltName: string): Promise<Document | null> {
    requireArguments('KeyVault.removeKeyAlternateName', [keyId, keyAltName], ['any', 'string']);
    return this.#session.encryption.removeKeyAltName(keyId as never, keyAltName);
  }

  async rewrapManyDataKey(filter: Document, options: ShellRewrapOptions = {}): Promise<RewrapManyDataKeyResult> {
    requireArguments('KeyVault.rewrapManyDataKey', [filter], ['object']);
    const { proof, newMasterKey, ...rest } = options;
    const { provider } = options;
    requireMasterKeyFields(
      `KeyVault.rewrapManyDataKey: masterKey of ${provider}`,
      provider,
      rest.masterKey,
      (pattern) => `rewrapManyDataKey(filter, { provider: ${JSON.stringify(provider)}, masterKey: ${pattern} })`,
    );
    requireRegionOfArn('masterKey', rest.masterKey);
    await this.#requireKnown(provider, newMasterKey, true);
    const proven = proof === undefined ? {} : { proof: this.#opened(proof) };
    await this.#requireThere(proven.proof);
    const { state, encryption } = this.#session;
    const result = await interruptible(state, (signal) => encryption.rewrapManyDataKey(filter, { ...rest, ...proven, signal }));
    if (result.bulkWriteResult === undefined && (await this.#session.store.find({})).length === 0)
      await printWarning(state, `The key vault ${vaultPlace(this.#session)} has no data key: check keyVaultNamespace and the connection.`);
    return result;
  }

  /** COMPAT: a taken alternate name fails with the server's error, as in the shell's own class. Our code and remedy stand beside its own. */
  async #withServerError<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!CsfleError.is(error) || error.code !== 'KEY_VAULT_DUPLICATE_KEY' || !(error.cause instanceof Error)) throw error;
      const ours = { csfleCode: error.code, remedy: inShell.remedy(error, error.remedy) };
      // At the prompt the shell shows `errInfo`, and no other field that it does not know.
      throw Object.assign(error.cause, ours, printsJson(this.#session.state) ? {} : { errInfo: ours });
    }
  }

  /** A local master key that opens nothing of this vault makes no key in it by mistake. */
  async #requireKnown(provider: unknown, newMasterKey: unknown, alsoRetired: boolean): Promise<void> {
    if (typeof provider !== 'string' || provider.split(':', 1)[0] !== 'local') return;
    const { kmsProviders: given, trust, state } = this.#session;
    const { kmsProviders, wipe } = resolveKmsProviders(given, state);
    try {
      await requireKnownMasterKey(this.#session, { provider, kmsProviders, given, newMasterKey, alsoRetired, ...trust });
    } finally {
      wipe();
    }
  }

  /** Collections of the shell as the library takes them; what is of another form is refused there. */
  #opened(proof: NonNullable<ShellRewrapOptions['proof']>): NonNullable<RewrapManyDataKeyOptions['proof']> {
    if (!Array.isArray((proof as { collections?: unknown } | null)?.collections)) return proof as false;
    const { mongo, vaultMongo, vaultClient } = this.#session;
    const client = mongo === vaultMongo ? vaultClient : providerClient(mongo);
    const { collections, ...others } = proof as Exclude<typeof proof, false>;
    return { ...others, collections: collections.map((one) => ({ client, namespace: namespaceOf('proof.collections', one) })) };
  }

  /** Refuses collections that were named and are not there: a search of nothing proves nothing. */
  async #requireThere(proof: RewrapManyDataKeyOptions['proof']): Promise<void> {
    if (proof === undefined || proof === false || !Array.isArray(proof.collections)) return;
    for (const { namespace } of proof.collections as readonly { readonly namespace: string }[]) {
      const names = splitNamespace(namespace);
      const list = { listCollections: 1, filter: { name: names?.collection }, nameOnly: true, authorizedCollections: true };
      // One that cannot be listed may be there: reading it will tell.
      const found = names === undefined ? undefined : await this.#session.mongo._serviceProvider.runCommandWithCheck(names.database, list).catch(() => null);
      if (found === undefined || (found?.['cursor'] as { firstBatch?: unknown[] } | undefined)?.firstBatch?.length === 0)
        throw new CsfleError('ARGUMENT_INVALID', `proof.collections: there is no collection ${namespace}`, { details: { argument: 'proof.collections' } });
    }
  }

  async createDataKey(provider: string, masterKeyOrNamesOrOptions?: unknown, keyAltNames?: readonly string[]): Promise<unknown> {
    return this.createKey(provider, masterKeyOrNamesOrOptions, keyAltNames);
  }

  async addKeyAltName(keyId: unknown, keyAltName: string): Promise<Document | null> {
    return this.addKeyAlternateName(keyId, keyAltName);
  }

  async removeKeyAltName(keyId: unknown, keyAltName: string): Promise<Document | null> {
    return this.removeKeyAlternateName(keyId, keyAltName);
  }

  close(): void {
    this.#session.encryption.close();
  }

  [AS_PRINTABLE](): string {
    return `KeyVault class for ${hostsOf(this.#session.vaultMongo)}, key vault ${visible(this.#session.namespace)}`;
  }

  [INSTANCE_STATE](): ShellInstanceState | undefined {
    return this.#session.state;
  }
}

// COMPAT: the overloads of mongosh's KeyVault.createKey. "local" is compared literally, so that a named local provider
// takes its names in the options only.
function createKeyOptions(provider: string, second: unknown, third: readonly string[] | undefined): CreateKeyOptions {
  requireArguments('KeyVault.createKey', [provider], ['any']);
  if (typeof second === 'string') {
    if (provider === 'local' && second === '') return named({}, third);
    throw refusal('KeyVault.createKey does not support providing masterKey as string anymore. For AWS please use createKey("aws", { region: ..., key: ... })');
  }
  if (Array.isArray(second)) {
    if (provider !== 'local') throw withoutMasterKey(provider);
    if (third !== undefined) {
      throw refusal(
        'KeyVault.createKey was supplied with an array for the masterKey and keyAltNames - either specify keyAltNames as second argument or set undefined for masterKey',
      );
    }
    return { keyAltNames: second as readonly string[] };
  }
  if (second === undefined || second === null) {
    if (masterKeyPattern(provider) !== undefined) throw withoutMasterKey(provider);
    return named({}, third);
  }
  if (typeof second !== 'object') throw refusal(`KeyVault.createKey: expected a masterKey document as second argument, got ${typeof second}`);
  const isOptions = 'masterKey' in second || 'keyAltNames' in second || 'keyMaterial' in second || 'newMasterKey' in second;
  const options = isOptions ? (second as CreateKeyOptions) : { masterKey: second as Document };
  requireMasterKeyFields(`KeyVault.createKey: masterKey of ${provider}`, provider, options.masterKey, (pattern) => createKeyExample(provider, pattern));
  return named(options, third);
}

function withoutMasterKey(provider: string): CsfleError {
  const pattern = masterKeyPattern(provider);
  const example = pattern === undefined ? '' : `: ${createKeyExample(provider, pattern)}`;
  return refusal(`KeyVault.createKey requires masterKey to be given as second argument if KMS is not local${example}`);
}

function createKeyExample(provider: string, pattern: string): string {
  return `createKey(${JSON.stringify(provider)}, ${pattern}, keyAltNames)`;
}

function named(options: CreateKeyOptions, keyAltNames: readonly string[] | undefined): CreateKeyOptions {
  return keyAltNames === undefined || keyAltNames === null ? options : { ...options, keyAltNames };
}

function refusal(message: string): CsfleError {
  return new CsfleError('ARGUMENT_INVALID', message, { details: { method: 'KeyVault.createKey' } });
}

// COMPAT: mongosh's index step, with its one message. Keys without names must not carry an empty array: the index would
// take the second such key for a duplicate. The vault works without the index, so a failure is only said.
async function ensureIndex({ vaultMongo, database, collection, namespace, state }: ShellSession): Promise<void> {
  const provider = vaultMongo._serviceProvider;
  const writeConcern = { w: 'majority' };
  try {
    const indexes = await provider.getIndexes(database, collection);
    if (indexes.some(({ key }) => typeof key === 'object' && key !== null && 'keyAltNames' in key)) return;
  } catch {
    // No collection yet, or no right to list indexes: creating will tell.
  }
  try {
    await provider.updateMany(
      database,
      collection,
      { keyAltNames: { $size: 0 } },
      { $unset: { keyAltNames: '' }, $currentDate: { updateDate: true } },
      { writeConcern },
    );
    const index = { key: { keyAltNames: 1 }, name: 'keyAltNames_1', unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } };
    await provider.createIndexes(database, collection, [index], { writeConcern });
  } catch (error) {
    await printWarning(state, `Creating 'keyAltNames' index on '${namespace}' failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const HELP: ClassHelp = {
  name: 'KeyVault',
  description: 'Key Vault Class (csfle-wasm)',
  docs: `${MANUAL}/KeyVault`,
  methods: {
    createKey: {
      usage: 'keyVault.createKey(kms, masterKey | { masterKey, keyAltNames, keyMaterial, newMasterKey }, keyAltNames)',
      description:
        "Creates a data key for use with client-side field level encryption and returns its id. createKey('local', ['name']) suits the local provider; for AWS: createKey('aws', { region, key }, ['name']). A local master key that opens none of the keys under its provider is refused, unless newMasterKey is true.",
      docs: `${MANUAL}/KeyVault.createKey`,
    },
    getKey: {
      usage: 'keyVault.getKey(keyId)',
      description: 'Returns the key document with this id, or null.',
      docs: `${MANUAL}/KeyVault.getKey`,
    },
    getKeyByAltName: {
      usage: 'keyVault.getKeyByAltName(keyAltName)',
      description: 'Returns the key document with this alternate name, or null.',
      docs: `${MANUAL}/KeyVault.getKeyByAltName`,
    },
    getKeys: {
      usage: 'keyVault.getKeys()',
      description: 'Returns a cursor over all key documents.',
      docs: `${MANUAL}/KeyVault.getKeys`,
    },
    deleteKey: {
      usage: "keyVault.deleteKey(keyId, { evidence: { skipNamespaces: ['logs.*'], reason }, dataClients, otherCollections, schemas })",
      description:
        'Moves a data key to the retired keys, if no value in any namespace needs it. What cannot be read counts as in use. keyVault.restoreKey() brings it back.',
      docs: `${MANUAL}/KeyVault.deleteKey`,
    },
    retiredKeys: {
      usage: 'keyVault.retiredKeys()',
      description: 'Returns the retired keys, the latest first: when, why and for whom each was retired, and its key document, still wrapped.',
    },
    restoreKey: {
      usage: 'keyVault.restoreKey(keyId)',
      description: 'Puts a retired key back into the key vault and returns its key document.',
    },
    addKeyAlternateName: {
      usage: 'keyVault.addKeyAlternateName(keyId, keyAltName)',
      description: 'Adds an alternate name to a data key. Returns the key document as it was before, or null.',
      docs: `${MANUAL}/KeyVault.addKeyAlternateName`,
    },
    removeKeyAlternateName: {
      usage: 'keyVault.removeKeyAlternateName(keyId, keyAltName)',
      description: 'Removes an alternate name from a data key. Returns the key document as it was before, or null.',
      docs: `${MANUAL}/KeyVault.removeKeyAlternateName`,
    },
    rewrapManyDataKey: {
      usage: 'keyVault.rewrapManyDataKey(filter, { provider, masterKey, proof, newMasterKey })',
      description:
        'Wraps the matching data keys anew: under the given master key, or under their own. Data stays as it is. What a KMS unwraps has to open a value under the key: values are looked for in all collections, or in those of proof: { collections: [db.patients] }.',
      docs: `${MANUAL}/KeyVault.rewrapManyDataKey`,
    },
    createDataKey: { usage: 'keyVault.createDataKey(kms, masterKey | options, keyAltNames)', description: 'Alias of KeyVault.createKey().' },
    addKeyAltName: { usage: 'keyVault.addKeyAltName(keyId, keyAltName)', description: 'Alias of KeyVault.addKeyAlternateName().' },
    removeKeyAltName: { usage: 'keyVault.removeKeyAltName(keyId, keyAltName)', description: 'Alias of KeyVault.removeKeyAlternateName().' },
    close: {
      usage: 'keyVault.close()',
      description: 'Wipes the master key and the data keys from memory. The object cannot be used any more.',
      synchronous: true,
    },
  },
};

shellClass(ShellKeyVault, HELP);
