// libmongocrypt behind the questions both sides are asked (ours.mjs answers the same ones with the package).
// Values are RawValue, documents are BSON bytes, and every answer is `{ok: true, ...}` or `{ok: false, message}`.
import { binary, boxed, document, field, fields, unboxed, value } from './raw-bson.mjs';

const CREDENTIALS = {
  aws: () => [
    ['accessKeyId', value.string('test')],
    ['secretAccessKey', value.string('test')],
  ],
  azure: () => [['accessToken', value.string('test')]],
  gcp: () => [['accessToken', value.string('test')]],
  kmip: () => [['endpoint', value.string('kmip.example:5696')]],
};

/** kmsProviders as BSON: a local provider by its 96 bytes, any other by `true`. */
export function providersDocument(providers) {
  return document(
    Object.entries(providers).map(([id, setting]) => {
      const type = id.split(':')[0];
      const inner = type === 'local' ? [['key', value.binData(setting)]] : CREDENTIALS[type]();
      return [id, value.object(document(inner))];
    }),
  );
}

/** The masterKey document of `{provider, ...fields}` where fields are RawValues or strings. */
export const masterKeyDocument = (provider, parts = []) =>
  document([['provider', value.string(provider)], ...parts.map(([name, item]) => [name, typeof item === 'string' ? value.string(item) : item])]);

export class Theirs {
  /** `options`: keyExpirationMs, and `substitute` and `kmipSecrets` as in fake-kms.mjs. */
  static async open(peer, providers, { keyExpirationMs, substitute, kmipSecrets = {} } = {}) {
    for (const [keyId, secret] of Object.entries(kmipSecrets)) await peer.setKmipSecret(keyId, secret);
    const theirs = new Theirs(await peer.open(providersDocument(providers), { keyExpirationMs }));
    if (substitute) theirs.kms = { kmsSubstitute: substitute };
    return theirs;
  }

  constructor(engine) {
    this.engine = engine;
    /** Key documents; only what a filter asks for is fed. */
    this.vault = [];
    /** When set, fed instead of the vault, whatever was asked. */
    this.feed = undefined;
    this.kms = {};
  }

  #keys() {
    return { ...(this.feed ? { keys: this.feed } : { vault: this.vault }), ...this.kms };
  }

  async encrypt(item, { algorithm, keyId, keyAltName, random }) {
    const answer = await this.engine.run('encrypt', {
      input: boxed(item),
      algorithm,
      keyId,
      random,
      keyAltNames: keyAltName === undefined ? [] : [keyAltName],
      ...this.#keys(),
    });
    return answer.ok ? { ...answer, payload: binary(unboxed(answer.output)).content } : answer;
  }

  /** `input` is a payload, or any RawValue to be refused. */
  async decrypt(input) {
    const item = input instanceof Uint8Array ? value.encrypted(input) : input;
    const answer = await this.engine.run('decrypt', { input: boxed(item), ...this.#keys() });
    return answer.ok ? { ...answer, value: unboxed(answer.output) } : answer;
  }

  decryptDocument(bytes) {
    return this.engine.run('decryptDocument', { input: bytes, ...this.#keys() });
  }

  createDataKey(provider, { masterKey, keyAltNames = [], keyMaterial, random } = {}) {
    return this.engine.run('createDataKey', { masterKey: masterKeyDocument(provider, masterKey), keyAltNames, keyMaterial, random, ...this.kms });
  }

  /** The new wrappings of every key that is fed, as `[{_id, keyMaterial, masterKey}]`. */
  async rewrap(provider, masterKey, { random } = {}) {
    const answer = await this.engine.run('rewrap', {
      input: document([]),
      keys: this.feed ?? this.vault,
      random,
      ...this.kms,
      ...(provider && { masterKey: masterKeyDocument(provider, masterKey) }),
    });
    if (!answer.ok || answer.output === null) return { ...answer, keys: [] };
    const keys = fields(unboxed(answer.output).bytes).map(([, item]) => ({
      _id: field(item.bytes, '_id'),
      keyMaterial: field(item.bytes, 'keyMaterial'),
      masterKey: field(item.bytes, 'masterKey'),
    }));
    return { ...answer, keys };
  }

  close() {
    return this.engine.close();
  }
}
