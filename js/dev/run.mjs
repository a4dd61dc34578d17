// The scripts behind `npm run demo`, `bench`, `conformance`, `differential` and `chaos`: set-up, build, then the script itself with
// the rest of the arguments. Set-up and build speak on stderr, so that `--json` leaves one document on stdout.
import { join } from 'node:path';
import { root, vectorsFolder } from './paths.mjs';
import { ScriptFailure, runInForeground, runScript } from './process.mjs';
import { setUp } from './setup.mjs';

const toBuild = ['rust', 'packages'];
const peers = ['services', 'python'];

const scripts = {
  demo: { file: 'js/dev/demo.mjs', needs: ['wasmTarget', 'packages', 'services'], isQuick: true },
  bench: { file: 'tests/bench/bench.mjs', needs: [...toBuild, 'libmongocrypt'] },
  conformance: { file: 'tests/conformance/run.mjs', needs: [...toBuild, ...peers] },
  differential: { file: 'tests/interop/differential.mjs', needs: [...toBuild, ...peers] },
  chaos: { file: 'tests/chaos/run.mjs', needs: [...toBuild, ...peers] },
};

await runScript('run', async () => {
  const [name, ...args] = process.argv.slice(2);
  const script = scripts[name];
  if (script === undefined) throw new ScriptFailure(`one of ${Object.keys(scripts).join(', ')} is expected, not ${name}`);
  const build = (...options) => runInForeground(process.execPath, [join(root, 'js', 'build.mjs'), ...options], { toStderr: true });
  const { found, built } = script.isQuick ? await setUpQuickly(script.needs, build) : { found: await setUp(script.needs), built: await build() };
  if (built !== 0) return built;
  return runInForeground(process.execPath, [join(root, script.file), ...args], { env: scriptEnvironment(found) });
});

// Cargo compiles while npm and pip download.
async function setUpQuickly(needs, build) {
  await setUp(['wasmTarget']);
  const [found, compiled] = await Promise.all([setUp(needs.filter((need) => need !== 'wasmTarget')), build('--compile')]);
  return { found, built: compiled === 0 ? await build('--quick') : compiled };
}

function scriptEnvironment({ python, libmongocrypt }) {
  const env = {
    CSFLE_VECTORS: vectorsFolder(),
    TEST_PYTHON: python,
    LIBMONGOCRYPT_PATH: libmongocrypt,
    // The SDK warns on every start that a later version will want a newer Node.
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  };
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
}
