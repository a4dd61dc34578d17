// KMIP's encoding: tag, type, length, value padded to eight bytes (KMIP 1.2, section 9.1).
export const TYPE = { structure: 1, integer: 2, enumeration: 5, text: 7, bytes: 8 };

export function item(tag, type, value) {
  const header = Buffer.alloc(8);
  header.writeUIntBE(tag, 0, 3);
  header[3] = type;
  header.writeUInt32BE(value.length, 4);
  return Buffer.concat([header, value, Buffer.alloc((8 - (value.length % 8)) % 8)]);
}

export const structure = (tag, ...items) => item(tag, TYPE.structure, Buffer.concat(items));

export function number(tag, type, value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return item(tag, type, bytes);
}
