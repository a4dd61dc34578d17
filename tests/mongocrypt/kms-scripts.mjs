// Conversations with Azure, Google and KMIP: tokens, several rounds, mixed providers, refusals.
import { Binary } from 'bson';
import { generateKeyPairSync } from 'node:crypto';
import { named, OPERATION, refusal, secret } from './kmip-replies.mjs';
import { toBase64 } from './reference.mjs';
import { awsKeyDocument, awsPlaintext, bson, encrypted, httpReply, keyDocument, materialOf, providers, rawId, seal } from './samples.mjs';
import { decrypt, explicitDecrypt, keys, script } from './scripts.mjs';

const azure = { azure: { tenantId: 't', clientId: 'c', clientSecret: 's' } };
const azureToken = { azure: { accessToken: 'given' } };
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const gcp = { gcp: { email: 'a@b.c', privateKey: new Binary(privateKey.export({ format: 'der', type: 'pkcs8' })) } };
const gcpToken = { gcp: { accessToken: 'given' } };
const kmip = { kmip: { endpoint: 'kmip.test' } };

const azureMasterKey = { provider: 'azure', keyVaultEndpoint: 'v.vault.azure.net', keyName: 'k' };
const gcpMasterKey = { provider: 'gcp', projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' };
const remote = (byte, masterKey) => keyDocument(byte, { keyMaterial: new Binary(Buffer.alloc(160, byte)), masterKey });
const dataKey = (masterKey) => ['make', { kind: 'dataKey', masterKey: bson(masterKey) }];
const token = (more = {}) => httpReply(200, JSON.stringify({ access_token: 'token', expires_in: 3600, ...more }));
const azureValue = (bytes) => httpReply(200, JSON.stringify({ value: Buffer.from(bytes).toString('base64url') }));
const gcpValue = (name, bytes) => httpReply(200, JSON.stringify({ [name]: Buffer.from(bytes).toString('base64') }));
const round = (...replies) => [
  ...replies.map(() => ['nextRequest']),
  ['nextRequest'],
  ...replies.map((reply, index) => ['answer', index, reply]),
  ['finishRequests'],
];
const nextRound = (first, ...replies) => [
  ...replies.map(() => ['nextRequest']),
  ['nextRequest'],
  ...replies.map((reply, index) => ['answer', first + index, reply]),
  ['finishRequests'],
];

const [registered, activated] = [OPERATION.register, OPERATION.activate].map((operation) => toBase64(named(operation, 'id')));
const secretOf = (material) => toBase64(secret(material));
/** An answer whose operation has a tag that is none of KMIP's. */
function foreignTag(bytes) {
  const out = Buffer.from(bytes);
  out[out.indexOf(Buffer.from([0x42, 0, 0x5c]))] ^= 8;
  return toBase64(out);
}
const kmipRefusal = toBase64(refusal(OPERATION.get));
const kmipSecret = Buffer.alloc(96, 7);
const kmipMasterKey = { provider: 'kmip', keyId: 'id' };
const kmipKey = keyDocument(1, { keyMaterial: new Binary(seal(kmipSecret, Buffer.alloc(0), Buffer.alloc(16, 1), materialOf(1))), masterKey: kmipMasterKey });

export const kmsConversations = [
  script('azure: data key', azure, [
    dataKey(azureMasterKey),
    ...round(token()),
    ...nextRound(1, azureValue(Buffer.alloc(256, 1))),
    dataKey(azureMasterKey),
    ['nextRequest'],
  ]),
  script('azure: token given', azureToken, [dataKey({ ...azureMasterKey, keyVersion: 'v' }), ...round(azureValue(Buffer.alloc(256, 1)))]),
  script('azure: one token for two keys', azure, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(remote(1, azureMasterKey), remote(2, azureMasterKey)),
    ...round(token()),
    ...nextRound(1, azureValue(materialOf(2)), azureValue(materialOf(1))),
    ['finalize'],
  ]),
  script('azure: token refused, and local keys are not cached again', { ...azure, ...providers.local }, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(remote(1, azureMasterKey), keyDocument(2, { keyAltNames: ['n'] })),
    explicitDecrypt(encrypted(3)),
    ...keys(keyDocument(3, { keyAltNames: ['n'] })),
    ['use', 0],
    ...round(httpReply(401, '{"error":"no"}')),
    ['cached', [2, 3].map(rawId), []],
  ]),
  script('azure: token refused', azure, [dataKey(azureMasterKey), ...round(httpReply(401, '{"error":"no"}'))]),
  script('azure: no token', azure, [dataKey(azureMasterKey), ...round(httpReply(200, '{"x":1}'))]),
  script('azure: token without end', azure, [dataKey(azureMasterKey), ...round(token({ expires_in: undefined }))]),
  script('azure: end of another type', azure, [dataKey(azureMasterKey), ...round(token({ expires_in: '3600' }))]),
  script('azure: empty answer', azure, [dataKey(azureMasterKey), ...round(httpReply(200, ''))]),
  script('azure: key refused', azureToken, [explicitDecrypt(encrypted(1)), ...keys(remote(1, azureMasterKey)), ...round(httpReply(403, '{"error":"no"}'))]),
  script('gcp: data key', gcp, [
    dataKey(gcpMasterKey),
    ...round(token()),
    ...nextRound(1, gcpValue('ciphertext', Buffer.alloc(120, 1))),
    dataKey(gcpMasterKey),
    ['nextRequest'],
  ]),
  script('gcp: token given', gcpToken, [dataKey(gcpMasterKey), ...round(gcpValue('ciphertext', Buffer.alloc(120, 1)))]),
  script('gcp: key', gcp, [
    explicitDecrypt(encrypted(1)),
    ...keys(remote(1, gcpMasterKey)),
    ...round(token()),
    ...nextRound(1, gcpValue('plaintext', materialOf(1))),
    ['finalize'],
  ]),
  script('gcp: bad character', gcpToken, [dataKey({ ...gcpMasterKey, keyRing: 'a/b' })]),
  script('gcp: bad character in a key document', gcpToken, [
    explicitDecrypt(encrypted(1)),
    ['operation'],
    ['feed', remote(1, { ...gcpMasterKey, keyRing: 'a/b' })],
  ]),
  script('gcp: nobody was told of the request for a token', gcp, [dataKey(gcpMasterKey), ['finishRequests']]),
  script('azure: tokens of two providers', { ...azure, 'azure:two': azure.azure }, [
    decrypt({
      a: encrypted(1),
      b: encrypted(2),
    }),
    ...keys(remote(1, azureMasterKey), remote(2, { ...azureMasterKey, provider: 'azure:two' })),
    ...round(token(), token()),
    ...nextRound(2, azureValue(materialOf(2)), azureValue(materialOf(1))),
    ['finalize'],
  ]),
  script('gcp: endpoint', gcpToken, [dataKey({ ...gcpMasterKey, endpoint: 'a.b:1' }), ['nextRequest']]),
  script('kmip: data key under a new object', kmip, [
    dataKey({ provider: 'kmip' }),
    ...round(registered),
    ...nextRound(1, activated),
    ...nextRound(2, secretOf(kmipSecret)),
    ['finalize'],
  ]),
  script('kmip: an answer with a tag that is none', kmip, [dataKey(kmipMasterKey), ...round(foreignTag(secret(kmipSecret)))]),
  script('kmip: data key under a known object', kmip, [dataKey(kmipMasterKey), ...round(secretOf(kmipSecret)), ['finalize']]),
  script('kmip: key', kmip, [explicitDecrypt(encrypted(1)), ...keys(kmipKey), ...round(secretOf(kmipSecret)), ['finalize']]),
  script('kmip: other secret', kmip, [explicitDecrypt(encrypted(1)), ...keys(kmipKey), ...round(secretOf(Buffer.alloc(96, 8)))]),
  script('kmip: short secret', kmip, [explicitDecrypt(encrypted(1)), ...keys(kmipKey), ...round(secretOf(Buffer.alloc(95)))]),
  script('kmip: refused', kmip, [explicitDecrypt(encrypted(1)), ...keys(kmipKey), ...round(kmipRefusal)]),
  script('kmip: key without id', kmip, [explicitDecrypt(encrypted(1)), ...keys(keyDocument(1, { masterKey: { provider: 'kmip' } }))]),
  script('kmip: not sent again', kmip, [dataKey({ provider: 'kmip' }), ['nextRequest'], ['fail', 0], ['nextRequest']]),
  script('mixed providers, no tokens to fetch', { ...providers.both, ...azureToken }, [
    decrypt({ a: encrypted(1), b: encrypted(2), c: encrypted(3) }),
    ...keys(awsKeyDocument(1), remote(2, azureMasterKey), keyDocument(3)),
    ...round(azureValue(materialOf(2)), awsPlaintext(1)),
    ['finalize'],
  ]),
  script('mixed providers, a token first', { ...providers.both, ...azure }, [
    decrypt({ a: encrypted(1), b: encrypted(2) }),
    ...keys(awsKeyDocument(1), remote(2, azureMasterKey)),
    ['nextRequest'],
    ['nextRequest'],
    ['nextRequest'],
  ]),
  script('rewrap between clouds', { ...azureToken, ...gcpToken }, [
    ['make', { kind: 'rewrap', input: bson({}), masterKey: bson(gcpMasterKey) }],
    ...keys(remote(1, azureMasterKey), remote(2, azureMasterKey)),
    ...round(azureValue(materialOf(2)), azureValue(materialOf(1))),
    ...nextRound(2, gcpValue('ciphertext', Buffer.alloc(120, 1)), gcpValue('ciphertext', Buffer.alloc(120, 2))),
    ['finalize'],
  ]),
];
