// The package behind the questions both sides are asked (theirs.mjs answers the same ones with libmongocrypt), through its
// public names only. Values are RawValue, documents are BSON bytes, and every answer is `{ok: true, ...}` or
// `{ok: false, code, message}`.
import * as bson from 'bson';
import { ClientEncryption, CsfleError } from 'csfle-wasm';
import { fakeKms } from './fake-kms.mjs';
import { binary, document, field, fields, RawValue, TYPE, value } from './raw-bson.mjs';

/** The bytes a JavaScript document was read from. */
const BYTES = Symbol('BSON bytes');

/** A key document or filter that crosses into the package exactly as it is, malformed or not. */
const verbatim = (bytes) => ({ [BYTES]: bytes });

/** The single value of a document, when it is `{v: value}` as explicit encryption and decryption use it. */
function boxedValue(bytes) {
  const found = fields(bytes);
  if (found.length !== 1 || found[0][0] !== 'v') return undefined;
  return isRewrapOutput(found[0][1]) ? undefined : found[0][1];
}

const isRewrapOutput = (item) =>
  item.type === TYPE.array &&
  fields(item.bytes).every(([, key]) => key.type === TYPE.object && field(key.bytes, 'keyMaterial') && field(key.bytes, 'masterKey'));

/**
 * The `bson` package with a way around JavaScript values: RawValue and verbatim documents are written as they are, and
 * `{v: value}` is read as a RawValue. The package takes any such library, so no value is lost on the way in or out.
 */
export const rawBson = {
  ...bson,
  serialize(input, options) {
    if (input[BYTES]) return input[BYTES];
    return document(
      Object.entries(input).map(([name, item]) => [name, item instanceof RawValue ? item : field(bson.serialize({ [name]: item }, options), name)]),
    );
  },
  deserialize(bytes, options) {
    const item = boxedValue(bytes);
    return item ? { v: item } : bson.deserialize(bytes, options);
  },
};

/** The `bson` package, except that key documents cross verbatim. */
const plainBson = { ...bson, serialize: (input, options) => input[BYTES] ?? bson.serialize(input, options) };

const toRaw = (item) => (item instanceof RawValue ? item : field(bson.serialize({ v: item }), 'v'));
const binaryOf = (bytes, subtype) => new bson.Binary(bytes, subtype);

/** A key vault that answers with what the test laid down, and remembers what it was told. */
class FedVault {
  constructor(owner) {
    this.owner = owner;
  }

  async find(filter) {
    this.owner.filters.push(bson.serialize(filter));
    return (this.owner.feed ?? this.owner.vault.filter((key) => matches(filter, key))).map(verbatim);
  }

  async insert(key) {
    this.inserted = bson.serialize(key);
  }

  async rewrapIf(id, expected, next) {
    this.rewrapped.push({ _id: toRaw(id), keyMaterial: toRaw(next.keyMaterial), masterKey: toRaw(next.masterKey) });
    return true;
  }

  async addKeyAltName() {
    throw new Error('not part of these tests');
  }
  async removeKeyAltName() {
    throw new Error('not part of these tests');
  }
  async deleteKey() {
    throw new Error('not part of these tests');
  }
}

export class Ours {
  #raw;
  #plain;
  #store = new FedVault(this);

  static async open(providers, options = {}) {
    return new Ours(providers, options);
  }

  /** `options`: keyExpirationMs, callbacks by provider id, and what fakeKms takes for the providers without callbacks. */
  constructor(providers, { keyExpirationMs, callbacks = {}, ...kms }) {
    const kmsProviders = Object.fromEntries(
      Object.entries(providers).map(([id, setting]) => {
        const type = id.split(':')[0];
        return [id, type === 'local' ? { key: setting } : (callbacks[id] ?? fakeKms(type, kms))];
      }),
    );
    const options = { kmsProviders, keyVaultStore: this.#store, ...(keyExpirationMs !== undefined && { keyExpirationMS: keyExpirationMs }) };
    // libmongocrypt has no rule about endpoints.
    const allowedEndpoints = ['*'];
    this.#raw = new ClientEncryption(null, { ...options, allowedEndpoints, bson: rawBson });
    this.#plain = new ClientEncryption(null, { ...options, allowedEndpoints, bson: plainBson });
    /** Key documents; only what a filter asks for is answered. */
    this.vault = [];
    /** When set, answered instead, whatever was asked. */
    this.feed = undefined;
    this.filters = [];
  }

  async #answer(work) {
    this.filters = [];
    try {
      return { ok: true, ...(await work()), filters: this.filters };
    } catch (error) {
      if (!(error instanceof CsfleError)) throw error;
      return { ok: false, code: error.code, message: error.message, details: error.details, cause: error.cause };
    }
  }

  encrypt(item, { algorithm, keyId, keyAltName }) {
    return this.#answer(async () => {
      const encrypted = await this.#raw.encrypt(item, {
        algorithm,
        ...(keyId && { keyId: binaryOf(keyId, 4) }),
        ...(keyAltName !== undefined && { keyAltName }),
      });
      return { payload: binary(toRaw(encrypted)).content };
    });
  }

  decrypt(input) {
    const given = input instanceof Uint8Array ? binaryOf(input, 6) : input;
    return this.#answer(async () => ({ value: toRaw(await this.#raw.decrypt(given)) }));
  }

  decryptDocument(bytes) {
    return this.#answer(async () => ({ output: await this.#plain.decryptDocument(bytes) }));
  }

  encryptDocument(bytes, rules) {
    return this.#answer(async () => ({ output: await this.#plain.encryptDocument(bytes, { fields: rules }) }));
  }

  createDataKey(provider, { masterKey = [], keyAltNames, keyMaterial } = {}) {
    const js = bson.deserialize(document(masterKey.map(([name, item]) => [name, typeof item === 'string' ? value.string(item) : item])));
    return this.#answer(async () => {
      const id = await this.#plain.createDataKey(provider, {
        ...(masterKey.length > 0 && { masterKey: js }),
        ...(keyAltNames && { keyAltNames }),
        ...(keyMaterial && { keyMaterial: Buffer.from(keyMaterial) }),
      });
      return { output: this.#store.inserted, id: new Uint8Array(id.buffer) };
    });
  }

  rewrap(provider, masterKey = []) {
    this.#store.rewrapped = [];
    const js = bson.deserialize(document(masterKey.map(([name, item]) => [name, typeof item === 'string' ? value.string(item) : item])));
    return this.#answer(async () => {
      await this.#plain.rewrapManyDataKey({}, provider && { provider, ...(masterKey.length > 0 && { masterKey: js }) });
      return { keys: this.#store.rewrapped };
    });
  }

  close() {
    this.#raw.close();
    this.#plain.close();
  }
}

/** Whether a key document answers `{$or: [{_id: {$in}}, {keyAltNames: {$in}}]}` or the empty filter. */
function matches(filter, key) {
  if (!filter.$or) return true;
  const [byId, byName] = filter.$or;
  const js = bson.deserialize(key);
  const ids = byId._id.$in.map((id) => Buffer.from(id.buffer).toString('hex'));
  return ids.includes(Buffer.from(js._id.buffer).toString('hex')) || (js.keyAltNames ?? []).some((name) => byName.keyAltNames.$in.includes(name));
}
