import {
  type BsonBinary,
  type BsonLibrary,
  binaryBytes,
  deserialize,
  type Document,
  EXACT_TYPES,
  isBinary,
  SUBTYPE_UUID,
  serialize,
  splitDocuments,
} from '../bson.js';
import { concatBytes, hexText, uuidText, wipe } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { KeyVaultStore, KeyWrapping, MasterKeyDocument } from '../key-vault.js';
import { awsOfDrivers } from '../kms/aws.js';
import type { KmsCallbacks, KmsProviders } from '../kms/index.js';
import { findDocuments, fromStore, requireStore } from '../run.js';
import { Session, type SessionOptions } from '../session.js';
import type { KeyEvidence } from './proof.js';
import { assessVault, type CensusReport, census, containers, parseMasterKey, rewriteSchema, stripSchema, type VaultAssessment } from '../wasm.js';

const EMPTY_DOCUMENT = Uint8Array.of(5, 0, 0, 0, 0);

/** A data key that takes the place of another one. */
export interface Replacement {
  readonly from: BsonBinary;
  readonly to: BsonBinary;
}

/** What the core says about one document that changes. */
export interface ComputedChange {
  /** BSON of `{_id, q, u | r, values}`. */
  readonly bytes: Uint8Array;
}

/** The new wrapping of a key, checked by unwrapping it again, and the old one it was made from. */
export interface NewWrapping extends KeyWrapping {
  readonly previousKeyMaterial: BsonBinary;
  readonly previousMasterKey: Document;
}

/** The core's migration work as promises over JavaScript values, with its KMS calls counted. */
export class MigrationEngine {
  readonly bson: BsonLibrary;
  readonly store: KeyVaultStore;
  readonly calls = { wrap: 0, unwrap: 0 };
  readonly #session: Session;
  /** An engine with a key cache of its own: what it decrypts was unwrapped independently of what encrypted it. */
  readonly #second: Session;

