/** A collection as a migration sees it: BSON bytes out, conditional changes in. */

import type { Document } from '../bson.js';
import type { MigrationDriverClient } from './driver-collection.js';

/** One conditional change of one document. */
export interface DocumentChange {
  /**
   * `_id` and an `$expr` that proves each value about to be replaced, at its place and as it was read: it matches only
   * while nobody changed one of them or what they stand in. Other fields may change.
   */
  readonly filter: ReadonlyMap<string, unknown>;
  /** `$set` by dotted paths, or a pipeline where a field name cannot be part of one. It writes these places only. */
  readonly update: Document | readonly Document[];
  /** BSON of the document as it was read, for collections that cannot evaluate `filter`: write `after` if this is stored. */
  readonly before: Uint8Array;
  /** BSON of the document as it is to be. */
  readonly after: Uint8Array;
}

/** What became of a batch of changes. */
export interface WriteOutcome {
  /** The changes that the server refused, by their index in the batch. */
  readonly refused: readonly { readonly index: number; readonly error: unknown }[];
}

/** What can be said about a collection without writing to it. */
export interface CollectionFacts {
  /** Whether the documents can be updated: not so for views, for example. */
  readonly writable: boolean;
  /** Why not. */
  readonly reason?: string;
}

/**
 * A collection to migrate. Implement it to bring documents of your own.
 *
 * Shape: documents are BSON bytes, exactly as stored. Reads see what a majority has acknowledged, writes wait for it.
 */
export interface MigrationCollection {
  /** `database.collection`. */
  readonly namespace: string;
  /** The client that reads it: before old keys are removed, everything that this client reaches is searched. */
  readonly client?: MigrationDriverClient | undefined;
  /** About how many documents there are; only progress depends on it. */
  estimatedCount(): Promise<number>;
  /** Every document once, in batches of at most `documents` documents that end early after `bytes` bytes. */
  scan(batch: { readonly documents: number; readonly bytes: number }): AsyncIterable<readonly Uint8Array[]>;
  /** The documents of these `_id`s as they are now, in any order. */
  read(ids: readonly unknown[]): Promise<readonly Uint8Array[]>;
  /** Applies the changes whose filters match, in any order; the others stay undone. */
  write(changes: readonly DocumentChange[]): Promise<WriteOutcome>;
  /** The `$jsonSchema` of the validator, or null. */
  readSchema?(): Promise<Document | null>;
  /** Replaces the `$jsonSchema` of the validator; the rest of it stays. */
  writeSchema?(rewritten: Document): Promise<void>;
  /** Finds out without writing whether documents can be changed. */
  facts?(): Promise<CollectionFacts>;
}
