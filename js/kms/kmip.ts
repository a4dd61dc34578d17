/** KMIP servers, over two functions of the application: no JavaScript client of KMIP is common enough to adapt. */

import { argumentError, kindOf } from '../errors.js';
import type { KmsCallbacks, KmsDecryptCall, KmsEncryptCall, KmsWrapped } from './index.js';
import type { KmipMasterKey } from './master-keys.js';

/** What the application does with a KMIP server, as `KmsCallbacks`. A key that is to be unwrapped names the object that wrapped it. */
export interface KmipCallbacks {
  encrypt(call: KmsEncryptCall<KmipMasterKey>): Promise<Uint8Array | KmsWrapped> | Uint8Array | KmsWrapped;
  decrypt(call: KmsDecryptCall<KmipMasterKey & { readonly keyId: string }>): Promise<Uint8Array> | Uint8Array;
}

/**
 * Makes a KMS provider of two functions that talk to a KMIP server.
 *
 * Shape: `encrypt` returns `{ ciphertext, keyId }`, where `keyId` is the UniqueIdentifier of the object that wrapped the
 * key, unless the master key named one already. For keys that drivers read too: with `delegated: true` the ciphertext is
 * the server's IV (16 bytes) and the encrypted key (112 bytes) end to end; without it drivers expect the data key under a
 * 96-byte secret that the server keeps, which is AEAD_AES_256_CBC_HMAC_SHA_512 without associated data.
 * Errors: throw a `CsfleError` with a `KMS_*` code to say what went wrong.
 */
export function kmipKms(callbacks: KmipCallbacks): KmsCallbacks {
  const { encrypt, decrypt } = (callbacks ?? {}) as Partial<KmipCallbacks>;
  if (typeof encrypt !== 'function' || typeof decrypt !== 'function')
    throw argumentError(`kmipKms needs the functions encrypt and decrypt, found ${kindOf(callbacks)}`);
  // The core checked the fields.
  return { encrypt: (call) => callbacks.encrypt(call as never), decrypt: (call) => callbacks.decrypt(call as never) };
}
