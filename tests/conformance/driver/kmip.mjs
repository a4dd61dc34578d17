// The KMIP server of the published tests: the object "1" is the secret that is published with the driver teams' own test
// server; what another of their objects wrapped opens to the stand-in material. Requests have to be the very bytes that are
// known of libmongocrypt.
// Source: KMIP 1.2, section 9.1 (TTLV encoding) and 9.1.3 (tags).
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';
import { kmipSecret } from '../../interop/fake-kms.mjs';
import { listening } from '../../listening.mjs';
import { account } from '../accounts.mjs';
import { KMIP_SECRET_1 } from '../published.mjs';

const TAG = {
  attribute: 0x420008,
  attributeName: 0x42000a,
  attributeValue: 0x42000b,
  batchCount: 0x42000d,
  batchItem: 0x42000f,
  blockCipherMode: 0x420011,
  algorithm: 0x420028,
  parameters: 0x42002b,
  iv: 0x42003d,
  keyBlock: 0x420040,
  keyFormatType: 0x420042,
  keyMaterial: 0x420043,
  keyValue: 0x420045,
  objectType: 0x420057,
  operation: 0x42005c,
  paddingMethod: 0x42005f,
  protocolVersion: 0x420069,
  protocolMajor: 0x42006a,
  protocolMinor: 0x42006b,
  requestHeader: 0x420077,
  requestMessage: 0x420078,
  requestPayload: 0x420079,
  responseHeader: 0x42007a,
  responseMessage: 0x42007b,
  responsePayload: 0x42007c,
  resultStatus: 0x42007f,
  secretData: 0x420085,
  secretDataType: 0x420086,
  template: 0x420091,
  uniqueIdentifier: 0x420094,
  data: 0x4200c2,
  randomIv: 0x4200c5,
};
const TYPE = { structure: 1, integer: 2, enumeration: 5, boolean: 6, text: 7, bytes: 8 };
const OPERATION = { create: 0x01, register: 0x03, get: 0x0a, activate: 0x12, encrypt: 0x1f, decrypt: 0x20 };
const HEADER_LEN = 8;
const IV_BYTES = 16;
const [SYMMETRIC_KEY, SECRET_DATA, AES, CBC, PKCS5, PASSWORD, OPAQUE] = [2, 7, 3, 1, 3, 2, 2];

function item(tag, type, value) {
  const header = Buffer.alloc(HEADER_LEN);
  header.writeUIntBE(tag, 0, 3);
  header[3] = type;
  header.writeUInt32BE(value.length, 4);
  return Buffer.concat([header, value, Buffer.alloc((8 - (value.length % 8)) % 8)]);
}
const number = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const structure = (tag, ...items) => item(tag, TYPE.structure, Buffer.concat(items));
const integer = (tag, value) => item(tag, TYPE.integer, number(value));
const enumeration = (tag, value) => item(tag, TYPE.enumeration, number(value));
const text = (tag, value) => item(tag, TYPE.text, Buffer.from(value));
const bytes = (tag, value) => item(tag, TYPE.bytes, Buffer.from(value));
const yes = (tag) => item(tag, TYPE.boolean, Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]));
const attribute = (name, value) => structure(TAG.attribute, text(TAG.attributeName, name), value);
const version = (minor) => structure(TAG.protocolVersion, integer(TAG.protocolMajor, 1), integer(TAG.protocolMinor, minor));
const secretData = (material) =>
  structure(
    TAG.secretData,
    enumeration(TAG.secretDataType, PASSWORD),
    structure(TAG.keyBlock, enumeration(TAG.keyFormatType, OPAQUE), structure(TAG.keyValue, bytes(TAG.keyMaterial, material))),
  );

/** The values of a message by tag; the requests that arrive here have each tag of interest once. */
function valuesOf(message, into = new Map()) {
  for (let at = 0; at < message.length; ) {
    const length = message.readUInt32BE(at + 4);
    const value = message.subarray(at + HEADER_LEN, at + HEADER_LEN + length);
    if (message[at + 3] === TYPE.structure) valuesOf(value, into);
    else into.set(message.readUIntBE(at, 3), value);
    at += HEADER_LEN + Math.ceil(length / 8) * 8;
  }
  return into;
}

/** The one message that asks for this. */
function expectedRequest(operation, values) {
  const isSince12 = [OPERATION.create, OPERATION.encrypt, OPERATION.decrypt].includes(operation);
  return structure(
    TAG.requestMessage,
    structure(TAG.requestHeader, version(isSince12 ? 2 : 0), integer(TAG.batchCount, 1)),
    structure(TAG.batchItem, enumeration(TAG.operation, operation), structure(TAG.requestPayload, ...expectedPayload(operation, values))),
  );
}

