/**
 * Retired keys in a MongoDB collection beside the key vault: `<key vault collection>.retired`.
 *
 * An entry is `{_id, key, keyId, retiredAt, reason, requestedBy, replacedBy?}`. `key` holds the key document with the
 * bytes that the vault had: the order of its fields and the type of each value included.
 */

import { type BsonBinary, binaryBytes, type Document, isBinary, keyIdText, SUBTYPE_UUID, timeOf } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { RetiredKey, RetirementNote } from '../key-vault.js';
import type { DriverCollection } from './driver-store.js';
import { altNamesIn } from './retirement.js';

/** What comes after the name of the key vault collection. */
export const RETIRED_SUFFIX = '.retired';
/** A key document that another process changes meanwhile is copied anew this often. */
const ATTEMPTS = 5;
// Values keep their BSON types, so that writing them again gives the bytes that were read.
const EXACT: Document = Object.freeze({
  raw: false,
  promoteValues: false,
  promoteLongs: false,
  promoteBuffers: false,
  useBigInt64: false,
  bsonRegExp: true,
});
const RAW: Document = Object.freeze({ raw: true });
// Strings are compared byte by byte, whatever the collection's own collation says.
const BYTEWISE: Document = Object.freeze({ collation: { locale: 'simple' } });
/** BSON type of an embedded document, and the name of the field that holds the key document. */
const KEY_ELEMENT = Uint8Array.from([0x03, 0x6b, 0x65, 0x79, 0x00]);

/** The key vault and its retired keys. */
export interface RetirementCollections {
  readonly vault: DriverCollection;
  readonly retired: DriverCollection;
}

/** Copies, reads back, removes on the condition that nothing changed. A run that stops leaves the document in both places. */
export async function retireDocument({ vault, retired }: RetirementCollections, id: BsonBinary, note: RetirementNote): Promise<RetiredKey | null> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const stored = await rawDocument(vault, { _id: id });
    if (stored === undefined) return null;
    const [document] = await vault.find({ _id: id }, EXACT).toArray();
    if (document === undefined) return null;
    if ((await entryWith(retired, id, stored)) === undefined) await retired.insertOne(entryOf(document, note));
    const entry = await entryWith(retired, id, stored);
    // The document changed between the reads, or it cannot be written with the bytes it has: it stays in the vault.
    if (entry === undefined) continue;
    const fields = noteOf(note);
    const { matchedCount } = await retired.updateOne({ _id: entry['_id'] }, { $set: fields });
    // An entry of an earlier retirement may be purged meanwhile: without a copy nothing is removed.
    if (matchedCount === 0) continue;
    const { deletedCount } = await vault.deleteOne(exactly(id, document), BYTEWISE);
    if (deletedCount === 0) continue;
    const stamped = { ...entry, ...fields };
    // A purge that began before the removal took the copy for one that is not the last.
    if ((await entryWith(retired, id, stored)) === undefined) await retired.insertOne(stamped);
    return retiredKeyOf(stamped);
  }
  throw new CsfleError(
    'KEY_VAULT_COPY_MISMATCH',
    `key ${keyIdText(id)} stays in the key vault: a copy with the same bytes could not be made in ${ATTEMPTS} attempts`,
    { details: { keyId: keyIdText(id), attempts: ATTEMPTS } },
  );
}

/** The entries of the retired keys, the latest first. What is no entry, or is one of another key than it says, is left out. */
export async function retiredEntries(retired: DriverCollection, id: BsonBinary | undefined): Promise<readonly RetiredKey[]> {
  const entries = await retired.find(id === undefined ? {} : { keyId: id }, EXACT).toArray();
  return entries
    .filter(isEntry)
    .map(retiredKeyOf)
    .sort((a, b) => Number(b.retiredAt) - Number(a.retiredAt));
}

/** Puts a key document back, and compares what the vault has then. */
export async function restoreDocument(
  { vault, retired }: RetirementCollections,
  entry: RetiredKey,
  withoutNames: readonly string[],
): Promise<'restored' | 'present'> {
  const [found] = await retired.find({ _id: entry.retiredId }, EXACT).toArray();
  const bytes = await rawDocument(retired, { _id: entry.retiredId });
  if (found === undefined || bytes === undefined) {
    throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `key ${keyIdText(entry.keyId)} is not among the retired keys any more`, {
      details: { keyId: keyIdText(entry.keyId) },
    });
  }
  if (!isEntry(found) || !sameId(found['keyId'], entry.keyId)) throw otherCopy(entry.keyId, 'its entry among the retired keys holds another document');
  const present = await rawDocument(vault, { _id: entry.keyId });
  if (present !== undefined) {
    if (holdsKey(bytes, present)) return 'present';
    throw taken(entry.keyId, 'the key vault has another document of this id');
  }
  const document = withoutThose(found['key'] as Document, withoutNames);
  const names = altNamesIn(document);
  const [owner] = names.length === 0 ? [] : await vault.find({ keyAltNames: { $in: names } }, EXACT).toArray();
  if (owner !== undefined) throw takenName(entry.keyId, altNamesIn(owner).find((name) => names.includes(name)) ?? '');
  await vault.insertOne(document);
  const stored = await rawDocument(vault, { _id: entry.keyId });
  const [readBack] = await vault.find({ _id: entry.keyId }, EXACT).toArray();
  const isWhole = withoutNames.length === 0 ? stored !== undefined && holdsKey(bytes, stored) : readBack !== undefined;
  if (isWhole) return 'restored';
  throw otherCopy(entry.keyId, 'it is not in the key vault as it was retired');
}

