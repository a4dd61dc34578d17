/** Everything behind a public class: the engine, the key vault, the providers and their limits. */

import { AbortScope, Limiter, within } from './abort.js';
import { type BsonLibrary, binaryBytes, isBinary, requireBson } from './bson.js';
import { decodeBase64, isBytes, wipe } from './bytes.js';
import { argumentError, CsfleError, kindOf } from './errors.js';
import type { KeyVaultStore } from './key-vault.js';
import { awsOfDrivers } from './kms/aws.js';
import type { KmsCallbacks, KmsProviders } from './kms/index.js';
import { SharedCalls } from './kms/shared-calls.js';
import { type Host, run } from './run.js';
import { suggestion } from './suggestion.js';
import { allowedEndpointsOf, TRUST_OPTION_NAMES, trustedMasterKeysOf, trustLists, type TrustOptions } from './trust.js';
import { Engine, type Machine, type TrustLists } from './wasm.js';

/** Limits of KMS calls. */
export interface KmsLimits {
  /** How many KMS calls run at a time. Default: 8, well below the request quotas of the clouds. */
  readonly kmsConcurrency?: number | undefined;
  /** Milliseconds for one attempt of a KMS call. Default: 10000. */
  readonly kmsTimeoutMS?: number | undefined;
  /** How often a KMS call that was throttled, timed out or lost on the way is repeated. Default: 3. */
  readonly kmsRetries?: number | undefined;
}

/** The names of `KmsLimits`, for refusing others. */
export const KMS_LIMIT_NAMES = ['kmsConcurrency', 'kmsTimeoutMS', 'kmsRetries'] as const;

/** Options that every class with keys takes. Times are in milliseconds. */
export interface SessionOptions extends KmsLimits, TrustOptions {
  /** The providers, by the identifier that key documents carry. */
  readonly kmsProviders: KmsProviders;
  /** How long an unwrapped data key is kept; 0 keeps it for ever. Default: 60000. */
  readonly keyExpirationMS?: number | undefined;
  /** How many unwrapped data keys are kept at most; the oldest goes first. Default: 1024. */
  readonly maxCachedKeys?: number | undefined;
  /** The BSON library to use. Default: the one that the entry brings. */
  readonly bson?: BsonLibrary | undefined;
  /** Ends every operation when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** The names of `SessionOptions`, for refusing others. */
export const SESSION_OPTION_NAMES = ['kmsProviders', 'keyExpirationMS', 'maxCachedKeys', 'bson', ...KMS_LIMIT_NAMES, 'signal', ...TRUST_OPTION_NAMES] as const;

const DEFAULTS = {
  keyExpirationMS: 60_000,
  maxCachedKeys: 1024,
  kmsConcurrency: 8,
  kmsTimeoutMS: 10_000,
  kmsRetries: 3,
} as const;
const LOCAL_KEY_LENGTH = 96;
// Timers of JavaScript hosts take a signed 32-bit number of milliseconds and fire at once for more.
const MOST_TIMER_MS = 2 ** 31 - 1;

/** An engine with its host. It must be closed; closing twice is fine. */
export class Session {
  readonly bson: BsonLibrary;
  readonly store: KeyVaultStore | undefined;
  readonly #engine: Engine;
  readonly #host: Host;
  readonly #scope: AbortScope;
  readonly #trust: readonly [lists: TrustLists, allowedEndpoints: readonly string[]];
  #isClosed = false;

