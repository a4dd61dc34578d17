// Results without what is random in them: ciphertexts and wrapped keys with what is inside, where the test has the key.
//
// Both libraries draw from the same stream. They need not draw in the same order, though: libmongocrypt wraps keys from the
// last to the first, and makes an id for each, which nobody sees.
import { binary, document, fields, LATIN1, TYPE, value } from '../../interop/raw-bson.mjs';
import { decryptValue, RANDOM, readHeader } from '../../interop/reference.mjs';
import { bytesOf, isMalformed } from './findings.mjs';

const field = (bytes, name) => fields(bytes, LATIN1).find(([known]) => known === name)?.[1];
const hex = (bytes) => Buffer.from(bytes).toString('hex');

function openedPayload(payload, world) {
  if (payload[0] !== RANDOM) return undefined;
  const { keyId } = readHeader(payload);
  const materials = [...world.keys.filter(({ id }) => hex(id) === hex(keyId)).map(({ material }) => material), ...world.given].filter(
    (material) => material?.length === 96,
  );
  for (const material of materials) {
    try {
      return document([
        ['random', value.uuid(keyId)],
        ['length', value.int(payload.length)],
        ['v', decryptValue(payload, material)],
      ]);
    } catch {
      // Another key, or none that the test knows.
    }
  }
  return undefined;
}

function openedItem(item, world) {
  if (item.type === TYPE.array) return value.array(fields(item.bytes, LATIN1).map(([, inner]) => openedItem(inner, world)));
  if (item.type === TYPE.object) return value.object(openedDocument(item.bytes, world));
  if (item.type !== TYPE.binData || item.bytes[4] !== 6) return item;
  const inside = openedPayload(binary(item).content, world);
  return inside === undefined ? item : value.object(inside);
}

/** A key document, or one of the new wrappings: the key inside, and any id of version 4 for one that is new. */
export function openedKey(bytes, world) {
  const material = world.open(binary(field(bytes, 'keyMaterial')).content, fields(field(bytes, 'masterKey').bytes, LATIN1));
  const isNew = field(bytes, 'status') !== undefined;
  return document(
    fields(bytes, LATIN1).map(([name, item]) => {
      if (name === 'keyMaterial' && material) return ['opened', value.binData(material)];
      const id = name === '_id' && isNew ? binary(item).content : undefined;
      return id && id[6] >> 4 === 4 && id[8] >> 6 === 2 ? ['new _id', value.null()] : [name, item];
    }),
    LATIN1,
  );
}

function openedDocument(bytes, world) {
  if (field(bytes, 'keyMaterial') && field(bytes, 'masterKey')) return openedKey(bytes, world);
  return document(
    fields(bytes, LATIN1).map(([name, item]) => [name, openedItem(item, world)]),
    LATIN1,
  );
}

/** A result, opened. */
export function opened(text, world) {
  const bytes = bytesOf(text);
  return isMalformed(bytes) ? bytes : openedDocument(bytes, world);
}
