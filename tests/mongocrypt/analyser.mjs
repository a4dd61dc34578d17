// A query analyser for one schema, in the place of mongocryptd: marks the field `ssn` of inserts and of equality filters.
import { createServer } from 'node:net';
import { Binary, deserialize, Int32, serialize } from 'bson';

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const HEADER = 16;

const int32 = (...values) => { const bytes = Buffer.alloc(values.length * 4); values.forEach((value, index) => bytes.writeInt32LE(value, index * 4)); return bytes; };
const framed = (responseTo, opcode, ...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([int32(HEADER + body.length, 0, responseTo, opcode), body]);
};

/** Resolves to `{ uri, analysed, stop() }`; `analysed` collects the commands. */
export async function startAnalyser() {
  const analysed = [];
  const sockets = new Set();
  const answer = (command) => {
    if (/^(hello|ismaster)$/i.test(Object.keys(command)[0])) {
      return { ismaster: true, helloOk: true, maxBsonObjectSize: 16777216, maxMessageSizeBytes: 48000000, maxWriteBatchSize: 100000, minWireVersion: 0, maxWireVersion: new Int32(26), iscryptd: true, ok: 1 };
    }
    if (Object.keys(command)[0] === 'endSessions') return { ok: 1 };
    analysed.push(command);
    return { ...analyse(command), ok: 1 };
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let waiting = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      waiting = Buffer.concat([waiting, chunk]);
      while (waiting.length >= HEADER && waiting.length >= waiting.readInt32LE(0)) {
        const message = waiting.subarray(0, waiting.readInt32LE(0));
        waiting = waiting.subarray(message.length);
        socket.write(reply(message, answer));
      }
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    uri: `mongodb://127.0.0.1:${server.address().port}/?directConnection=true`,
    analysed,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => { server.close(resolve); });
    },
  };
}

function reply(message, answer) {
  const [id, opcode] = [message.readInt32LE(4), message.readInt32LE(12)];
  const document = (offset) => deserialize(message.subarray(offset, offset + message.readInt32LE(offset)), { promoteValues: false });
  if (opcode === OP_QUERY) {
    const start = message.indexOf(0, HEADER + 4) + 9;
    return framed(id, OP_REPLY, int32(8, 0, 0, 0, 1), serialize(answer(document(start))));
  }
  if (opcode !== OP_MSG) throw new Error(`unexpected message ${opcode}`);
  return framed(id, OP_MSG, int32(0), Buffer.from([0]), serialize(answer(document(HEADER + 5))));
}

function analyse({ jsonSchema, isRemoteSchema, lsid, $db, $readPreference, ...command }) {
  const rule = jsonSchema?.properties?.ssn?.encrypt;
  if (rule === undefined) return { hasEncryptionPlaceholders: false, schemaRequiresEncryption: false, result: command };
  const marked = (ssn) => new Binary(Buffer.concat([Buffer.from([0]), serialize({ v: ssn, a: new Int32(1), ki: rule.keyId[0] })]), 6);
  const mark = (document) => (document?.ssn === undefined ? document : { ...document, ssn: marked(document.ssn) });
  const result = { ...command };
  if (result.documents) result.documents = result.documents.map(mark);
  if (result.filter) result.filter = mark(result.filter);
  return { hasEncryptionPlaceholders: true, schemaRequiresEncryption: true, result };
}
