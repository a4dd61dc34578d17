/** The records of a sealed backup as JavaScript objects. docs/sealed-backup.md describes them. */

import {
  type BsonBinary,
  type BsonLibrary,
  binaryBytes,
  type Document,
  deserialize,
  EXACT_TYPES,
  isBinary,
  SUBTYPE_GENERIC,
  serialize,
  splitDocuments,
} from '../bson.js';
import { concatBytes, wipe } from '../bytes.js';
import { CsfleError } from '../errors.js';

/** An index of the key vault. */
export interface BackupIndex {
  /** `database.collection`. */
  readonly namespace: string;
  /** As `listIndexes` returns it. */
  readonly definition: Document;
}

/** The options of a collection that concern encryption: `validator` with its level and action, and `encryptedFields`. */
export interface BackupCollection {
  /** `database.collection`. */
  readonly namespace: string;
  readonly options: Document;
}

/** A schema file. */
export interface BackupSchema {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A local master key. */
export interface BackupLocalMasterKey {
  /** `local`, or `local:name`. */
  readonly provider: string;
  /** 96 secret bytes. */
  readonly key: Uint8Array;
}

/** What a backup holds, beside its manifest. */
export interface BackupRecords {
  /** Key documents as BSON bytes, exactly as they were stored, in the order of the vault. */
  readonly keyDocuments: readonly Uint8Array[];
  readonly indexes: readonly BackupIndex[];
  readonly collections: readonly BackupCollection[];
  readonly schemas: readonly BackupSchema[];
  readonly localMasterKeys: readonly BackupLocalMasterKey[];
}

/** What the first record says about the others. */
export interface BackupManifest {
  readonly createdAt: Date;
  /** The program and its version. */
  readonly tool: string;
  /** `database.collection`, or null for a store that is no collection. */
  readonly keyVault: string | null;
  /** What could not be read when the backup was made, with the reason. */
  readonly notRead: readonly string[];
}

/** Writes records as BSON. The result holds what `localMasterKeys` holds, so the caller wipes it. */
export function encodeRecords(bson: BsonLibrary, records: BackupRecords): Uint8Array {
  const written = (record: Document): Uint8Array => serialize(bson, record, 'a record of the backup');
  const binary = (bytes: Uint8Array): unknown => new bson.Binary(bytes, SUBTYPE_GENERIC);
  const secret = records.localMasterKeys.map(localMasterKeyRecord);
  try {
    return concatBytes([
      ...records.keyDocuments.map(keyRecord),
      ...records.indexes.map(({ namespace, definition }) => written({ type: 'index', namespace, definition })),
      ...records.collections.map(({ namespace, options }) => written({ type: 'collection', namespace, options })),
      ...records.schemas.map(({ name, bytes }) => written({ type: 'schema', name, bytes: binary(bytes) })),
      ...secret,
    ]);
  } finally {
    wipe(...secret);
  }
}

/** Reads the content of an opened backup. Nothing of the result shares memory with `content`; after an error nothing of it is left. */
export function decodeContent(bson: BsonLibrary, content: Uint8Array): { manifest: BackupManifest; records: BackupRecords } {
  const [first, ...others] = splitDocuments(content);
  if (first === undefined) throw new CsfleError('BACKUP_CONTENT_INVALID', 'there is no manifest');
  const records: Lists = { keyDocuments: [], indexes: [], collections: [], schemas: [], localMasterKeys: [] };
  try {
    for (const view of others) addRecord(bson, view, records);
    return { manifest: manifestOf(bson, first), records };
  } catch (error) {
    for (const { key } of records.localMasterKeys) wipe(key);
    throw error;
  }
}

type Lists = { [kind in keyof BackupRecords]: BackupRecords[kind][number][] };

function addRecord(bson: BsonLibrary, view: Uint8Array, records: Lists): void {
  // A BSON library may hand out views of what it reads, and the content is about to be wiped.
  const bytes = new Uint8Array(view);
  let isSecret = true;
  try {
    const record = deserialize(bson, bytes, EXACT_TYPES);
    const text = (name: string): string => String(record[name]);
    const type = String(record.type);
    isSecret = type === 'localMasterKey';
    switch (type) {
      case 'key':
        records.keyDocuments.push(keyDocumentOf(bytes));
        break;
      case 'index':
        records.indexes.push({ namespace: text('namespace'), definition: record.definition as Document });
        break;
      case 'collection':
        records.collections.push({ namespace: text('namespace'), options: record.options as Document });
        break;
      case 'schema':
        records.schemas.push({ name: text('name'), bytes: bytesOf(record.bytes) });
        break;
      case 'localMasterKey':
        records.localMasterKeys.push({ provider: text('provider'), key: bytesOf(record.key) });
        // A view, or a copy that the library made.
        wipe(binaryBytes(record.key as BsonBinary));
        break;
    }
  } finally {
    if (isSecret) wipe(bytes);
  }
}

function manifestOf(bson: BsonLibrary, first: Uint8Array): BackupManifest {
  const { createdAt, tool, keyVault, notRead } = deserialize(bson, first);
  return {
    createdAt: createdAt instanceof Date ? createdAt : new Date(Number.NaN),
    tool: String(tool),
    keyVault: typeof keyVault === 'string' ? keyVault : null,
    notRead: Array.isArray(notRead) ? notRead.map(String) : [],
  };
}

// The document goes in and comes out as bytes: a BSON library would write some of them differently.

const KEY_RECORD_HEAD = new TextEncoder().encode('\x02type\0\x04\0\0\0key\0\x03document\0');

function keyRecord(document: Uint8Array): Uint8Array {
  const length = 4 + KEY_RECORD_HEAD.length + document.length + 1;
  const record = new Uint8Array(length);
  new DataView(record.buffer).setInt32(0, length, true);
  record.set(KEY_RECORD_HEAD, 4);
  record.set(document, 4 + KEY_RECORD_HEAD.length);
  return record;
}

function keyDocumentOf(record: Uint8Array): Uint8Array {
  const start = 4 + KEY_RECORD_HEAD.length;
  const isOurs = KEY_RECORD_HEAD.every((byte, index) => record[4 + index] === byte);
  const [document, end] = isOurs ? [record.slice(start, -1), start + new DataView(record.buffer, record.byteOffset).getInt32(start, true)] : [];
  if (document === undefined || end !== record.length - 1)
    throw new CsfleError('BACKUP_CONTENT_INVALID', 'a record of a key has other fields than type and document');
  return document;
}

const TYPE_STRING = 0x02;
const TYPE_BINARY = 0x05;

/** A record that holds a secret, made by hand: a BSON library would leave a copy of it in memory of its own. */
function localMasterKeyRecord({ provider, key }: BackupLocalMasterKey): Uint8Array {
  const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
  const int32 = (value: number): Uint8Array => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setInt32(0, value, true);
    return bytes;
  };
  const element = (type: number, name: string): Uint8Array => Uint8Array.of(type, ...utf8(name), 0);
  const string = (name: string, value: Uint8Array): readonly Uint8Array[] => [element(TYPE_STRING, name), int32(value.length + 1), value, Uint8Array.of(0)];
  const parts = [
    ...string('type', utf8('localMasterKey')),
    ...string('provider', utf8(provider)),
    element(TYPE_BINARY, 'key'),
    int32(key.length),
    Uint8Array.of(SUBTYPE_GENERIC),
    key,
    Uint8Array.of(0),
  ];
  return concatBytes([int32(4 + parts.reduce((length, part) => length + part.length, 0)), ...parts]);
}

function bytesOf(value: unknown): Uint8Array {
  if (!isBinary(value)) throw new CsfleError('BACKUP_CONTENT_INVALID', 'a record has a field of another type than binary');
  // slice() of a Buffer would be a view.
  return new Uint8Array(binaryBytes(value));
}
