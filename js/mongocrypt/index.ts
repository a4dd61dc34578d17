/**
 * The interface of the npm package `mongodb-client-encryption`: official drivers, ODMs and shells work with this package
 * under that name (`"mongodb-client-encryption": "npm:csfle-wasm@..."`).
 */

import { version } from '../wasm.js';
import { Binding } from './binding.js';
import { MongoCryptContext, wrapped } from './context.js';
import type {
  DataKeyContextOptions,
  ExplicitEncryptionContextOptions,
  IMongoCrypt,
  IMongoCryptContext,
  MongoCryptErrorWrapper,
  MongoCryptOptions,
  MongoCryptStatus,
} from './interface.js';

export { MongoCryptContext } from './context.js';
export { cryptoCallbacks, type CryptoCallbackResult } from './crypto-callbacks.js';
export { setHostCrypto } from './host-crypto.js';
export { setTrustedMasterKeys } from './trust.js';
export type {
  DataKeyContextOptions,
  ExplicitEncryptionContextOptions,
  MongoCryptErrorWrapper,
  MongoCryptKMSRequest,
  MongoCryptOptions,
  MongoCryptStatus,
} from './interface.js';

/** The release of libmongocrypt whose behaviour this is. */
const LIBMONGOCRYPT = '1.21.0';

/**
 * Providers and caches, from which contexts are made.
 *
 * COMPAT: the inner object is a property, and looked up on every call, so that stand-ins and proxies work.
 */
export class MongoCrypt implements IMongoCrypt {
  /** A version that programs can compare, with the truth behind the plus sign (semver.org, "build metadata"). */
  static get libmongocryptVersion(): string {
    return `${LIBMONGOCRYPT}+csfle-wasm.${version()}`;
  }

  private readonly mc: IMongoCrypt;
  private readonly errorWrapper: MongoCryptErrorWrapper;
  /** Always null: automatic encryption asks mongocryptd, as the driver starts it. */
  readonly cryptSharedLibVersionInfo: { version: bigint; versionStr: string } | null;
  readonly cryptoHooksProvider: 'js' | 'native_openssl' | null;

  /** Errors are those of the original, and do not go through `errorWrapper`. Later ones do. */
  constructor(options: MongoCryptOptions) {
    this.mc = new Binding({ ...options });
    this.errorWrapper = options.errorWrapper;
    this.cryptSharedLibVersionInfo = this.mc.cryptSharedLibVersionInfo;
    this.cryptoHooksProvider = this.mc.cryptoHooksProvider;
  }

  makeEncryptionContext(ns: string, command: Uint8Array): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeEncryptionContext(ns, command));
  }

  makeExplicitEncryptionContext(value: Uint8Array, options?: ExplicitEncryptionContextOptions): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeExplicitEncryptionContext(value, options));
  }

  makeDecryptionContext(buffer: Uint8Array): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeDecryptionContext(buffer));
  }

  makeExplicitDecryptionContext(buffer: Uint8Array): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeExplicitDecryptionContext(buffer));
  }

  makeDataKeyContext(optionsBuffer: Uint8Array, options: DataKeyContextOptions): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeDataKeyContext(optionsBuffer, options));
  }

  makeRewrapManyDataKeyContext(filter: Uint8Array, encryptionKey?: Uint8Array): MongoCryptContext {
    return made(this.errorWrapper, () => this.mc.makeRewrapManyDataKeyContext(filter, encryptionKey));
  }

  get status(): MongoCryptStatus {
    return wrapped(this.errorWrapper, () => this.mc.status);
  }
}

function made(wrapper: MongoCryptErrorWrapper, make: () => IMongoCryptContext): MongoCryptContext {
  return new MongoCryptContext(wrapped(wrapper, make), wrapper);
}
