// What a KMIP server says: messages, good ones and others.
import { item, number, structure, TYPE } from './ttlv.mjs';

export const TAG = Object.freeze({
  responseMessage: 0x42007b,
  responseHeader: 0x42007a,
  protocolVersion: 0x420069,
  major: 0x42006a,
  minor: 0x42006b,
  batchCount: 0x42000d,
  batchItem: 0x42000f,
  operation: 0x42005c,
  resultStatus: 0x42007f,
  resultReason: 0x42007e,
  resultMessage: 0x42007d,
  responsePayload: 0x42007c,
  objectType: 0x420057,
  uniqueIdentifier: 0x420094,
  secretData: 0x420085,
  secretDataType: 0x420086,
  keyBlock: 0x420040,
  keyFormatType: 0x420042,
  keyValue: 0x420045,
  keyMaterial: 0x420043,
  data: 0x4200c2,
  ivCounterNonce: 0x42003d,
});

export const OPERATION = Object.freeze({ create: 0x01, register: 0x03, get: 0x0a, activate: 0x12, encrypt: 0x1f, decrypt: 0x20 });

const enumeration = (tag, value) => number(tag, TYPE.enumeration, value);
const integer = (tag, value) => number(tag, TYPE.integer, value);
export const text = (tag, value) => item(tag, TYPE.text, Buffer.from(value));
export const byteString = (tag, value) => item(tag, TYPE.bytes, value);

/** A response of one batch item: `items` follow the operation and the status. */
export const response = (operation, status, ...items) =>
  structure(
    TAG.responseMessage,
    structure(TAG.responseHeader, structure(TAG.protocolVersion, integer(TAG.major, 1), integer(TAG.minor, 0)), integer(TAG.batchCount, 1)),
    structure(TAG.batchItem, enumeration(TAG.operation, operation), enumeration(TAG.resultStatus, status), ...items),
  );

const payload = (operation, ...items) => response(operation, 0, structure(TAG.responsePayload, ...items));

export const named = (operation, id) => payload(operation, text(TAG.uniqueIdentifier, id));
export const secret = (material, id = 'id') =>
  payload(
    OPERATION.get,
    enumeration(TAG.objectType, 7),
    text(TAG.uniqueIdentifier, id),
    structure(
      TAG.secretData,
      enumeration(TAG.secretDataType, 2),
      structure(TAG.keyBlock, enumeration(TAG.keyFormatType, 2), structure(TAG.keyValue, byteString(TAG.keyMaterial, material))),
    ),
  );
export const encryptedData = (data, iv, id = 'id') =>
  payload(OPERATION.encrypt, text(TAG.uniqueIdentifier, id), byteString(TAG.data, data), byteString(TAG.ivCounterNonce, iv));
export const decryptedData = (data, id = 'id') => payload(OPERATION.decrypt, text(TAG.uniqueIdentifier, id), byteString(TAG.data, data));
export const refusal = (operation, { status = 1, reason = 1, message = 'gone' } = {}) =>
  response(operation, status, enumeration(TAG.resultReason, reason), text(TAG.resultMessage, message));

/** The type of each tag. */
const TYPES = new Map([
  ...['responseMessage', 'responseHeader', 'protocolVersion', 'batchItem', 'responsePayload', 'secretData', 'keyBlock', 'keyValue'].map((name) => [
    TAG[name],
    TYPE.structure,
  ]),
  ...['major', 'minor', 'batchCount'].map((name) => [TAG[name], TYPE.integer]),
  ...['operation', 'resultStatus', 'resultReason', 'objectType', 'secretDataType', 'keyFormatType'].map((name) => [TAG[name], TYPE.enumeration]),
  ...['resultMessage', 'uniqueIdentifier'].map((name) => [TAG[name], TYPE.text]),
  ...['keyMaterial', 'data', 'ivCounterNonce'].map((name) => [TAG[name], TYPE.bytes]),
]);
const FIXED = new Map([
  [TYPE.integer, 4],
  [TYPE.enumeration, 4],
]);

/** Whether all values are of known tags, of their types, end where what holds them ends, and are filled up with zeros. */
export function isWellFormed(bytes) {
  for (let offset = 0; offset < bytes.length; ) {
    if (offset + 8 > bytes.length) return false;
    const [tag, type, length] = [bytes.readUIntBE(offset, 3), bytes[offset + 3], bytes.readUInt32BE(offset + 4)];
    const end = offset + 8 + Math.ceil(length / 8) * 8;
    if (TYPES.get(tag) !== type || end > bytes.length || (FIXED.has(type) && FIXED.get(type) !== length)) return false;
    if (type === TYPE.structure && !isWellFormed(bytes.subarray(offset + 8, offset + 8 + length))) return false;
    if (bytes.subarray(offset + 8 + length, end).some((byte) => byte !== 0)) return false;
    offset = end;
  }
  return true;
}

/** The first value of that tag at any depth, or undefined. */
export function find(bytes, wanted) {
  for (let offset = 0; offset + 8 <= bytes.length; ) {
    const [tag, type, length] = [bytes.readUIntBE(offset, 3), bytes[offset + 3], bytes.readUInt32BE(offset + 4)];
    const value = bytes.subarray(offset + 8, offset + 8 + length);
    if (tag === wanted) return value;
    const inside = type === TYPE.structure ? find(value, wanted) : undefined;
    if (inside !== undefined) return inside;
    offset += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}
