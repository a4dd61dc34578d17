/**
 * The WebAssembly instance: loading it, calling it, and what happens when it traps.
 *
 * This is the only file that imports the generated glue. Its interfaces are written by hand; the assignment to `glue`
 * below makes the compiler compare them with what wasm-bindgen generated.
 */

import { CsfleError, type ErrorDetail } from './errors.js';
import { isErrorCode, JS_ERROR_CODES } from './error-codes.js';
import * as generated from './generated/csfle_wasm.js';
import type { MongoCryptArguments, MongoCryptHandle } from './wasm-handles.js';

/** What `step` asks for next. */
export const STEP_NEED_KEYS = 1;
export const STEP_NEED_KMS = 2;
export const STEP_DONE = 3;

/** Work for a KMS, as the core describes it. */
export interface KmsRequest {
  readonly id: number;
  readonly operation: 'wrap' | 'unwrap';
  /** Provider identifier, such as `aws:eu`. */
  readonly provider: string;
  /** BSON of the master key, as stored, with `provider`. */
  readonly masterKey: Uint8Array;
  /** wrap: 96 secret bytes, which this layer wipes; unwrap: what wrapping returned. */
  readonly input: Uint8Array;
  /** UUID of the data key. */
  readonly keyId?: string | undefined;
  readonly keyAltNames: readonly string[];
}

/** One key of an assessed vault. */
export interface AssessedKey {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  readonly disposition: 'migrate' | 'done' | 'other' | 'malformed';
  readonly code?: string | undefined;
  readonly message?: string | undefined;
}

/** What a migration would do with each key of a vault. */
export interface VaultAssessment {
  readonly keys: readonly AssessedKey[];
  readonly migrate: number;
  readonly done: number;
  readonly other: number;
  readonly malformed: number;
}

/** Who encrypted what, from headers alone. */
export interface CensusReport {
  readonly documents: number;
  readonly values: number;
  readonly byKey: readonly { readonly keyId: string; readonly deterministic: number; readonly random: number }[];
  readonly queryable: number;
  readonly markings: number;
  readonly unknown: number;
  /** Values of other kinds that name a data key: Queryable Encryption, markings, damaged values, scopes of code. */
  readonly referenced: readonly { readonly keyId: string; readonly values: number }[];
  /** Encrypted values inside the scope of code, which no migration rewrites; they are among `referenced`. */
  readonly scoped: readonly { readonly keyId: string; readonly values: number }[];
  /** Values from which no key id can be read: each may need any key. */
  readonly unattributed: number;
  /** Encrypted documents, arrays and code with scope, whose plaintext may hold encrypted values. */
  readonly containers: number;
  readonly paths: readonly { readonly path: string; readonly values: number }[];
}

/** Lists of patterns of master keys: each pattern its short form, or the bytes of its document. */
export type TrustLists = readonly (readonly (string | Uint8Array)[])[];
/** What the header of a sealed backup tells without a key. */
export interface BackupHeader {
  readonly method: 'passphrase' | 'masterKey';
  readonly memoryKiB?: number | undefined;
  readonly iterations?: number | undefined;
  readonly lanes?: number | undefined;
  /** BSON of the master key. */
  readonly masterKey?: Uint8Array | undefined;
}

interface MachineHandle {
  free(): void;
  step(nowMs: number): number;
  filter(): Uint8Array;
  provideKeys(documents: Uint8Array): void;
  kmsRequests(): unknown;
  provideKms(id: number, reply: Uint8Array, keyId?: string | null): void;
  output(): Uint8Array;
}

interface EngineHandle {
  free(): void;
  addLocalProvider(id: string, key: Uint8Array): void;
  addRemoteProvider(id: string): void;
  admit(lists: unknown[], allowedEndpoints: string[], sources: Uint8Array[] | null | undefined, targets: Uint8Array[] | null | undefined): void;
  clearCache(): void;
  encrypt(value: Uint8Array, options: Uint8Array): MachineHandle;
  decrypt(value: Uint8Array): MachineHandle;
  createDataKey(masterKey: Uint8Array, keyAltNames: string[], keyMaterial: Uint8Array | null | undefined, nowMs: number): MachineHandle;
  createAndKeepDataKey(masterKey: Uint8Array, keyAltNames: string[], nowMs: number): MachineHandle;
  rewrap(filter: Uint8Array, masterKey: Uint8Array | null | undefined, fingerprint: Uint8Array | null | undefined, values: Uint8Array): MachineHandle;
  fingerprint(filter: Uint8Array, values: Uint8Array, keep: boolean): MachineHandle;
  probe(masterKey: Uint8Array): MachineHandle;
  decryptDocuments(documents: Uint8Array): MachineHandle;
  encryptDocuments(documents: Uint8Array, rules: Uint8Array): MachineHandle;
  reencryptDocuments(documents: Uint8Array, mapping: Uint8Array): MachineHandle;
  leaveDocuments(documents: Uint8Array, keyIds: Uint8Array): MachineHandle;
  sealBackup(masterKey: Uint8Array, facts: Uint8Array, records: Uint8Array): MachineHandle;
  sealBackupWithPassphrase(passphrase: Uint8Array, memoryKiB: number, iterations: number, facts: Uint8Array, records: Uint8Array): MachineHandle;
  openBackup(file: Uint8Array, passphrase: Uint8Array | null | undefined): MachineHandle;
}

