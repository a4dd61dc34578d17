// The world of one job: a database of its own with a key vault, documents under its keys and a ledger of what an honest reader must
// get from them, whatever happens.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as bson from 'bson';
import { ClientEncryption } from 'csfle-wasm';
import { ownKeyArn } from './kms.mjs';
import { plainOf, Secret, storedOf } from './secrets.mjs';

const REGION = 'us-east-1';
const ALGORITHM = 'AEAD_AES_256_CBC_HMAC_SHA_512-';
const PEOPLE = 5;
const VISITS = 3;

/** The collections of a world that hold encrypted values. */
export const COLLECTIONS = ['people', 'visits'];

/** Keys by name: where they are wrapped at first, and their alternate names. */
const KEYS = {
  ssn: { provider: 'local', names: ['ssn', 'people.ssn'] },
  notes: { provider: 'local', names: ['notes'] },
  unnamed: { provider: 'local', names: [] },
  card: { provider: 'aws', names: ['card'] },
  files: { provider: 'aws', names: [] },
};

/** The keys that every person has a document or an array under. */
export const KEYS_OF_CONTAINERS = ['card', 'files'];

/**
 * Builds a world. `keysUnder` ('local' or 'aws') puts every key under one provider, `nested` adds encrypted values that hold encrypted
 * values. Resolves to `{ client, kms, database, vault, masterKey, masterKeys, keys, ledger, token(), encrypt(), encryption, addKey(), folder,
 * arns, kmsProviders, schemaText, secretTokens, keySecrets(), secret(), drop() }`; `ledger` maps each collection to a map of id text to
 * plain document.
 */
export async function buildWorld({ client, kms, emulatorArns = [], keysUnder, nested = true, name }) {
  const masterKey = randomBytes(96);
  const arns = emulatorArns.length >= 2 ? { a: emulatorArns[0], b: emulatorArns[1] } : { a: ownKeyArn(), b: ownKeyArn() };
  const masterKeys = { a: { region: REGION, key: arns.a }, b: { region: REGION, key: arns.b } };
  const vault = `${name}.__keyVault`;
  const database = client.db(name);
  const kmsProviders = {
    local: { key: masterKey },
    aws: {
      encrypt: async ({ masterKey: { key }, plaintext }) => Uint8Array.from(await kms.encrypt(key, plaintext)),
      decrypt: async ({ masterKey: { key }, ciphertext }) => Uint8Array.from(await kms.decrypt(key, ciphertext)),
    },
  };
  await database.collection('__keyVault').createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  const encryption = new ClientEncryption(client, { keyVaultNamespace: vault, kmsProviders });
  const prefix = `secret-${randomBytes(5).toString('hex')}-`;
  let tokens = 0;
  const token = () => {
    tokens += 1;
    return `${prefix}${tokens}`;
  };
  const keys = {};
  const ledger = Object.fromEntries(COLLECTIONS.map((collection) => [collection, new Map()]));
  const encrypt = (value, key, algorithm = 'Random') => encryption.encrypt(value, { keyId: keys[key].id, algorithm: `${ALGORITHM}${algorithm}` });

  /** A key that the reader must be able to open from now on. */
  async function addKey(key, { provider, names, later = false }) {
    const material = randomBytes(96);
    const options = { keyMaterial: material, ...(names.length > 0 ? { keyAltNames: names } : {}), ...(provider === 'aws' ? { masterKey: masterKeys.a } : {}) };
    const id = await encryption.createDataKey(provider, options);
    keys[key] = { id: new bson.UUID(id.toHexString(true)), provider, names: [...names], material, later };
    const witness = token();
    keys[key].witness = { plain: witness, payload: Buffer.from((await encrypt(witness, key, 'Deterministic')).buffer).toString('base64') };
  }
  await Promise.all(Object.entries(KEYS).map(([key, { provider, names }]) => addKey(key, { provider: keysUnder ?? provider, names })));

  const templates = {
    people: Array.from({ length: PEOPLE }, (_, n) => person(n, token, nested)),
    visits: Array.from({ length: VISITS }, (_, n) => visit(n, token)),
  };
  for (const collection of COLLECTIONS) {
    const stored = await Promise.all(templates[collection].map((template) => storedOf(template, encrypt)));
    await database.collection(collection).insertMany(stored);
    for (const template of templates[collection]) {
      const plain = plainOf(template);
      ledger[collection].set(idText(plain._id), plain);
    }
  }

  const folder = await mkdtemp(join(tmpdir(), 'csfle-chaos-'));
  await writeFile(join(folder, 'master-key.bin'), masterKey, { mode: 0o600 });
  return {
    client,
    kms,
    database: name,
    vault,
    masterKey,
    masterKeys,
    keys,
    ledger,
    token,
    encrypt,
    encryption,
    addKey,
    folder,
    arns,
    kmsProviders,
    schemaText: schemaText(name, keys),
    secretTokens: [prefix],
    keySecrets: () => [masterKey, ...Object.values(keys).map(({ material }) => material)],
    /** A new secret in both forms. */
    async secret(value, key, algorithm) {
      const template = new Secret(value, key, algorithm);
      return { stored: await storedOf(template, encrypt), plain: plainOf(template) };
    },
    async drop() {
      encryption.close();
      kms.forget(name);
      await Promise.all([database.dropDatabase(), rm(folder, { recursive: true, force: true })]);
    },
  };
}

