/** What encryption makes of types, and decryption of those. */

import type { BinaryOf, BsonBinary, BsonLibrary, BsonUuid, DefaultBson } from '../bson.js';

declare const PLAINTEXT: unique symbol;

/** A type that says what a binary decrypts to. No value has this property. */
interface Holding<T> {
  readonly [PLAINTEXT]?: T;
}

/**
 * The encrypted form of a `T`: a binary of subtype 6. It may stand wherever a `Binary` is asked for. In the type of a document it says what
 * the field decrypts to: `Collection<{ name: string; ssn: Encrypted<string> }>`.
 */
export type Encrypted<T = unknown, B extends BsonLibrary = DefaultBson> = BinaryOf<B> & Holding<T>;

/**
 * What a document of the type `T` is after decryption: each `Encrypted<V>` is a `V`, every other binary but UUIDs is a `Plain`, at any
 * depth; null stays null.
 */
export type Decrypted<T, Plain = unknown> = unknown extends T
  ? T
  : T extends BsonUuid
    ? T
    : T extends BsonBinary
      ? PlaintextOf<T, Plain>
      : T extends AsItIs
        ? T
        : { [Field in keyof T]: Decrypted<T[Field], Plain> };

type PlaintextOf<T, Plain> = T extends Holding<infer V> ? (unknown extends V ? Plain : V) : Plain;

/** Values that hold no encrypted ones. */
type AsItIs = string | number | bigint | boolean | symbol | null | undefined | Date | RegExp | Uint8Array | { readonly _bsontype: string } | CallableFunction;
