// Conversations in the right order, and with each of the mistakes that have words of their own.
import { Binary, Int32, Long } from 'bson';
import {
  altName,
  awsCiphertext,
  awsKeyDocument,
  awsMasterKey,
  awsPlaintext,
  bson,
  DETERMINISTIC,
  encrypted,
  httpReply,
  keyDocument,
  keyId,
  marking,
  providers,
  RANDOM,
  rawId,
  values,
} from './samples.mjs';
import { toBase64 } from './reference.mjs';

const options = (kmsProviders, more = {}) => ({ kmsProviders: bson(kmsProviders), ...more });
const keys = (...documents) => [['operation'], ...documents.map((document) => ['feed', document]), ['finishOperation']];
const explicitEncrypt = (more) => ['make', { kind: 'explicitEncrypt', input: bson({ v: 'test' }), algorithm: DETERMINISTIC, ...more }];
const explicitDecrypt = (v) => ['make', { kind: 'explicitDecrypt', input: bson({ v }) }];
const decrypt = (document) => ['make', { kind: 'decrypt', input: bson(document) }];
const script = (name, kmsProviders, steps, more) => ({ name, options: options(kmsProviders, more), steps });
const garbage = toBase64(Buffer.from([5, 0, 0]));

function* explicit() {
  for (const [name, v] of Object.entries(values)) {
    for (const algorithm of [DETERMINISTIC, RANDOM]) {
      yield script(`encrypt ${name} ${algorithm}`, providers.local, [
        ['make', { kind: 'explicitEncrypt', input: bson({ v }), algorithm, keyId: rawId(1) }],
        ...keys(keyDocument(1)),
        ['finalize'],
        ['finalize'],
      ]);
    }
  }
  yield script('by name, from the cache, and again', providers.local, [
    explicitEncrypt({ keyAltNames: [altName('n')] }),
    ...keys(keyDocument(1, { keyAltNames: ['m', 'n'] })),
    ['finalize'],
    explicitEncrypt({ keyAltNames: [altName('m')] }),
    ['finalize'],
    explicitEncrypt({ keyId: rawId(1) }),
    ['finalize'],
    explicitDecrypt(encrypted(1)),
    ['finalize'],
  ]);
  const refused = {
    'no key': {},
    'both keys': { keyId: rawId(1), keyAltNames: [altName('n')] },
    'short id': { keyId: toBase64(Buffer.alloc(15)) },
    'unknown algorithm': { keyId: rawId(1), algorithm: 'x' },
    'undefined algorithm': { keyId: rawId(1), algorithm: 'undefined' },
    'old range': { keyId: rawId(1), algorithm: 'rangePreview' },
    'old text': { keyId: rawId(1), algorithm: 'textPreview' },
    'lower case': { keyId: rawId(1), algorithm: DETERMINISTIC.toLowerCase() },
    'no algorithm': { keyId: rawId(1), algorithm: undefined },
    'name of another field': { keyAltNames: [bson({ name: 'x' })] },
    'name of another type': { keyAltNames: [bson({ keyAltName: 1 })] },
    'two fields': { keyAltNames: [bson({ keyAltName: 'x', y: 1 })] },
    'empty name document': { keyAltNames: [bson({})] },
    'garbage for a name': { keyAltNames: [garbage] },
    'no v': { keyId: rawId(1), input: bson({ w: 1 }) },
    garbage: { keyId: rawId(1), input: garbage },
  };
  for (const [name, more] of Object.entries(refused)) yield script(`encrypt: ${name}`, providers.local, [explicitEncrypt(more)]);
  yield script('expression', providers.local, [
    ['make', { kind: 'explicitEncryptExpression', input: bson({ v: { a: 1 } }), algorithm: RANDOM, keyId: rawId(1) }],
  ]);
  yield script('decrypt', providers.local, [explicitDecrypt(encrypted(1)), ...keys(keyDocument(1)), ['finalize']]);
  for (const [name, v] of Object.entries({
    number: 1,
    subtype0: new Binary(Buffer.from('x')),
    empty: new Binary(Buffer.alloc(0), 6),
    cut: new Binary(Buffer.alloc(18, 1), 6),
    type0: new Binary(Buffer.concat([Buffer.from([1]), Buffer.alloc(17), Buffer.alloc(64)]), 6),
    ...Object.fromEntries([0, 3, 5, 8, 10, 12, 13, 18, 19, 255].map((kind) => [`kind ${kind}`, new Binary(Buffer.alloc(90, kind), 6)])),
  }))
    yield script(`decrypt: ${name}`, providers.local, [explicitDecrypt(v), ...keys(keyDocument(1)), ['finalize']]);
  yield script('decrypt: no v', providers.local, [['make', { kind: 'explicitDecrypt', input: bson({}) }]]);
  yield script('decrypt: garbage', providers.local, [['make', { kind: 'explicitDecrypt', input: garbage }]]);
  const forged = encrypted(1);
  forged.buffer[40] ^= 1;
  yield script('decrypt: forged', providers.local, [explicitDecrypt(forged), ...keys(keyDocument(1)), ['finalize'], ['finalize'], ['operation']]);
  yield script('decrypt: too short', providers.local, [
    explicitDecrypt(new Binary(Buffer.concat([Buffer.from([1]), Buffer.alloc(16, 1), Buffer.from([2]), Buffer.alloc(63)]), 6)),
    ...keys(keyDocument(1)),
    ['finalize'],
  ]);
  yield script('decrypt: not of its type', providers.local, [
    explicitDecrypt(encrypted(1, { bsonType: 16, plaintext: Buffer.from('five!') })),
    ...keys(keyDocument(1)),
    ['finalize'],
  ]);
}

