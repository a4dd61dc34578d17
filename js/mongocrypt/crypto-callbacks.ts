/**
 * Cryptography as functions that write into a buffer they are given, as `mongodb-client-encryption` exports them.
 *
 * They are there for programs that import them. Nothing here calls them: the cryptography of this package is in
 * WebAssembly, and a key that is in there does not come out.
 */

import { concatBytes } from '../bytes.js';
import { hostCrypto, type HostCrypto, signRsaSha256 } from './host-crypto.js';

/** How many bytes were written, or why none were. */
export type CryptoCallbackResult = number | Error;

type Cipher = (key: Uint8Array, iv: Uint8Array, input: Uint8Array, output: Uint8Array) => CryptoCallbackResult;
type Keyed = (key: Uint8Array, input: Uint8Array, output: Uint8Array) => CryptoCallbackResult;

/** COMPAT: what does not fit is left out, and counted all the same. */
function written(output: Uint8Array, work: () => readonly Uint8Array[]): CryptoCallbackResult {
  try {
    const whole = concatBytes(work());
    output.set(whole.subarray(0, output.length));
    return whole.length;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function cipher(make: 'createCipheriv' | 'createDecipheriv', algorithm: string): Cipher {
  return (key, iv, input, output) =>
    written(output, () => {
      const crypto: HostCrypto = hostCrypto();
      const machine = crypto[make](algorithm, key, iv);
      machine.setAutoPadding(false);
      return [machine.update(input), machine.final()];
    });
}

function hmac(algorithm: string): Keyed {
  return (key, input, output) => written(output, () => [hostCrypto().createHmac(algorithm, key).update(input).digest()]);
}

function randomHook(buffer: Uint8Array, count: number): CryptoCallbackResult {
  try {
    hostCrypto().randomFillSync(buffer, 0, count);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
  return count;
}

function sha256Hook(input: Uint8Array, output: Uint8Array): CryptoCallbackResult {
  return written(output, () => [hostCrypto().createHash('sha256').update(input).digest()]);
}

function signRsaSha256Hook(key: Uint8Array, input: Uint8Array, output: Uint8Array): CryptoCallbackResult {
  return written(output, () => [signRsaSha256(key, input)]);
}

/** The nine functions, each of which returns a byte count or an `Error`. */
export const cryptoCallbacks = {
  randomHook,
  sha256Hook,
  signRsaSha256Hook,
  aes256CbcEncryptHook: cipher('createCipheriv', 'aes-256-cbc'),
  aes256CbcDecryptHook: cipher('createDecipheriv', 'aes-256-cbc'),
  aes256CtrEncryptHook: cipher('createCipheriv', 'aes-256-ctr'),
  aes256CtrDecryptHook: cipher('createDecipheriv', 'aes-256-ctr'),
  hmacSha512Hook: hmac('sha512'),
  hmacSha256Hook: hmac('sha256'),
};
