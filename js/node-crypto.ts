/** AES and SHA-512 of Node, lent to the core for long values: they are the processor's, and WebAssembly has neither. */

import type { HostPrimitives } from './wasm.js';

interface Cipher {
  setAutoPadding(padding: boolean): unknown;
  update(data: Uint8Array): Uint8Array;
  final(): Uint8Array;
}

/** A hash or an HMAC that is being made. */
export interface Digest {
  update(data: Uint8Array): Digest;
  digest(): Uint8Array;
}

/** The part of `node:crypto` in use here. */
export interface NodeCrypto {
  createCipheriv(algorithm: string, key: Uint8Array, iv: Uint8Array): Cipher;
  createDecipheriv(algorithm: string, key: Uint8Array, iv: Uint8Array): Cipher;
  createHmac(algorithm: string, key: Uint8Array): Digest;
}

/** Runs whole blocks through a cipher and puts the result in their place. */
function transform(cipher: Cipher, blocks: Uint8Array): void {
  // A decipher would hold the last block back until it had looked for padding, and the core does that itself.
  cipher.setAutoPadding(false);
  const result = cipher.update(blocks);
  // OpenSSL clears the round keys now, and not when the garbage collector comes.
  cipher.final();
  blocks.set(result);
  result.fill(0);
}

/** Adapts `node:crypto`. */
export function nodePrimitives(crypto: NodeCrypto): HostPrimitives {
  return {
    encrypt(key, iv, blocks) {
      transform(crypto.createCipheriv('aes-256-cbc', key, iv), blocks);
    },
    decrypt(key, iv, blocks) {
      transform(crypto.createDecipheriv('aes-256-cbc', key, iv), blocks);
    },
    hmac(key, first, second, third, out) {
      const digest = crypto.createHmac('sha512', key).update(first).update(second).update(third).digest();
      out.set(digest);
      // The tag that a forged value would need.
      digest.fill(0);
    },
  };
}
