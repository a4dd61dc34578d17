// The scripts behind `npm run demo`, `bench`, `conformance`, `differential` and `chaos`: set-up, build, then the script itself with
// the rest of the arguments. Set-up and build speak on stderr, so that `--json` leaves one document on stdout.
import { join } from 'node:path';
import { root, vectorsFolder } from './paths.mjs';
import { ScriptFailure, runInForeground, runScript } from './process.mjs';
import { setUp } from './setup.mjs';

const toBuild = ['rust', 'packages'];

const scripts = {
  demo: { file: 'js/dev/demo.mjs', needs: [...toBuild, 'python'] },
  bench: { file: 'tests/bench/bench.mjs', needs: [...toBuild, 'libmongocrypt'] },
  conformance: { file: 'tests/conformance/run.mjs', needs: [...toBuild, 'python'] },
  differential: { file: 'tests/interop/differential.mjs', needs: [...toBuild, 'python'] },
  chaos: { file: 'tests/chaos/run.mjs', needs: [...toBuild, 'python'] },
};

await runScript('run', async () => {
  const [name, ...args] = process.argv.slice(2);
  const script = scripts[name];
  if (script === undefined) throw new ScriptFailure(`one of ${Object.keys(scripts).join(', ')} is expected, not ${name}`);
  const found = await setUp(script.needs);
  const built = await runInForeground(process.execPath, [join(root, 'js', 'build.mjs')], { toStderr: true });
  if (built !== 0) return built;
  return runInForeground(process.execPath, [join(root, script.file), ...args], { env: scriptEnvironment(found) });
});

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
