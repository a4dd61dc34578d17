/** The inner object of a `MongoCrypt`: makes contexts, and throws what the binding throws, before it is wrapped. */

import { guarded, newMongoCrypt } from '../wasm.js';
import type { MongoCryptContextHandle, MongoCryptHandle } from '../wasm-handles.js';
import { checkOptions, type MongoCryptOptions } from './options.js';
import { bytesOf, type MongoCryptStatus, refused, statusOf } from './status.js';

/** Options of explicit encryption; those of Queryable Encryption are refused by the library. */
export interface ExplicitEncryptionContextOptions {
  /** The 16 bytes of a UUID. */
  readonly keyId?: Uint8Array | undefined;
  /** BSON `{keyAltName: string}`. */
  readonly keyAltName?: Uint8Array | undefined;
  readonly algorithm?: string | undefined;
  readonly rangeOptions?: Uint8Array | undefined;
  readonly textOptions?: Uint8Array | undefined;
  readonly contentionFactor?: bigint | number | undefined;
  readonly queryType?: string | undefined;
  readonly expressionMode: boolean;
}

/** Options of a new data key; each is BSON. */
export interface DataKeyContextOptions {
  /** `{keyAltName: string}` each. */
  readonly keyAltNames?: readonly Uint8Array[] | undefined;
  /** `{keyMaterial: binary}`. */
  readonly keyMaterial?: Uint8Array | undefined;
}

const optionalBytes = (value: unknown, name: string): Uint8Array | undefined =>
  value === undefined ? undefined : bytesOf(value, name);

/** Runs one call of the library, with its errors in the binding's form. */
function refusing<T>(work: () => T): T {
  try {
    return guarded(work);
  } catch (error) {
    throw refused(error);
  }
}

/** The native object of the original, reached as `mongoCrypt.mc`. */
export class Binding {
  readonly #handle: MongoCryptHandle;

  constructor(options: MongoCryptOptions) {
    const { kmsProviders, schemaMap, encryptedFieldsMap, bypassQueryAnalysis, keyExpirationMs } = checkOptions(options);
    try {
      this.#handle = newMongoCrypt(kmsProviders, schemaMap, encryptedFieldsMap, bypassQueryAnalysis, keyExpirationMs);
    } catch (error) {
      throw refused(error);
    }
  }

  get status(): MongoCryptStatus {
    return statusOf(undefined);
  }

  /** No native library is ever loaded. */
  get cryptSharedLibVersionInfo(): null {
    return null;
  }

  /** The cryptography is neither OpenSSL's nor JavaScript's. */
  get cryptoHooksProvider(): null {
    return null;
  }

  makeEncryptionContext(database: string, command: Uint8Array): MongoCryptContextHandle {
    const name = String(database);
    const bytes = bytesOf(command, 'command');
    return refusing(() => this.#handle.encrypt(name, bytes, Date.now()));
  }

  makeExplicitEncryptionContext(value: Uint8Array, options: ExplicitEncryptionContextOptions): MongoCryptContextHandle {
    const bytes = bytesOf(value, 'value');
    const given: Partial<ExplicitEncryptionContextOptions> = Object(options ?? {});
    if (typeof given.expressionMode !== 'boolean') throw new TypeError('option `expressionMode` is required.');
    const keyId = optionalBytes(given.keyId, 'keyId');
    const keyAltName = optionalBytes(given.keyAltName, 'keyAltName');
    // COMPAT: a property that is there and undefined becomes the text "undefined", which is refused.
    const algorithm = 'algorithm' in given ? String(given.algorithm) : undefined;
    if (algorithm?.toLowerCase() === 'range') {
      if (!('rangeOptions' in given)) throw new TypeError('`rangeOptions` must be provided if `algorithm` is set to Range');
      bytesOf(given.rangeOptions, 'rangeOptions');
    }
    const hasContentionFactor = 'contentionFactor' in given;
    const queryType = 'queryType' in given ? String(given.queryType) : undefined;
    const isExpression = given.expressionMode;
    return refusing(() =>
      this.#handle.explicitEncrypt(bytes, keyId, keyAltName, algorithm, hasContentionFactor, queryType, isExpression, Date.now()),
    );
  }

  makeDecryptionContext(reply: Uint8Array): MongoCryptContextHandle {
    const bytes = bytesOf(reply, 'value');
    return refusing(() => this.#handle.decrypt(bytes, Date.now()));
  }

  makeExplicitDecryptionContext(value: Uint8Array): MongoCryptContextHandle {
    const bytes = bytesOf(value, 'value');
    return refusing(() => this.#handle.explicitDecrypt(bytes, Date.now()));
  }

  makeDataKeyContext(masterKey: Uint8Array, options: DataKeyContextOptions): MongoCryptContextHandle {
    const bytes = bytesOf(masterKey, 'options');
    // The original cannot make an object of null or undefined either.
    if (options === undefined || options === null) throw new TypeError('Cannot convert undefined or null to object');
    const names = Array.isArray(options.keyAltNames) ? options.keyAltNames : [];
    const keyAltNames = names.map((name) => bytesOf(name, 'options.keyAltName[]'));
    const keyMaterial = optionalBytes(options.keyMaterial, 'options.keyMaterial');
    return refusing(() => this.#handle.createDataKey(bytes, keyAltNames, keyMaterial, Date.now()));
  }

  makeRewrapManyDataKeyContext(filter: Uint8Array, masterKey?: Uint8Array): MongoCryptContextHandle {
    const bytes = bytesOf(filter, 'filter');
    // COMPAT: whatever is no typed array counts as not given.
    const target = ArrayBuffer.isView(masterKey) && !(masterKey instanceof DataView) ? masterKey : undefined;
    return refusing(() => this.#handle.rewrap(bytes, target, Date.now()));
  }
}