  /**
   * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, `HOST_BSON_MISSING`, `HOST_NOT_INITIALIZED`, and
   * `KMS_PROVIDER_UNRECOGNIZED` for an identifier that is none.
   */
  constructor(options: SessionOptions, store: (bson: BsonLibrary) => KeyVaultStore | undefined) {
    const { kmsProviders } = options;
    if (typeof kmsProviders !== 'object' || kmsProviders === null) throw argumentError(`kmsProviders must be an object, found ${kindOf(kmsProviders)}`);
    const number = (name: keyof typeof DEFAULTS, least: number, most?: number): number => wholeNumber(name, options[name] ?? DEFAULTS[name], least, most);
    const limits = {
      limiter: new Limiter(number('kmsConcurrency', 1)),
      shared: new SharedCalls(),
      timeoutMs: number('kmsTimeoutMS', 1, MOST_TIMER_MS),
      retries: number('kmsRetries', 0),
    };
    requireSignal(options.signal);
    this.#trust = [trustLists(trustedMasterKeysOf(options.trustedMasterKeys)), allowedEndpointsOf(options.allowedEndpoints)];
    this.bson = requireBson(options.bson);
    this.store = store(this.bson);
    this.#engine = new Engine(number('keyExpirationMS', 0), number('maxCachedKeys', 1, 2 ** 32 - 1));
    this.#scope = new AbortScope(undefined, options.signal);
    try {
      this.#engine.admit(...this.#trust);
      const providers = registerProviders(this.#engine, kmsProviders);
      this.#host = {
        bson: this.bson,
        store: this.store,
        kms: { ...limits, providers, isPinned: this.#trust[0].length > 0 },
        scope: this.#scope,
      };
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Starts a machine and drives it to its output. */
  async run(start: (engine: Engine) => Machine, signal?: AbortSignal): Promise<Uint8Array> {
    this.check();
    return run(start(this.#engine), this.#host, signal);
  }

  /** Waits for work outside of a machine, such as a call to the key vault, but no longer than this session and `signal` last. */
  async during<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.check();
    const scope = new AbortScope(this.#scope, signal);
    try {
      scope.throwIfAborted();
      return await within(scope, work());
    } finally {
      scope.release();
    }
  }

  /**
   * Restricts this session to stored keys under `sources`, unless a list of patterns says which are trusted, and to new
   * wrappings under `targets`. Master keys are BSON; fields may be left out, and mean what they say.
   * Errors: `MASTER_KEY_INVALID`, `KMS_PROVIDER_UNRECOGNIZED`, `KMS_ENDPOINT_INVALID`.
   */
  pin(sources: readonly Uint8Array[] | undefined, targets: readonly Uint8Array[]): void {
    this.#engine.admit(...this.#trust, sources, targets);
  }

  /** Wipes the cached keys, so that the key vault is asked again for each. */
  forgetKeys(): void {
    if (!this.#isClosed) this.#engine.clearCache();
  }

  /** Throws when the session was closed (`HOST_CLOSED`) or its signal aborted (`OPERATION_ABORTED`). */
  check(): void {
    if (this.#isClosed) throw closedError();
    this.#scope.throwIfAborted();
  }

  /** Wipes the keys and ends what is still running with `HOST_CLOSED`. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#scope.abort(closedError());
    this.#engine.free();
  }
}

function closedError(): CsfleError {
  return new CsfleError('HOST_CLOSED', 'this object was closed');
}

/** Refuses what is no `AbortSignal`; one of another realm or of a library for old browsers is fine. */
export function requireSignal(signal: unknown): void {
  const { aborted, addEventListener } = (signal ?? { aborted: false, addEventListener() {} }) as Partial<AbortSignal>;
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function')
    throw argumentError(`signal must be an AbortSignal, found ${kindOf(signal)}`, { argument: 'signal' });
}

/** Refuses options that are not known by name, so that a misspelt one is not silently without effect. */
export function refuseUnknownOptions(options: object, known: readonly string[], what: string): void {
  if (typeof options !== 'object' || options === null) throw argumentError(`the options of ${what} must be an object, found ${kindOf(options)}`);
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name)) {
      throw new CsfleError('OPTION_INVALID', `${what} has no option \`${name}\`${suggestion(name, known)}; it has ${known.join(', ')}`, {
        details: { option: name },
      });
    }
  }
}

/** Refuses anything but true and false in these options: text such as 'false' would count as true. Errors: `OPTION_INVALID`. */
export function requireBooleans<T extends object>(options: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    const value = options[name];
    if (value !== undefined && typeof value !== 'boolean')
      throw new CsfleError('OPTION_INVALID', `${name} must be true or false, found ${kindOf(value)}`, { details: { option: name } });
  }
}

/** Refuses anything but functions in these options. Errors: `OPTION_INVALID`. */
export function requireFunctions<T extends object>(options: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    const value = options[name];
    if (value !== undefined && typeof value !== 'function')
      throw new CsfleError('OPTION_INVALID', `${name} must be a function, found ${kindOf(value)}`, { details: { option: name } });
  }
}

export function wholeNumber(name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
    const found = typeof value === 'number' ? value : kindOf(value);
    throw argumentError(`${name} must be a whole number ${range}, found ${found}`, { argument: name });
  }
  return value as number;
}

function registerProviders(engine: Engine, kmsProviders: KmsProviders): ReadonlyMap<string, KmsCallbacks> {
  const remote = new Map<string, KmsCallbacks>();
  for (const [id, provider] of Object.entries(kmsProviders) as [string, unknown][]) {
    if (provider === undefined) continue;
    if (id === 'local' || id.startsWith('local:')) {
      const key = localKey(id, (provider as { key?: unknown } | null)?.key);
      try {
        engine.addLocalProvider(id, key.bytes);
      } finally {
        if (key.ours) wipe(key.bytes);
      }
    } else {
      engine.addRemoteProvider(id);
      remote.set(id, callbacks(id, provider));
    }
  }
  return remote;
}

/** The 96 bytes of a local master key; `ours` when they are a copy that this layer made and wipes. */
function localKey(id: string, key: unknown): { bytes: Uint8Array; ours: boolean } {
  const decoded = typeof key === 'string' ? decodeBase64(key) : undefined;
  const given = isBytes(key) ? key : isBinary(key) ? binaryBytes(key) : undefined;
  const bytes = decoded ?? given;
  const where = `kmsProviders[${JSON.stringify(id)}].key`;
  if (bytes === undefined) {
    const found = typeof key === 'string' ? `a string of ${key.length} characters that is not base64` : kindOf(key);
    throw argumentError(`${where} must be ${LOCAL_KEY_LENGTH} bytes (a Uint8Array, a BSON binary or base64 text), found ${found}`, { provider: id });
  }
  if (bytes.length !== LOCAL_KEY_LENGTH) {
    wipe(decoded);
    throw argumentError(`${where} must be ${LOCAL_KEY_LENGTH} bytes, found ${bytes.length}`, {
      provider: id,
      length: bytes.length,
    });
  }
  return { bytes, ours: decoded !== undefined };
}

function callbacks(id: string, provider: unknown): KmsCallbacks {
  const { encrypt, decrypt } = (provider ?? {}) as Partial<KmsCallbacks>;
  if (typeof encrypt === 'function' && typeof decrypt === 'function') return provider as KmsCallbacks;
  const type = id.split(':', 1)[0];
  const ofDrivers = type === 'aws' ? awsOfDrivers(provider) : undefined;
  if (ofDrivers !== undefined) return ofDrivers;
  const advice = type === 'aws' ? 'for example awsKms(new KMSClient({ region }))' : `for example ${type}Kms(client)`;
  throw argumentError(
    `kmsProviders[${JSON.stringify(id)}] must have the functions encrypt and decrypt, ${advice}; found ${kindOf(provider)}. Credentials belong to the client of the KMS`,
    { provider: id },
  );
}