/** Removes one entry if nothing of it changed since it was read. */
export async function purgeEntry(retired: DriverCollection, entry: RetiredKey): Promise<boolean> {
  const filter = { _id: entry.retiredId, keyId: entry.keyId, retiredAt: entry.retiredAt };
  return (await retired.deleteOne(filter)).deletedCount > 0;
}

/** The filter that matches one document only while it is, as a whole, what was read. */
function exactly(id: BsonBinary, document: Document): Document {
  return { _id: id, $expr: { $eq: ['$$ROOT', { $literal: document }] } };
}

// `key` comes first: its bytes are looked for from the start of the entry.
function entryOf(key: Document, note: RetirementNote): Document {
  return { key, keyId: key['_id'], ...noteOf(note) };
}

function noteOf({ reason, requestedBy, replacedBy }: RetirementNote): Document {
  return { retiredAt: new Date(), reason, requestedBy, ...(replacedBy === undefined ? {} : { replacedBy }) };
}

function retiredKeyOf(entry: Document): RetiredKey {
  const { _id, key, keyId, retiredAt, reason, requestedBy, replacedBy } = entry;
  return {
    retiredId: _id,
    keyId: keyId as BsonBinary,
    retiredAt: retiredAt as Date,
    reason: String(reason),
    requestedBy: String(requestedBy),
    ...(replacedBy === undefined ? {} : { replacedBy: replacedBy as BsonBinary }),
    document: key as Document,
  };
}

async function rawDocument(collection: DriverCollection, filter: Document): Promise<Uint8Array | undefined> {
  const [document] = (await collection.find(filter, RAW).toArray()) as readonly unknown[] as readonly Uint8Array[];
  // The driver may reuse the memory of a reply: these bytes are our own.
  return document === undefined ? undefined : Uint8Array.from(document);
}

/** The entry of this key whose copy has exactly these bytes. */
async function entryWith(retired: DriverCollection, id: BsonBinary, stored: Uint8Array): Promise<Document | undefined> {
  for (const entry of await retired.find({ keyId: id }, EXACT).toArray()) {
    const bytes = await rawDocument(retired, { _id: entry['_id'] });
    if (bytes !== undefined && holdsKey(bytes, stored)) return entry;
  }
  return undefined;
}

/** Whether the field `key` of an entry is a document of exactly these bytes. */
function holdsKey(entry: Uint8Array, document: Uint8Array): boolean {
  for (let start = entry.indexOf(KEY_ELEMENT[0] as number); start >= 0; start = entry.indexOf(KEY_ELEMENT[0] as number, start + 1)) {
    const at = start + KEY_ELEMENT.length;
    if (equalBytes(entry.subarray(start, at), KEY_ELEMENT)) return equalBytes(entry.subarray(at, at + document.length), document);
  }
  return false;
}

function withoutThose(document: Document, names: readonly string[]): Document {
  if (names.length === 0) return document;
  const others = altNamesIn(document).filter((name) => !names.includes(name));
  const { keyAltNames: _names, ...rest } = document;
  // The field goes with the last name, as the partial index on it wants.
  return others.length === 0 ? rest : { ...rest, keyAltNames: others };
}

/** Whether a document is an entry: the copy of the key that it names, with the time of its retirement. */
function isEntry({ key, keyId, retiredAt }: Document): boolean {
  return timeOf(retiredAt) !== undefined && typeof key === 'object' && key !== null && sameId((key as Document)['_id'], keyId);
}

function sameId(a: unknown, b: unknown): boolean {
  const areIds = isBinary(a, SUBTYPE_UUID) && isBinary(b, SUBTYPE_UUID) && binaryBytes(a).length === 16;
  return areIds && equalBytes(binaryBytes(a), binaryBytes(b));
}

function otherCopy(id: BsonBinary, message: string): CsfleError {
  return new CsfleError('KEY_VAULT_COPY_MISMATCH', `key ${keyIdText(id)} cannot be restored: ${message}`, {
    details: { keyId: keyIdText(id) },
  });
}

function taken(id: BsonBinary, message: string): CsfleError {
  return new CsfleError('KEY_VAULT_DUPLICATE_KEY', `key ${keyIdText(id)} cannot be restored: ${message}`, {
    details: { keyId: keyIdText(id) },
  });
}

function takenName(id: BsonBinary, name: string): CsfleError {
  return new CsfleError('KEY_VAULT_DUPLICATE_KEY', `key ${keyIdText(id)} cannot be restored: another key has its alternate name ${JSON.stringify(name)}`, {
    details: { keyId: keyIdText(id), keyAltName: name },
  });
}
