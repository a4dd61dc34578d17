// The keys that a service holds: what it does with bytes once it has found a request right. Services take others in their place.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Thrown for a master key that is not held; any other error says that the bytes were not wrapped by it. */
export class NoSuchKey extends Error {}

/** AES-256-GCM in the place of a KMS's symmetric keys. `nameOf(masterKey)` is undefined for a key that is not held. */
export function symmetricKeys(nameOf) {
  const secret = randomBytes(32);
  const bound = (masterKey) => {
    const name = nameOf(masterKey);
    if (name === undefined) throw new NoSuchKey();
    return Buffer.from(name);
  };
  return {
    encrypt({ masterKey, plaintext }) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(bound(masterKey));
      return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    },
    decrypt({ masterKey, ciphertext }) {
      const cipher = createDecipheriv('aes-256-gcm', secret, ciphertext.subarray(0, IV_BYTES))
        .setAAD(bound(masterKey))
        .setAuthTag(ciphertext.subarray(-TAG_BYTES));
      return Buffer.concat([cipher.update(ciphertext.subarray(IV_BYTES, -TAG_BYTES)), cipher.final()]);
    },
  };
}

/** Does `work` with a key: its answer, `missing` when the key is not held, `invalid` when the bytes are not of it. */
export async function withKey(work, { missing, invalid }) {
  try {
    return await work();
  } catch (error) {
    return error instanceof NoSuchKey ? missing : invalid;
  }
}
