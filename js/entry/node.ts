/** Node: starts the instance while the module loads, so that nothing needs to be awaited. */

import * as crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import * as bson from 'bson';
import { setDefaultBson } from '../bson.js';
import { type AwsKmsSdk, setAwsSdkSource, withoutAwsSdk } from '../kms/aws.js';
import { setHostCrypto } from '../mongocrypt/index.js';
import { nodePrimitives } from '../node-crypto.js';
import { setTrustEnvironment, TRUST_VARIABLE } from '../trust.js';
import { loadSync, setHostPrimitives } from '../wasm.js';

export * from '../index.js';
export {
  cryptoCallbacks,
  type CryptoCallbackResult,
  type DataKeyContextOptions,
  type ExplicitEncryptionContextOptions,
  MongoCrypt,
  MongoCryptContext,
  type MongoCryptErrorWrapper,
  type MongoCryptKMSRequest,
  type MongoCryptOptions,
  type MongoCryptStatus,
  setTrustedMasterKeys,
} from '../mongocrypt/index.js';

/** Set by the build: the SHA-256 of `csfle.wasm`, in base64. */
declare const CSFLE_WASM_SHA256: string;

// This file is built as CommonJS, since mongosh cannot load ES modules and the driver requires it: `require` and `__dirname` are there.
loadSync(fileBeside() ?? embedded());
setDefaultBson(bson);
setHostCrypto(crypto);
setHostPrimitives(nodePrimitives(crypto));
setTrustEnvironment(() => process.env[TRUST_VARIABLE]);
setAwsSdkSource(() => {
  // `require` in a try: the one way to name a package that may be absent which every bundler understands.
  try {
    return require('@aws-sdk/client-kms') as AwsKmsSdk;
  } catch (cause) {
    throw withoutAwsSdk(cause);
  }
});

/** What an installation has beside this file. In a bundle another file may have its place: the sum tells. */
function fileBeside(): Uint8Array | undefined {
  try {
    const bytes = readFileSync(join(__dirname, 'csfle.wasm'));
    return crypto.createHash('sha256').update(bytes).digest('base64') === CSFLE_WASM_SHA256 ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** The same once more in a module, which bundlers take along without being told. It takes longer to read than the file. */
function embedded(): Uint8Array {
  return brotliDecompressSync(Buffer.from(require('./csfle.wasm.cjs') as string, 'base64'));
}

/** Does nothing here: the instance started with the module. It exists so that code for browsers runs in Node as well. */
export function init(_input?: unknown): Promise<void> {
  return Promise.resolve();
}
