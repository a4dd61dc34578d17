/** The cryptography of Node that this interface needs: signatures that WebAssembly cannot make in constant time. */

import type { Digest, NodeCrypto } from '../node-crypto.js';

/** The part of `node:crypto` in use. */
export interface HostCrypto extends NodeCrypto {
  randomFillSync(buffer: Uint8Array, offset: number, size: number): unknown;
  createHash(algorithm: string): Digest;
  createPrivateKey(key: { key: Buffer; format: 'der'; type: 'pkcs8' }): { readonly asymmetricKeyType?: string | undefined };
  sign(algorithm: string, data: Uint8Array, key: never): Uint8Array;
}

let injected: HostCrypto | undefined;

/** The entry for Node calls this while it loads. */
export function setHostCrypto(crypto: HostCrypto): void {
  injected = crypto;
}

/** What was injected. */
export function hostCrypto(): HostCrypto {
  if (injected === undefined) throw new Error('this host has no cryptography of Node');
  return injected;
}

/** RSASSA-PKCS1-v1_5 with SHA-256. The key is PKCS#8 DER; with one of another algorithm Node would sign by that. */
export function signRsaSha256(key: Uint8Array, input: Uint8Array): Uint8Array {
  const crypto = hostCrypto();
  const der = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  const privateKey = crypto.createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  if (privateKey.asymmetricKeyType !== 'rsa') throw new TypeError('the private key is not one of RSA');
  return crypto.sign('sha256', input, privateKey as never);
}