function* keyDocuments() {
  const fed = {
    none: [],
    twice: [keyDocument(1), keyDocument(1)],
    unexpected: [keyDocument(2)],
    garbage: [garbage],
    'shared name': [keyDocument(1, { keyAltNames: ['a'] }), keyDocument(1, { keyAltNames: ['a'] })],
    'other local key': [keyDocument(1, { keyMaterial: new Binary(Buffer.alloc(160)) })],
    'short material': [keyDocument(1, { keyMaterial: new Binary(Buffer.alloc(10)) })],
    'provider not configured': [awsKeyDocument(1)],
    'unknown provider': [keyDocument(1, { masterKey: { provider: 'x' } })],
    'no _id': [keyDocument(1, { _id: undefined })],
    'wrong _id': [keyDocument(1, { _id: 1 })],
    'no status': [keyDocument(1, { status: undefined })],
    'unknown field': [keyDocument(1, { z: 1 })],
    'version 1': [keyDocument(1, { version: new Int32(1) })],
    'version 0': [keyDocument(1, { version: Long.fromNumber(0) })],
    'master key with more': [keyDocument(1, { masterKey: { provider: 'local', x: 1 } })],
    'no master key': [keyDocument(1, { masterKey: undefined })],
    'names no array': [keyDocument(1, { keyAltNames: 1 })],
    'names twice': [keyDocument(1, { keyAltNames: ['a', 'a'] })],
  };
  for (const [name, documents] of Object.entries(fed)) {
    yield script(`keys: ${name}`, providers.local, [explicitDecrypt(encrypted(1)), ...keys(...documents), ['finalize'], ['operation'], ['finishOperation']]);
  }
  // Asked for by name: what comes after it shares its id, or a name that nobody asked for.
  const named = keyDocument(1, { keyAltNames: ['m', 'n'] });
  for (const [name, second] of Object.entries({
    'id alone': keyDocument(1),
    'id, another name': keyDocument(1, { keyAltNames: ['z'] }),
    'other name': keyDocument(2, { keyAltNames: ['m'] }),
  })) {
    yield script(`keys: by name, then its ${name}`, providers.local, [explicitEncrypt({ keyAltNames: [altName('n')] }), ...keys(named, second)]);
  }
}