/** An `_id` as text that is equal for equal ids. */
export const idText = (id) => bson.EJSON.stringify({ id }, { relaxed: false });

function person(n, token, nested) {
  const ids = [n, `id ${n}`, new bson.ObjectId(), { a: n, b: 'x' }, new bson.UUID()];
  return {
    _id: ids[n % ids.length],
    name: `person ${n}`,
    ssn: new Secret(token(), 'ssn', 'Deterministic'),
    notes: [
      { note: new Secret(token(), 'notes'), at: n },
      { note: new Secret(token(), 'notes'), more: [{ deep: new Secret(n, 'unnamed') }] },
    ],
    tags: [new Secret(token(), 'notes'), 'open', new Secret(token(), 'ssn', 'Deterministic')],
    policy: { number: new Secret(1000 + n, 'unnamed'), text: new Secret(token(), 'unnamed'), 'dotted.name': n },
    insurance: new Secret({ carrier: token(), level: { grade: n, text: token() } }, 'card'),
    list: new Secret([token(), n, { inner: token() }], 'files'),
    card: new Secret(token(), 'card', 'Deterministic'),
    ...(nested && n % 3 === 0 ? { wrapped: new Secret({ inner: new Secret(token(), 'notes'), other: token() }, n % 2 === 0 ? 'unnamed' : 'files') } : {}),
  };
}

function visit(n, token) {
  return {
    _id: n,
    patient: new Secret(token(), 'ssn', 'Deterministic'),
    text: new Secret(token(), 'notes'),
    at: new Date(1e12 + n),
    invoice: { card: new Secret(token(), 'card') },
  };
}

/** A map of schemas that names keys as an application's does. */
function schemaText(database, keys) {
  const encryptWith = (key, algorithm, bsonType = 'string') => ({ encrypt: { keyId: [keys[key].id], bsonType, algorithm: `${ALGORITHM}${algorithm}` } });
  const schema = {
    [`${database}.people`]: {
      bsonType: 'object',
      properties: {
        ssn: encryptWith('ssn', 'Deterministic'),
        policy: { bsonType: 'object', properties: { number: encryptWith('unnamed', 'Random', 'int') } },
        card: encryptWith('card', 'Deterministic'),
      },
    },
    [`${database}.visits`]: {
      bsonType: 'object',
      encryptMetadata: { keyId: [keys.notes.id] },
      properties: { text: { encrypt: { bsonType: 'string', algorithm: `${ALGORITHM}Random` } } },
    },
  };
  return `${bson.EJSON.stringify(schema, undefined, 2, { relaxed: true })}\n`;
}
