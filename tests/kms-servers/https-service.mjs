// A TLS service that takes one request a connection, as the driver sends them, and writes down what is not as it must be.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { listening } from '../listening.mjs';

const MEDIA_TYPES = ['application/json', 'application/x-amz-json-1.1'];

/**
 * Starts a service. `answer(request, complain)` returns `{ status, body }`, `body` being what is made JSON of.
 *
 * A request is `{ path, host, headers, body, at }`: `headers` are the lines as they came, in their order, `body` is text. The
 * service checks what all providers have in common; each complaint is a violation, which `violations` collects. Answers are
 * the right ones unless `fail()` says otherwise.
 */
export async function startHttpsService(name, certificateFile, answer) {
  const pem = readFileSync(certificateFile);
  const faults = [];
  const service = {
    port: 0,
    requests: [],
    violations: [],
    connections: 0,
    /** The next `times` requests whose path matches get what `fault(response, answer, socket)` does. */
    fail(fault, { times = 1, path = /./ } = {}) {
      faults.push({ fault, times, path });
    },
    paths: () => service.requests.map(({ path }) => path),
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
  const server = createServer({ key: pem, cert: pem });
  server.on('secureConnection', (socket) => {
    service.connections += 1;
    socket.received = [];
    socket.on('data', (bytes) => socket.received.push(bytes));
  });
  server.on('request', async (incoming, response) => {
    const complain = (text) => {
      service.violations.push(`${name}: ${incoming.method} ${incoming.url}: ${text}`);
    };
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const request = readRequest(incoming, Buffer.concat(chunks), complain);
    service.requests.push(request);
    const right = await answer(request, complain);
    const planned = faults.find(({ times, path }) => times > 0 && path.test(request.path));
    if (planned === undefined) {
      send(response, right);
    } else {
      planned.times -= 1;
      planned.fault(response, right, incoming.socket);
    }
  });
  await listening(server);
  service.port = server.address().port;
  return service;
}

function readRequest(incoming, body, complain) {
  const raw = Buffer.concat(incoming.socket.received);
  const end = raw.indexOf('\r\n\r\n');
  const [line, ...headers] = raw.subarray(0, end).toString('latin1').split('\r\n');
  if (line !== `POST ${incoming.url} HTTP/1.1`) complain(`request line ${line}`);
  if (!raw.subarray(end + 4).equals(body)) complain('there is more than the body');
  if (!headers.includes(`Content-Length:${body.length}`)) complain('no Content-Length of the body');
  const host = incoming.headers.host;
  if (incoming.socket.servername !== host?.split(':')[0]) complain(`SNI ${incoming.socket.servername} for host ${host}`);
  return { path: incoming.url, host, headers, body: body.toString('utf8'), at: Date.now() };
}

/** Complains unless the lines are exactly these, in this order; Connection, Content-Length and Host are added in their places. */
export function expectHeaders(request, complain, lines) {
  const own = ['Connection:close', `Content-Length:${Buffer.byteLength(request.body)}`, `Host:${request.host}`];
  const nameOf = (text) => text.slice(0, text.indexOf(':')).toLowerCase();
  const expected = [...own, ...lines].toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  if (request.headers.join('\n') !== expected.join('\n')) complain(`headers\n${request.headers.join('\n')}\ninstead of\n${expected.join('\n')}`);
}

/** The value of the only header of this name; '' with a complaint when there is none. */
export function headerOf(request, name, complain) {
  const found = request.headers.filter((line) => line.startsWith(`${name}:`));
  if (found.length !== 1) complain(`${found.length} headers ${name}`);
  return (found[0] ?? '').slice(name.length + 1).trim();
}

/** Sends an answer as the cloud does. */
export function send(response, { status = 200, body, headers = {}, type = MEDIA_TYPES[0] }) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text), ...headers });
  response.end(text);
}

/** What may happen to an answer. */
export const faults = {
  /** Another answer. */
  status: (status, body, headers) => (response) => send(response, { status, body, headers }),
  /** These bytes, and the end. */
  raw: (text) => (_response, _answer, socket) => socket.end(text),
  /** The right answer in chunks of a few bytes. */
  chunked: (response, { status, body }) => {
    const text = JSON.stringify(body);
    response.writeHead(status ?? 200, { 'Content-Type': MEDIA_TYPES[0] });
    for (let at = 0; at < text.length; at += 7) response.write(text.slice(at, at + 7));
    response.end();
  },
  /** The right answer with the names of its headers as proxies write them, in two parts. */
  lowerCase: (_response, { body }, socket) => {
    const text = JSON.stringify(body);
    socket.write(`HTTP/1.1 200 OK\r\ncontent-type: ${MEDIA_TYPES[0]}\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text.slice(0, 9)}`);
    setTimeout(() => socket.end(text.slice(9)), 5);
  },
  /** The connection breaks in the middle of the right answer. */
  cut: (_response, { body }, socket) => {
    const text = JSON.stringify(body);
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text.slice(0, text.length / 2)}`);
  },
  /** No answer at all, and the connection stays. */
  silence: () => {},
};