function* replies() {
  yield script('nothing to decrypt', providers.local, [decrypt({ a: 1 }), ['operation'], ['finalize']]);
  yield script('nothing to decrypt, finalized', providers.local, [decrypt({ a: 1 }), ['finalize']]);
  yield script('several keys', providers.local, [
    decrypt({ ok: 1, cursor: { firstBatch: [{ a: encrypted(1), b: [encrypted(2), { c: encrypted(1) }] }], note: new Binary(Buffer.from('x'), 6) } }),
    ...keys(keyDocument(1), keyDocument(2)),
    ['finalize'],
  ]);
  for (const kind of [0, 3, 5, 8, 10, 12, 13, 18, 19, 200]) {
    yield script(`reply with kind ${kind}`, providers.local, [
      decrypt({ a: new Binary(Buffer.alloc(90, kind), 6), e: new Binary(Buffer.alloc(0), 6) }),
      ['finalize'],
    ]);
  }
  yield script('reply with a cut value', providers.local, [decrypt({ a: new Binary(Buffer.alloc(10, 1), 6) })]);
  yield script('garbage reply', providers.local, [['make', { kind: 'decrypt', input: garbage }]]);
  const inside = Buffer.from(bson({ a: { b: true }, c: encrypted(1) }), 'base64');
  inside[inside.indexOf('\x08b\0') + 3] = 9;
  yield script('reply malformed further in', providers.local, [['make', { kind: 'decrypt', input: toBase64(inside) }]]);
  yield script('a key missing', providers.local, [decrypt({ a: encrypted(1), b: encrypted(2) }), ...keys(keyDocument(1))]);
}

function* dataKeys() {
  const make = (more) => ['make', { kind: 'dataKey', masterKey: bson({ provider: 'local' }), ...more }];
  yield script('data key', providers.local, [make({ keyAltNames: [altName('a'), altName('b')] }), ['operation']]);
  yield script('data key, finalized', providers.local, [make({}), ['finalize'], ['finalize']]);
  yield script('data key, asked for keys', providers.local, [make({}), ['finishRequests']]);
  for (const [name, more] of Object.entries({
    'names twice': {
      keyAltNames: [altName('a'), altName('a')],
    },
    'no provider': { masterKey: bson({}) },
    'unknown provider': { masterKey: bson({ provider: 'x' }) },
    'not configured': { masterKey: bson(awsMasterKey) },
    'no region': { masterKey: bson({ provider: 'aws', key: 'k' }) },
    garbage: { masterKey: garbage },
    'material short': {
      keyMaterial: bson({ keyMaterial: new Binary(Buffer.alloc(95)) }),
    },
    'material of another type': { keyMaterial: bson({ keyMaterial: 1 }) },
    'material of another name': {
      keyMaterial: bson({ material: 1 }),
    },
    'material and more': { keyMaterial: bson({ keyMaterial: new Binary(Buffer.alloc(96)), x: 1 }) },
    'material empty': { keyMaterial: bson({}) },
  }))
    yield script(`data key: ${name}`, providers.local, [make(more)]);
  const aws = make({ masterKey: bson(awsMasterKey) });
  yield script('data key at a KMS', providers.aws, [aws, ['nextRequest'], ['nextRequest'], ['answer', 0, awsCiphertext], ['finishRequests'], ['finalize']]);
  yield script('data key at a KMS, unfinished', providers.aws, [aws, ['nextRequest'], ['finishRequests'], ['nextRequest']]);
  yield script('data key at a KMS, denied', providers.aws, [aws, ['nextRequest'], ['answer', 0, httpReply(403, '{"message":"no"}')], ['finishRequests']]);
  yield script('data key at a KMS, short', providers.aws, [
    aws,
    ['nextRequest'],
    ['answer', 0, httpReply(200, '{"CiphertextBlob":"AAAA"}')],
    ['finishRequests'],
  ]);
  yield script('data key at a KMS, again', providers.aws, [
    aws,
    ['nextRequest'],
    ['answer', 0, httpReply(500, '')],
    ['nextRequest'],
    ['answer', 1, awsCiphertext],
    ['nextRequest'],
    ['finishRequests'],
  ]);
  yield script('data key at a KMS, network', providers.aws, [
    aws,
    ['nextRequest'],
    ['fail', 0],
    ['nextRequest'],
    ['answer', 1, awsCiphertext],
    ['finishRequests'],
  ]);
  yield script('data key at an endpoint', providers.aws, [make({ masterKey: bson({ ...awsMasterKey, endpoint: 'https://a.b:1/x' }) }), ['nextRequest']]);
  yield script('data key, credentials', providers.onDemand, [aws, ['operation']]);
  yield script('data key, credentials given', providers.onDemand, [
    aws,
    ['provide', bson(providers.aws)],
    ['nextRequest'],
    ['answer', 0, awsCiphertext],
    ['finishRequests'],
  ]);
  yield script('data key, other credentials', providers.onDemand, [aws, ['provide', bson(providers.local)], ['nextRequest']]);
  yield script('data key, no credentials', providers.onDemand, [aws, ['provide', bson({})], ['provide', bson(providers.aws)]]);
  yield script('data key, local, no credentials needed', providers.onDemand, [make({})]);
}

