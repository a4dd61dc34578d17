// Runs a page's code in a real Chromium, bundled from the reader's folder as a bundler does, under exactly the policy that the
// documents give, with the address of the emulator in place of that of AWS.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { emulatorCredentials } from '../../js/dev/services.mjs';
import { startChromium } from '../hosts/browser/chromium.mjs';
import { listening } from '../listening.mjs';

const AWS = 'https://kms.us-east-1.amazonaws.com';
const END = 'the page has run';

/**
 * Runs `source` in a page: resolves to what it prints. Requests that begin with a name of `forward` go to its function; `cookie` is set
 * with the page.
 */
export async function runInBrowser(source, { project, policy, loader = 'js', cookie, forward = {} }) {
  const { kmsEndpoint } = project;
  // The SDK of a browser has no environment to read the endpoint from.
  const code = source.replace("region: 'us-east-1', credentials", `region: 'us-east-1', endpoint: ${JSON.stringify(kmsEndpoint)}, credentials`);
  assert.notEqual(code, source);
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = emulatorCredentials;
  const files = {
    '/': ['text/html; charset=utf-8', '<!doctype html><title>csfle-wasm</title><script type="module" src="/page.js"></script>'],
    '/page.js': ['text/javascript; charset=utf-8', await bundle(project, code, loader)],
    '/csfle.wasm': ['application/wasm', readFileSync(join(project.folder, 'node_modules/csfle-wasm/dist/csfle.wasm'))],
    '/kms-credentials': ['application/json', JSON.stringify({ accessKeyId, secretAccessKey })],
  };
  const header = policy.replace(AWS, kmsEndpoint);
  assert.notEqual(header, policy);
  const server = createServer((request, response) => {
    const prefix = Object.keys(forward).find((one) => request.url.startsWith(one));
    if (prefix !== undefined) return forward[prefix](request, response);
    const [type, content] = files[request.url] ?? [];
    if (content === undefined) return response.writeHead(404).end();
    const cookies = cookie === undefined ? {} : { 'set-cookie': cookie };
    return response.writeHead(200, { 'content-type': type, 'content-security-policy': header, ...cookies }).end(content);
  });
  await listening(server);
  const browser = await startChromium();
  try {
    return await visit(browser, `http://127.0.0.1:${server.address().port}/`);
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}

async function bundle({ folder }, code, loader) {
  const { outputFiles } = await build({
    stdin: { contents: `${code}\nconsole.log(${JSON.stringify(END)});\n`, resolveDir: folder, sourcefile: `page.${loader}`, loader },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'warning',
  });
  return outputFiles[0].contents;
}

async function visit(browser, url) {
  const { page, complaints } = await browser.openPage('about:blank');
  const lines = [];
  const ended = new Promise((resolve) => {
    page.on('console', (message) => (message.text() === END ? resolve() : lines.push(message.text())));
    page.on('pageerror', resolve);
  });
  await page.goto(url);
  await Promise.race([
    ended,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`the page does not end: ${complaints.join('; ')}`)), 60_000).unref()),
  ]);
  await page.close();
  assert.deepEqual(complaints, []);
  return lines.join('\n');
}
