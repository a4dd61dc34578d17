// Stands between the snippets and the KMS, and keeps what was asked for: the proof of what an IAM policy has to allow.
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { listening } from '../listening.mjs';

export async function recordingKms(endpoint) {
  const calls = [];
  const server = createServer(async (incoming, outgoing) => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    calls.push({ operation: String(incoming.headers['x-amz-target']).split('.').at(-1), ...JSON.parse(body.toString('utf8')) });
    const onward = request(new URL(incoming.url, endpoint), { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    onward.end(body);
  });
  await listening(server);
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** The calls so far, with their parameters. */
    calls,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
