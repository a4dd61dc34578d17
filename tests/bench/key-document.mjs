// The key document both sides of the benchmark are fed: one data key under a local master key, built here with
// node:crypto so that neither contestant produced it.
import { createCipheriv, createHmac } from 'node:crypto';

/** Fixed bytes: a benchmark's output must be comparable between runs, and there is nothing to protect here. */
export const localMasterKey = pattern(0x5a, 7);
export const keyMaterial = pattern(0x11, 13);
export const keyId = Buffer.from('61616161616141618161616161616161', 'hex');

/** 96 bytes that differ from their neighbours; `step` is odd, so the sequence does not repeat within 256. */
function pattern(start, step) {
  return Buffer.from(Array.from({ length: 96 }, (_, at) => (start + at * step) & 0xff));
}

/**
 * Wraps key material under a local master key: AEAD_AES_256_CBC_HMAC_SHA_512 with empty associated data
 * (the tag still covers the eight bytes of its length).
 */
export function wrapLocally(material, masterKey, iv) {
  const cipher = createCipheriv('aes-256-cbc', masterKey.subarray(32, 64), iv);
  const sealed = Buffer.concat([cipher.update(material), cipher.final()]);
  const tag = createHmac('sha512', masterKey.subarray(0, 32)).update(iv).update(sealed).update(Buffer.alloc(8)).digest();
  return Buffer.concat([iv, sealed, tag.subarray(0, 32)]);
}

/** The key document as BSON bytes, fields in the order createDataKey emits them. */
export function keyDocumentBytes(bson) {
  const wrapped = wrapLocally(keyMaterial, localMasterKey, Buffer.alloc(16, 0x2b));
  const created = new Date('2024-01-01T00:00:00Z');
  return Buffer.from(
    bson.serialize({
      _id: new bson.Binary(keyId, 4),
      keyMaterial: new bson.Binary(wrapped, 0),
      creationDate: created,
      updateDate: created,
      status: new bson.Int32(0),
      masterKey: { provider: 'local' },
    }),
  );
}