function* rewraps() {
  const make = (masterKey) => ['make', { kind: 'rewrap', input: bson({ a: 1 }), ...(masterKey && { masterKey: bson(masterKey) }) }];
  yield script('rewrap nothing', providers.local, [make(), ['operation'], ['finishOperation'], ['finalize']]);
  yield script('rewrap early', providers.local, [make(), ['finalize']]);
  yield script('rewrap local', providers.local, [make(), ...keys(keyDocument(1), keyDocument(2)), ['finalize'], ['finalize']]);
  yield script('rewrap to a KMS', providers.both, [
    make(awsMasterKey),
    ...keys(keyDocument(1), keyDocument(2)),
    ['nextRequest'],
    ['nextRequest'],
    ['nextRequest'],
    ['answer', 0, awsCiphertext],
    ['answer', 1, awsCiphertext],
    ['finishRequests'],
    ['finalize'],
  ]);
  yield script('rewrap from a KMS', providers.both, [
    make({ provider: 'local' }),
    ...keys(awsKeyDocument(1)),
    ['nextRequest'],
    ['nextRequest'],
    ['answer', 0, awsPlaintext(1)],
    ['finishRequests'],
    ['finalize'],
  ]);
  yield script('rewrap not configured', providers.local, [make(awsMasterKey)]);
  yield script('rewrap without provider', providers.local, [make({ region: 'x' })]);
  yield script('rewrap with credentials', providers.onDemand, [make(), ['provide', bson(providers.aws)], ...keys(keyDocument(1)), ['finalize']]);
}

