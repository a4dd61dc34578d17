/** The search for values that prove keys: collections, then what is inside encrypted values, then options of collections. */

import { throwIfAborted } from '../abort.js';
import { type Document, splitDocuments } from '../bson.js';
import { concatBytes, wipe } from '../bytes.js';
import type { KeyVaultStore } from '../key-vault.js';
import { containers } from '../wasm.js';
import type { MigrationCollection } from './collection.js';
import type { MigrationDriverClient } from './driver-collection.js';
import { listNamespaces } from './evidence/namespaces.js';
import { BATCH_BYTES, DEFAULT_BATCH_SIZE } from './options.js';
import type { PhaseProgress } from './progress.js';
import type { ValueSamples } from './proof.js';

/** Decrypts documents with the providers at hand; rejects when one of them does not open. */
export type Decrypts = (documents: readonly Uint8Array[]) => Promise<readonly Uint8Array[]>;

/** How a search goes about it. */
export interface ProofWalkOptions {
  readonly open: Decrypts;
  readonly batchSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progressOf?: ((collection: MigrationCollection) => Promise<PhaseProgress>) | undefined;
}

/** Encrypted values inside encrypted values: no writer goes deeper, and each level costs memory. */
const MAX_NESTING = 100;

/** Looks for values of each wanted key, and no longer than it takes. */
export class ProofWalk {
  readonly #values: ValueSamples;
  readonly #wanted: readonly string[];
  readonly #options: ProofWalkOptions;

  constructor(values: ValueSamples, wanted: readonly string[], options: ProofWalkOptions) {
    this.#values = values;
    this.#wanted = wanted;
    this.#options = options;
  }

  /**
   * Searches collections, each to its end while a key has no value at all; then, for keys that still have none, inside the
   * encrypted documents, arrays and scopes of those that hold such. `unread` is told which one cannot be read.
   */
  async through(collections: readonly MigrationCollection[], unread: (collection: MigrationCollection, error: unknown) => Promise<void>): Promise<void> {
    const { batchSize, signal, progressOf } = this.#options;
    const withContainers: MigrationCollection[] = [];
    const attempt = async (collection: MigrationCollection, work: (advance: (documents: number) => void) => Promise<void>): Promise<void> => {
      throwIfAborted(signal);
      try {
        const progress = await progressOf?.(collection);
        await work((documents) => progress?.advance(documents));
        progress?.finish();
      } catch (error) {
        await unread(collection, error);
      }
    };
    for (const collection of collections) {
      if (!this.#values.lacks(this.#wanted)) return;
      await attempt(collection, async (advance) => {
        if (await this.#values.search(collection, this.#wanted, { toTheEnd: true, batchSize, signal, advance })) withContainers.push(collection);
      });
    }
    for (const collection of withContainers) {
      if (!this.#values.lacksAny(this.#wanted)) return;
      await attempt(collection, async (advance) => {
        for await (const documents of collection.scan({ documents: batchSize ?? DEFAULT_BATCH_SIZE, bytes: BATCH_BYTES })) {
          await this.#inside(documents);
          advance(documents.length);
          if (signal?.aborted === true || !this.#values.lacksAny(this.#wanted)) return;
        }
      });
    }
  }

  /** Searches validators and the pipelines of views, for keys that have no value in any document. */
  async throughOptions({ deployment }: KeyVaultStore, encode: (options: Document) => Uint8Array): Promise<void> {
    if (deployment === undefined || !this.#values.lacksAny(this.#wanted)) return;
    const { listed } = await listNamespaces(deployment.client as unknown as MigrationDriverClient, () => false);
    for (const { options } of listed) this.#values.take([encode(options)]);
  }

  async #inside(documents: readonly Uint8Array[], level = 1): Promise<void> {
    const inner = splitDocuments(containers(concatBytes(documents)));
    if (inner.length === 0 || level > MAX_NESTING) return;
    // What does not open has nothing to offer, and keeps no other from being opened.
    const opened = await this.#options.open(inner).catch(() => undefined);
    if (opened === undefined && inner.length === 1) return;
    if (opened === undefined) {
      for (const one of inner) await this.#decrypted(await this.#options.open([one]).catch(() => []), level);
      return;
    }
    await this.#decrypted(opened, level);
  }

  async #decrypted(plain: readonly Uint8Array[], level: number): Promise<void> {
    try {
      this.#values.take(plain);
      if (plain.length > 0) await this.#inside(plain, level + 1);
    } finally {
      wipe(...plain);
    }
  }
}
