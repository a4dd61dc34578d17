/// <reference lib="esnext.disposable" preserve="true" />

import {
  type BsonBinary,
  type BsonLibrary,
  binaryBytes,
  type DefaultBson,
  type DeserializeOptions,
  type Document,
  deserialize,
  EXACT_TYPES,
  isBinary,
  requireKeyId,
  refuseLossyValue,
  serialize,
  splitDocuments,
  type UuidOf,
} from './bson.js';
import { concatBytes, isBytes, wipe } from './bytes.js';
import type { Decrypted, Encrypted } from './client-encryption/decrypted.js';
import type {
  ClientEncryptionOptions,
  CreateDataKeyOptions,
  DeleteResult,
  EncryptDocumentOptions,
  EncryptOptions,
  RewrapManyDataKeyOptions,
  RewrapManyDataKeyResult,
} from './client-encryption/options.js';
import { type BulkWork, overBytes, overObjects } from './documents.js';
import { argumentError, CsfleError, kindOf } from './errors.js';
import { KeyCursor } from './key-cursor.js';
import { type DriverClient, driverKeyVaultStore, type KeyDocument, type KeyVaultStore } from './key-vault.js';
import { requireRetirement } from './key-vault/retirement.js';
import type { ProviderName } from './kms/master-keys.js';
import { valuesUnder } from './migrate/proof-collections.js';
import { rewrapKeys } from './rewrap.js';
import { findDocuments, fromStore, requireStore } from './run.js';
import { refuseUnknownOptions, requireSignal, SESSION_OPTION_NAMES, Session } from './session.js';
import { requireRules } from './field-rules.js';

const OWN_OPTION_NAMES = ['keyVaultNamespace', 'keyVaultClient', 'keyVaultStore', 'deserializeOptions'] as const;
const BOUND = ['encrypt', 'decrypt', 'encryptDocument', 'encryptDocuments', 'decryptDocument', 'decryptDocuments'] as const;
const DEFAULT_NAMESPACE_HINT = 'keyVaultNamespace is needed, for example "encryption.__keyVault"';

/**
 * Encrypts and decrypts values, and manages data keys; names and results are those of the MongoDB drivers.
 * `B` is the BSON library of the option `bson`, whose `Binary` and `UUID` the results are; by default that of the entry.
 *
 * Errors: every method rejects with a `CsfleError`. Beside those named at a method: `KEY_VAULT_NOT_READABLE` and
 * `KEY_VAULT_NOT_WRITABLE`, the `KMS_*` codes, `OPERATION_ABORTED`, and `HOST_CLOSED` after `close()`.
 */
export class ClientEncryption<B extends BsonLibrary = DefaultBson> {
  readonly #session: Session;
  readonly #deserializeOptions: DeserializeOptions | undefined;

  /**
   * Takes a `MongoClient` of the `mongodb` driver for the key vault, or null with the option `keyVaultStore`.
   * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `HOST_BSON_MISSING`,
   * `HOST_NOT_INITIALIZED`.
   */
  constructor(client: DriverClient | null | undefined, options: ClientEncryptionOptions<B>) {
    if (typeof options !== 'object' || options === null) throw argumentError(`options must be an object, found ${kindOf(options)}`);
    refuseUnknownOptions(options, [...OWN_OPTION_NAMES, ...SESSION_OPTION_NAMES], 'ClientEncryption');
    this.#deserializeOptions = options.deserializeOptions;
    this.#session = new Session(options, () => keyVaultOf(client, options));
    // `cursor.map(encryption.decryptDocument)` hands the method over without its object.
    for (const name of BOUND) Object.defineProperty(this, name, { value: this[name].bind(this), configurable: true, writable: true });
  }

