// A proxy between one job and the server that sees every command, so that a fault can be placed at the k-th write: before the
// server gets it, or after the server did it and before the job hears of it.
import { connect, createServer } from 'node:net';
import { deserialize } from 'bson';
import { listening } from '../listening.mjs';
import { isCommand, messageSplitter, requestIdOf, responseToOf } from '../mongocrypt/wire.mjs';

const WRITES = new Set([
  'insert',
  'update',
  'delete',
  'findAndModify',
  'collMod',
  'create',
  'createIndexes',
  'drop',
  'dropIndexes',
  'renameCollection',
  'bulkWrite',
]);
const BODY_AT = 20;

/** The name of a command, whether it writes or reads, and `read()`, which decodes it. */
function commandOf(message) {
  if (!isCommand(message) || message[BODY_AT] !== 0) return { name: 'hello', isWrite: false };
  const nameAt = BODY_AT + 6;
  const name = message.toString('latin1', nameAt, message.indexOf(0, nameAt));
  const isWrite = WRITES.has(name);
  return { name, isWrite, isRead: name === 'find' || name === 'getMore', read: () => wholeCommand(message) };
}

/** The command's document with its document sequences in place. */
function wholeCommand(message) {
  const command = {};
  const withChecksum = (message.readInt32LE(16) & 1) === 1;
  const end = message.length - (withChecksum ? 4 : 0);
  for (let at = BODY_AT; at < end; ) {
    const kind = message[at];
    at += 1;
    const size = message.readInt32LE(at);
    if (kind === 0) Object.assign(command, deserialize(message.subarray(at, at + size)));
    else {
      const nameEnd = message.indexOf(0, at + 4);
      const documents = [];
      for (let inner = nameEnd + 1; inner < at + size; inner += message.readInt32LE(inner))
        documents.push(deserialize(message.subarray(inner, inner + message.readInt32LE(inner))));
      command[message.toString('latin1', at + 4, nameEnd)] = documents;
    }
    at += size;
  }
  return command;
}

/** The `_id`s of the documents that an update changes; none for the update with which a migration asks for its rights. */
export function updatedIds(command) {
  return (command.updates ?? []).map(({ q }) => q?._id).filter((id) => id !== undefined && !(Array.isArray(id?.$in) && id.$in.length === 0));
}

/**
 * Resolves to `{ uri, counts, seen, cut(), stop() }`; `seen` has the names of those `needles` (`{ name, data }`) that were in what the
 * job sent. `onCommand({ name, isWrite, isRead, writeNumber, readNumber, read() })` is awaited before a command goes on and may
 * return `{ before: fn }` or `{ after: fn }`: fn is called instead of passing the command on, or instead of passing its reply on, and
 * the connection ends there.
 */
export async function startProxy(serverUri, { onCommand = () => undefined, needles = [] } = {}) {
  const { hostname, port } = new URL(serverUri);
  const sockets = new Set();
  const counts = { writes: 0, reads: 0 };
  const seen = new Set();
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const server = createServer((client) => {
    const upstream = connect({ host: hostname, port: Number(port || 27017) });
    const after = new Map();
    let queue = Promise.resolve();
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    const pass = async (message) => {
      if (client.destroyed) return;
      for (const { name, data } of needles) if (message.includes(data)) seen.add(name);
      const command = commandOf(message);
      if (command.isWrite) counts.writes += 1;
      if (command.isRead) counts.reads += 1;
      const told = await onCommand({ ...command, writeNumber: counts.writes, readNumber: counts.reads });
      if (told?.before) {
        await told.before();
        return void client.destroy();
      }
      if (told?.after) after.set(requestIdOf(message), told.after);
      if (!upstream.destroyed) upstream.write(message);
    };
    client.on(
      'data',
      messageSplitter((message) => {
        const copy = Buffer.from(message);
        queue = queue
          .then(() => pass(copy))
          .catch(() => {
            client.destroy();
          });
      }),
    );
    upstream.on(
      'data',
      messageSplitter((reply) => {
        const act = after.get(responseToOf(reply));
        if (act === undefined) client.write(Buffer.from(reply));
        else {
          after.clear();
          Promise.resolve(act()).finally(() => client.destroy());
        }
      }),
    );
  });
  await listening(server);
  return {
    uri: throughProxy(serverUri, server.address().port),
    counts,
    seen,
    cut,
    async stop() {
      cut();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** The same server by way of the proxy alone: a driver that looks for the members of a replica set would pass it by. */
function throughProxy(serverUri, port) {
  const uri = new URL(serverUri);
  uri.host = `127.0.0.1:${port}`;
  if (uri.pathname === '') uri.pathname = '/';
  uri.searchParams.delete('replicaSet');
  uri.searchParams.set('directConnection', 'true');
  return uri.href;
}
