// A server on loopback that has what `snippet install` asks for: packages as npm's registry serves them, and the index of snippets.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';
import { listening } from '../../listening.mjs';

// `tarballs` are { manifest, path }, `files` contents by URL path. Resolves to { url, tarballs, asked, close() }, `asked` being the
// requests so far and `tarballs` the paths.
export async function startRegistry({ tarballs, files }) {
  const asked = [];
  const server = createServer(({ method, url }, response) => {
    asked.push(`${method} ${url}`);
    const content = answers().get(decodeURIComponent(url));
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  const base = `http://127.0.0.1:${await listening(server)}`;
  const answers = () =>
    new Map([
      ...Object.entries(files),
      ...tarballs.map(({ path }) => [`/-/${basename(path)}`, readFileSync(path)]),
      ...tarballs.map(({ manifest, path }) => [`/${manifest.name}`, JSON.stringify(packument(manifest, path, base))]),
    ]);
  return { url: base, tarballs: tarballs.map(({ path }) => path), asked, close: () => new Promise((resolve) => server.close(resolve)) };
}

function packument(manifest, path, base) {
  const integrity = `sha512-${createHash('sha512').update(readFileSync(path)).digest('base64')}`;
  const version = { ...manifest, dist: { tarball: `${base}/-/${basename(path)}`, integrity } };
  return { name: manifest.name, 'dist-tags': { latest: manifest.version }, versions: { [manifest.version]: version } };
}
