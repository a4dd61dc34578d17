/** Filters on encrypted fields, for `csfle decrypt`: a value is encrypted as those of the collection are, and compared there. */

import type { Collection } from 'mongodb';
import type { ClientEncryption, Document } from '../index.js';
import type { DriverBson } from './connection.js';
import { CliError } from './failure.js';

const SUBTYPE_ENCRYPTED = 6;
const DETERMINISTIC = 1;
// Parts of an encrypted value: its kind, the id of its key, the BSON type of its plaintext.
const KEY_ID_START = 1;
const KEY_ID_END = 17;
const AS_STORED = { promoteValues: false, promoteBuffers: false } as const;

/** The encrypted values at one path: under which keys the deterministic ones are, and of which types. */
interface ValuesAt {
  readonly keyIds: Set<string>;
  readonly types: Set<number>;
  random: number;
}

/** How a text becomes a value of the BSON type that the values at a path have; undefined where it is none. */
const READERS: Readonly<Record<number, (text: string, bson: DriverBson) => unknown>> = {
  2: (text) => text,
  7: (text, bson) => (bson.ObjectId.isValid(text) ? new bson.ObjectId(text) : undefined),
  9: (text) => (Number.isNaN(Date.parse(text)) ? undefined : new Date(text)),
  16: (text, bson) => (/^-?\d{1,10}$/.test(text) && Number(text) === (Number(text) | 0) ? new bson.Int32(Number(text)) : undefined),
  18: (text, bson) => (/^-?\d{1,19}$/.test(text) && bson.Long.fromString(text).toString() === text ? bson.Long.fromString(text) : undefined),
};

/** `path=value` of the command line as its two parts. */
export function splitCondition(condition: string): readonly [path: string, value: string] {
  const at = condition.indexOf('=');
  // The value may be what is encrypted: it is not repeated.
  if (at < 1) throw new CliError('CLI_OPTION_INVALID', '--filter-encrypted: expected path=value', "For example: --filter-encrypted 'ssn=123-45-6789'");
  return [condition.slice(0, at), condition.slice(at + 1)];
}

/**
 * The filter for documents with these values. Every document of the collection is read for the keys and types of its values, not
 * for more than the path.
 */
export async function encryptedFilter(
  conditions: readonly string[],
  collection: Collection,
  encryption: ClientEncryption,
  bson: DriverBson,
): Promise<Document> {
  const filters: Document[] = [];
  for (const [path, text] of conditions.map(splitCondition)) {
    const { keyIds, types, random } = await valuesAt(collection, path);
    if (keyIds.size === 0) {
      const found = random > 0 ? 'its values are randomized: each encryption of a value is another one' : 'no document has an encrypted value there';
      throw new CliError(
        'CLI_OPTION_INVALID',
        `--filter-encrypted: ${path} cannot be compared: ${found}`,
        'Deterministic values alone can be compared. Use --filter for values in the clear.',
      );
    }
    const values = [...types].map((type) => typedValue(text, type, path, bson));
    const encrypted = [...keyIds].flatMap((keyId) =>
      values.map((value) => encryption.encrypt(value, { keyId: new bson.UUID(keyId) as never, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic' })),
    );
    filters.push({ [path]: { $in: await Promise.all(encrypted) } });
  }
  return { $and: filters };
}

/** Paths of a filter whose stored values are encrypted, as far as one document of each tells. */
export async function encryptedPathsOf(filter: Document, collection: Collection): Promise<readonly string[]> {
  const paths = Object.keys(filter).filter((path) => !path.startsWith('$') && path !== '_id');
  const found: string[] = [];
  for (const path of paths) {
    const one = await collection.findOne({ [path]: { $type: 'binData' } }, { ...AS_STORED, projection: { _id: 0, [path]: 1 } });
    if (one !== null && encryptedIn(one).next().done === false) found.push(path);
  }
  return found;
}

async function valuesAt(collection: Collection, path: string): Promise<ValuesAt> {
  const at: ValuesAt = { keyIds: new Set(), types: new Set(), random: 0 };
  const documents = collection.find({ [path]: { $type: 'binData' } }, { ...AS_STORED, projection: { _id: 0, [path]: 1 } });
  for await (const document of documents) {
    for (const value of encryptedIn(document)) {
      if (value[0] !== DETERMINISTIC) at.random += 1;
      else {
        at.keyIds.add(Buffer.from(value.subarray(KEY_ID_START, KEY_ID_END)).toString('hex'));
        at.types.add(value[KEY_ID_END] as number);
      }
    }
  }
  return at;
}

/** The encrypted values of a document, also those in documents and arrays. */
function* encryptedIn(value: unknown): Generator<Uint8Array> {
  if (typeof value !== 'object' || value === null) return;
  const { _bsontype: type, sub_type: subtype, buffer } = value as { _bsontype?: unknown; sub_type?: unknown; buffer?: Uint8Array };
  if (type === 'Binary') {
    if (subtype === SUBTYPE_ENCRYPTED && buffer !== undefined && buffer.length > KEY_ID_END) yield buffer;
  } else if (type === undefined) for (const inner of Object.values(value)) yield* encryptedIn(inner);
}

/** Extended JSON says its type itself; other text takes that of the values that are there. */
function typedValue(text: string, type: number, path: string, bson: DriverBson): unknown {
  const value = (text.startsWith('{') ? extendedJson(text, bson) : undefined) ?? READERS[type]?.(text, bson);
  if (value !== undefined) return value;
  throw new CliError(
    'CLI_OPTION_INVALID',
    `--filter-encrypted: the value for ${path} is not of the BSON type ${type}, which the stored values have`,
    `Write it as extended JSON, such as ${path}={"$numberLong":"5"}.`,
  );
}

/** The error of the parser would quote the value, which may be what is encrypted. */
function extendedJson(text: string, bson: DriverBson): unknown {
  try {
    return bson.EJSON.parse(text, { relaxed: false });
  } catch {
    return undefined;
  }
}
