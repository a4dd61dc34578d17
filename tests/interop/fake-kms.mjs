// The pretend KMS of fake_kms.py as KmsCallbacks: what one side wraps, the other unwraps.
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { unwrapKey, wrapKey } from './reference.mjs';
import { concat, sameBytes } from './raw-bson.mjs';

const MAGIC = new TextEncoder().encode('FAKE-KMS');

function stream(name, length) {
  const blocks = [];
  for (let counter = 0; counter * 64 < length; counter += 1) blocks.push(createHash('sha512').update(`${name}/${counter}`).digest());
  return concat(...blocks).subarray(0, length);
}

const xor = (left, right) => left.map((byte, index) => byte ^ right[index]);

const isFake = (wrapped) => sameBytes(wrapped.subarray(0, 8), MAGIC);

export function fakeWrap(name, plaintext) {
  const text = new TextEncoder().encode(name);
  return concat(MAGIC, [text.length], text, xor(Uint8Array.from(plaintext), stream(name, plaintext.length)));
}

/** The plaintext, or an error for bytes this KMS never produced. */
export function fakeUnwrap(wrapped) {
  const end = 9 + wrapped[8];
  if (!isFake(wrapped) || wrapped.length < end) throw new Error('InvalidCiphertext');
  const name = new TextDecoder().decode(wrapped.subarray(9, end));
  return xor(Uint8Array.from(wrapped.subarray(end)), stream(name, wrapped.length - end));
}

/** Which field of the master key names the key, per provider type. */
const KEY_FIELD = { aws: 'key', azure: 'keyName', gcp: 'keyName' };

const remote = (type, substitute) => ({
  encrypt: ({ masterKey, plaintext }) => fakeWrap(`${type}:${masterKey[KEY_FIELD[type]]}`, plaintext),
  decrypt: ({ ciphertext }) => (substitute && !isFake(ciphertext) ? substitute.slice() : fakeUnwrap(ciphertext)),
});

/** The 96 bytes of a KMIP secret that nobody registered. */
export const kmipSecret = (keyId) => stream(`kmip:${keyId}`, 96);
const kmipAesKey = (keyId) => stream(`kmip-aes:${keyId}`, 32);

const kmip = (secretOf, substitute) => ({
  encrypt({ masterKey, plaintext }) {
    const keyId = masterKey.keyId ?? 'made-by-callback';
    if (masterKey.delegated) {
      const iv = createHash('sha256').update(plaintext).digest().subarray(0, 16);
      const cipher = createCipheriv('aes-256-cbc', kmipAesKey(keyId), iv);
      return { ciphertext: concat(iv, cipher.update(plaintext), cipher.final()), keyId };
    }
    return { ciphertext: wrapKey(secretOf(keyId), plaintext), keyId };
  },
  decrypt({ masterKey, ciphertext }) {
    if (!masterKey.delegated) return unwrapKey(secretOf(masterKey.keyId), ciphertext);
    const decipher = createDecipheriv('aes-256-cbc', kmipAesKey(masterKey.keyId), ciphertext.subarray(0, 16));
    try {
      return concat(decipher.update(ciphertext.subarray(16)), decipher.final());
    } catch (error) {
      if (substitute) return substitute.slice(); // not wrapped here: the padding is wrong
      throw error;
    }
  },
});

/**
 * Callbacks for a provider type. `substitute` answers for wrapped keys that this KMS never made; `kmipSecrets` are KMIP
 * objects by id, added to the ones that exist by name.
 */
export function fakeKms(type, { substitute, kmipSecrets = {} } = {}) {
  return type === 'kmip' ? kmip((keyId) => kmipSecrets[keyId] ?? kmipSecret(keyId), substitute) : remote(type, substitute);
}
