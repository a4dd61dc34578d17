// No secret in anything an error or an object shows: every failure path runs with marked secrets, and all output is searched.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { awsKms, azureKms, ClientEncryption, CsfleError, gcpKms, MemoryKeyVaultStore } from 'csfle-wasm';
import { Binary, serialize, UUID } from 'bson';
import { startFakeKms } from './fake-kms.mjs';
import { awsMasterKey, countingStore, DETERMINISTIC, keyBytes, kmsClient, padKms, RANDOM } from './fixtures.mjs';

const plaintext = 'CANARY-plaintext-4111111111111111';
const secrets = {
  'local master key': keyBytes('canary local'),
  'other local master key': keyBytes('canary other local'),
  'key material': keyBytes('canary material'),
  plaintext: Buffer.from(plaintext),
};

// How a secret could show: as text of several encodings, whole or in a part long enough to matter.
function needles(secret) {
  const parts = [secret, secret.subarray(0, 16), secret.subarray(32, 48), secret.subarray(-15)].filter((part) => part.length >= 12);
  return parts
    .flatMap((part) => [
      part.toString('hex'),
      part.toString('base64').replace(/=+$/, ''),
      part.toString('base64url'),
      part.toString('latin1'),
      part.toString('utf8'),
      [...part].join(','),
      [...part].join(', '),
      part.toString('hex').replace(/(..)(?!$)/g, '$1 '),
    ])
    .filter((needle) => needle.length >= 12);
}
const allNeedles = Object.entries(secrets).flatMap(([name, secret]) => needles(secret).map((needle) => [name, needle]));

function shown(value) {
  const texts = [inspect(value, { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null }), String(value)];
  try {
    texts.push(JSON.stringify(value) ?? '');
  } catch {
    // What cannot be written as JSON shows nothing that way.
  }
  if (value instanceof Error) texts.push(value.stack ?? '', inspect({ ...value }), value.message);
  return texts.join('\n');
}

// `inspect` breaks long lists of bytes into lines and aligns them in columns: they are searched without that, too.
const found = (text) => findIn(`${text}\n${text.replace(/\s+/g, ' ')}`);
const findIn = (text) => allNeedles.filter(([, needle]) => text.includes(needle)).map(([name]) => name);

test('the search itself finds a secret in every form', () => {
  for (const [name, secret] of Object.entries(secrets)) {
    for (const form of [
      secret,
      secret.toString('hex'),
      secret.toString('base64'),
      new Error(secret.toString('latin1')),
      { deep: { er: [new Uint8Array(secret)] } },
      new Binary(secret),
      { cause: new Error('x', { cause: secret.toString('base64') }) },
    ]) {
      assert.ok(found(shown(form)).includes(name), `${name} in ${inspect(form).slice(0, 60)}`);
    }
  }
});

let kms;
before(async () => {
  kms = await startFakeKms();
});
after(() => kms?.stop());

const local = { key: secrets['local master key'] };
const failing = (error) =>
  padKms('aws', async () => {
    throw error;
  });

async function prepare() {
  const store = new MemoryKeyVaultStore();
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { local, aws: padKms('aws') } });
  const ids = {
    local: await encryption.createDataKey('local', { keyMaterial: secrets['key material'], keyAltNames: ['canary'] }),
    aws: await encryption.createDataKey('aws', { masterKey: awsMasterKey, keyMaterial: secrets['key material'] }),
  };
  const values = {};
  for (const [name, keyId] of Object.entries(ids)) values[name] = await encryption.encrypt(plaintext, { algorithm: RANDOM, keyId });
  return { store, encryption, ids, values };
}

function spoil(value, at) {
  const bytes = Buffer.from(value.buffer);
  bytes.at(at);
  bytes[at < 0 ? bytes.length + at : at] ^= 1;
  return new Binary(bytes, 6);
}

