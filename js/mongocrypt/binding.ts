/** The inner object of a `MongoCrypt`: makes contexts, and throws what the binding throws, before it is wrapped. */

import { guarded, newMongoCrypt } from '../wasm.js';
import type { MongoCryptContextHandle, MongoCryptHandle } from '../wasm-handles.js';
import { BindingContext } from './binding-context.js';
import type { DataKeyContextOptions, ExplicitEncryptionContextOptions, IMongoCrypt, MongoCryptOptions, MongoCryptStatus } from './interface.js';
import { checkOptions, checkTrust, refuseLibrary } from './options.js';
import { bytesOf, refused, statusOf } from './status.js';
import { followTrust } from './trust.js';

const optionalBytes = (value: unknown, name: string): Uint8Array | undefined => (value === undefined ? undefined : bytesOf(value, name));

/** COMPAT: the original cannot make an object of null or undefined either, and says what the engine says. */
function objectOf<T extends object>(options: T | undefined): Partial<T> {
  if (options === undefined || options === null) throw new TypeError('Cannot convert undefined or null to object');
  return Object(options) as Partial<T>;
}

/** Makes a context, with the library's errors in the binding's form. */
function made(work: () => MongoCryptContextHandle): BindingContext {
  try {
    return new BindingContext(guarded(work));
  } catch (error) {
    throw refused(error);
  }
}

/** The native object of the original, reached as `mongoCrypt.mc`. */
export class Binding implements IMongoCrypt {
  readonly #handle: MongoCryptHandle;

  constructor(options: Partial<MongoCryptOptions>) {
    const { kmsProviders, schemaMap, encryptedFieldsMap, bypassQueryAnalysis, keyExpirationMs, libraryPath } = checkOptions(options);
    try {
      const trusted = checkTrust(options);
      followTrust();
      this.#handle = newMongoCrypt(kmsProviders, schemaMap, encryptedFieldsMap, bypassQueryAnalysis, keyExpirationMs, trusted);
    } catch (error) {
      throw refused(error);
    }
    if (libraryPath !== undefined && !bypassQueryAnalysis) refuseLibrary(libraryPath);
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

  makeEncryptionContext(database: string, command: Uint8Array): BindingContext {
    const name = `${database}`;
    const bytes = bytesOf(command, 'command');
    return made(() => this.#handle.encrypt(name, bytes, Date.now()));
  }

  makeExplicitEncryptionContext(value: Uint8Array, options?: ExplicitEncryptionContextOptions): BindingContext {
    const bytes = bytesOf(value, 'value');
    const given = objectOf(options);
    const isExpression = given.expressionMode;
    if (typeof isExpression !== 'boolean') throw new TypeError('option `expressionMode` is required.');
    const keyId = optionalBytes(given.keyId, 'keyId');
    const keyAltName = optionalBytes(given.keyAltName, 'keyAltName');
    // COMPAT: a property that is there and undefined becomes the text "undefined", which is refused.
    const algorithm = 'algorithm' in given ? `${given.algorithm}` : undefined;
    if (algorithm?.toLowerCase() === 'range') {
      if (!('rangeOptions' in given)) throw new TypeError('`rangeOptions` must be provided if `algorithm` is set to Range');
      bytesOf(given.rangeOptions, 'rangeOptions');
    }
    const hasContentionFactor = 'contentionFactor' in given;
    const queryType = 'queryType' in given ? `${given.queryType}` : undefined;
    const hasTextOptions = 'textOptions' in given;
    if (hasTextOptions) bytesOf(given.textOptions, 'textOptions');
    return made(() =>
      this.#handle.explicitEncrypt(bytes, keyId, keyAltName, algorithm, hasContentionFactor, queryType, hasTextOptions, isExpression, Date.now()),
    );
  }

  makeDecryptionContext(reply: Uint8Array): BindingContext {
    const bytes = bytesOf(reply, 'value');
    return made(() => this.#handle.decrypt(bytes, Date.now()));
  }

  makeExplicitDecryptionContext(value: Uint8Array): BindingContext {
    const bytes = bytesOf(value, 'value');
    return made(() => this.#handle.explicitDecrypt(bytes, Date.now()));
  }

  makeDataKeyContext(masterKey: Uint8Array, options: DataKeyContextOptions): BindingContext {
    const bytes = bytesOf(masterKey, 'options');
    const given = objectOf(options);
    // COMPAT: holes are left out, which `filter` does; what is no array counts as not given.
    const names = Array.isArray(given.keyAltNames) ? given.keyAltNames.filter(() => true) : [];
    const keyAltNames = names.map((name) => bytesOf(name, 'options.keyAltName[]'));
    const keyMaterial = optionalBytes(given.keyMaterial, 'options.keyMaterial');
    return made(() => this.#handle.createDataKey(bytes, keyAltNames, keyMaterial, Date.now()));
  }

  makeRewrapManyDataKeyContext(filter: Uint8Array, masterKey?: Uint8Array): BindingContext {
    const bytes = bytesOf(filter, 'filter');
    // COMPAT: whatever is no typed array counts as not given.
    const target = ArrayBuffer.isView(masterKey) && !(masterKey instanceof DataView) ? masterKey : undefined;
    return made(() => this.#handle.rewrap(bytes, target, Date.now()));
  }
}