function expectedPayload(operation, values) {
  const under = (tag) => values.get(tag) ?? Buffer.alloc(0);
  const identifier = text(TAG.uniqueIdentifier, under(TAG.uniqueIdentifier));
  const parameters = [enumeration(TAG.blockCipherMode, CBC), enumeration(TAG.paddingMethod, PKCS5), enumeration(TAG.algorithm, AES)];
  const data = bytes(TAG.data, under(TAG.data));
  switch (operation) {
    case OPERATION.register: {
      const attributes = structure(TAG.template, attribute('Cryptographic Usage Mask', integer(TAG.attributeValue, 0)));
      return [enumeration(TAG.objectType, SECRET_DATA), attributes, secretData(under(TAG.keyMaterial))];
    }
    case OPERATION.create: {
      const attributes = structure(
        TAG.template,
        attribute('Cryptographic Algorithm', enumeration(TAG.attributeValue, AES)),
        attribute('Cryptographic Length', integer(TAG.attributeValue, 256)),
        attribute('Cryptographic Usage Mask', integer(TAG.attributeValue, 12)),
      );
      return [enumeration(TAG.objectType, SYMMETRIC_KEY), attributes];
    }
    case OPERATION.encrypt:
      return [identifier, structure(TAG.parameters, ...parameters, yes(TAG.randomIv)), data];
    case OPERATION.decrypt:
      return [identifier, structure(TAG.parameters, ...parameters), data, bytes(TAG.iv, under(TAG.iv))];
    default:
      return [identifier];
  }
}

/** Resolves to `{ port, violations, stop() }`. Clients show a certificate. */
export async function startKmipService(certificates) {
  const [own, ca] = [certificates.file('server'), certificates.caFile].map((file) => readFileSync(file));
  const secrets = new Map([['1', KMIP_SECRET_1]]);
  const sockets = new Set();
  const violations = [];
  const server = createServer({ key: own, cert: own, ca, requestCert: true, rejectUnauthorized: true }, (socket) => {
    let received = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('data', async (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < HEADER_LEN || received.length < HEADER_LEN + received.readUInt32BE(4)) return;
      const values = valuesOf(received);
      const operation = values.get(TAG.operation).readInt32BE();
      if (!received.equals(expectedRequest(operation, values))) violations.push(`kmip: operation ${operation}: ${received.toString('hex')}`);
      received = Buffer.alloc(0);
      socket.write(
        structure(
          TAG.responseMessage,
          structure(TAG.responseHeader, version(values.get(TAG.protocolMinor).readInt32BE()), integer(TAG.batchCount, 1)),
          structure(
            TAG.batchItem,
            enumeration(TAG.operation, operation),
            enumeration(TAG.resultStatus, 0),
            structure(TAG.responsePayload, ...(await answer(operation, values, secrets))),
          ),
        ),
      );
    });
  });
  await listening(server);
  return {
    port: server.address().port,
    violations,
    stop: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(resolve);
      }),
  };
}

const standIn = account('kmip');

async function answer(operation, values, secrets) {
  const id = values.get(TAG.uniqueIdentifier)?.toString() ?? `made-${secrets.size}`;
  const identifier = text(TAG.uniqueIdentifier, id);
  const masterKey = { keyId: id, delegated: true };
  switch (operation) {
    case OPERATION.register:
      secrets.set(id, values.get(TAG.keyMaterial));
      return [identifier];
    case OPERATION.create:
      secrets.set(id, undefined);
      return [enumeration(TAG.objectType, SYMMETRIC_KEY), identifier];
    case OPERATION.activate:
      return [identifier];
    case OPERATION.get:
      return [enumeration(TAG.objectType, SECRET_DATA), identifier, secretData(secrets.get(id) ?? kmipSecret(id))];
    case OPERATION.encrypt: {
      const { ciphertext } = standIn.encrypt({ masterKey, plaintext: values.get(TAG.data) });
      return [identifier, bytes(TAG.data, ciphertext.subarray(IV_BYTES)), bytes(TAG.iv, ciphertext.subarray(0, IV_BYTES))];
    }
    case OPERATION.decrypt: {
      const ciphertext = Buffer.concat([values.get(TAG.iv), values.get(TAG.data)]);
      return [identifier, bytes(TAG.data, await standIn.decrypt({ masterKey, ciphertext }))];
    }
    default:
      throw new Error(`unknown KMIP operation ${operation}`);
  }
}
