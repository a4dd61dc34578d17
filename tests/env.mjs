// What a test may use of this machine. `npm test` starts the services once and passes them in the environment; a test file
// run by itself (`node --test tests/js/one.test.mjs`) starts what is missing, and its process's end stops it.
import { findBrowser } from '../js/dev/setup/debian.mjs';
import { vectorsFolder } from '../js/dev/paths.mjs';
import { createCmk, emulatorCredentials, startServices } from '../js/dev/services.mjs';
import { installPython } from '../js/dev/setup/python.mjs';

for (const [name, value] of Object.entries(emulatorCredentials)) process.env[name] ??= value;
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

let shared;

// Resolves to { mongodbUri, kmsEndpoint, keyArn, region }: one server, one emulator, one CMK in it for the whole run. Tests use
// database names of their own, and keys of their own when they disable or delete them.
export function testServices() {
  shared ??= startOrReuse();
  return shared;
}

async function startOrReuse() {
  const { TEST_MONGODB_URI, TEST_KMS_ENDPOINT, TEST_KMS_KEY_ARN } = process.env;
  const reused = { MONGODB_URI: TEST_MONGODB_URI ?? process.env.MONGODB_URI, AWS_ENDPOINT_URL_KMS: TEST_KMS_ENDPOINT ?? process.env.AWS_ENDPOINT_URL_KMS };
  const { mongodbUri, kmsEndpoint } = await startServices({ env: reused });
  const keyArn = TEST_KMS_KEY_ARN ?? (await createCmk(kmsEndpoint)).arn;
  return { mongodbUri, kmsEndpoint, keyArn, region: keyArn.split(':')[3] };
}

// The Python with pymongo, pymongocrypt and their native library.
export async function testPython() {
  return process.env.TEST_PYTHON ?? (await installPython()).python;
}

// Chromium's program file.
export function testChromium() {
  const chromium = process.env.TEST_CHROMIUM ?? process.env.CHROME_PATH ?? findBrowser();
  if (!chromium) throw new Error('no Chromium: npm run setup');
  return chromium;
}

// The folder of published vectors; may not exist.
export const testVectors = vectorsFolder();
