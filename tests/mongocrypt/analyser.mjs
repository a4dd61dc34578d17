// A query analyser in the place of mongocryptd. It marks what marking.mjs marks; what needs more is declined by name, with
// an error, as the real one answers what it does not understand.
import { createServer } from 'node:net';
import { Int32 } from 'bson';
import { analyse, NeedsAnalysis } from './marking.mjs';
import { messageSplitter, readDocument, replyTo } from './wire.mjs';

/**
 * Listens on a free port, or on the one that is named. Resolves to `{ uri, analysed, declined, connections, behave, stop() }`.
 * `analysed` collects the commands, `declined` why commands were declined. `behave(command, socket, message)`, when set, answers
 * in the place of the analysis; undefined sends nothing.
 */
export async function startAnalyser({ port = 0 } = {}) {
  const analyser = { uri: undefined, analysed: [], declined: [], connections: 0, behave: undefined, stop: undefined };
  const sockets = new Set();
  const server = createServer((socket) => {
    analyser.connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on(
      'data',
      messageSplitter((message) => {
        const reply = answer(analyser, message, socket);
        if (reply) socket.write(replyTo(message, reply));
      }),
    );
  });
  await new Promise((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
  analyser.uri = `mongodb://127.0.0.1:${server.address().port}/?directConnection=true`;
  analyser.stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  };
  return analyser;
}

function answer(analyser, message, socket) {
  const command = readDocument(message);
  const [name] = Object.keys(command);
  if (/^(hello|ismaster)$/i.test(name)) {
    return {
      ismaster: true,
      helloOk: true,
      maxBsonObjectSize: 16777216,
      maxMessageSizeBytes: 48000000,
      maxWriteBatchSize: 100000,
      minWireVersion: 0,
      maxWireVersion: new Int32(26),
      iscryptd: true,
      ok: 1,
    };
  }
  if (name === 'endSessions') return { ok: 1 };
  analyser.analysed.push(command);
  if (analyser.behave) return analyser.behave(command, socket, message);
  try {
    return { ...analyse(command), ok: 1 };
  } catch (error) {
    if (!(error instanceof NeedsAnalysis)) throw error;
    analyser.declined.push(error.message);
    return { ok: 0, errmsg: error.message, code: new Int32(2), codeName: 'BadValue' };
  }
}