  /**
   * Creates a data key, stores it in the key vault and returns its id. Its wrapping was unwrapped and compared before.
   * Errors: `KMS_REPLY_MISMATCH`, `MASTER_KEY_INVALID`, `KMS_PROVIDER_NOT_CONFIGURED`, `KEY_MATERIAL_LENGTH`, `KEY_ALT_NAME_INVALID`;
   * `KEY_VAULT_DUPLICATE_KEY` when an alternate name is taken. A key vault of a driver gets its unique index on alternate names first,
   * once per client. Where it cannot, the names are looked up: two callers at the same moment could take one.
   */
  async createDataKey<P extends ProviderName>(provider: P, options: CreateDataKeyOptions<P> = {} as CreateDataKeyOptions<P>): Promise<UuidOf<B>> {
    const store = this.#store();
    const { bson } = this.#session;
    if (typeof provider !== 'string') throw argumentError(`provider must be a string, found ${kindOf(provider)}`);
    refuseUnknownOptions(options, ['masterKey', 'keyAltNames', 'keyMaterial'], 'createDataKey');
    const names = altNames(options.keyAltNames);
    const material = keyMaterial(options.keyMaterial);
    const masterKey = serialize(bson, { ...(options.masterKey as Document | undefined), provider }, 'masterKey');
    if (store.ensureIndex !== undefined) await this.#requireFree(store, names);
    const output = await this.#session.run((engine) => engine.createDataKey(masterKey, names, material, Date.now()));
    const document = deserialize(bson, output);
    await this.#session.during(() => fromStore(() => store.insert(document)));
    return new bson.UUID(binaryBytes(document['_id'] as BsonBinary)) as UuidOf<B>;
  }

  /**
   * Encrypts one value and returns it as BSON binary of subtype 6.
   * Shape: fields that are `undefined` inside `value` become null, as a MongoClient stores them.
   * Errors: `VALUE_TYPE_NOT_ENCRYPTABLE`, `VALUE_TYPE_NOT_DETERMINISTIC`, `ALGORITHM_UNSUPPORTED`, `ALGORITHM_QUERYABLE`,
   * `KEY_REFERENCE_INVALID`, `KEY_VAULT_KEY_NOT_FOUND`, `HOST_BSON_MISMATCH`.
   */
  async encrypt<T>(value: T, options: EncryptOptions<B>): Promise<Encrypted<T, B>> {
    const { bson } = this.#session;
    if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
      throw new CsfleError('VALUE_TYPE_NOT_ENCRYPTABLE', `a value of this type cannot be encrypted: ${kindOf(value)}`, {
        details: { type: typeof value },
      });
    }
    const encoded = serialize(bson, { v: value }, 'the value');
    refuseLossyValue(value);
    try {
      const choice = serialize(bson, this.#fieldOptions(options, 'options'), 'options');
      const output = await this.#session.run((engine) => engine.encrypt(encoded, choice));
      return deserialize(bson, output)['v'] as Encrypted<T, B>;
    } finally {
      wipe(encoded);
    }
  }

  /**
   * Belongs to Queryable Encryption and always fails: field level encryption has no encrypted expressions.
   * Errors: `ALGORITHM_QUERYABLE`.
   */
  async encryptExpression(_expression: unknown, _options: unknown): Promise<never> {
    throw new CsfleError('ALGORITHM_QUERYABLE', 'encryptExpression is for range queries of Queryable Encryption');
  }

