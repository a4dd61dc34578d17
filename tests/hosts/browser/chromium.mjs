// A real Chromium with a profile that nobody used before and nobody will use after.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '../../tools/playwright.mjs';
import { installChromium } from '../../../js/dev/setup/debian.mjs';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function executable() {
  const named = process.env.TEST_CHROMIUM || process.env.CHROME_PATH;
  if (named) return named;
  return (await installChromium({ found: () => {}, doing: (_what, _seconds, work) => work() })).chromium;
}

/** Starts Chromium. `openPage` returns a page together with every complaint the browser makes about it. */
export async function startChromium() {
  const profile = await mkdtemp(join(tmpdir(), 'csfle-chromium-'));
  const context = await chromium.launchPersistentContext(profile, { executablePath: await executable(), headless: true, args: FLAGS });
  return {
    async openPage(url) {
      const page = await context.newPage();
      const complaints = [];
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') complaints.push(`console ${message.type()}: ${message.text()}`);
      });
      page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
      page.on('requestfailed', (request) => complaints.push(`request failed: ${request.url()} ${request.failure()?.errorText}`));
      await page.goto(url);
      return { page, complaints };
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