  constructor(options: Omit<SessionOptions, 'signal' | 'keyExpirationMS' | 'maxCachedKeys'>, store: (bson: BsonLibrary) => KeyVaultStore) {
    const kmsProviders = countCalls(options.kmsProviders, this.calls);
    // Keys stay for the whole run, so that their number of KMS calls is the planned one; close() wipes them.
    const settled = { ...options, kmsProviders, keyExpirationMS: 0, maxCachedKeys: 65_536 };
    this.#session = new Session(settled, store);
    this.#second = new Session(settled, () => this.#session.store);
    this.bson = this.#session.bson;
    this.store = requireStore(this.#session.store);
  }

  /**
   * Restricts the run to keys under its source and its target, and new wrappings to the target; whether a list says which
   * master keys are trusted, it is that list instead.
   */
  pin(from: Document | null, to: Document | null, hasList: boolean): void {
    const [source, target] = [from, to].map((one) => (one === null ? [] : [this.#bytes(one, 'a master key')])) as [Uint8Array[], Uint8Array[]];
    const sources = hasList || from === null ? undefined : [...source, ...target];
    for (const session of [this.#session, this.#second]) session.pin(sources, target);
  }

  close(): void {
    this.#session.close();
    this.#second.close();
  }

  /** Key documents as they are stored now. */
  find(filter: Document, signal?: AbortSignal): Promise<readonly Document[]> {
    return this.#session.during(() => findDocuments(this.store, filter), signal);
  }

  /** One key document, or undefined. Without a signal where a write is to be read back, however the run was stopped. */
  async findKey(id: BsonBinary, signal?: AbortSignal): Promise<Document | undefined> {
    return (await this.find({ _id: id }, signal))[0];
  }

  /** Waits for the key vault, but no longer than `signal` lasts. For what changes nothing. */
  whileReading<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#session.during(() => fromStore(work), signal);
  }

  /** Checks a master key descriptor and returns it as key documents store it. */
  parseMasterKey(masterKey: Document): MasterKeyDocument {
    return deserialize(this.bson, parseMasterKey(this.#bytes(masterKey, 'a master key')), EXACT_TYPES) as MasterKeyDocument;
  }

  /** Sorts key documents by their master keys: of `from` (every other than `to` when null), of `to`, of neither. */
  assess(documents: readonly Document[], from: Document | null, to: Document): VaultAssessment {
    const bytes = documents.map((document) => this.#bytes(document, 'a key document'));
    return assessVault(concatBytes(bytes), from === null ? undefined : this.#bytes(from, 'from'), this.#bytes(to, 'to'));
  }

  /**
   * A number that is equal for equal key material, within this engine only; the key is unwrapped anew for it.
   * Errors: those of unwrapping; `KEY_VAULT_KEY_NOT_FOUND` when the key is gone.
   */
  async fingerprint(id: BsonBinary, signal?: AbortSignal): Promise<string> {
    return (await this.prove(id, EMPTY_DOCUMENT, false, signal)).fingerprint;
  }

  /**
   * The fingerprint, and how many of `values` (one BSON document) the same key material opens. With `keep` it is what
   * this engine encrypts with from now on, whatever a KMS answers later. Errors: as `fingerprint`.
   */
  async prove(id: BsonBinary, values: Uint8Array, keep: boolean, signal?: AbortSignal): Promise<KeyEvidence & { readonly fingerprint: string }> {
    const filter = this.#bytes({ _id: id }, 'a filter');
    const output = await this.#session.run((engine) => engine.fingerprint(filter, values, keep), signal);
    const entry = (deserialize(this.bson, output).v as Document[])[0];
    if (entry === undefined || !isBinary(entry.fingerprint)) throw keyGone(id);
    const { fingerprint, tried, opened } = entry;
    return { fingerprint: hexText(binaryBytes(fingerprint)), tried: Number(tried), opened: Number(opened) };
  }

  /**
   * Wraps the key's material under `to`, if it has this fingerprint, unwraps the result and compares. Nothing is written.
   * Errors: `KMS_REPLY_MISMATCH`, and those of `fingerprint`.
   */
  async rewrap(id: BsonBinary, to: Document, fingerprint: string, signal?: AbortSignal): Promise<NewWrapping> {
    const filter = this.#bytes({ _id: id }, 'a filter');
    const masterKey = this.#bytes(to, 'to');
    const expected = bytesOfHex(fingerprint);
    const output = await this.#session.run((engine) => engine.rewrap(filter, masterKey, expected, EMPTY_DOCUMENT), signal);
    const entry = (deserialize(this.bson, output, EXACT_TYPES).v as Document[])[0] as (NewWrapping & Document) | undefined;
    if (entry === undefined) throw keyGone(id);
    return entry;
  }

  /** Wraps and unwraps random bytes under a master key. */
  async probe(masterKey: Document, signal?: AbortSignal): Promise<void> {
    const bytes = this.#bytes(masterKey, 'to');
    await this.#session.run((engine) => engine.probe(bytes), signal);
  }

  /** A new key document under `masterKey`, not stored yet. What is encrypted under it here takes the material that was made. */
  async createDataKey(masterKey: Document, keyAltNames: readonly string[], signal?: AbortSignal): Promise<Document> {
    const bytes = this.#bytes(masterKey, 'to');
    return deserialize(this.bson, await this.#session.run((engine) => engine.createAndKeepDataKey(bytes, keyAltNames, Date.now()), signal));
  }

  /** A document with a value under a key that this engine made: what its key vault holds must open it. */
  async trialValue(id: BsonBinary, signal?: AbortSignal): Promise<Uint8Array> {
    const value = this.#bytes({ v: 'trial' }, 'a value');
    // Deterministic, because that shows every part of the key material.
    const choice = this.#bytes({ algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', keyId: id }, 'options');
    return this.#session.run((engine) => engine.encrypt(value, choice), signal);
  }

  /** The changes that put every value under its new key. */
  async reencrypt(documents: readonly Uint8Array[], replacements: readonly Replacement[], signal?: AbortSignal): Promise<readonly ComputedChange[]> {
    const mapping = this.#bytes({ v: replacements.map(({ from, to }) => ({ from, to })) }, 'replacements');
    const joined = concatBytes(documents);
    return changesOf(await this.#session.run((engine) => engine.reencryptDocuments(joined, mapping), signal));
  }

  /** The changes that put every value of these keys back to plaintext. */
  async leave(documents: readonly Uint8Array[], keyIds: readonly BsonBinary[], signal?: AbortSignal): Promise<readonly ComputedChange[]> {
    const ids = this.#bytes({ v: [...keyIds] }, 'key ids');
    const joined = concatBytes(documents);
    return changesOf(await this.#session.run((engine) => engine.leaveDocuments(joined, ids), signal));
  }

  /** The documents with every encrypted value decrypted, in the same order. */
  async decrypt(documents: readonly Uint8Array[], signal?: AbortSignal): Promise<readonly Uint8Array[]> {
    const joined = concatBytes(documents);
    return splitDocuments(await this.#session.run((engine) => engine.decryptDocuments(joined), signal));
  }

  /** As `decrypt`, with keys that this engine unwrapped a second time for the purpose. */
  async decryptIndependently(documents: readonly Uint8Array[], signal?: AbortSignal): Promise<readonly Uint8Array[]> {
    const joined = concatBytes(documents);
    return splitDocuments(await this.#second.run((engine) => engine.decryptDocuments(joined), signal));
  }

  /** Counts encrypted values from their headers. */
  census(documents: readonly Uint8Array[]): CensusReport {
    return inOneArray(documents, census);
  }

  /** The values of documents whose plaintext may hold encrypted values, each as a document `{v: value}`. */
  containers(documents: readonly Uint8Array[]): readonly Uint8Array[] {
    return splitDocuments(inOneArray(documents, containers));
  }

  /** A document of this library's BSON values as bytes. */
  encode(document: Document, what: string): Uint8Array {
    return this.#bytes(document, what);
  }

  /** The schema with new key ids, and how many places changed. */
  rewriteSchema(schema: Document, replacements: readonly Replacement[]): { readonly schema: Document; readonly changed: number } {
    const mapping = this.#bytes({ v: replacements.map(({ from, to }) => ({ from, to })) }, 'replacements');
    return this.#schema(rewriteSchema(this.#bytes(schema, 'a JSON schema'), mapping));
  }

  /** The schema without encryption, and how many places changed. */
  stripSchema(schema: Document): { readonly schema: Document; readonly changed: number } {
    return this.#schema(stripSchema(this.#bytes(schema, 'a JSON schema')));
  }

  /** Whether two values are the same BSON. */
  same(a: Document, b: Document): boolean {
    return hexText(this.#bytes(a, 'a document')) === hexText(this.#bytes(b, 'a document'));
  }

  /** Whether two key documents hold the same wrapping under the same master key. */
  sameWrapping(a: Document, b: Document): boolean {
    const wrapping = ({ keyMaterial, masterKey }: Document): Document => ({ keyMaterial, masterKey });
    return this.same(wrapping(a), wrapping(b));
  }

  #schema(output: Uint8Array): { readonly schema: Document; readonly changed: number } {
    const { schema, changed } = deserialize(this.bson, output, EXACT_TYPES);
    return { schema: schema as Document, changed: Number(changed) };
  }

  #bytes(document: Document, what: string): Uint8Array {
    return serialize(this.bson, document, what);
  }
}

/** Hands over documents end to end, and wipes that copy: it may hold what was decrypted. */
function inOneArray<T>(documents: readonly Uint8Array[], work: (joined: Uint8Array) => T): T {
  const joined = concatBytes(documents);
  try {
    return work(joined);
  } finally {
    wipe(joined);
  }
}

function bytesOfHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, index) => Number.parseInt(text.slice(2 * index, 2 * index + 2), 16));
}

/** A key id as text. */
export function idText(id: unknown): string {
  return isBinary(id, SUBTYPE_UUID) ? uuidText(binaryBytes(id)) : 'no UUID';
}

function keyGone(id: BsonBinary): CsfleError {
  return new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `the key vault has no key ${idText(id)} any more`, {
    details: { keyId: idText(id) },
  });
}

function changesOf(output: Uint8Array): readonly ComputedChange[] {
  return splitDocuments(output).map((bytes) => ({ bytes }));
}

/** The same providers, with their calls counted. */
export function countCalls(providers: KmsProviders, calls: { wrap: number; unwrap: number }): KmsProviders {
  const counted: Record<string, unknown> = {};
  for (const [id, given] of Object.entries(providers) as [string, Partial<KmsCallbacks> | undefined][]) {
    const provider = (id.split(':', 1)[0] === 'aws' ? awsOfDrivers(given) : undefined) ?? given;
    if (typeof provider?.encrypt !== 'function' || typeof provider.decrypt !== 'function') {
      counted[id] = provider;
      continue;
    }
    const { encrypt, decrypt } = provider;
    const callbacks: KmsCallbacks = {
      encrypt(call) {
        calls.wrap += 1;
        return encrypt.call(provider as KmsCallbacks, call);
      },
      decrypt(call) {
        calls.unwrap += 1;
        return decrypt.call(provider as KmsCallbacks, call);
      },
    };
    counted[id] = callbacks;
  }
  return counted as KmsProviders;
}
