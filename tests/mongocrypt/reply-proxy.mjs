// A pass-through between a client and the server that changes replies, for what the test server lacks. Client and server stay what
// they are, and so do the commands between them.
import { connect, createServer } from 'node:net';
import { listening } from '../listening.mjs';
import { isCommand, messageSplitter, readDocument, replaceDocument, requestIdOf, responseToOf } from './wire.mjs';

/**
 * Resolves to `{ port, stop() }`. `rewriterOf(command)` returns a function that takes the reply's document and returns another
 * one, or undefined for a command whose reply stays as it is. `onRequest` sees the messages of clients; when it returns true, the
 * connection ends there.
 */
export async function startReplyProxy({ host, port, onRequest = () => false }, rewriterOf) {
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
    relay({ rewriterOf, onRequest }, client, upstream);
  });
  await listening(server);
  return {
    port: server.address().port,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

function relay({ rewriterOf, onRequest }, client, upstream) {
  const rewriters = new Map();
  client.on(
    'data',
    messageSplitter((message) => {
      const rewrite = isCommand(message) ? rewriterOf(readDocument(message)) : undefined;
      if (rewrite !== undefined) rewriters.set(requestIdOf(message), rewrite);
      if (onRequest(message)) client.destroy();
      else upstream.write(message);
    }),
  );
  upstream.on(
    'data',
    messageSplitter((reply) => {
      const rewrite = rewriters.get(responseToOf(reply));
      rewriters.delete(responseToOf(reply));
      client.write(rewrite === undefined ? reply : replaceDocument(reply, rewrite(readDocument(reply))));
    }),
  );
}
