// The two things that come from the system's packages: Chromium for the browser tests, and the native libmongocrypt that the
// benchmark measures against.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ScriptFailure, answerOf, runQuietly } from '../process.mjs';
import { silent } from './report.mjs';

const browserNames = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome', 'chrome'];
const browserPlaces = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

export async function installChromium(report = silent) {
  const chosen = process.env.CHROME_PATH;
  if (chosen !== undefined && chosen !== '') {
    if (!existsSync(chosen)) throw new ScriptFailure(`CHROME_PATH names no file: ${chosen}`);
    report.found(`CHROME_PATH=${chosen}`);
    return { chromium: chosen };
  }
  const installed = findBrowser();
  if (installed !== undefined) {
    report.found(installed);
    return { chromium: installed };
  }
  await aptInstall(report, 'chromium', 60, 'Chrome or Chromium: install it, or set CHROME_PATH to one');
  return { chromium: findBrowser() };
}

export function findBrowser() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const candidates = browserNames.flatMap((name) => folders.map((folder) => join(folder, name)));
  return [...candidates, ...browserPlaces].find((path) => existsSync(path));
}

// Debian's build has OpenSSL inside; the one in pymongocrypt's wheel calls back into Python for every block.
export async function installLibmongocrypt(report = silent) {
  const installed = findLibmongocrypt();
  if (installed !== undefined) {
    report.found(installed);
    return { libmongocrypt: installed };
  }
  await aptInstall(report, 'libmongocrypt0', 20, 'libmongocrypt: install it (Debian: libmongocrypt0), or set LIBMONGOCRYPT_PATH to its library file');
  return { libmongocrypt: findLibmongocrypt() };
}

function findLibmongocrypt() {
  const chosen = process.env.LIBMONGOCRYPT_PATH;
  if (chosen !== undefined && chosen !== '') {
    if (!existsSync(chosen)) throw new ScriptFailure(`LIBMONGOCRYPT_PATH names no file: ${chosen}`);
    return chosen;
  }
  const folders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/local/lib', '/opt/homebrew/lib'];
  const names = ['libmongocrypt.so.0', 'libmongocrypt.0.dylib', 'libmongocrypt.dylib'];
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((path) => existsSync(path));
}

// apt-get takes one caller at a time, and our steps run side by side.
let aptQueue = Promise.resolve();

async function aptInstall(report, name, firstTimeSeconds, otherwise) {
  if (answerOf('apt-get', ['--version']) === undefined || process.getuid?.() !== 0) throw new ScriptFailure(`missing:\n  ${otherwise}`);
  const turn = aptQueue.then(() =>
    report.doing(`apt-get install ${name}`, firstTimeSeconds, async () => {
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
      const install = () => runQuietly('apt-get', ['install', '--yes', '--no-install-recommends', name], { env });
      try {
        await install();
      } catch {
        // The package lists of a fresh image are empty or old.
        await runQuietly('apt-get', ['update'], { env });
        await install();
      }
    }),
  );
  aptQueue = turn.catch(() => undefined);
  return turn;
}
