/**
 * The interface of the npm package `mongodb-client-encryption`: official drivers, ODMs and shells work with this package
 * under that name (`"mongodb-client-encryption": "npm:csfle-wasm@..."`).
 */

import { version } from '../wasm.js';
import { Binding, type DataKeyContextOptions, type ExplicitEncryptionContextOptions } from './binding.js';
import { MongoCryptContext, type MongoCryptErrorWrapper, wrapped } from './context.js';
import type { MongoCryptOptions } from './options.js';

export type { DataKeyContextOptions, ExplicitEncryptionContextOptions } from './binding.js';
export { MongoCryptContext, type MongoCryptErrorWrapper } from './context.js';
export { cryptoCallbacks, type CryptoCallbackResult } from './crypto-callbacks.js';
export { setHostCrypto } from './host-crypto.js';
export type { MongoCryptKMSRequest } from './kms-request.js';
export type { MongoCryptOptions } from './options.js';
export type { MongoCryptStatus } from './status.js';

/** The release of libmongocrypt whose behaviour this is. */
const LIBMONGOCRYPT = '1.21.0';

/** Providers and caches, from which contexts are made. */
export class MongoCrypt {
  /** A version that programs can compare, with the truth behind the plus sign (semver.org, "build metadata"). */
  static get libmongocryptVersion(): string {
    return `${LIBMONGOCRYPT}+csfle-wasm.${version()}`;
  }

  readonly mc: Binding;
  readonly errorWrapper: MongoCryptErrorWrapper;
  /** Always null: automatic encryption asks mongocryptd, as the driver starts it. */
  readonly cryptSharedLibVersionInfo: { readonly version: bigint; readonly versionStr: string } | null;
  readonly cryptoHooksProvider: 'js' | 'native_openssl' | null;

  /** Errors are those of the original, and do not go through `errorWrapper`. Later ones do. */
  constructor(options: MongoCryptOptions) {
    this.mc = new Binding(options);
    this.errorWrapper = options.errorWrapper;
    this.cryptSharedLibVersionInfo = this.mc.cryptSharedLibVersionInfo;
    this.cryptoHooksProvider = this.mc.cryptoHooksProvider;
  }

  /** Encrypts a command for a database; `ns` is the database's name, `command` BSON. */
  makeEncryptionContext(ns: string, command: Uint8Array): MongoCryptContext {
    return this.#context(() => this.mc.makeEncryptionContext(ns, command));
  }

  /** Encrypts one value; `value` is BSON `{v: value}`. */
  makeExplicitEncryptionContext(value: Uint8Array, options: ExplicitEncryptionContextOptions): MongoCryptContext {
    return this.#context(() => this.mc.makeExplicitEncryptionContext(value, options));
  }

  /** Decrypts every value of a reply. */
  makeDecryptionContext(buffer: Uint8Array): MongoCryptContext {
    return this.#context(() => this.mc.makeDecryptionContext(buffer));
  }

  /** Decrypts one value; `buffer` is BSON `{v: binary}`. */
  makeExplicitDecryptionContext(buffer: Uint8Array): MongoCryptContext {
    return this.#context(() => this.mc.makeExplicitDecryptionContext(buffer));
  }

  /** Makes a data key under a master key, BSON `{provider, ...}`. */
  makeDataKeyContext(kek: Uint8Array, options: DataKeyContextOptions): MongoCryptContext {
    return this.#context(() => this.mc.makeDataKeyContext(kek, options));
  }

  /** Rewraps the data keys that a filter finds, under a master key or each under its own. */
  makeRewrapManyDataKeyContext(filter: Uint8Array, kek?: Uint8Array): MongoCryptContext {
    return this.#context(() => this.mc.makeRewrapManyDataKeyContext(filter, kek));
  }

  #context(make: () => ReturnType<Binding['makeDecryptionContext']>): MongoCryptContext {
    return new MongoCryptContext(wrapped(this.errorWrapper, make), this.errorWrapper);
  }
}
