// KMIP: PyKMIP's server keeps the objects and judges the messages. In front of it is a connection of ours, which counts operations
// and breaks answers.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createServer, connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { startServer } from '../../js/dev/services.mjs';
import { listening } from '../listening.mjs';

const script = fileURLToPath(new URL('./pykmip.py', import.meta.url));
const OPERATIONS = { 0x01: 'Create', 0x03: 'Register', 0x0a: 'Get', 0x12: 'Activate', 0x1f: 'Encrypt', 0x20: 'Decrypt' };
const RESULT_STATUS = Buffer.from('42007f05', 'hex');
const HEADER_LEN = 8;

/** Starts it with certificates called `kmip` and `kmip-client`. `hosts` are the names that the service answers to. */
export async function startKmip(python, certificates, { hosts = ['kmip.example.test'] } = {}) {
  const server = await startServer({
    name: 'KMIP server',
    command: (port, folder) => [python, script, String(port), certificates.file('kmip'), certificates.caFile, join(folder, 'objects.db')],
    url: (port) => `tcp://127.0.0.1:${port}`,
    isReady: (url) =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port) }, () => {
          socket.destroy();
          resolve(true);
        });
        socket.on('error', reject);
      }),
  });
  const [own, client, ca] = [certificates.file('kmip'), certificates.file('kmip-client'), certificates.caFile].map((file) => readFileSync(file));
  const faults = [];
  const service = {
    port: 0,
    /** The port of PyKMIP itself. */
    directPort: Number(new URL(server.url).port),
    operations: [],
    violations: [],
    connections: 0,
    /** The next request gets what `fault(socket, answer)` does, `answer` being PyKMIP's. */
    fail: (fault) => faults.push(fault),
    async stop() {
      await new Promise((resolve) => {
        front.close(resolve);
      });
      await server.stop();
    },
  };
  const front = createServer({ key: own, cert: own, ca, requestCert: true, rejectUnauthorized: true }, async (socket) => {
    socket.on('error', () => {});
    service.connections += 1;
    const request = await messageOf(socket);
    const operation = request.readUInt32BE(request.indexOf(Buffer.from('42005c05', 'hex')) + HEADER_LEN);
    service.operations.push(OPERATIONS[operation] ?? operation);
    const upstream = connectTls({ host: '127.0.0.1', port: service.directPort, servername: hosts[0], ca, key: client, cert: client }, () =>
      upstream.write(request),
    );
    const answer = await messageOf(upstream);
    upstream.destroy();
    // Whatever PyKMIP refuses without being made to is a fault of the message, or of the test.
    const status = answer.readUInt32BE(answer.indexOf(RESULT_STATUS) + HEADER_LEN);
    if (status !== 0) service.violations.push(`kmip: ${service.operations.at(-1)}: ${answer.toString('latin1').replace(/[^ -~]+/g, ' ')}`);
    const fault = faults.shift();
    if (fault === undefined) socket.end(answer);
    else fault(socket, answer);
  });
  front.on('tlsClientError', () => {});
  await listening(front);
  service.port = front.address().port;
  return { hosts, kmsProvider: { endpoint: hosts[0] }, masterKey: {}, service };
}

/** Resolves to the first message that arrives whole. */
function messageOf(socket) {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes]);
      if (received.length >= HEADER_LEN && received.length >= HEADER_LEN + received.readUInt32BE(4)) resolve(received);
    });
  });
}
