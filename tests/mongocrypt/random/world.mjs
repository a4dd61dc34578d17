// What a random conversation is about: providers with their credentials, data keys in a vault, and what the KMS know.
import { createHash, generateKeyPairSync } from 'node:crypto';
import { allowsDeterministic, damageKeyDocument, randomValue } from '../../interop/generate.mjs';
import { binary, document, field, fields, value } from '../../interop/raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM, unwrapKey, wrapKey } from '../../interop/reference.mjs';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PKCS8 = privateKey.export({ format: 'der', type: 'pkcs8' });
/** The key that Google's requests are signed with. */
export { publicKey };

// `?`: without credentials, which are asked for. `+token`: with a token of the application's instead of credentials.
const PROVIDER_SETS = [
  ['local'],
  ['local'],
  ['local', 'local:other'],
  ['local', 'aws'],
  ['local', 'aws'],
  ['local', 'aws', 'aws:eu'],
  ['azure+token'],
  ['azure'],
  ['gcp+token'],
  ['gcp'],
  ['kmip'],
  ['kmip', 'local', 'kmip:two'],
  ['local', 'azure:one'],
  ['gcp', 'aws'],
  ['local', 'azure+token', 'gcp+token', 'aws', 'kmip'],
  ['local', 'azure', 'gcp'],
  ['local', 'aws?'],
  ['azure?', 'local'],
  ['gcp?', 'gcp:two'],
  ['aws?', 'azure?', 'local:other'],
  ['local?', 'aws'],
  ['kmip?', 'local'],
];
const idOf = (entry) => entry.replace(/\?|\+token/, '');
const kindOf = (id) => id.split(':')[0];
const textOf = ({ bytes }) => Buffer.from(bytes.subarray(4, -1)).toString();

const WORDS = ['a', 'plain', 'with-dash_1.2~x', 'Zz9', 'key', 'east-1'];
const ODD_WORDS = ['two words', 'p%41', 'q&r=s', 'ünï', 'quo"te', 'sl/ash', '', 'plus+', 'a\\b', 'line\nfeed'];
const ENDPOINTS = ['kms.example.org:8443', 'a.b', 'https://a.b:1/x', 'A.B.example:443', 'x.vault.azure.net', 'one.two.three'];
const ODD_ENDPOINTS = ['nodots', '', 'a b.c', 'a.b:x', 'a..b', 'a.b\r\nX: y', 'a.b:99999', 'user@a.b', 'é.b'];
export const NAMES = ['n', 'm', 'other', 'naïve', 'n', 'x'.repeat(40), ''];

