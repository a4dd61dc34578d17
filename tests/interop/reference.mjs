// A second implementation of the format, written from csfle-format.md sections 2 and 3 and nothing else: slow, readable,
// on node:crypto. The tests compare the library with it on random inputs, so an error would have to be made twice.
// It never ships, keeps no secrets safe and wipes nothing.
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { concat, RawValue } from './raw-bson.mjs';

export const DETERMINISTIC = 1;
export const RANDOM = 2;

const BLOCK = 16;
const TAG = 32;

/** The three parts of 96 bytes of key material (section 2.1). */
const parts = (material) => {
  if (material.length !== 96) throw new RangeError(`key material has ${material.length} bytes, not 96`);
  return { macKey: material.subarray(0, 32), encKey: material.subarray(32, 64), ivKey: material.subarray(64, 96) };
};

/** Length of the associated data in bits, 64-bit big-endian. */
const bitLength = (associatedData) => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(associatedData.length) * 8n);
  return out;
};

const hmac512 = (key, ...parts) => {
  const mac = createHmac('sha512', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
};

/** Deterministic IV: here the length stands between associated data and message (section 2.2, step 1). */
export const deterministicIv = (material, associatedData, message) =>
  hmac512(parts(material).ivKey, associatedData, bitLength(associatedData), message).subarray(0, BLOCK);

/** Tag: here the length stands last (section 2.2, step 4). */
const tagOf = (material, associatedData, iv, ciphertext) =>
  hmac512(parts(material).macKey, associatedData, iv, ciphertext, bitLength(associatedData)).subarray(0, TAG);

/** IV, ciphertext, tag. `message` is always padded, by 1 to 16 bytes. */
export function seal(material, associatedData, message, iv = randomBytes(BLOCK)) {
  const padding = BLOCK - (message.length % BLOCK);
  const cipher = createCipheriv('aes-256-cbc', parts(material).encKey, iv).setAutoPadding(false);
  const ciphertext = concat(cipher.update(concat(message, new Uint8Array(padding).fill(padding))), cipher.final());
  return concat(iv, ciphertext, tagOf(material, associatedData, iv, ciphertext));
}

/** The message of a sealed one. Throws an error with `code` CRYPTO_AUTHENTICATION_FAILED or CRYPTO_INPUT_TOO_SHORT. */
export function open(material, associatedData, sealed) {
  if (sealed.length < BLOCK + BLOCK + TAG) throw coded('CRYPTO_INPUT_TOO_SHORT', `${sealed.length} bytes`);
  const iv = sealed.subarray(0, BLOCK);
  const ciphertext = sealed.subarray(BLOCK, -TAG);
  if (!timingSafeEqual(tagOf(material, associatedData, iv, ciphertext), sealed.subarray(-TAG))) {
    throw coded('CRYPTO_AUTHENTICATION_FAILED', 'tag mismatch');
  }
  if (ciphertext.length % BLOCK !== 0) throw coded('CRYPTO_AUTHENTICATION_FAILED', 'not whole blocks');
  const decipher = createDecipheriv('aes-256-cbc', parts(material).encKey, iv).setAutoPadding(false);
  const padded = concat(decipher.update(ciphertext), decipher.final());
  const padding = padded[padded.length - 1];
  if (padding < 1 || padding > BLOCK) throw coded('CRYPTO_AUTHENTICATION_FAILED', 'padding');
  return padded.subarray(0, -padding);
}

/** Kind, key id and original type: the 18 bytes in front of the sealed value, and its associated data (section 3.1). */
const header = (kind, keyId, type) => concat([kind], keyId, [type]);

/** The content of a subtype-6 binary. Without `iv` the algorithm's own rule applies. */
export function encryptValue(item, { kind, keyId, material, iv }) {
  const associatedData = header(kind, keyId, item.type);
  const chosen = iv ?? (kind === DETERMINISTIC ? deterministicIv(material, associatedData, item.bytes) : randomBytes(BLOCK));
  return concat(associatedData, seal(material, associatedData, item.bytes, chosen));
}

/** What the header of a payload says, without any key. */
export function readHeader(payload) {
  if (payload.length < 19) throw coded('PAYLOAD_TOO_SHORT', `${payload.length} bytes`);
  return { kind: payload[0], keyId: payload.slice(1, 17), originalType: payload[17], iv: payload.slice(18, 34), sealed: payload.slice(18) };
}

/** The BSON value of a payload. */
export function decryptValue(payload, material) {
  const { originalType, sealed } = readHeader(payload);
  return new RawValue(originalType, open(material, payload.subarray(0, 18), sealed));
}

/** Local master key: the same construction without associated data (section 2.4). */
export const wrapKey = (masterKey, material, iv) => seal(masterKey, new Uint8Array(), material, iv);
export const unwrapKey = (masterKey, wrapped) => open(masterKey, new Uint8Array(), wrapped);

/** Section 2.3: bytes of a payload for a value of `length` bytes. */
export const payloadLength = (length) => 66 + BLOCK * (Math.floor(length / BLOCK) + 1);

const coded = (code, message) => Object.assign(new Error(message), { code });
