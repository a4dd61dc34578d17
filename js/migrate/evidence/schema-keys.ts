/** The data keys that a schema names: validators, `encryptedFields`, schema files. */

import { binaryBytes, isBinary, SUBTYPE_UUID } from '../../bson.js';
import { uuidText } from '../../bytes.js';

/** The keys that a schema names. */
export interface SchemaKeys {
  /** Ids of data keys, and other UUIDs that may be some. */
  readonly keyIds: ReadonlySet<string>;
  /** Alternate names. */
  readonly keyAltNames: ReadonlySet<string>;
  /** Whether a `keyId` is a JSON pointer: which key it means is decided by each document. */
  readonly anyKey: boolean;
}

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** Collects every UUID of a document, and what its fields `keyId` and `keyAltName` say. */
export function schemaKeys(schema: unknown): SchemaKeys {
  const keyIds = new Set<string>();
  const keyAltNames = new Set<string>();
  let anyKey = false;
  // A stack of its own: how deep a schema nests is not ours to decide.
  const open: (readonly [name: string, value: unknown])[] = [['', schema]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [name, value] = next;
    if (isBinary(value)) {
      const bytes = binaryBytes(value);
      if (value.sub_type === SUBTYPE_UUID && bytes.length === 16) keyIds.add(uuidText(bytes));
    } else if (typeof value === 'string') {
      if (UUID.test(value)) keyIds.add(value.toLowerCase());
      if (name === 'keyId' && value.startsWith('/')) anyKey = true;
      if (name === 'keyAltName') keyAltNames.add(value);
    } else if (Array.isArray(value)) {
      for (const element of value) open.push([name, element]);
    } else if (typeof value === 'object' && value !== null) {
      const fields: Iterable<readonly [unknown, unknown]> =
        Object.prototype.toString.call(value) === '[object Map]' ? (value as ReadonlyMap<unknown, unknown>) : Object.entries(value);
      for (const [field, inner] of fields) open.push([String(field), inner]);
    }
  }
  return { keyIds, keyAltNames, anyKey };
}