export class World {
  constructor(rng) {
    this.rng = rng;
    this.entries = rng.pick(PROVIDER_SETS);
    /** How likely something unusual is, of every kind. */
    this.oddness = rng.pick([0, 0, 0.03, 0.1, 0.3]);
    this.awsSecrets = new Map();
    this.localKeys = new Map();
    /** Bytes that a KMS has wrapped, in hex, and what they unwrap to. */
    this.unwraps = new Map();
    /** What they gave for key material, right or wrong. */
    this.given = [];
    this.kmipSecrets = new Map();
    /** Others that a KMIP server told, with a bit wrong. */
    this.toldSecrets = [];
    this.credentials = new Map(this.entries.map((entry) => [idOf(entry), this.#credentialsOf(entry)]));
    this.keys = Array.from({ length: rng.between(1, 5) }, () => this.newKey());
    this.payloads = [];
  }

  #word() {
    return this.rng.chance(this.oddness) ? this.rng.pick(ODD_WORDS) : this.rng.pick(WORDS);
  }
  #endpoint() {
    return this.rng.chance(this.oddness) ? this.rng.pick(ODD_ENDPOINTS) : this.rng.pick(ENDPOINTS);
  }

  #credentialsOf(entry) {
    const { rng } = this;
    const id = idOf(entry);
    const text = (name) => [name, value.string(this.#word())];
    const maybe = (...parts) => (rng.chance(0.3) ? parts : []);
    // Where credentials of a provider are wrong, nothing else can be tried: they are right, except by the endpoint.
    const endpoint = (name) => [name, value.string(rng.pick(ENDPOINTS))];
    if (entry.endsWith('+token')) return [['accessToken', value.string(`token-${rng.pick(WORDS)}`)]];
    switch (kindOf(id)) {
      case 'local': {
        const key = rng.bytes(96);
        this.localKeys.set(id, key);
        return [['key', rng.chance(0.8) ? value.binData(key) : value.string(Buffer.from(key).toString('base64'))]];
      }
      case 'aws': {
        const [accessKeyId, secret] = [`id-${rng.pick(WORDS)}`, `secret/${rng.text(5)}`];
        this.awsSecrets.set(accessKeyId, secret);
        return [
          ['accessKeyId', value.string(accessKeyId)],
          ['secretAccessKey', value.string(secret)],
          ...maybe(['sessionToken', value.string('session+token==')]),
        ];
      }
      case 'azure':
        return [text('tenantId'), text('clientId'), text('clientSecret'), ...maybe(endpoint('identityPlatformEndpoint'))];
      case 'gcp':
        return [
          ['email', value.string('a@b.c')],
          ['privateKey', rng.chance(0.5) ? value.binData(PKCS8) : value.string(PKCS8.toString('base64'))],
          ...maybe(endpoint('endpoint')),
        ];
      default:
        return [endpoint('endpoint')];
    }
  }

  /** The `kmsProviders` option. */
  providers() {
    return document(this.entries.map((entry) => [idOf(entry), value.object(document(entry.endsWith('?') ? [] : this.credentials.get(idOf(entry))))]));
  }

  /** What is provided when credentials are asked for; sometimes not what is wanted. */
  provided() {
    const { rng } = this;
    const unnamed = this.entries.filter((entry) => !entry.includes(':')).map(idOf);
    const wanted = rng.chance(0.85) ? unnamed : unnamed.filter(() => rng.chance(0.5));
    if (rng.chance(0.04))
      return rng.pick([
        document([]),
        Uint8Array.of(5, 0, 0),
        document([['aws', value.int(1)]]),
        document([['aws', value.object(document([['accessKeyId', value.string('x')]]))]]),
      ]);
    return document(wanted.map((id) => [id, value.object(document(this.credentials.get(id)))]));
  }

  providerId() {
    return idOf(this.rng.chance(0.65) ? this.entries[0] : this.rng.pick(this.entries));
  }

  /** The fields of a master key, `provider` first. */
  masterKey(id = this.providerId()) {
    const { rng } = this;
    const text = (name) => [name, value.string(this.#word())];
    const maybe = (...parts) => (rng.chance(0.3) ? parts : []);
    const endpoint = (name) => [name, value.string(this.#endpoint())];
    const parts = {
      local: () => [],
      aws: () => [['region', value.string(rng.chance(0.7) ? 'us-east-1' : this.#word())], text('key'), ...maybe(endpoint('endpoint'))],
      azure: () => [endpoint('keyVaultEndpoint'), text('keyName'), ...maybe(text('keyVersion'))],
      gcp: () => [text('projectId'), text('location'), text('keyRing'), text('keyName'), ...maybe(text('keyVersion')), ...maybe(endpoint('endpoint'))],
      kmip: () => [...(rng.chance(0.7) ? [text('keyId')] : []), ...maybe(endpoint('endpoint')), ...maybe(['delegated', value.bool(rng.chance(0.6))])],
    }[kindOf(id)]();
    return [['provider', value.string(id)], ...parts];
  }

  kmipSecret(keyId) {
    return this.kmipSecrets.get(keyId) ?? createHash('shake256', { outputLength: 96 }).update(`kmip/${keyId}`).digest();
  }

  /** The material as it is stored under this master key. */
  wrap(material, masterKey) {
    const { rng } = this;
    const part = (name) => masterKey.find(([known]) => known === name)?.[1];
    const id = textOf(part('provider'));
    if (kindOf(id) === 'local') return wrapKey(rng.chance(0.98) ? this.localKeys.get(id) : rng.bytes(96), material, rng.bytes(16));
    if (kindOf(id) === 'kmip' && !part('delegated')?.bytes[0]) {
      return wrapKey(this.kmipSecret(part('keyId') ? textOf(part('keyId')) : ''), material, rng.bytes(16));
    }
    const wrapped = rng.bytes(kindOf(id) === 'kmip' ? 128 : rng.between(20, 200));
    this.unwraps.set(Buffer.from(wrapped).toString('hex'), material);
    return wrapped;
  }

  /** The material inside; undefined where another one wraps, or it does not open. */
  open(wrapped, masterKey) {
    const part = (name) => masterKey.find(([known]) => known === name)?.[1];
    const id = textOf(part('provider'));
    const keys =
      {
        local: () => [this.localKeys.get(id)],
        kmip: () => [this.kmipSecret(part('keyId') ? textOf(part('keyId')) : ''), ...this.toldSecrets],
      }[kindOf(id)]?.() ?? [];
    for (const key of keys) {
      try {
        if (key) return unwrapKey(key, wrapped);
      } catch {
        // Another key.
      }
    }
    return undefined;
  }

  newKey() {
    const { rng } = this;
    const material = rng.bytes(96);
    const masterKey = this.masterKey();
    const names = rng.chance(0.5) ? [] : Array.from({ length: rng.between(1, 3) }, () => rng.pick(NAMES));
    return { id: rng.bytes(16), material, names: [...new Set(names)], masterKey, wrapped: this.wrap(material, masterKey) };
  }

  /** The stored form of a key; `document` is there for one that a library made. */
  stored(key) {
    if (key.document) return key.document;
    const parts = [
      ['_id', value.uuid(key.id)],
      ...(key.names.length > 0 ? [['keyAltNames', value.array(key.names.map(value.string))]] : []),
      ['keyMaterial', value.binData(key.wrapped)],
      ['creationDate', value.date(1n)],
      ['updateDate', value.date(2n)],
      ['status', value.int(0)],
      ['masterKey', value.object(document(key.masterKey))],
    ];
    return document(parts);
  }

  /** Another process puts a key under another master key. */
  rewrapElsewhere() {
    const key = this.rng.pick(this.keys);
    if (!key.material || key.document) return;
    key.masterKey = this.masterKey();
    key.wrapped = this.wrap(key.material, key.masterKey);
  }

  damaged(key) {
    return damageKeyDocument(this.rng, this.stored(key)).bytes;
  }

  /** A value sealed under a key, as it is stored. */
  payload() {
    const { rng } = this;
    if (this.payloads.length > 0 && rng.chance(0.3)) return rng.pick(this.payloads);
    const key = rng.pick(this.keys);
    const item = randomValue(rng, 1);
    const kind = allowsDeterministic(item) && rng.chance(0.5) ? DETERMINISTIC : RANDOM;
    const material = key.material ?? rng.bytes(96);
    return encryptValue(item, { kind, keyId: rng.chance(this.oddness) ? rng.bytes(16) : key.id, material, iv: rng.bytes(16) });
  }

  /** Takes in what a finished context gave: a stored value, a stored key, or the new wrappings of keys. */
  keep(kind, output) {
    if (kind === 'explicitEncrypt') this.payloads.push(binary(field(output, 'v')).content);
    if (kind === 'dataKey') {
      const [names, masterKey, { content: wrapped }] = [
        field(output, 'keyAltNames'),
        fields(field(output, 'masterKey').bytes),
        binary(field(output, 'keyMaterial')),
      ];
      const material = this.open(wrapped, masterKey) ?? this.unwraps.get(Buffer.from(wrapped).toString('hex'));
      this.keys.push({
        id: field(output, '_id').bytes.slice(5),
        names: names ? fields(names.bytes).map(([, item]) => textOf(item)) : [],
        material,
        document: output,
      });
    }
    if (kind !== 'rewrap') return;
    for (const [, { bytes }] of fields(field(output, 'v').bytes)) {
      const id = field(bytes, '_id').bytes.slice(5);
      const key = this.keys.find((known) => Buffer.compare(known.id, id) === 0);
      if (!key) continue;
      const parts = fields(this.stored(key)).map(([name, item]) => [name, name === 'masterKey' || name === 'keyMaterial' ? field(bytes, name) : item]);
      key.document = document(parts);
    }
  }
}

/** The ids and names of a filter for the key vault. */
export function wantedBy(filter) {
  const [byId, byName] = fields(field(filter, '$or').bytes)
    .map(([, { bytes }]) => fields(bytes)[0][1].bytes)
    .map((bytes) => field(bytes, '$in').bytes);
  return {
    ids: fields(byId).map(([, item]) => item.bytes.slice(5)),
    names: fields(byName).map(([, item]) => Buffer.from(item.bytes.subarray(4, -1)).toString()),
  };
}
