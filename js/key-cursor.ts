import type { BsonLibrary, DefaultBson } from './bson.js';
import { argumentError, kindOf } from './errors.js';
import type { KeyDocument } from './key-vault.js';

/**
 * The key documents of a vault, read when the first one is asked for.
 * It has the methods of the driver's cursor that make sense for a handful of documents.
 */
export class KeyCursor<B extends BsonLibrary = DefaultBson> implements AsyncIterable<KeyDocument<B>> {
  readonly #read: () => Promise<readonly KeyDocument<B>[]>;
  #rest: KeyDocument<B>[] | undefined;

  constructor(read: () => Promise<readonly KeyDocument<B>[]>) {
    this.#read = read;
  }

  async #load(): Promise<KeyDocument<B>[]> {
    this.#rest ??= [...(await this.#read())];
    return this.#rest;
  }

  /** Returns the documents that were not read yet. */
  async toArray(): Promise<KeyDocument<B>[]> {
    return (await this.#load()).splice(0);
  }

  /** Returns the next document, or null after the last. */
  async next(): Promise<KeyDocument<B> | null> {
    return (await this.#load()).shift() ?? null;
  }

  /** Says whether `next` would return a document. */
  async hasNext(): Promise<boolean> {
    return (await this.#load()).length > 0;
  }

  /** Calls `visit` with each document that was not read yet. */
  async forEach(visit: (document: KeyDocument<B>) => void): Promise<void> {
    if (typeof visit !== 'function') throw argumentError(`forEach needs a function, found ${kindOf(visit)}`);
    for await (const document of this) visit(document);
  }

  /** Drops what was not read yet. */
  async close(): Promise<void> {
    this.#rest = [];
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<KeyDocument<B>, void, void> {
    for (let document = await this.next(); document !== null; document = await this.next()) yield document;
  }
}
