/** Node: starts the instance while the module loads, so that nothing needs to be awaited. */

import * as crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as bson from 'bson';
import { setDefaultBson } from '../bson.js';
import { setAwsCommandSource } from '../kms/aws.js';
import { setHostCrypto } from '../mongocrypt/index.js';
import { loadSync } from '../wasm.js';

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
} from '../mongocrypt/index.js';

// This file is bundled as CommonJS (mongosh cannot load ES modules), where `__dirname` is the folder of the bundle.
loadSync(readFileSync(join(__dirname, 'csfle.wasm')));
setDefaultBson(bson);
setHostCrypto(crypto);
setAwsCommandSource(() => import('@aws-sdk/client-kms'));

/** Does nothing here: the instance started with the module. It exists so that code for browsers runs in Node as well. */
export function init(): Promise<void> {
  return Promise.resolve();
}
