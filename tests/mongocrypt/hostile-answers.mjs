// Answers that mean no good, thrown at the requests of every provider: damaged ones, cut ones, floods and lies, in pieces of
// any size and among calls in any order. Whatever comes, nothing traps and nothing throws, the states stay legal, no secret
// is told, and the library works on.
//
//   node tests/mongocrypt/hostile-answers.mjs [cases [seed]]
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { MongoCrypt } from 'csfle-wasm';
import { Binary, deserialize, serialize } from 'bson';
import { Random } from '../interop/generate.mjs';
import { encrypted, keyDocument, keyId, localKey, materialOf } from './samples.mjs';
import { item, number, structure, TYPE } from './ttlv.mjs';

const MAX_NEEDED = 16 * 1024 * 1024 + 2;
const secrets = { accessKey: 'hush-access-key', session: 'hush-session', client: 'hush-client', token: 'hush-bearer-token', given: 'hush-given-token' };
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
const kmsProviders = serialize({
  local: { key: new Binary(localKey) },
  aws: { accessKeyId: 'id', secretAccessKey: secrets.accessKey, sessionToken: secrets.session },
  azure: { tenantId: 't', clientId: 'c', clientSecret: secrets.client },
  'azure:given': { accessToken: secrets.given },
  gcp: { email: 'a@b.c', privateKey: new Binary(privateKey.export({ format: 'der', type: 'pkcs8' })) },
  kmip: { endpoint: 'kmip.test' },
});
const masterKeys = [
  { provider: 'aws', region: 'r', key: 'k' },
  { provider: 'azure', keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' },
  { provider: 'azure:given', keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' },
  { provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' },
  { provider: 'kmip' },
  { provider: 'kmip', keyId: 'id' },
  { provider: 'kmip', delegated: true },
  { provider: 'kmip', keyId: 'id', delegated: true },
];
const material = materialOf(1);
const wrapped = Buffer.alloc(160, 7);
const local = Buffer.from(keyDocument(9), 'base64');

const reply = (status, body, headers = `Content-Length: ${Buffer.byteLength(body)}\r\n`) => Buffer.from(`HTTP/1.1 ${status} X\r\n${headers}\r\n${body}`);
const json = (members) => reply(200, JSON.stringify(members));
const chunked = (body) => Buffer.from(`HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)};x=y\r\n${body}\r\n0\r\n\r\n`);
const kmip = (...payload) => structure(0x42007b, structure(0x42000f, number(0x42007f, TYPE.enumeration, 0), structure(0x42007c, ...payload)));
const text = (tag, value) => item(tag, TYPE.text, Buffer.from(value));
const bytes = (tag, value) => item(tag, TYPE.bytes, value);

/** An answer that may be the right one. */
function likely(random, request) {
  const pick = (of) => of[Math.floor(random() * of.length)];
  if (request.kmsProvider === 'kmip') {
    const secret = structure(0x420085, structure(0x420040, structure(0x420045, bytes(0x420043, pick([material, Buffer.alloc(96, 5), Buffer.alloc(95)])))));
    return kmip(text(0x420094, 'id'), secret, bytes(0x4200c2, pick([material, wrapped, Buffer.alloc(112)])), bytes(0x42003d, Buffer.alloc(pick([16, 16, 12]))));
  }
  if (/oauth2|login/.test(request.endpoint)) return json({ access_token: secrets.token, expires_in: pick([3600, 3600, 1, 0, -1, 1e300, '60', 2 ** 53, null]) });
  // What answers to wrapping is no secret, and is quoted in complaints.
  const isWrapping = /TrentService\.Encrypt|\/wrapkey|:encrypt/.test(request.message.toString());
  const value = pick([isWrapping ? wrapped : material, wrapped, Buffer.alloc(95, 2), Buffer.alloc(0)]);
  const members = {
    Plaintext: value.toString('base64'),
    CiphertextBlob: value.toString('base64'),
    plaintext: value.toString('base64'),
    ciphertext: value.toString('base64'),
    value: value.toString('base64url'),
  };
  return pick([json, json, (of) => chunked(JSON.stringify(of))])(members);
}

const heads = [
  'Content-Length: -1\r\n',
  'Content-Length: +5\r\n',
  'Content-Length: 99999999999999999999\r\n',
  'Content-Length: 4294967296\r\n',
  'Content-Length: 16777217\r\n',
  'Content-Length: 16777216\r\n',
  'Content-Length: 5\r\nContent-Length: 6\r\n',
  'Content-Length: 0x10\r\n',
  'Content-Length:\r\n',
  'Transfer-Encoding: gzip\r\n',
  'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n',
  'no colon\r\n',
  ': x\r\n',
  `X: ${'y'.repeat(70_000)}\r\n`,
  'X: y\r\n'.repeat(12_000),
  'A\0: \0\r\n',
  '',
];
const chunks = [
  'ffffffffffffffff\r\n',
  'ffffffff\r\n',
  '1000001\r\nx',
  '-1\r\n',
  '+1\r\nx\r\n',
  '0x1\r\nx\r\n',
  '\r\n',
  '1\r\nxx',
  '1\r\nx\r\n'.repeat(3000),
  '0\r\nTrailer: x\r\n\r\n',
  `1;${'x'.repeat(5000)}\r\n`,
  '0\r\n\r\nmore',
];
const bodies = [
  '',
  '{',
  '{}',
  '[]',
  'null',
  '"',
  '{"Plaintext":',
  '{"Plaintext":"AA==","Plaintext":1}',
  '{"value":"\\ud800"}',
  '[['.repeat(20_000),
  `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`,
  '{"access_token":"a\\r\\nb","expires_in":9}',
  '{"access_token":"","expires_in":9}',
  '{"access_token":{},"expires_in":9}',
  '{"access_token":"x","expires_in":9223372036854775807}',
  '{"access_token":"x","expires_in":-9223372036854775808}',
  '{"__type":"ThrottlingException"}',
  '\0'.repeat(50),
  '\uFEFF{}',
  `{"value":"${'='.repeat(100)}"}`,
  '{"plaintext":"%%"}',
  '{"CiphertextBlob":"QQ="}',
];
const lines = [
  'HTTP/1.0 200 OK',
  'HTTP/1.1 100 Continue',
  'HTTP/1.1 204 x',
  'HTTP/1.1 301 x',
  'HTTP/1.1 99999 x',
  'HTTP/1.1 -1 x',
  'HTTP/1.1  200',
  'HTTP/2 200',
  'http/1.1 200 OK',
  'HTTP/1.1 000 x',
  '',
  'SSH-2.0-x',
  'HTTP/1.1 200',
];
const statuses = [200, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504, 509, 599, 999];
const lengths = [0, 1, 7, 8, 96, 0xff, 0xffff, 0xffffff, 0x1000000, 0x1000001, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff];

/** One answer, right or wrong. */
function answerTo(random, request, goodwill) {
  const pick = (of) => of[Math.floor(random() * of.length)];
  if (random() < goodwill) return likely(random, request);
  const kind = 0.35 + random() * 0.65;
  if (kind < 0.65) return damaged(random, likely(random, request));
  if (kind < 0.7) return Buffer.from(Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256)));
  if (request.kmsProvider === 'kmip') {
    const lying = Buffer.from(likely(random, request));
    for (let times = 1 + Math.floor(random() * 3); times > 0; times -= 1)
      lying.writeUInt32BE(pick(lengths), pick([4, 12, 20, 36, 44, 60, 76].filter((at) => at + 4 <= lying.length)));
    const deep = Array.from({ length: 300 }).reduce((inner) => structure(pick([0x42007b, 0x42000f, 0x42007c]), inner), Buffer.alloc(0));
    return pick([
      lying,
      lying,
      lying,
      deep,
      kmip(),
      kmip(bytes(0x420094, material)),
      structure(0x420078),
      structure(0x42007b, structure(0x42000f, number(0x42007f, TYPE.enumeration, pick(lengths)), text(0x42007d, 'x'.repeat(5000)))),
    ]);
  }
  if (kind < 0.78) return reply(pick(statuses), pick(bodies));
  if (kind < 0.86) return reply(200, pick(bodies), pick(heads));
  if (kind < 0.93) return Buffer.from(`HTTP/1.1 ${pick(statuses)} X\r\nTransfer-Encoding: chunked\r\n\r\n${pick(chunks)}`);
  return Buffer.from(`${pick(lines)}\r\n${pick(heads)}\r\n${pick(bodies)}`);
}

function damaged(random, answer) {
  const parts = Buffer.from(answer);
  const at = () => Math.floor(random() * parts.length);
  for (let times = 1 + Math.floor(random() * 4); times > 0; times -= 1) parts[at()] = random() < 0.5 ? Math.floor(random() * 256) : parts[at()];
  const [from, to] = [at(), at()];
  const kind = random();
  if (kind < 0.3) return parts.subarray(0, from);
  if (kind < 0.4) return Buffer.concat([parts, parts.subarray(from)]);
  if (kind < 0.5) return Buffer.concat([parts.subarray(0, from), parts.subarray(Math.min(from, to), Math.max(from, to)), parts.subarray(from)]);
  return parts;
}

function begin(random, crypt) {
  const masterKey = masterKeys[Math.floor(random() * masterKeys.length)];
  const other = masterKeys[Math.floor(random() * masterKeys.length)];
  const kind = random();
  if (kind < 0.5) return crypt.makeDataKeyContext(serialize(masterKey), {});
  const documents = [masterKey, other].map((key, index) => Buffer.from(keyDocument(index + 1, { keyMaterial: new Binary(wrapped), masterKey: key }), 'base64'));
  const context =
    kind < 0.75
      ? crypt.makeDecryptionContext(serialize({ a: encrypted(1), b: encrypted(2) }))
      : crypt.makeRewrapManyDataKeyContext(serialize({}), serialize(other));
  for (const document of documents) context.addMongoOperationResponse(document);
  context.finishMongoOperation();
  return context;
}

/** Feeds an answer as a careful host does, or as a careless one. */
function feed(random, request, answer) {
  const isCareless = random() < 0.1;
  const piece = random() < 0.5 ? Infinity : 1 + Math.floor(random() * 700);
  for (let rest = answer; rest.length > 0 && (request.bytesNeeded > 0 || isCareless); ) {
    const needed = request.bytesNeeded;
    assert.ok(Number.isInteger(needed) && needed >= 0 && needed <= MAX_NEEDED, `bytesNeeded ${needed}`);
    const taken = Math.max(1, Math.min(piece, isCareless ? 2000 : needed, rest.length));
    request.addResponse(rest.subarray(0, taken));
    rest = rest.subarray(taken);
    if (isCareless && random() < 0.2) request.addResponse(new Uint8Array(0));
    checkStatus(request.status);
    if (request.status.type !== 0 && request.bytesNeeded !== 0 && random() < 0.5) break;
  }
  checkStatus(request.status);
}

const credentials = [
  secrets.accessKey,
  secrets.session,
  secrets.client,
  secrets.given,
  privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64').slice(60, 100),
];
const answered = [secrets.token, material.toString('base64')];

function checkStatus({ type, code, message }) {
  if (type === 0) assert.deepEqual([code, message], [0, undefined]);
  else assert.ok(type === 1 && code === 1 && message.length > 0);
  // With the status of a failure a body is an explanation, unless what was asked for is in it under its own name.
  const isExplained = /HTTP status=[3-9]/.test(message);
  for (const secret of isExplained ? credentials : [...credentials, ...answered]) assert.ok(!message?.includes(secret), `told: ${message}`);
}

function checkWorks(crypt) {
  const value = crypt.makeExplicitEncryptionContext(serialize({ v: 'still' }), {
    keyId: keyId(9).buffer,
    algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random',
    expressionMode: false,
  });
  if (value.state === 3) {
    value.addMongoOperationResponse(local);
    value.finishMongoOperation();
  }
  const opened = crypt.makeExplicitDecryptionContext(value.finalize());
  assert.deepEqual(deserialize(opened.finalize()), { v: 'still' });
}

/** Numbers from 0 to below 1. */
function fractions(seed) {
  const rng = new Random(seed);
  return () => rng.uint32() / 2 ** 32;
}

/** One case; returns the state that it ends in. */
function runCase(random, crypt) {
  const context = begin(random, crypt);
  const goodwill = random();
  for (let rounds = 0; context.state === 4; rounds += 1) {
    assert.ok(rounds < 100, 'it ends');
    const requests = [];
    for (let request = context.nextKMSRequest(); request !== null; request = context.nextKMSRequest()) {
      requests.push(request);
      assert.match(request.endpoint, /^[^:]+:\d+$/);
      assert.ok(request.message.length > 0 && request.uSleep >= 0 && request.uSleep <= 20_000_000);
      assert.ok(requests.length < 20);
    }
    for (const request of requests) {
      if (random() < 0.05) request.fail();
      feed(random, request, answerTo(random, request, goodwill));
      if (random() < 0.03) request.fail();
    }
    if (random() < 0.3 && requests.some(({ bytesNeeded, status }) => bytesNeeded === 0 && status.type === 0)) continue;
    context.finishKMSRequests();
    checkStatus(context.status);
  }
  const { state } = context;
  assert.ok([0, 5].includes(state), `state ${state}`);
  assert.equal(state === 0, context.status.type === 1);
  if (state === 5) assert.equal(context.finalize().length > 0, context.state === 6);
  checkStatus(context.status);
  return state;
}

/** Runs `cases` cases, and counts the states they end in. */
export async function runHostileAnswers({ cases, seed, note = () => {} }) {
  const ends = { failed: 0, succeeded: 0 };
  let crypt;
  for (let at = 0; at < cases; at += 1) {
    // Tokens are kept for a while, and forgotten.
    if (at % 50 === 0) {
      crypt = new MongoCrypt({ kmsProviders, errorWrapper: (error) => error });
      // What was dropped is freed between turns of the event loop.
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    try {
      const state = runCase(fractions(seed + at), crypt);
      ends[state === 0 ? 'failed' : 'succeeded'] += 1;
      if (at % 50 === 49) checkWorks(crypt);
    } catch (error) {
      throw new Error(`case ${seed + at} (of ${at - (at % 50) + seed} and on)`, { cause: error });
    }
    if (at % 100_000 === 99_999) note(`${at + 1} cases: ${JSON.stringify(ends)}`);
  }
  return ends;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [cases = 100_000, seed = 1] = process.argv.slice(2).map(Number);
  const ends = await runHostileAnswers({ cases, seed, note: (line) => process.stdout.write(`${line}\n`) });
  process.stdout.write(`${cases} cases from seed ${seed}: ${JSON.stringify(ends)}\n`);
}
