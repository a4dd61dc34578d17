// Messages of the MongoDB wire protocol, as far as the tests' own servers read and write them.
import { deserialize, serialize } from 'bson';

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const HEADER = 16;

const int32 = (...values) => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeInt32LE(value, index * 4));
  return bytes;
};

const framed = (responseTo, opcode, ...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(HEADER + body.length, 0, responseTo, opcode), body]);
};

/** Returns a function that takes chunks of a stream and calls `onMessage` with each whole message. */
export function messageSplitter(onMessage) {
  let waiting = Buffer.alloc(0);
  return (chunk) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= HEADER && waiting.length >= waiting.readInt32LE(0)) {
      const message = waiting.subarray(0, waiting.readInt32LE(0));
      waiting = waiting.subarray(message.length);
      onMessage(message);
    }
  };
}

export const requestIdOf = (message) => message.readInt32LE(4);
export const responseToOf = (message) => message.readInt32LE(8);

/** The document of a request or of a reply; what else a message may carry besides is nothing these tests send. */
export function readDocument(message) {
  const at = documentOffset(message);
  return deserialize(message.subarray(at, at + message.readInt32LE(at)), { promoteValues: false });
}

function documentOffset(message) {
  const opcode = message.readInt32LE(12);
  if (opcode === OP_QUERY) return message.indexOf(0, HEADER + 4) + 9;
  if (opcode === OP_MSG) return HEADER + 5;
  throw new Error(`unexpected message ${opcode}`);
}

/** The answer to a request: handshakes of drivers still begin with the older form. */
export function replyTo(request, document) {
  if (request.readInt32LE(12) === OP_QUERY) return framed(requestIdOf(request), OP_REPLY, int32(8, 0, 0, 0, 1), serialize(document));
  return framed(requestIdOf(request), OP_MSG, int32(0), Buffer.from([0]), serialize(document));
}

/** Whether a message is of the kind that carries commands and their replies after the handshake. */
export const isCommand = (message) => message.readInt32LE(12) === OP_MSG;

/** A reply with another document in it. */
export const replaceDocument = (reply, document) => framed(responseToOf(reply), OP_MSG, int32(0), Buffer.from([0]), serialize(document));
