/**
 * Evidence that a data key is the one that data is under. A KMS that answers with other key material, in the same way each
 * time, is found out by the data alone: an encrypted value authenticates under its own key and no other, and a
 * deterministic one is what encrypting its plaintext under that key gives again.
 */

import { type BsonBinary, binaryBytes, type Document } from '../bson.js';
import { uuidText } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { CensusReport } from '../wasm.js';
import type { MigrationCollection } from './collection.js';
import { counted } from './counted.js';
import { type BsonElement, buildDocument, elementsOf, isContainer } from './exact-bson.js';
import { BATCH_BYTES, DEFAULT_BATCH_SIZE } from './options.js';

/** Values of one kind that are kept for each key. More than one, since a value may be damaged. */
const VALUES_PER_KEY = 5;
/** Documents of one collection that are looked at for more than one value of each key. */
const DOCUMENTS_LOOKED_AT = 2_000;
const TYPE_BINARY = 0x05;
const TYPE_CODE_WITH_SCOPE = 0x0f;
const SUBTYPE_ENCRYPTED = 6;
// After length and subtype: the kind of the value (1 deterministic, 2 random) and the id of its key.
const KIND_OFFSET = 5;
const DETERMINISTIC = 1;
const RANDOM = 2;
type ValueKind = typeof DETERMINISTIC | typeof RANDOM;
const KEY_ID_OFFSET = 6;
const KEY_ID_END = 22;
// The BSON type of the plaintext: a document, an array or code with a scope may hold encrypted values.
const TYPE_OFFSET = KEY_ID_END;
const CONTAINER_TYPES: ReadonlySet<number> = new Set([0x03, 0x04, TYPE_CODE_WITH_SCOPE]);

/** What a collection is asked for documents. */
type Scanned = Pick<MigrationCollection, 'scan'>;

/** How a collection is looked through for values. */
export interface ProofSearch {
  /** Whether a key without any value keeps the search going after the first 2,000 documents, to the last one. */
  readonly toTheEnd: boolean;
  readonly batchSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of documents of each batch. */
  readonly advance?: ((documents: number) => void) | undefined;
  /** Called with the key of each value. With it the first 2,000 documents are all looked at, whatever the samples have. */
  readonly met?: ((keyId: string) => void) | undefined;
}

/** Values of one key by their kind. */
type ByKind = Readonly<Record<ValueKind, BsonElement[]>>;

/**
 * A few encrypted values of each data key, from as many documents. Deterministic ones are enough, and random ones are kept
 * for keys that have no others: only a deterministic value shows the part of the key material that equality queries rest on.
 */
export class ValueSamples {
  readonly #byKey = new Map<string, ByKind>();
  #metContainer = false;

