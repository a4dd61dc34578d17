// docs/vite.md as its reader follows it: the files of the page, the real Vite, a real Chromium.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { root } from '../../js/dev/paths.mjs';
import { startChromium } from '../hosts/browser/chromium.mjs';
import { packedTarball, succeed } from '../hosts/projects.mjs';
import { vite } from '../tools/bundlers.mjs';
import { pinned } from '../tools/versions.mjs';
import { fencesOf, proseOf, textOf } from './markdown.mjs';
import { printsAsSaid } from './runners.mjs';

const PAGE = 'docs/vite.md';
const END = 'the page has run';
const fences = fencesOf(textOf(PAGE)).map((fence) => ({ ...fence, file: fence.kind.split(' ')[1] }));
const snippet = fences.find(({ language, kind }) => language === 'js' && kind.startsWith('vite ')).text;

describe(PAGE, { timeout: 300_000 }, () => {
  let folder;
  let browser;

  const write = (name, text) => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  };
  const link = (name, target) => {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
    symlinkSync(target, join(folder, 'node_modules', name), 'junction');
  };

  before(async () => {
    // Vite's cache is in the project, and a path with links would be another one to it.
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'csfle-vite-')));
    write('package.json', JSON.stringify({ name: 'page', private: true, type: 'module' }));
    const install = ['install', '--offline', '--ignore-scripts', '--legacy-peer-deps', '--no-audit', '--no-fund', await packedTarball()];
    await succeed('npm', install, { cwd: folder, shell: process.platform === 'win32' });
    link('bson', realpathSync(join(root, 'node_modules', 'bson')));
    link('vite', realpathSync(join(root, 'tests', 'tools', 'node_modules', 'vite')));
    for (const { file, text } of fences) write(file, text);
    browser = await startChromium();
  });
  after(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** What `main.js` prints at this address, or the error that ends it. */
  async function outputAt(url) {
    const { page, complaints } = await browser.openPage('about:blank');
    const lines = [];
    const ended = new Promise((resolve) => {
      page.on('console', (message) => {
        lines.push(message.text());
        if (message.text() === END) resolve();
      });
      page.on('pageerror', (error) => {
        lines.push(String(error));
        resolve();
      });
    });
    await page.goto(url);
    await Promise.race([ended, new Promise((_, reject) => setTimeout(() => reject(new Error(complaints.join('; '))), 60_000).unref())]);
    await page.close();
    return lines.join('\n');
  }

  /** Runs `main.js` in the development server, which the configuration of the page starts. */
  async function inDevelopment(source) {
    write('src/main.js', `${source}\nconsole.log(${JSON.stringify(END)});\n`);
    const server = await vite.createServer({ root: folder, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
    try {
      await server.listen();
      return await outputAt(`http://127.0.0.1:${server.httpServer.address().port}/`);
    } finally {
      await server.close();
    }
  }

  async function asBuilt(source, base) {
    write('src/main.js', `${source}\nconsole.log(${JSON.stringify(END)});\n`);
    await vite.build({ root: folder, base, logLevel: 'error', build: { emptyOutDir: true } });
    const server = await vite.preview({ root: folder, base, logLevel: 'error', preview: { port: 0, host: '127.0.0.1' } });
    try {
      return await outputAt(`http://127.0.0.1:${server.httpServer.address().port}${base}`);
    } finally {
      await server.close();
    }
  }

  test('the snippet runs in the development server', async () => {
    printsAsSaid(snippet, await inDevelopment(snippet));
  });

  for (const base of ['/', '/patients/'])
    test(`the snippet runs as built, under ${base}`, async () => {
      printsAsSaid(snippet, await asBuilt(snippet, base));
    });

  const without = (call) => snippet.replace(/^import wasmUrl .*\n/m, '').replace('await init(wasmUrl)', `await ${call}`);

  test('a path that Vite does not know fails with the error that the page names', async () => {
    const [, quoted] = /^> (.+)$/m.exec(proseOf(textOf(PAGE)));
    const output = await inDevelopment(without("init('/csfle.wasm').catch(({ code, cause }) => console.log(code, cause.message))"));
    assert.ok(output.includes('HOST_WASM_FAILED') && output.includes(quoted), output);
  });

  test('the snippet runs without the URL as well, in the version that the page names', async () => {
    assert.ok(proseOf(textOf(PAGE)).includes(`in Vite ${pinned.vite} too`));
    printsAsSaid(snippet, await inDevelopment(without('init()')));
    printsAsSaid(snippet, await asBuilt(without('init()'), '/'));
  });

  test('the snippet compiles with the configuration of the page', () => {
    write('src/main.js', snippet);
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const compile = () => spawnSync(process.execPath, [compiler, '--project', '.'], { cwd: folder, encoding: 'utf8' });
    assert.equal(compile().stdout, '');
    write('src/main.js', snippet.replace("'local'", "'lcal'"));
    assert.match(compile().stdout, /TS2345/);
  });
});