/**
 * Primitives of the host. The last argument is where the result goes; what throws has written nothing there. The
 * arguments are lent: keep none.
 */
export interface HostPrimitives {
  /** AES-256-CBC without padding, in place. */
  encrypt(key: Uint8Array, iv: Uint8Array, blocks: Uint8Array): void;
  decrypt(key: Uint8Array, iv: Uint8Array, blocks: Uint8Array): void;
  /** HMAC-SHA-512 of three parts, one after the other. */
  hmac(key: Uint8Array, first: Uint8Array, second: Uint8Array, third: Uint8Array, out: Uint8Array): void;
}

interface Glue {
  trustMasterKeys(lists: unknown[]): void;
  setHostPrimitives(primitives: HostPrimitives): void;
  readonly MongoCrypt: new (...options: MongoCryptArguments) => MongoCryptHandle;
  initSync(input: { module: BufferSource | WebAssembly.Module }): unknown;
  default(input: { module_or_path: WebAssembly.Module }): Promise<unknown>;
  errorCodes(): string[];
  version(): string;
  readonly Engine: new (keyExpirationMs: number, maxCachedKeys: number) => EngineHandle;
  assessVault(documents: Uint8Array, from: Uint8Array | null | undefined, to: Uint8Array): unknown;
  census(documents: Uint8Array): unknown;
  containers(documents: Uint8Array): Uint8Array;
  rewriteSchema(schema: Uint8Array, mapping: Uint8Array): Uint8Array;
  stripSchema(schema: Uint8Array): Uint8Array;
  parseMasterKey(masterKey: Uint8Array): Uint8Array;
  describeBackup(file: Uint8Array): unknown;
  sha256(bytes: Uint8Array): Uint8Array;
}

const glue: Glue = generated;

let state: 'absent' | 'ready' | 'dead' = 'absent';
let loading: Promise<void> | undefined;

// What follows is part of the published declarations: a program for Node alone has the types of the web's WebAssembly nowhere.

/** Compiles and starts the instance at once. A second call does nothing. */
export function loadSync(bytes: Uint8Array): void {
  if (state !== 'absent') return;
  glue.initSync({ module: bytes as BufferSource });
  state = 'ready';
}

/**
 * Starts the instance from what `compile` returns. Calls that come while one is under way share its promise, later ones
 * return at once, and after a failure the next call tries again.
 */
export function load(compile: () => Promise<object>): Promise<void> {
  if (state !== 'absent') return Promise.resolve();
  loading ??= (async () => {
    try {
      await glue.default({ module_or_path: (await compile()) as WebAssembly.Module });
      state = 'ready';
    } catch (cause) {
      if (CsfleError.is(cause)) throw cause;
      throw new CsfleError('HOST_WASM_FAILED', 'csfle.wasm could not be compiled or started', { cause });
    } finally {
      loading = undefined;
    }
  })();
  return loading;
}

/** Runs one call into the instance and turns whatever it throws into a `CsfleError`. */
function call<T>(work: () => T): T {
  if (state === 'dead') throw deadInstance();
  if (state === 'absent') {
    throw new CsfleError('HOST_NOT_INITIALIZED', loading === undefined ? 'call `await init()` first' : 'init() has not finished yet: await it first');
  }
  try {
    return work();
  } catch (thrown) {
    throw translate(thrown);
  }
}

