// Keys, documents and commands for scripts, the same in every run.
import { Binary, Double, Int32, Long, ObjectId, serialize, Timestamp } from 'bson';
import { createCipheriv, createHmac } from 'node:crypto';
import { toBase64 } from './reference.mjs';

export const bson = (document) => toBase64(serialize(document, { ignoreUndefined: true }));
export const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
export const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

export const localKey = Buffer.from(Array.from({ length: 96 }, (_, index) => index));
export const keyId = (byte) => new Binary(Buffer.alloc(16, byte), 4);
export const rawId = (byte) => toBase64(Buffer.alloc(16, byte));
export const altName = (name) => bson({ keyAltName: name });

// The AEAD by the rules of RFC 7518 and MongoDB, so that scripts are fixed before either library runs.
export function seal(key, associatedData, iv, plaintext) {
  const cipher = createCipheriv('aes-256-cbc', key.subarray(32, 64), iv);
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const bits = Buffer.alloc(8);
  bits.writeBigUInt64BE(BigInt(associatedData.length * 8));
  const tag = createHmac('sha512', key.subarray(0, 32))
    .update(Buffer.concat([associatedData, iv, sealed, bits]))
    .digest();
  return Buffer.concat([iv, sealed, tag.subarray(0, 32)]);
}

export const materialOf = (byte) => Buffer.alloc(96, byte);
const wrapped = (byte) => seal(localKey, Buffer.alloc(0), Buffer.alloc(16, byte), materialOf(byte));

/** A key document under the local master key; `changes` replace fields, `undefined` removes one. */
export const keyDocument = (byte, changes = {}) =>
  bson({
    _id: keyId(byte),
    keyMaterial: new Binary(wrapped(byte)),
    creationDate: new Date(1),
    updateDate: new Date(2),
    status: new Int32(0),
    masterKey: { provider: 'local' },
    ...changes,
  });

export const awsMasterKey = { provider: 'aws', region: 'eu-central-1', key: 'arn:aws:kms:eu-central-1:1:key/k' };
export const awsKeyDocument = (byte, changes = {}) =>
  keyDocument(byte, { keyMaterial: new Binary(Buffer.alloc(160, byte)), masterKey: awsMasterKey, ...changes });

/** A value as it is stored. */
export function encrypted(byte, { bsonType = 2, plaintext = Buffer.from('\x05\0\0\0test\0'), kind = 2 } = {}) {
  const header = Buffer.concat([Buffer.from([kind]), Buffer.alloc(16, byte), Buffer.from([bsonType])]);
  return new Binary(Buffer.concat([header, seal(materialOf(byte), header, Buffer.alloc(16, 9), plaintext)]), 6);
}

export const marking = (document) => new Binary(Buffer.concat([Buffer.from([0]), serialize(document, { ignoreUndefined: true })]), 6);

export const httpReply = (status, body, headers = '') =>
  toBase64(Buffer.from(`HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`));
export const awsPlaintext = (byte) => httpReply(200, JSON.stringify({ Plaintext: materialOf(byte).toString('base64') }));
export const awsCiphertext = httpReply(200, JSON.stringify({ CiphertextBlob: Buffer.alloc(184, 3).toString('base64') }));

export const providers = {
  local: { local: { key: localKey } },
  aws: { aws: { accessKeyId: 'id', secretAccessKey: 'secret' } },
  both: { local: { key: localKey }, aws: { accessKeyId: 'id', secretAccessKey: 'secret' } },
  onDemand: { local: { key: localKey }, aws: {} },
  named: { 'local:one': { key: localKey }, local: { key: localKey } },
};

export const values = {
  string: 'test',
  int: new Int32(7),
  long: Long.fromNumber(7),
  double: new Double(1.5),
  bool: true,
  date: new Date(5),
  objectId: new ObjectId('000000000000000000000001'),
  document: { a: 1 },
  array: [1, 2],
  null: null,
  binary: new Binary(Buffer.from('x')),
  timestamp: new Timestamp({ t: 1, i: 2 }),
  regex: /a/i,
  encrypted: encrypted(1),
};
