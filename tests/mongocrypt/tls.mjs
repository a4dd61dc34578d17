// A TLS front for an HTTP service of the tests: the driver speaks to KMS over TLS alone.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:tls';
import { makeCertificates } from '../kms-servers/certificates.mjs';
import { listening } from '../listening.mjs';

/** Resolves to `{ port, certificateFile, requests, intercept, stop() }`; `intercept` may answer a connection itself. */
export async function tlsFront(python, target) {
  const certificates = makeCertificates(python, { front: { hosts: ['127.0.0.1'] } });
  const { hostname, port } = new URL(target);
  const front = { port: 0, certificateFile: certificates.caFile, connections: 0, intercept: undefined, stop: undefined };
  const pem = readFileSync(certificates.file('front'));
  const server = createServer({ cert: pem, key: pem }, (socket) => {
    front.connections += 1;
    socket.on('error', () => {});
    if (front.intercept?.(socket)) return;
    const upstream = connect({ host: hostname, port: Number(port) });
    upstream.on('error', () => socket.destroy());
    socket.pipe(upstream).pipe(socket);
  });
  await listening(server);
  front.port = server.address().port;
  front.stop = async () => {
    await new Promise((resolve) => {
      server.close(resolve);
    });
    certificates.remove();
  };
  return front;
}