function translate(thrown: unknown): CsfleError {
  const { code, message, details } = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as {
    code?: unknown;
    message?: unknown;
    details?: unknown;
  };
  if (!(thrown instanceof Error) && isErrorCode(code)) {
    return new CsfleError(code, String(message), { details: details as Record<string, ErrorDetail> | undefined });
  }
  // A trap (or a stack that ran out inside) leaves the instance's memory in no defined state: nothing may use it again.
  const name = thrown instanceof Error ? thrown.name : '';
  if (name === 'RuntimeError' || name === 'RangeError' || name === 'InternalError') {
    state = 'dead';
    return new CsfleError('INTERNAL', 'the WebAssembly instance trapped; it cannot be used any more', { cause: thrown });
  }
  return new CsfleError('INTERNAL', 'unexpected failure at the WebAssembly boundary', { cause: thrown });
}

function deadInstance(): CsfleError {
  return new CsfleError('INTERNAL', 'the WebAssembly instance trapped earlier; it cannot be used any more', {
    details: { dead: true },
  });
}

/** A state machine of the core. It must be freed; freeing twice is fine. */
export class Machine {
  #handle: MachineHandle | undefined;

  constructor(handle: MachineHandle) {
    this.#handle = handle;
  }

  #call<T>(work: (handle: MachineHandle) => T): T {
    const handle = this.#handle;
    if (handle === undefined) throw new CsfleError('MACHINE_OUT_OF_ORDER', 'the machine was freed');
    return call(() => work(handle));
  }

  step(nowMs: number): number {
    return this.#call((handle) => handle.step(nowMs));
  }

  filter(): Uint8Array {
    return this.#call((handle) => handle.filter());
  }

  provideKeys(documents: Uint8Array): void {
    this.#call((handle) => handle.provideKeys(documents));
  }

  kmsRequests(): readonly KmsRequest[] {
    return this.#call((handle) => handle.kmsRequests()) as readonly KmsRequest[];
  }

  provideKms(id: number, reply: Uint8Array, keyId?: string): void {
    this.#call((handle) => handle.provideKms(id, reply, keyId));
  }

  output(): Uint8Array {
    return this.#call((handle) => handle.output());
  }

  free(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined && state === 'ready') call(() => handle.free());
  }
}

/** Providers and cached data keys, from which machines are made. It must be freed; freeing twice is fine. */
export class Engine {
  #handle: EngineHandle | undefined;

  constructor(keyExpirationMs: number, maxCachedKeys: number) {
    this.#handle = call(() => new glue.Engine(keyExpirationMs, maxCachedKeys));
  }

  #call<T>(work: (handle: EngineHandle) => T): T {
    const handle = this.#handle;
    if (handle === undefined) throw new CsfleError('HOST_CLOSED', 'this object was closed');
    return call(() => work(handle));
  }

  #machine(work: (handle: EngineHandle) => MachineHandle): Machine {
    return new Machine(this.#call(work));
  }

  addLocalProvider(id: string, key: Uint8Array): void {
    this.#call((handle) => handle.addLocalProvider(id, key));
  }

  addRemoteProvider(id: string): void {
    this.#call((handle) => handle.addRemoteProvider(id));
  }

  /** Which master keys are used: lists of patterns, endpoints, and what a migration reads from and wraps under. */
  admit(lists: TrustLists, allowedEndpoints: readonly string[], sources?: readonly Uint8Array[], targets?: readonly Uint8Array[]): void {
    this.#call((handle) => handle.admit(lists as unknown[], [...allowedEndpoints], sources && [...sources], targets && [...targets]));
  }

  clearCache(): void {
    this.#call((handle) => handle.clearCache());
  }

  encrypt(value: Uint8Array, options: Uint8Array): Machine {
    return this.#machine((handle) => handle.encrypt(value, options));
  }

  decrypt(value: Uint8Array): Machine {
    return this.#machine((handle) => handle.decrypt(value));
  }

  createDataKey(masterKey: Uint8Array, keyAltNames: readonly string[], keyMaterial: Uint8Array | undefined, nowMs: number): Machine {
    return this.#machine((handle) => handle.createDataKey(masterKey, [...keyAltNames], keyMaterial, nowMs));
  }

  createAndKeepDataKey(masterKey: Uint8Array, keyAltNames: readonly string[], nowMs: number): Machine {
    return this.#machine((handle) => handle.createAndKeepDataKey(masterKey, [...keyAltNames], nowMs));
  }

  rewrap(filter: Uint8Array, masterKey: Uint8Array | undefined, fingerprint: Uint8Array | undefined, values: Uint8Array): Machine {
    return this.#machine((handle) => handle.rewrap(filter, masterKey, fingerprint, values));
  }

  fingerprint(filter: Uint8Array, values: Uint8Array, keep: boolean): Machine {
    return this.#machine((handle) => handle.fingerprint(filter, values, keep));
  }

  probe(masterKey: Uint8Array): Machine {
    return this.#machine((handle) => handle.probe(masterKey));
  }

  decryptDocuments(documents: Uint8Array): Machine {
    return this.#machine((handle) => handle.decryptDocuments(documents));
  }

  encryptDocuments(documents: Uint8Array, rules: Uint8Array): Machine {
    return this.#machine((handle) => handle.encryptDocuments(documents, rules));
  }

  reencryptDocuments(documents: Uint8Array, mapping: Uint8Array): Machine {
    return this.#machine((handle) => handle.reencryptDocuments(documents, mapping));
  }

  leaveDocuments(documents: Uint8Array, keyIds: Uint8Array): Machine {
    return this.#machine((handle) => handle.leaveDocuments(documents, keyIds));
  }

  sealBackup(masterKey: Uint8Array, facts: Uint8Array, records: Uint8Array): Machine {
    return this.#machine((handle) => handle.sealBackup(masterKey, facts, records));
  }

  /** 0 for `memoryKiB` and `iterations` means the default. */
  sealBackupWithPassphrase(
    passphrase: Uint8Array,
    cost: { readonly memoryKiB: number; readonly iterations: number },
    facts: Uint8Array,
    records: Uint8Array,
  ): Machine {
    return this.#machine((handle) => handle.sealBackupWithPassphrase(passphrase, cost.memoryKiB, cost.iterations, facts, records));
  }

  openBackup(file: Uint8Array, passphrase: Uint8Array | undefined): Machine {
    return this.#machine((handle) => handle.openBackup(file, passphrase));
  }

  free(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined && state === 'ready') call(() => handle.free());
  }
}

