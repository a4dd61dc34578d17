// A site on loopback: a handful of files held in memory, correct types, one strict policy.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { listening } from '../../listening.mjs';

const TYPES = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
  wasm: 'application/wasm',
};

/**
 * Serves `files` (path to content) under a policy that allows scripts of this site, WebAssembly if `allowWasm`, and
 * connections to this site and to `connectTo`. Nothing else: no inline code, no eval, no images.
 */
export async function serveSite(files, { connectTo = [], allowWasm = true } = {}) {
  const policy = [
    "default-src 'none'",
    `script-src 'self'${allowWasm ? " 'wasm-unsafe-eval'" : ''}`,
    ["connect-src 'self'", ...connectTo].join(' '),
    "style-src 'self'",
  ].join('; ');
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://site').pathname;
    const content = files[path];
    if (content === undefined) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[path === '/' ? 'html' : path.slice(path.lastIndexOf('.') + 1)];
    response.writeHead(200, { 'content-type': type, 'content-security-policy': policy, 'x-content-type-options': 'nosniff' });
    response.end(content);
  });
  await listening(server);
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
