// A second opinion on key material, with node:crypto and the AWS SDK alone: nothing of this library is used here.
import { createDecipheriv, createHash, createHmac, timingSafeEqual } from 'node:crypto';

// Opens key material that a local master key wrapped (AEAD_AES_256_CBC_HMAC_SHA_512 with empty associated data):
// IV (16) | ciphertext | tag (32); MAC key = bytes 0-31 of the master key, encryption key = bytes 32-63.
export function unwrapLocally(wrapped, masterKey) {
  const iv = wrapped.subarray(0, 16);
  const ciphertext = wrapped.subarray(16, -32);
  const noAssociatedData = Buffer.alloc(8);
  const tag = createHmac('sha512', masterKey.subarray(0, 32)).update(iv).update(ciphertext).update(noAssociatedData).digest().subarray(0, 32);
  if (!timingSafeEqual(tag, wrapped.subarray(-32))) throw new Error('authentication fails');
  const decipher = createDecipheriv('aes-256-cbc', masterKey.subarray(32, 64), iv);
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}

// Asks the KMS itself.
export async function unwrapByKms(wrapped, kms) {
  return Buffer.from((await kms.decrypt({ CiphertextBlob: wrapped })).Plaintext);
}

// Names key material without telling it: 96 random bytes cannot be found from their hash.
export function fingerprint(material) {
  if (material.length !== 96) throw new Error(`96 bytes expected, found ${material.length}`);
  return createHash('sha256').update(material).digest('hex').slice(0, 16);
}
