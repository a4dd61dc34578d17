// Stand-ins for the clients of other clouds, which cannot be reached from a test: packages of the same names in the reader's folder,
// with the same shapes, whose master keys are made on the spot. And the KMIP client that a reader has.
import { generateKeyPairSync } from 'node:crypto';

const packages = {
  '@azure/identity': `
    export class DefaultAzureCredential {}
  `,
  // RSA-OAEP-256, as Azure Key Vault does it.
  '@azure/keyvault-keys': `
    import { constants, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
    import { readFileSync } from 'node:fs';
    import { DefaultAzureCredential } from '@azure/identity';
    const privateKey = readFileSync(new URL('key.pem', import.meta.url));
    const publicKey = createPublicKey(privateKey);
    const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    export class CryptographyClient {
      constructor(keyId, credential) {
        if (new URL(keyId).protocol !== 'https:' || !(credential instanceof DefaultAzureCredential)) throw new TypeError('a key URL and a credential');
      }
      async wrapKey(algorithm, key) { return { result: publicEncrypt({ key: publicKey, ...padding }, key), algorithm }; }
      async unwrapKey(algorithm, key) { return { result: privateDecrypt({ key: privateKey, ...padding }, key), algorithm }; }
    }
  `,
  '@google-cloud/kms': `
    import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
    const key = randomBytes(32);
    const iv = randomBytes(16);
    const through = (cipher, bytes) => Buffer.concat([cipher.update(bytes), cipher.final()]);
    export class KeyManagementServiceClient {
      async encrypt({ plaintext }) { return [{ ciphertext: through(createCipheriv('aes-256-cbc', key, iv), plaintext) }]; }
      async decrypt({ ciphertext }) { return [{ plaintext: through(createDecipheriv('aes-256-cbc', key, iv), ciphertext) }]; }
    }
  `,
};

// As the packages declare these names.
const declarations = {
  '@azure/identity': `
    export interface TokenCredential { getToken(scopes: string | string[], options?: object): Promise<{ token: string; expiresOnTimestamp: number } | null> }
    export declare class DefaultAzureCredential implements TokenCredential {
      constructor(options?: object);
      getToken(scopes: string | string[], options?: object): Promise<{ token: string; expiresOnTimestamp: number }>;
    }
  `,
  '@azure/keyvault-keys': `
    import type { TokenCredential } from '@azure/identity';
    export type KeyWrapAlgorithm = 'A128KW' | 'A192KW' | 'A256KW' | 'RSA-OAEP' | 'RSA-OAEP-256' | 'RSA1_5';
    export interface WrapResult { result: Uint8Array; keyID?: string; algorithm: string }
    export interface UnwrapResult { result: Uint8Array; keyID?: string; algorithm: string }
    export interface KeyOptions { abortSignal?: { readonly aborted: boolean; addEventListener(type: 'abort', listener: () => void): void; removeEventListener(type: 'abort', listener: () => void): void } }
    export declare class CryptographyClient {
      constructor(key: string, credential: TokenCredential, options?: object);
      wrapKey(algorithm: KeyWrapAlgorithm, key: Uint8Array, options?: KeyOptions): Promise<WrapResult>;
      unwrapKey(algorithm: KeyWrapAlgorithm, encryptedKey: Uint8Array, options?: KeyOptions): Promise<UnwrapResult>;
    }
  `,
  '@google-cloud/kms': `
    export interface IEncryptRequest { name?: string | null; plaintext?: Uint8Array | string | null }
    export interface IDecryptRequest { name?: string | null; ciphertext?: Uint8Array | string | null }
    export interface IEncryptResponse { name?: string | null; ciphertext?: Uint8Array | string | null }
    export interface IDecryptResponse { plaintext?: Uint8Array | string | null }
    export type Callback<Response, Request> = (error: Error | null | undefined, response?: Response | null, request?: Request | null, more?: {} | null) => void;
    export declare class KeyManagementServiceClient {
      constructor(options?: object);
      encrypt(request?: IEncryptRequest, options?: object): Promise<[IEncryptResponse, IEncryptRequest | undefined, {} | undefined]>;
      encrypt(request: IEncryptRequest, options: object, callback: Callback<IEncryptResponse, IEncryptRequest>): void;
      encrypt(request: IEncryptRequest, callback: Callback<IEncryptResponse, IEncryptRequest>): void;
      decrypt(request?: IDecryptRequest, options?: object): Promise<[IDecryptResponse, IDecryptRequest | undefined, {} | undefined]>;
      decrypt(request: IDecryptRequest, options: object, callback: Callback<IDecryptResponse, IDecryptRequest>): void;
      decrypt(request: IDecryptRequest, callback: Callback<IDecryptResponse, IDecryptRequest>): void;
    }
  `,
};
const kmipDeclaration = `
  export declare function wrap(id: string, bytes: Uint8Array): Promise<Uint8Array>;
  export declare function unwrap(id: string, bytes: Uint8Array, options: { signal: AbortSignal }): Promise<Uint8Array>;
`;

// A server's own encryption, as with delegated: true: its IV, then the encrypted bytes.
const kmipClient = `
  import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
  const keys = { 'wrapping-key': randomBytes(32) };
  export async function wrap(id, bytes) {
    const iv = randomBytes(16);
    const cipher = createCipheriv('aes-256-cbc', keys[id], iv);
    return Buffer.concat([iv, cipher.update(bytes), cipher.final()]);
  }
  export async function unwrap(id, bytes) {
    const cipher = createDecipheriv('aes-256-cbc', keys[id], bytes.subarray(0, 16));
    return Buffer.concat([cipher.update(bytes.subarray(16)), cipher.final()]);
  }
`;

export function installStandIns(project) {
  for (const [name, source] of Object.entries(packages)) {
    project.write(`node_modules/${name}/package.json`, JSON.stringify({ name, version: '0.0.0', type: 'module', exports: './index.js' }));
    project.write(`node_modules/${name}/index.js`, source);
    project.write(`node_modules/${name}/index.d.ts`, declarations[name]);
  }
  // A file, because several processes of the walk-through use the same master key.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  project.write('node_modules/@azure/keyvault-keys/key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
  project.write('your-kmip-client.mjs', kmipClient);
  project.write('your-kmip-client.d.mts', kmipDeclaration);
}