// Every way to fail that the other tests know, each with secrets in its reach: [name, work].
async function paths() {
  const { store, encryption, ids, values } = await prepare();
  const over = (kmsProviders, options = {}) => new ClientEncryption(null, { keyVaultStore: store, kmsProviders, kmsRetries: 0, ...options });
  const byId = { algorithm: RANDOM, keyId: ids.local };
  const wrong = { key: secrets['other local master key'] };
  const key = secrets['local master key'];
  const list = [
    ['short key bytes', () => over({ local: { key: key.subarray(0, 95) } })],
    ['long key text', () => over({ local: { key: Buffer.concat([key, key]).toString('base64') } })],
    ['key as hex text', () => over({ local: { key: key.toString('hex') } })],
    ['key text that is not base64', () => over({ local: { key: `${key.toString('base64')}!` } })],
    ['key as array', () => over({ local: { key: [...key] } })],
    ['key one level too high', () => over({ local: key })],
    ['key under aws', () => over({ aws: { secretAccessKey: key.toString('base64') } })],
    ['key under a bad identifier', () => over({ 'local:': { key } })],
    ['unknown option', () => over({ local }, { localKey: key.toString('base64') })],
    ['wrong master key', () => over({ local: wrong }).decrypt(values.local)],
    ['wrong master key in rewrap', () => over({ local: wrong }).rewrapManyDataKey({}, { provider: 'local' })],
    ['material too short', () => encryption.createDataKey('local', { keyMaterial: secrets['key material'].subarray(0, 95) })],
    ['material as text', () => encryption.createDataKey('local', { keyMaterial: secrets['key material'].toString('base64') })],
    ['material with a taken name', () => encryption.createDataKey('local', { keyMaterial: secrets['key material'], keyAltNames: ['canary'] })],
    ['secret as option name of createDataKey', () => encryption.createDataKey('local', { keymaterial: secrets['key material'] })],
    ['flipped tag', () => encryption.decrypt(spoil(values.local, -1))],
    ['flipped ciphertext', () => encryption.decrypt(spoil(values.local, 40))],
    ['flipped type', () => encryption.decrypt(spoil(values.local, 17))],
    ['truncated value', () => encryption.decrypt(new Binary(values.local.buffer.subarray(0, 70), 6))],
    ['plaintext given to decrypt', () => encryption.decrypt(plaintext)],
    ['plaintext as binary given to decrypt', () => encryption.decrypt(new Binary(Buffer.from(plaintext), 6))],
    ['plaintext as marking', () => encryption.decrypt(new Binary(Buffer.concat([Buffer.from([0]), serialize({ v: plaintext, a: 1 })]), 6))],
    ['type that cannot be deterministic', () => encryption.encrypt({ plaintext }, { algorithm: DETERMINISTIC, keyId: ids.local })],
    ['function', () => encryption.encrypt(() => plaintext, byId)],
    ['plaintext as algorithm', () => encryption.encrypt('x', { algorithm: 'AES', keyId: ids.local })],
    ['value with a foreign BSON class', () => encryption.encrypt({ plaintext, id: { _bsontype: 'ObjectId', [Symbol.for('@@mdb.bson.version')]: 5 } }, byId)],
    [
      'circular value',
      () => {
        const circular = { plaintext };
        circular.self = circular;
        return encryption.encrypt(circular, byId);
      },
    ],
    [
      'value whose toBSON throws',
      () =>
        encryption.encrypt(
          {
            plaintext,
            toBSON() {
              throw new Error('no');
            },
          },
          byId,
        ),
    ],
    ['absent key', () => encryption.encrypt(plaintext, { algorithm: RANDOM, keyId: new UUID() })],
    [
      'document with a bad field',
      () => encryption.encryptDocument({ plaintext, flag: true }, { fields: { plaintext: byId, flag: { ...byId, algorithm: DETERMINISTIC } } }),
    ],
    ['document with a spoilt value', () => encryption.decryptDocument({ good: values.local, bad: spoil(values.local, -1), plaintext })],
    ['document too large', () => encryption.encryptDocument({ a: plaintext.repeat(508_400) }, { fields: { a: byId } })],
    ['malformed bytes', () => encryption.decryptDocument(Buffer.from(`${plaintext}${plaintext}`))],
    ['truncated document', () => encryption.decryptDocument(serialize({ plaintext }).subarray(0, 30))],
    ['provider not configured', () => over({ local }).decrypt(values.aws)],
    ['callback fails', () => over({ local, aws: failing(new Error('network')) }).decrypt(values.aws)],
    ['callback throws a string', () => over({ local, aws: failing('nothing') }).decrypt(values.aws)],
    [
      'callback throws ours',
      () =>
        over({ local, aws: failing(new CsfleError('KMS_ACCESS_DENIED', 'no')) }).createDataKey('aws', {
          masterKey: awsMasterKey,
          keyMaterial: secrets['key material'],
        }),
    ],
    [
      'callback times out',
      () =>
        over({ aws: { encrypt: () => new Promise(() => {}), decrypt: () => new Promise(() => {}) } }, { kmsTimeoutMS: 5 }).createDataKey('aws', {
          masterKey: awsMasterKey,
          keyMaterial: secrets['key material'],
        }),
    ],
    [
      'callback answers too few bytes',
      () =>
        over({ aws: { encrypt: padKms('aws').encrypt, decrypt: async () => Uint8Array.from(secrets['key material'].subarray(0, 95)) } }).decrypt(values.aws),
    ],
    [
      'callback answers too many bytes',
      () =>
        over({
          aws: { encrypt: padKms('aws').encrypt, decrypt: async () => Buffer.concat([secrets['key material'], secrets['key material']]) },
        }).decrypt(values.aws),
    ],
    [
      'callback answers text',
      () => over({ aws: { encrypt: padKms('aws').encrypt, decrypt: async () => secrets['key material'].toString('base64') } }).decrypt(values.aws),
    ],
    [
      'callback answers the wrong shape',
      () =>
        over({
          aws: { encrypt: async (call) => ({ plaintext: call.plaintext }), decrypt: async () => ({ Plaintext: secrets['key material'] }) },
        }).createDataKey('aws', { masterKey: awsMasterKey, keyMaterial: secrets['key material'] }),
    ],
    [
      'callback lies',
      () =>
        over({
          local,
          aws: { encrypt: padKms('aws').encrypt, decrypt: async () => Buffer.from(secrets['other local master key']) },
        }).rewrapManyDataKey({ _id: ids.local }, { provider: 'aws', masterKey: awsMasterKey }),
    ],
    [
      'store fails on insert',
      () => {
        const failingStore = countingStore(store);
        failingStore.insert = async () => {
          throw new Error('disk');
        };
        return new ClientEncryption(null, { keyVaultStore: failingStore, kmsProviders: { local } }).createDataKey('local', {
          keyMaterial: secrets['key material'],
        });
      },
    ],
    [
      'store gives a bad document',
      () => {
        const bad = countingStore(store);
        bad.find = async () => [{ _id: ids.local, keyMaterial: plaintext }];
        return new ClientEncryption(null, { keyVaultStore: bad, kmsProviders: { local } }).decrypt(values.local);
      },
    ],
    ['master key with a secret in a field', () => encryption.createDataKey('aws', { masterKey: { ...awsMasterKey, secretAccessKey: plaintext } })],
    [
      'azure without result',
      () =>
        over({ azure: azureKms({ wrapKey: async (_, bytes) => ({ wrapped: bytes }), unwrapKey: async () => ({}) }) }).createDataKey('azure', {
          masterKey: { keyVaultEndpoint: 'a.b', keyName: 'k' },
          keyMaterial: secrets['key material'],
        }),
    ],
    [
      'gcp fails',
      () =>
        over({
          gcp: gcpKms({
            encrypt: async () => {
              throw Object.assign(new Error('denied'), { code: 7 });
            },
            decrypt: async () => [],
          }),
        }).createDataKey('gcp', { masterKey: { projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' }, keyMaterial: secrets['key material'] }),
    ],
    [
      'closed',
      () => {
        const closed = over({ local });
        closed.close();
        return closed.encrypt(plaintext, byId);
      },
    ],
  ];
  for (const told of [
    { error: 'AccessDeniedException' },
    { error: 'ThrottlingException' },
    { drop: true },
    { hang: true },
    { fields: {} },
    { fields: { Plaintext: secrets['key material'].subarray(0, 90).toString('base64'), CiphertextBlob: '' } },
  ]) {
    for (const operation of ['encrypt', 'decrypt']) {
      list.push([
        `the AWS SDK gets ${JSON.stringify(told).slice(0, 40)} on ${operation}`,
        () => {
          kms.behave = () => told;
          const aws = over({ local, aws: awsKms(kmsClient(kms.endpoint)) }, { kmsTimeoutMS: 60 });
          return operation === 'encrypt'
            ? aws.createDataKey('aws', { masterKey: awsMasterKey, keyMaterial: secrets['key material'] })
            : aws.decrypt(values.aws);
        },
      ]);
    }
  }
  return { list, objects: { encryption, store, ids, values } };
}

test('no failure path shows a secret, in the error, in its causes or on the console', async () => {
  const written = [];
  const originals = ['log', 'info', 'warn', 'error', 'debug'].map((name) => [name, console[name]]);
  for (const [name] of originals) console[name] = (...args) => written.push(args.map(shown).join(' '));
  let outcome;
  try {
    const { list, objects } = await paths();
    const codes = new Set();
    const leaks = [];
    for (const [name, work] of list) {
      let error;
      try {
        await work();
      } catch (thrown) {
        error = thrown;
      }
      if (!(error instanceof CsfleError)) leaks.push(`${name}: failed with no CsfleError but ${error}`);
      else codes.add(error.code);
      for (const secret of found(shown(error))) leaks.push(`${name}: shows the ${secret}`);
    }
    outcome = { leaks, codes, objects, count: list.length };
  } finally {
    for (const [name, original] of originals) console[name] = original;
  }
  assert.deepEqual(outcome.leaks, []);
  assert.ok(outcome.count > 50 && outcome.codes.size > 20, `${outcome.count} paths, ${outcome.codes.size} codes`);
  for (const [name, object] of Object.entries(outcome.objects)) assert.deepEqual(found(shown(object)), [], `inspecting ${name}`);
  assert.deepEqual(found(written.join('\n')), [], 'console');
});