function* remoteKeys() {
  const start = [explicitDecrypt(encrypted(1)), ...keys(awsKeyDocument(1))];
  yield script('key at a KMS', providers.aws, [
    ...start,
    ['nextRequest'],
    ['nextRequest'],
    ['answer', 0, awsPlaintext(1)],
    ['finishRequests'],
    ['finalize'],
    explicitDecrypt(encrypted(1)),
    ['finalize'],
  ]);
  yield script('key at a KMS, wrong length', providers.aws, [
    ...start,
    ['nextRequest'],
    ['answer', 0, httpReply(200, '{"Plaintext":"AAAA"}')],
    ['finishRequests'],
  ]);
  yield script('key at a KMS, no field', providers.aws, [...start, ['nextRequest'], ['answer', 0, httpReply(404, 'gone')], ['finishRequests']]);
  yield script('key at a KMS, redirected', providers.aws, [...start, ['nextRequest'], ['answer', 0, httpReply(302, 'x')], ['finishRequests']]);
  yield script('key at a KMS, unfinished', providers.aws, [...start, ['nextRequest'], ['finishRequests']]);
  yield script('key at a KMS, not asked', providers.aws, [...start, ['finishRequests']]);
  yield script('two keys at a KMS', providers.both, [
    decrypt({ a: encrypted(1), b: encrypted(2), c: encrypted(3) }),
    ...keys(awsKeyDocument(1), keyDocument(2), awsKeyDocument(3)),
    ['nextRequest'],
    ['nextRequest'],
    ['nextRequest'],
    ['answer', 0, awsPlaintext(1)],
    ['answer', 1, awsPlaintext(3)],
    ['finishRequests'],
  ]);
  yield script('two keys at a KMS, one refused, the other one kept', providers.aws, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(awsKeyDocument(1), awsKeyDocument(2)),
    ['nextRequest'],
    ['nextRequest'],
    ['nextRequest'],
    ['answer', 0, awsPlaintext(2)],
    ['answer', 1, httpReply(403, 'no')],
    ['finishRequests'],
    explicitDecrypt(encrypted(2)),
    ['finalize'],
    explicitDecrypt(encrypted(1)),
  ]);
  const busy = (index) => ['answer', index, httpReply(503, 'busy')];
  const gone = (index) => ['fail', index];
  for (const [name, failure] of Object.entries({ busy, gone })) {
    const failures = (count) => Array.from({ length: count }, (_, index) => [['nextRequest'], failure(index)]).flat();
    yield script(`key at a KMS, ${name} three times`, providers.aws, [
      ...start,
      ...failures(3),
      ['nextRequest'],
      ['answer', 3, awsPlaintext(1)],
      ['nextRequest'],
      ['finishRequests'],
      ['finalize'],
    ]);
    yield script(`key at a KMS, ${name} four times`, providers.aws, [...start, ...failures(4), ['finishRequests']]);
  }
  const n = { keyAltNames: ['n'] };
  const inCache = ['cached', [1, 2, 3].map(rawId), [altName('n')]];
  const meanwhile = [explicitDecrypt(encrypted(3)), ...keys(keyDocument(3, n)), ['use', 0]];
  yield script('a local key is cached again after the requests, over one of its name', providers.both, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(awsKeyDocument(1), keyDocument(2, n)),
    inCache,
    ...meanwhile,
    inCache,
    ['nextRequest'],
    ['answer', 0, awsPlaintext(1)],
    ['finishRequests'],
    inCache,
    ['finalize'],
  ]);
  yield script('a local key is cached again up to a request that failed', providers.both, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(keyDocument(2, n), awsKeyDocument(1)),
    ...meanwhile,
    ['nextRequest'],
    ['answer', 0, httpReply(403, 'no')],
    ['finishRequests'],
    inCache,
  ]);
  yield script('a local key is cached again, fed after the one that failed', providers.both, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(awsKeyDocument(1), keyDocument(2, n)),
    ...meanwhile,
    ['nextRequest'],
    ['answer', 0, httpReply(403, 'no')],
    ['finishRequests'],
    inCache,
  ]);
  yield script('local keys alone are cached once', providers.local, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(keyDocument(1), keyDocument(2, n)).slice(0, -1),
    ...meanwhile,
    ['finishOperation'],
    inCache,
    ['finalize'],
  ]);
  yield script('credentials, then keys', providers.onDemand, [
    explicitDecrypt(encrypted(1)),
    ['provide', bson(providers.aws)],
    ...keys(awsKeyDocument(1)),
    ['nextRequest'],
  ]);
  yield script('credentials, though the key is local', providers.onDemand, [
    explicitDecrypt(encrypted(1)),
    ['provide', bson(providers.aws)],
    ...keys(keyDocument(1)),
    ['finalize'],
    explicitDecrypt(encrypted(1)),
    ['finalize'],
  ]);
  yield script('credentials that are none', providers.onDemand, [
    explicitDecrypt(encrypted(1)),
    ['provide', bson({ aws: { accessKeyId: 1 } })],
    ['provide', bson(providers.aws)],
    ['operation'],
  ]);
  yield script('credentials of another', providers.onDemand, [explicitDecrypt(encrypted(1)), ['provide', bson(providers.local)], ...keys(awsKeyDocument(1))]);
}

/** Libraries that cannot be made. */
export const libraries = [
  {},
  { kmsProviders: bson({}) },
  { kmsProviders: garbage },
  { kmsProviders: bson({ local: 1 }) },
  { kmsProviders: bson({ local: { key: Buffer.alloc(95) } }) },
  {
    kmsProviders: bson({ local: { key: 1 } }),
  },
  { kmsProviders: bson({ local: { key: '?' } }) },
  { kmsProviders: bson({ x: {} }) },
  { kmsProviders: bson({ 'aws:': {} }) },
  { kmsProviders: bson({ 'aws:x-y': {} }) },
  { kmsProviders: bson({ 'aws:x': {} }) },
  { kmsProviders: bson({ aws: { accessKeyId: 'x' } }) },
  {
    kmsProviders: bson({ kmip: { endpoint: 1 } }),
  },
  { kmsProviders: bson({ azure: { tenantId: 'x' } }) },
  { kmsProviders: bson({ aws: { accessKeyId: 'x', secretAccessKey: 'y', z: 1 } }) },
  { kmsProviders: bson(providers.local), schemaMap: garbage },
  { kmsProviders: bson(providers.local), schemaMap: bson({ 'db.c': {} }), encryptedFieldsMap: bson({ 'db.c': { fields: [] } }) },
].map((given, index) => ({ name: `library ${index}`, options: given, steps: [] }));

export const conversations = [...explicit(), ...keyDocuments(), ...replies(), ...dataKeys(), ...rewraps(), ...remoteKeys()];
export { decrypt, explicitDecrypt, explicitEncrypt, garbage, keyId, keys, marking, script };
