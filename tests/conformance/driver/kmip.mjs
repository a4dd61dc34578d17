// The KMIP server of the published tests: the object "1" is the secret that is published with the driver teams' own test
// server; what another of their objects wrapped opens to the stand-in material.
// Source: KMIP 1.2, section 9.1 (TTLV encoding) and 9.1.3 (tags).
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';
import { kmipSecret } from '../../interop/fake-kms.mjs';
import { item, number, structure, TYPE } from '../../mongocrypt/ttlv.mjs';
import { account } from '../accounts.mjs';
import { KMIP_SECRET_1 } from '../published.mjs';

const TAG = {
  batchCount: 0x42000d, batchItem: 0x42000f, data: 0x4200c2, iv: 0x42003d, keyBlock: 0x420040, keyFormatType: 0x420042, keyMaterial: 0x420043,
  keyValue: 0x420045, objectType: 0x420057, operation: 0x42005c, protocolMajor: 0x42006a, protocolMinor: 0x42006b, protocolVersion: 0x420069,
  responseHeader: 0x42007a, responseMessage: 0x42007b, responsePayload: 0x42007c, resultStatus: 0x42007f, secretData: 0x420085, secretDataType: 0x420086,
  uniqueIdentifier: 0x420094,
};
const OPERATION = { create: 0x01, register: 0x03, get: 0x0a, activate: 0x12, encrypt: 0x1f, decrypt: 0x20 };
const HEADER_LEN = 8;
const [SYMMETRIC_KEY, SECRET_DATA] = [2, 7];

const integer = (tag, value) => number(tag, TYPE.integer, value);
const enumeration = (tag, value) => number(tag, TYPE.enumeration, value);
const text = (tag, value) => item(tag, TYPE.text, Buffer.from(value));
const bytes = (tag, value) => item(tag, TYPE.bytes, Buffer.from(value));

/** The values of a message by tag; the requests that arrive here name each tag of interest once. */
function valuesOf(message, into = new Map()) {
  for (let at = 0; at < message.length;) {
    const length = message.readUInt32BE(at + 4);
    const value = message.subarray(at + HEADER_LEN, at + HEADER_LEN + length);
    if (message[at + 3] === TYPE.structure) valuesOf(value, into);
    else into.set(message.readUIntBE(at, 3), value);
    at += HEADER_LEN + Math.ceil(length / 8) * 8;
  }
  return into;
}

/** Resolves to `{ port, stop() }`. Clients show a certificate. */
export async function startKmipService(certificates) {
  const [own, ca] = [certificates.file('server'), certificates.caFile].map((file) => readFileSync(file));
  const secrets = new Map([['1', KMIP_SECRET_1]]);
  const sockets = new Set();
  const server = createServer({ key: own, cert: own, ca, requestCert: true, rejectUnauthorized: true }, (socket) => {
    let received = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    socket.on('data', async (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < HEADER_LEN || received.length < HEADER_LEN + received.readUInt32BE(4)) return;
      const request = valuesOf(received);
      received = Buffer.alloc(0);
      const operation = request.get(TAG.operation).readInt32BE();
      const version = structure(TAG.protocolVersion, ...[TAG.protocolMajor, TAG.protocolMinor].map((tag) => integer(tag, request.get(tag).readInt32BE())));
      socket.write(structure(TAG.responseMessage,
        structure(TAG.responseHeader, version, integer(TAG.batchCount, 1)),
        structure(TAG.batchItem, enumeration(TAG.operation, operation), enumeration(TAG.resultStatus, 0), structure(TAG.responsePayload, ...(await answer(operation, request, secrets))))));
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    port: server.address().port,
    stop: () => new Promise((resolve) => {
      for (const socket of sockets) socket.destroy();
      server.close(resolve);
    }),
  };
}

const standIn = account('kmip');
const IV_BYTES = 16;

async function answer(operation, request, secrets) {
  const id = request.get(TAG.uniqueIdentifier)?.toString() ?? `made-${secrets.size}`;
  const identifier = text(TAG.uniqueIdentifier, id);
  const masterKey = { keyId: id, delegated: true };
  switch (operation) {
    case OPERATION.register:
      secrets.set(id, request.get(TAG.keyMaterial));
      return [identifier];
    case OPERATION.create: {
      secrets.set(id, undefined);
      return [enumeration(TAG.objectType, SYMMETRIC_KEY), identifier];
    }
    case OPERATION.activate: return [identifier];
    case OPERATION.get: {
      const keyValue = structure(TAG.keyValue, bytes(TAG.keyMaterial, secrets.get(id) ?? kmipSecret(id)));
      const secret = structure(TAG.secretData, enumeration(TAG.secretDataType, 2), structure(TAG.keyBlock, enumeration(TAG.keyFormatType, 2), keyValue));
      return [enumeration(TAG.objectType, SECRET_DATA), identifier, secret];
    }
    case OPERATION.encrypt: {
      const { ciphertext } = standIn.encrypt({ masterKey, plaintext: request.get(TAG.data) });
      return [identifier, bytes(TAG.data, ciphertext.subarray(IV_BYTES)), bytes(TAG.iv, ciphertext.subarray(0, IV_BYTES))];
    }
    case OPERATION.decrypt: {
      const ciphertext = Buffer.concat([request.get(TAG.iv), request.get(TAG.data)]);
      return [identifier, bytes(TAG.data, await standIn.decrypt({ masterKey, ciphertext }))];
    }
    default: throw new Error(`unknown KMIP operation ${operation}`);
  }
}