  /**
   * Decrypts one value.
   * Errors: `PAYLOAD_NOT_ENCRYPTED`, `PAYLOAD_*` for bytes that are no value of this kind, `KEY_VAULT_KEY_NOT_FOUND`,
   * `CRYPTO_AUTHENTICATION_FAILED`.
   */
  async decrypt<T = unknown>(value: BsonBinary): Promise<T> {
    const { bson } = this.#session;
    if (!isBinary(value)) throw new CsfleError('PAYLOAD_NOT_ENCRYPTED', `the value to decrypt must be a BSON binary of subtype 6, found ${kindOf(value)}`);
    const encoded = serialize(bson, { v: new bson.Binary(binaryBytes(value), value.sub_type) }, 'the value');
    const output = await this.#session.run((engine) => engine.decrypt(encoded));
    return deserialize(bson, output, this.#deserializeOptions)['v'] as T;
  }

  /** Returns the key document of that id, or null. Errors: `KEY_REFERENCE_INVALID`. */
  async getKey(id: BsonBinary): Promise<KeyDocument<B> | null> {
    return this.#findOne({ _id: requireKeyId(this.#session.bson, id, 'id') });
  }

  /** Returns the key document that has the alternate name, or null. Errors: `KEY_ALT_NAME_INVALID`. */
  async getKeyByAltName(keyAltName: string): Promise<KeyDocument<B> | null> {
    return this.#findOne({ keyAltNames: altName(keyAltName) });
  }

  /** Returns a cursor over all key documents. */
  getKeys(): KeyCursor<B> {
    const store = this.#store();
    return new KeyCursor(() => this.#session.during(() => findDocuments(store, {}) as Promise<readonly KeyDocument<B>[]>));
  }

  /** Moves a key to the retired keys; only `retireKeys()` searches for uses. Errors: `KEY_VAULT_RETIREMENT_UNSUPPORTED`. */
  async deleteKey(id: BsonBinary): Promise<DeleteResult> {
    const store = this.#store();
    const key = requireKeyId(this.#session.bson, id, 'id');
    const retire = async () => requireRetirement(store).retireKey(key, { reason: 'deleted', requestedBy: 'ClientEncryption.deleteKey' });
    return { acknowledged: true, deletedCount: (await this.#changing(retire)) === null ? 0 : 1 };
  }

  /** Wipes the unwrapped data keys, so that the key vault is asked again for each: after a change that was not made through this object. */
  forgetKeys(): void {
    this.#session.forgetKeys();
  }

  /**
   * Adds an alternate name; returns the key document as it was before, or null when there is no such key.
   * Errors: `KEY_REFERENCE_INVALID`, `KEY_ALT_NAME_INVALID`, `KEY_VAULT_DUPLICATE_KEY`.
   */
  async addKeyAltName(id: BsonBinary, keyAltName: string): Promise<KeyDocument<B> | null> {
    const store = this.#store();
    const key = requireKeyId(this.#session.bson, id, 'id');
    const name = altName(keyAltName);
    return (await this.#changing(() => store.addKeyAltName(key, name))) as KeyDocument<B> | null;
  }

  /** Removes an alternate name; returns the key document as it was before, or null when there is no such key. */
  async removeKeyAltName(id: BsonBinary, keyAltName: string): Promise<KeyDocument<B> | null> {
    const store = this.#store();
    const key = requireKeyId(this.#session.bson, id, 'id');
    const name = altName(keyAltName);
    return (await this.#changing(() => store.removeKeyAltName(key, name))) as KeyDocument<B> | null;
  }

  /**
   * Wraps the data keys that match `filter` under another master key, or anew under their own; data stays as it is.
   * Nothing is written before a KMS unwrapped every key twice to the same material, which opened a value under the key if
   * there is one, and unwrapped its new wrapping to it too; each write happens only if the key is still wrapped as it was read.
   * Errors: `OPTION_INVALID` for a masterKey without provider, and for `verify: false`; `KMS_REPLY_MISMATCH`;
   * `CRYPTO_AUTHENTICATION_FAILED` when what a KMS unwrapped opens no value under the key; `KEY_VAULT_CONFLICT` naming the
   * keys that another process changed meanwhile, after all others were written.
   */
  async rewrapManyDataKey<P extends ProviderName>(filter: Document, options: RewrapManyDataKeyOptions<P> = {}): Promise<RewrapManyDataKeyResult> {
    const store = this.#store();
    const { bson } = this.#session;
    if (typeof filter !== 'object' || filter === null) throw argumentError(`filter must be an object, found ${kindOf(filter)}`);
    refuseUnknownOptions(options, ['provider', 'masterKey', 'verify', 'proof', 'signal'], 'rewrapManyDataKey');
    const { provider, masterKey, proof, signal } = options;
    const verify: unknown = options.verify === undefined ? true : options.verify;
    if (typeof verify !== 'boolean') throw argumentError(`verify must be a boolean, found ${kindOf(verify)}`, { argument: 'verify' });
    if (!verify) throw new CsfleError('OPTION_INVALID', 'verify cannot be false: leave it out', { details: { option: 'verify' } });
    requireSignal(signal);
    if (provider === undefined && masterKey !== undefined)
      throw new CsfleError('OPTION_INVALID', 'masterKey needs provider beside it', { details: { option: 'masterKey' } });
    const target = provider === undefined ? undefined : serialize(bson, { ...(masterKey as Document | undefined), provider }, 'masterKey');
    const which = serialize(bson, filter, 'filter');
    const values = await this.#session.during(async () => {
      const keys = proof === false ? [] : await findDocuments(store, deserialize(bson, which, EXACT_TYPES));
      const open = async (documents: readonly Uint8Array[]): Promise<readonly Uint8Array[]> =>
        splitDocuments(await this.#session.run((engine) => engine.decryptDocuments(concatBytes(documents)), signal));
      return valuesUnder(keys, store, proof === false ? undefined : proof, open, signal);
    }, signal);
    const output = await this.#session.run((engine) => engine.rewrap(which, target, undefined, values), signal);
    return rewrapKeys(store, bson, output, (work) => this.#session.during(work, signal));
  }

  /**
   * Decrypts every encrypted value of a document, at any depth; Queryable Encryption's values are refused by name.
   * Shape: bytes in, bytes out, all other bytes untouched. Objects in, a new object out, in which every value that was
   * not encrypted is the one passed in, and decrypted ones follow `deserializeOptions`. Null in, null out, as `findOne` returns it.
   * Types: `Decrypted<T>` of the document's, or what the caller states: `decryptDocument<{ ssn: string }>(document)`.
   * Errors: as `decrypt`, for the first value that fails; then nothing is returned.
   */
  decryptDocument(document: Uint8Array): Promise<Uint8Array>;
  decryptDocument<T extends object | null>(document: T): Promise<Decrypted<T>>;
  decryptDocument<T extends object>(document: object): Promise<T>;
  decryptDocument<T extends object>(document: object | null): Promise<T | null>;
  async decryptDocument(document: object | null): Promise<object | null> {
    if (document === null) return null;
    refuseMany(document, 'decryptDocument');
    return isBytes(document) ? overBytes(document, this.#decrypting) : single(await this.#overObjects([document as Document], this.#decrypting));
  }

  /**
   * Decrypts many documents: an array of objects, or BSON documents laid end to end. A cursor or another async iterable gives one back,
   * which decrypts a document when it is asked for it: `for await (const patient of encryption.decryptDocuments(patients.find()))`.
   * As `decryptDocument`. Errors of the iterable itself are passed on as they are.
   */
  decryptDocuments(documents: Uint8Array): Promise<Uint8Array>;
  decryptDocuments<T extends object>(documents: readonly T[]): Promise<Decrypted<T>[]>;
  decryptDocuments<T extends object>(documents: readonly object[]): Promise<T[]>;
  decryptDocuments<T extends object>(documents: AsyncIterable<T>): AsyncGenerator<Decrypted<T>, void, void>;
  decryptDocuments<T extends object>(documents: AsyncIterable<object>): AsyncGenerator<T, void, void>;
  decryptDocuments(documents: readonly object[] | Uint8Array | AsyncIterable<object>): Promise<object[] | Uint8Array> | AsyncGenerator<object, void, void> {
    return isAsyncIterable(documents) ? this.#decryptEach(documents) : this.#decryptAll(documents as readonly Document[] | Uint8Array);
  }

  /**
   * Encrypts the fields of a document that `options.fields` names by path, such as `{ 'medical.ssn': { algorithm, keyId } }`.
   * A document without a value at such a path is refused unless the rule is `optional`, and so are values that are encrypted
   * already; an empty array satisfies the rules that lead into it. Bytes and objects as in `decryptDocument`.
   * Errors: as `encrypt`, naming the path; `VALUE_PATH_NOT_FOUND`; `BSON_TOO_LARGE` above 16 MiB.
   */
  encryptDocument(document: Uint8Array, options: EncryptDocumentOptions<B>): Promise<Uint8Array>;
  encryptDocument<T extends object = Document>(document: object, options: EncryptDocumentOptions<B>): Promise<T>;
  async encryptDocument(document: object, options: EncryptDocumentOptions<B>): Promise<object> {
    refuseMany(document, 'encryptDocument');
    const work = this.#encrypting(options);
    return isBytes(document) ? overBytes(document, work) : single(await this.#overObjects([document as Document], work));
  }

  /** Encrypts many documents: an array of objects, or BSON documents laid end to end. As `encryptDocument`. */
  encryptDocuments(documents: Uint8Array, options: EncryptDocumentOptions<B>): Promise<Uint8Array>;
  encryptDocuments<T extends object = Document>(documents: readonly object[], options: EncryptDocumentOptions<B>): Promise<T[]>;
  async encryptDocuments(documents: readonly object[] | Uint8Array, options: EncryptDocumentOptions<B>): Promise<object[] | Uint8Array> {
    const work = this.#encrypting(options);
    return isBytes(documents) ? overBytes(documents, work) : this.#overObjects(documents as readonly Document[], work);
  }

  /** Wipes the keys held in memory. Operations that still run, and all later ones, fail with `HOST_CLOSED`. */
  close(): void {
    this.#session.close();
  }

  /** As `close()`, for `using`. */
  declare readonly [Symbol.dispose]: () => void;

  // Older browsers have no `Symbol.dispose`; a method of that name would be called "undefined" there.
  static {
    if (typeof Symbol.dispose === 'symbol') {
      Object.defineProperty(ClientEncryption.prototype, Symbol.dispose, { value: ClientEncryption.prototype.close });
    }
  }

  async #decryptAll(documents: readonly Document[] | Uint8Array): Promise<Document[] | Uint8Array> {
    return isBytes(documents) ? overBytes(documents, this.#decrypting) : this.#overObjects(documents, this.#decrypting);
  }

  async *#decryptEach(documents: AsyncIterable<object>): AsyncGenerator<object, void, void> {
    for await (const document of documents) yield single(await this.#overObjects([document as Document], this.#decrypting));
  }

  #store(): KeyVaultStore {
    this.#session.check();
    return requireStore(this.#session.store);
  }

  /** Sees to it that nobody has these names: by the index, or else by looking. */
  async #requireFree(store: KeyVaultStore, names: readonly string[]): Promise<void> {
    const isEnsured = await this.#session
      .during(() => fromStore(async () => store.ensureIndex?.()))
      .then(
        () => true,
        () => false,
      );
    if (isEnsured || names.length === 0) return;
    const [taken] = await this.#session.during(() => findDocuments(store, { keyAltNames: { $in: [...names] } }));
    if (taken !== undefined) throw new CsfleError('KEY_VAULT_DUPLICATE_KEY', 'another key has one of these alternate names already');
  }

  async #findOne(filter: Document): Promise<KeyDocument<B> | null> {
    const store = this.#store();
    const [found] = await this.#session.during(() => findDocuments(store, filter));
    return (found as KeyDocument<B> | undefined) ?? null;
  }

  /** A change of the key vault after which a cached key or name may not be that of the vault any more. */
  async #changing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#session.during(() => fromStore(work));
    } finally {
      this.#session.forgetKeys();
    }
  }

  /** The options of one field as the core reads them: absent ones left out, the key id as a binary of this library. */
  #fieldOptions(options: EncryptOptions<B>, where: string): Document {
    if (typeof options !== 'object' || options === null) throw argumentError(`${where} must be an object, found ${kindOf(options)}`);
    const given: Document = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    if ('keyId' in given) given['keyId'] = requireKeyId(this.#session.bson, given['keyId'], `${where}.keyId`);
    return given;
  }

  readonly #decrypting: BulkWork = (documents) => this.#session.run((engine) => engine.decryptDocuments(documents));

  #encrypting(options: EncryptDocumentOptions<B>): BulkWork {
    const fields = requireRules(options);
    const rules = Object.entries(fields).map(([path, field]) => [path, this.#fieldOptions(field, `fields[${JSON.stringify(path)}]`)]);
    const encoded = serialize(this.#session.bson, Object.fromEntries(rules), 'fields');
    return (documents) => this.#session.run((engine) => engine.encryptDocuments(documents, encoded));
  }

  #overObjects(documents: readonly Document[], work: BulkWork): Promise<Document[]> {
    if (!Array.isArray(documents)) throw argumentError(`documents must be an array or bytes, found ${kindOf(documents)}`);
    return overObjects(documents, work, this.#session.bson, this.#deserializeOptions);
  }
}

function keyVaultOf(client: DriverClient | null | undefined, options: ClientEncryptionOptions): KeyVaultStore | undefined {
  if (options.keyVaultStore !== undefined) {
    if (typeof options.keyVaultStore !== 'object' || options.keyVaultStore === null)
      throw argumentError(`keyVaultStore must be an object, found ${kindOf(options.keyVaultStore)}`);
    for (const method of ['find', 'insert', 'rewrapIf', 'addKeyAltName', 'removeKeyAltName'] as const)
      if (typeof options.keyVaultStore[method] !== 'function') throw argumentError(`keyVaultStore lacks the method ${method}`, { method });
    return options.keyVaultStore;
  }
  const vaultClient = options.keyVaultClient ?? client ?? undefined;
  if (vaultClient === undefined) return undefined;
  if (options.keyVaultNamespace === undefined) throw argumentError(DEFAULT_NAMESPACE_HINT);
  return driverKeyVaultStore(vaultClient, options.keyVaultNamespace);
}

function altName(name: unknown): string {
  if (typeof name !== 'string') throw new CsfleError('KEY_ALT_NAME_INVALID', `an alternate name must be a string, found ${kindOf(name)}`);
  // BSON would store another name, the same for any two of them.
  if (/\p{Surrogate}/u.test(name)) throw new CsfleError('KEY_ALT_NAME_INVALID', 'an alternate name must be Unicode text, found half of a character');
  return name;
}

function altNames(names: unknown): readonly string[] {
  if (names === undefined) return [];
  if (!Array.isArray(names)) throw new CsfleError('KEY_ALT_NAME_INVALID', `keyAltNames must be an array of strings, found ${kindOf(names)}`);
  return names.map(altName);
}

function keyMaterial(material: unknown): Uint8Array | undefined {
  if (material === undefined) return undefined;
  const bytes = isBytes(material) ? material : isBinary(material) ? binaryBytes(material) : undefined;
  if (bytes === undefined) throw argumentError(`keyMaterial must be bytes or a BSON binary, found ${kindOf(material)}`);
  if (bytes.length !== 96)
    throw new CsfleError('KEY_MATERIAL_LENGTH', `keyMaterial must be 96 bytes, found ${bytes.length}`, {
      details: { length: bytes.length },
    });
  return bytes;
}

function single(documents: readonly Document[]): Document {
  const [document] = documents;
  if (document === undefined) throw new CsfleError('INTERNAL', 'the core returned no document');
  return document;
}

function isAsyncIterable(value: unknown): value is AsyncIterable<object> {
  return typeof (value as Partial<AsyncIterable<object>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

/** An array or a cursor has documents, and is none. */
function refuseMany(document: unknown, method: 'encryptDocument' | 'decryptDocument'): void {
  const isIterable = isAsyncIterable(document);
  const isCursor = isIterable || typeof (document as { toArray?: unknown } | null)?.toArray === 'function';
  if (!Array.isArray(document) && !isCursor) return;
  const all = !isCursor ? 'documents' : isIterable && method === 'decryptDocument' ? 'cursor' : 'await cursor.toArray()';
  throw argumentError(`${method}() takes one document, found ${isCursor ? 'a cursor' : 'an array'}: use ${method}s(${all})`, { argument: 'document' });
}