/** Makes a library of libmongocrypt's interface. Its calls, and those of its contexts, go through {@link guarded}. */
export function newMongoCrypt(...options: MongoCryptArguments): MongoCryptHandle {
  return call(() => new glue.MongoCrypt(...options));
}

/** Runs one call of a handle, with whatever it throws as a `CsfleError`. */
export function guarded<T>(work: () => T): T {
  return call(work);
}

/** Every code that a `CsfleError` can carry: those of the core and those of this layer, each in the order of its table. */
export function errorCodes(): { readonly core: readonly string[]; readonly js: readonly string[] } {
  return { core: call(() => glue.errorCodes()), js: JS_ERROR_CODES };
}

/** The version of the core, which is that of the package. */
export function version(): string {
  return call(() => glue.version());
}

/** Lends primitives to the core, for long values of whatever is made from now on. */
export function setHostPrimitives(primitives: HostPrimitives): void {
  call(() => glue.setHostPrimitives(primitives));
}

/** Sets what every library of libmongocrypt's interface trusts: lists of patterns, each of which has to have a key. */
export function trustMasterKeys(lists: TrustLists): void {
  call(() => glue.trustMasterKeys(lists as unknown[]));
}

/** Sorts the key documents of a vault by what a migration from `from` to `to` would do with them. */
export function assessVault(documents: Uint8Array, from: Uint8Array | undefined, to: Uint8Array): VaultAssessment {
  return call(() => glue.assessVault(documents, from, to)) as VaultAssessment;
}

/** Counts encrypted values by key and by path, from their headers. */
export function census(documents: Uint8Array): CensusReport {
  return call(() => glue.census(documents)) as CensusReport;
}

/** The encrypted values whose plaintext may hold encrypted values, as BSON documents `{v: value}` laid end to end. */
export function containers(documents: Uint8Array): Uint8Array {
  return call(() => glue.containers(documents));
}

/** Replaces key ids in a JSON schema; returns BSON `{schema, changed}`. */
export function rewriteSchema(schema: Uint8Array, mapping: Uint8Array): Uint8Array {
  return call(() => glue.rewriteSchema(schema, mapping));
}

/** Removes encryption from a JSON schema; returns BSON `{schema, changed}`. */
export function stripSchema(schema: Uint8Array): Uint8Array {
  return call(() => glue.stripSchema(schema));
}

/** Checks a master key descriptor and returns it as key documents store it. */
export function parseMasterKey(masterKey: Uint8Array): Uint8Array {
  return call(() => glue.parseMasterKey(masterKey));
}

/** Reads the header of a sealed backup. */
export function describeBackup(file: Uint8Array): BackupHeader {
  return call(() => glue.describeBackup(file)) as BackupHeader;
}

/** The SHA-256 hash of bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return call(() => glue.sha256(bytes));
}
