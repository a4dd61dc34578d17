// A pass-through between the driver and the server for what the test server lacks: it stores no schema with `encrypt` in it.
// Replies to listCollections get the schemas that a server would have stored. Driver and server stay what they are, and so do
// the commands between them.
import { connect, createServer } from 'node:net';
import { isCommand, messageSplitter, readDocument, replaceDocument, requestIdOf, responseToOf } from './wire.mjs';

/**
 * Resolves to `{ port, schemas, stop() }`; `schemas` maps namespaces to JSON schemas. `onRequest` sees the messages of clients; when it
 * returns true, the connection ends there.
 */
export async function startSchemaProxy({ host, port, onRequest = () => false }) {
  const schemas = new Map();
  const sockets = new Set();
  const server = createServer((client) => {
    const upstream = connect({ host, port });
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
    relay({ schemas, onRequest }, client, upstream);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    port: server.address().port,
    schemas,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => { server.close(resolve); });
    },
  };
}

function relay({ schemas, onRequest }, client, upstream) {
  const listings = new Map();
  client.on('data', messageSplitter((message) => {
    if (isCommand(message)) {
      const command = readDocument(message);
      if ('listCollections' in command) listings.set(requestIdOf(message), command.$db);
    }
    if (onRequest(message)) client.destroy();
    else upstream.write(message);
  }));
  upstream.on('data', messageSplitter((reply) => {
    const database = listings.get(responseToOf(reply));
    listings.delete(responseToOf(reply));
    client.write(database === undefined ? reply : withSchemas(schemas, database, reply));
  }));
}

function withSchemas(schemas, database, reply) {
  const document = readDocument(reply);
  for (const collection of document.cursor?.firstBatch ?? []) {
    const $jsonSchema = schemas.get(`${database}.${collection.name}`);
    if ($jsonSchema) collection.options = { ...collection.options, validator: { $jsonSchema } };
  }
  return replaceDocument(reply, document);
}
