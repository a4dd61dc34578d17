// The servers of tests and demo: on loopback only, and gone with whoever started them, however that ended.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { afterEach, beforeEach } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../../js/dev/paths.mjs';
import { openPlace } from '../../js/dev/demo/place.mjs';
import { createCmk, startServices } from '../../js/dev/services.mjs';

let scratch;
const children = [];
const setVariables = (values) => {
  for (const [name, value] of Object.entries(values))
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
};
// Sets variables of the environment, or removes those whose value is undefined, and puts back what was there.
const withEnvironment = async (changes, work) => {
  const before = Object.fromEntries(Object.keys(changes).map((name) => [name, process.env[name]]));
  setVariables(changes);
  try {
    return await work();
  } finally {
    setVariables(before);
  }
};
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'csfle-services-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});

const program = `
  import { startServices } from ${JSON.stringify(join(root, 'js', 'dev', 'services.mjs'))};
  const { mongodbUri, kmsEndpoint, stop } = await startServices();
  process.stdout.write(JSON.stringify({ mongodbUri, kmsEndpoint }) + '\\n');
  if (process.argv[1] === 'stop') await stop();
  if (process.argv[1] === 'fail') throw new Error('a mistake in a script');
  if (process.argv[1] === 'stay') setInterval(() => {}, 1000);
`;

// A script of its own, whose temporary folder we can look into. Resolves once it has told its addresses.
async function start(ending) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, ending], {
    env: { ...process.env, TMPDIR: scratch, MONGODB_URI: '', AWS_ENDPOINT_URL_KMS: '' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  children.push(child);
  const ended = new Promise((resolve) => {
    child.on('exit', resolve);
  });
  const { mongodbUri, kmsEndpoint } = JSON.parse(
    await new Promise((resolve) => {
      child.stdout.once('data', resolve);
    }),
  );
  return { child, ended, ports: [mongodbUri, kmsEndpoint].map((uri) => Number(/:(\d+)/.exec(uri)[1])) };
}

const answers = (port, host = '127.0.0.1') =>
  new Promise((resolve) => {
    const socket = connect({ port, host, timeout: 1000 });
    const settle = (value) => () => {
      socket.destroy();
      resolve(value);
    };
    socket.on('connect', settle(true)).on('error', settle(false)).on('timeout', settle(false));
  });

async function assertGone({ ports }) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const left = [...readdirSync(scratch), ...(await Promise.all(ports.map((port) => answers(port)))).flatMap((alive, index) => (alive ? [ports[index]] : []))];
    if (left.length === 0) return;
    assert.ok(Date.now() < deadline, `left behind: ${left.join(', ')}`);
    await sleep(100);
  }
}

for (const ending of ['stop', 'fail', 'forget']) {
  test(`a script that ends by "${ending}" leaves no server and no folder`, async () => {
    const started = await start(ending);
    await started.ended;
    await assertGone(started);
  });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL']) {
  test(`a script ended by ${signal} leaves no server and no folder`, async () => {
    const started = await start('stay');
    assert.equal(readdirSync(scratch).length, 2);
    assert.deepEqual(await Promise.all(started.ports.map((port) => answers(port))), [true, true]);
    started.child.kill(signal);
    await started.ended;
    await assertGone(started);
  });
}

test('the servers cannot be reached from outside', async (t) => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find(({ internal, family }) => !internal && family === 'IPv4');
  if (outside === undefined) return t.skip('this machine has no network');
  const started = await start('stay');
  assert.deepEqual(await Promise.all(started.ports.map((port) => answers(port, outside.address))), [false, false]);
  started.child.kill();
  await started.ended;
  return assertGone(started);
});

test('servers that the environment names are used instead', async () => {
  const env = { MONGODB_URI: 'mongodb://db.example', AWS_ENDPOINT_URL_KMS: 'http://kms.example' };
  const { mongodbUri, kmsEndpoint, stop } = await startServices({ env });
  assert.deepEqual([mongodbUri, kmsEndpoint], [env.MONGODB_URI, env.AWS_ENDPOINT_URL_KMS]);
  await stop();
});

test('only what is asked for starts, and the emulator makes keys', async () => {
  const { mongodbUri, kmsEndpoint, stop } = await startServices({ mongo: false, env: {} });
  try {
    assert.equal(mongodbUri, undefined);
    const { arn, region } = await createCmk(kmsEndpoint);
    assert.match(arn, new RegExp(`^arn:aws:kms:${region}:\\d{12}:key/[0-9a-f-]{36}$`));
  } finally {
    await stop();
  }
});

test('the demo uses the server and the key that the environment names, and starts nothing beside them', async () => {
  const { mongodbUri, kmsEndpoint, stop } = await startServices({ env: {} });
  try {
    const { arn } = await createCmk(kmsEndpoint);
    for (const endpoint of [undefined, kmsEndpoint]) {
      const environment = { MONGODB_URI: mongodbUri, CSFLE_DEMO_KEY_ARN: arn, TMPDIR: scratch, AWS_ENDPOINT_URL_KMS: endpoint };
      const { place, folders } = await withEnvironment(environment, async () => {
        const place = await openPlace();
        try {
          return { place, folders: readdirSync(scratch).map((name) => name.replace(/-[^-]*$/, '')) };
        } finally {
          await place.close();
        }
      });
      assert.deepEqual([place.mongodbUri, place.arn], [mongodbUri, arn]);
      assert.match(place.server, /^MONGODB_URI, /);
      // Without an endpoint it is the real AWS KMS of the region of the key.
      assert.equal(place.kmsName, endpoint ?? 'AWS KMS in us-east-1');
      // The folder of a server would be `csfle-service`.
      assert.deepEqual(folders, ['csfle-demo']);
    }
  } finally {
    await stop();
  }
});

test('withEnvironment puts the variables back, those it removed included, when the work fails', async () => {
  setVariables({ CSFLE_TEST_KEPT: 'before', CSFLE_TEST_NEW: undefined });
  const failing = withEnvironment({ CSFLE_TEST_KEPT: undefined, CSFLE_TEST_NEW: 'new' }, async () => {
    assert.deepEqual([process.env.CSFLE_TEST_KEPT, process.env.CSFLE_TEST_NEW], [undefined, 'new']);
    throw new Error('the work fails');
  });
  await assert.rejects(failing, /the work fails/);
  assert.deepEqual([process.env.CSFLE_TEST_KEPT, process.env.CSFLE_TEST_NEW], ['before', undefined]);
  setVariables({ CSFLE_TEST_KEPT: undefined });
});