  /** Whether one of these keys has not enough values yet. */
  lacks(keyIds: Iterable<string>): boolean {
    for (const keyId of keyIds) if ((this.#byKey.get(keyId)?.[DETERMINISTIC].length ?? 0) < VALUES_PER_KEY) return true;
    return false;
  }

  /** Whether one of these keys has no value at all. */
  lacksAny(keyIds: Iterable<string>): boolean {
    for (const keyId of keyIds) if (!this.#byKey.has(keyId)) return true;
    return false;
  }

  /** Whether documents with so many values under these keys have some that are still wanted. */
  gain(counts: CensusReport['byKey']): boolean {
    return counts.some(({ keyId, deterministic, random }) => {
      const known = this.#byKey.get(keyId);
      const has = (kind: ValueKind): number => known?.[kind].length ?? 0;
      if (deterministic > 0 && has(DETERMINISTIC) < VALUES_PER_KEY) return true;
      return random > 0 && has(DETERMINISTIC) === 0 && has(RANDOM) < VALUES_PER_KEY;
    });
  }

  /** Takes values of documents, one for each key, kind and document. */
  take(documents: readonly Uint8Array[], met?: (keyId: string) => void): void {
    for (const document of documents) {
      const seen = new Set<string>();
      for (const element of encryptedValues(document)) {
        const keyId = uuidText(element.value.subarray(KEY_ID_OFFSET, KEY_ID_END));
        const kind = element.value[KIND_OFFSET] as ValueKind;
        if (CONTAINER_TYPES.has(element.value[TYPE_OFFSET] ?? 0)) this.#metContainer = true;
        met?.(keyId);
        if (seen.has(`${kind}${keyId}`)) continue;
        seen.add(`${kind}${keyId}`);
        const known = this.#byKey.get(keyId) ?? { [DETERMINISTIC]: [], [RANDOM]: [] };
        // A copy, so that one value does not keep its whole document in memory.
        if (known[kind].length < VALUES_PER_KEY) known[kind].push({ ...element, value: element.value.slice() });
        this.#byKey.set(keyId, known);
      }
    }
  }

  /**
   * Looks for values of `keyIds` in a collection, and ends as soon as it has enough of them. Returns whether it met encrypted
   * documents, arrays or code, in which further values may be.
   */
  async search(collection: Scanned, keyIds: readonly string[], { toTheEnd, batchSize, signal, advance, met }: ProofSearch): Promise<boolean> {
    let looked = 0;
    const batch = { documents: batchSize ?? DEFAULT_BATCH_SIZE, bytes: BATCH_BYTES };
    const isEnough = (): boolean => met === undefined && !this.lacks(keyIds);
    this.#metContainer = false;
    if (isEnough()) return false;
    for await (const documents of collection.scan(batch)) {
      this.take(documents, met);
      looked += documents.length;
      advance?.(documents.length);
      if (signal?.aborted === true || isEnough()) break;
      if (looked >= DOCUMENTS_LOOKED_AT && !(toTheEnd && this.lacksAny(keyIds))) break;
    }
    return this.#metContainer;
  }

  /** The values of these keys as one document. */
  of(...keyIds: readonly string[]): Uint8Array {
    const values = keyIds.flatMap((keyId) => {
      const { [DETERMINISTIC]: deterministic = [], [RANDOM]: random = [] } = this.#byKey.get(keyId) ?? {};
      return deterministic.length > 0 ? deterministic : random;
    });
    return buildDocument(values.map((element, index) => ({ ...element, name: String(index) })));
  }
}

/** What the values at hand say about unwrapped key material. */
export interface KeyEvidence {
  /** Values under the key that were tried; where there are deterministic ones, these alone. */
  readonly tried: number;
  /** Values that authenticated and, if deterministic, became the same bytes again. */
  readonly opened: number;
}

/** Refuses key material that opens none of the values under its key. */
export function requireProof(id: BsonBinary, { tried, opened }: KeyEvidence): void {
  if (tried === 0 || opened > 0) return;
  const keyId = uuidText(binaryBytes(id));
  throw new CsfleError(
    'CRYPTO_AUTHENTICATION_FAILED',
    `key ${keyId} was unwrapped to key material that opens none of ${counted(tried, 'value')} under it: the KMS answers for another key, or the values are damaged`,
    { details: { keyId, tried, opened } },
  );
}

/** Whether the master key of a document is at a KMS. The wrapping under a local one authenticates itself. */
export function isRemoteKey(key: Document): boolean {
  const provider = (key.masterKey as Document | undefined)?.provider;
  return typeof provider === 'string' && provider.split(':', 1)[0] !== 'local';
}

function* encryptedValues(document: Uint8Array): Generator<BsonElement> {
  for (const element of elementsOf(document)) {
    if (isContainer(element)) yield* encryptedValues(element.value);
    else if (element.type === TYPE_CODE_WITH_SCOPE) yield* encryptedValues(scopeOf(element.value));
    else if (element.type === TYPE_BINARY && element.value.length >= KEY_ID_END && element.value[4] === SUBTYPE_ENCRYPTED) {
      const kind = element.value[KIND_OFFSET];
      if (kind === DETERMINISTIC || kind === RANDOM) yield element;
    }
  }
}

/** The scope of code: after the length of the whole, and the code with its length before it. */
function scopeOf(value: Uint8Array): Uint8Array {
  const codeLength = new DataView(value.buffer, value.byteOffset, value.byteLength).getInt32(4, true);
  return value.subarray(8 + codeLength);
}
