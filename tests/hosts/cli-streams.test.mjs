// The exit code is that of the work, whatever becomes of the streams; and nothing waits for ever.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UUID } from 'bson';
import { listening } from '../listening.mjs';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, refusingKms, slowKms, stallingServer } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

const manifest = createRequire(import.meta.url).resolve('csfle-wasm/package.json');
const program = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin.csfle);
const isWindows = process.platform === 'win32';

describe('csfle and streams that fail', { timeout: 400_000, skip: isWindows && 'pipes and signals of POSIX' }, () => {
  let lab;
  let folder;
  let keyFile;
  let masterKey;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    folder = lab.folder;
    const place = await hospital(lab, { documents: 2 });
    masterKey = place.masterKey;
    keyFile = await lab.keyFileOf(place);
  });
  after(() => lab.close());

  // Runs `csfle ... <redirection>` in a shell; resolves to the exit code of csfle itself, and what reached standard error.
  function shell(args, redirection, env) {
    const quoted = [process.execPath, program, ...args].map((word) => `'${word}'`).join(' ');
    const child = spawn('bash', ['-c', `{ ${quoted}; echo $? > '${folder}/code'; } ${redirection}`], {
      cwd: folder,
      env: { ...process.env, MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    return new Promise((resolve) => child.on('close', () => resolve({ code: Number(readFileSync(join(folder, 'code'), 'utf8')), stderr })));
  }
  const migration = (place, ...more) => [
    'migrate',
    '--key-vault',
    place.namespace,
    '--local-key-file',
    keyFile,
    '--to',
    'aws',
    '--key-arn',
    lab.to.key,
    '--execute',
    ...more,
  ];
  const providersOf = async (place) => (await lab.client.db(place.database).collection('__keyVault').distinct('masterKey.provider')).sort();
  const withoutStack = (stderr) => assert.doesNotMatch(stderr, /\bat .*\.m?js:\d+|node:internal/);

  const losses = ['| true', '>/dev/full', '2>/dev/full', '>/dev/full 2>/dev/full', '>&-', '2>&-', '>&- 2>&-', '2> >(true)', '> >(true) 2> >(true)'];

  it('a migration is finished and exits with 0', async () => {
    for (const redirection of losses) {
      const place = await hospital(lab, { documents: 0, masterKey });
      const { code, stderr } = await shell(migration(place, ...(redirection === '| true' ? ['--json'] : [])), redirection);
      assert.equal(code, 0, `${redirection}: ${stderr}`);
      withoutStack(stderr);
      assert.deepEqual(await providersOf(place), ['aws'], redirection);
    }
  });

  it('a failed migration exits with 1', async () => {
    const kms = await refusingKms('no');
    const place = await hospital(lab, { documents: 0, masterKey });
    try {
      for (const redirection of losses) {
        const { code, stderr } = await shell(migration(place, ...(redirection === '| true' ? ['--json'] : [])), redirection, {
          AWS_ENDPOINT_URL_KMS: kms.endpoint,
        });
        assert.equal(code, 1, `${redirection}: ${stderr}`);
        withoutStack(stderr);
      }
    } finally {
      await kms.close();
    }
  });

  it('a command that only prints fails when its output cannot be written, and not when the reader closes the pipe', async () => {
    const place = await hospital(lab, { documents: 3, masterKey });
    for (const args of [
      ['keys', 'list'],
      ['keys', 'list', '--json'],
      ['keys', 'show', 'ssn'],
      ['keys', 'retired'],
      ['decrypt', place.patientsNamespace, '--local-key-file', keyFile],
    ]) {
      const full = await shell([...args, '--key-vault', place.namespace], '>/dev/full');
      assert.equal(full.code, 1, full.stderr);
      assert.match(full.stderr, /\[CLI_OUTPUT_LOST\]/);
      withoutStack(full.stderr);
      assert.deepEqual(await shell([...args, '--key-vault', place.namespace], '| true'), { code: 0, stderr: '' });
    }
  });

  it('a migration continues when nobody reads its output, and one SIGTERM ends it', async () => {
    const place = await hospital(lab, { documents: 0, masterKey });
    const kms = await slowKms(lab.kmsEndpoint, {
      delayMs: 200,
      onCall: (calls) => {
        if (calls === 2) child.kill('SIGTERM');
      },
    });
    // Nobody reads these pipes.
    const child = spawn(process.execPath, [program, ...migration(place)], {
      cwd: folder,
      env: { ...process.env, MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: kms.endpoint },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const code = await new Promise((resolve) => child.on('exit', resolve));
    await kms.close();
    assert.equal(code, 143);
  });

  it('SIGTERM and SIGHUP finish the write in flight: 143 and 129, and the next run goes on', async () => {
    const place = await hospital(lab, { documents: 0, masterKey });
    for (const [signal, expected] of [
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ]) {
      let child;
      const kms = await slowKms(lab.kmsEndpoint, {
        delayMs: 100,
        onCall: (calls) => {
          if (calls === 3) child.kill(signal);
        },
      });
      const { code, stdout, stderr } = await csfle(migration(place, '--json', '--kms-concurrency', '1'), {
        env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: kms.endpoint },
        whileRunning: (started) => {
          child = started;
        },
      });
      await kms.close();
      assert.equal(code, expected, stderr);
      assert.equal(JSON.parse(stdout).interrupted, true);
    }
    assert.equal((await csfle(migration(place), { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint } })).code, 0);
    assert.deepEqual(await providersOf(place), ['aws']);
  });

  it('a migration continues when its terminal closes, and SIGHUP ends it like other signals', async () => {
    for (const [kind, expected, providers] of [
      ['lost', 0, ['aws']],
      ['hangup', 129, undefined],
    ]) {
      const place = await hospital(lab, { documents: 0, masterKey });
      let child;
      const kms = await slowKms(lab.kmsEndpoint, {
        delayMs: 200,
        onCall: (calls) => {
          if (calls === 3) child.stdin.end('\n');
        },
      });
      const script = fileURLToPath(new URL('./cli/terminal.py', import.meta.url));
      child = spawn(process.env.TEST_PYTHON ?? 'python3', [script, kind, process.execPath, program, ...migration(place, '--kms-concurrency', '1')], {
        cwd: folder,
        env: { ...process.env, MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: kms.endpoint },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      let printed = '';
      child.stdout.setEncoding('utf8').on('data', (text) => {
        printed += text;
      });
      await new Promise((resolve) => child.on('close', resolve));
      await kms.close();
      assert.equal(Number(printed), expected, kind);
      if (providers !== undefined) assert.deepEqual(await providersOf(place), providers);
    }
  });

  it('a server that accepts and says nothing, and a KMS that hangs, end by themselves', async () => {
    const sockets = new Set();
    const silent = createServer((socket) => {
      sockets.add(socket.on('error', () => {}));
    });
    await listening(silent);
    const { port } = silent.address();
    const place = await hospital(lab, { documents: 0, masterKey });
    const started = performance.now();
    const [server, kms] = await Promise.all([
      csfle(['keys', 'list', '--json'], { env: { MONGODB_URI: `mongodb://127.0.0.1:${port}/?directConnection=true&serverSelectionTimeoutMS=1000` } }),
      csfle(migration(place, '--json', '--kms-timeout-ms', '500'), { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: `http://127.0.0.1:${port}` } }),
    ]);
    for (const socket of sockets) socket.destroy();
    silent.close();
    assert.deepEqual([server.code, JSON.parse(server.stdout).error.code], [1, 'CLI_SERVER_UNREACHABLE']);
    assert.equal(kms.code, 1);
    assert.ok(
      JSON.parse(kms.stdout).failures.some(({ code }) => code === 'KMS_TIMED_OUT'),
      kms.stdout,
    );
    assert.ok(performance.now() - started < 60_000);
    assert.deepEqual(await providersOf(place), ['local']);
  });

  it('a connection that breaks during a write is reported with a KEY_VAULT_ code, not INTERNAL', async () => {
    const place = await hospital(lab, { documents: 0, masterKey });
    const isRewrap = (bytes) => bytes.includes('keyMaterial') && bytes.includes('$set');
    const proxy = await stallingServer(lab.uri, isRewrap, () => {
      void proxy.close();
    });
    const env = { MONGODB_URI: `${proxy.uri}&serverSelectionTimeoutMS=500`, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    const { code, stdout } = await csfle(migration(place, '--json'), { env });
    assert.equal(code, 1);
    const codes = JSON.parse(stdout).failures.map((failure) => failure.code);
    assert.ok(codes.length > 0 && codes.every((one) => one.startsWith('KEY_VAULT_')), codes.join());
  });

  it('control characters in names of keys and providers are escaped; --json keeps the names', async () => {
    const forged = 'x\u001b[2K\r\nok    data key              forged\u202e\u200b\u2028';
    const place = await hospital(lab, { documents: 1, masterKey });
    const vault = lab.client.db(place.database).collection('__keyVault');
    await vault.updateOne({ _id: place.keys.ssn }, { $set: { keyAltNames: ['ssn', forged] } });
    await vault.insertOne({
      _id: new UUID(),
      keyAltNames: [`z${forged}`],
      keyMaterial: Buffer.alloc(10),
      creationDate: new Date(),
      updateDate: new Date(),
      status: 1,
      masterKey: { provider: `local${forged}`, region: forged },
    });
    const env = { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    const at = ['--key-vault', place.namespace];
    for (const args of [
      ['doctor', '--local-key-file', keyFile, ...at],
      ['keys', 'list', ...at],
      ['keys', 'show', 'ssn', ...at],
      ['keys', 'show', forged, ...at],
      ['keys', 'show', `absent${forged}`, ...at],
      migration(place).filter((word) => word !== '--execute'),
      migration(place),
      ['decrypt', `a.${forged}`, ...at],
      ['migrate', '--schema-file', `${folder}/${forged}`, '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', keyFile, ...at],
    ]) {
      const { stdout, stderr } = await csfle(args, { env });
      const all = `${stdout}${stderr}`;
      assert.doesNotMatch(all.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\u2028]/u, args.join(' '));
      assert.doesNotMatch(all, /^ok {4}data key {14}forged/m, args.join(' '));
    }
    const { stdout } = await csfle(['keys', 'list', '--json', ...at], { env });
    assert.doesNotMatch(stdout.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\u2028]/u);
    assert.ok(JSON.parse(stdout).keys.some(({ keyAltNames }) => keyAltNames.includes(forged)));
  });

  it('FIFOs, devices and folders are refused at once for every option that names an input file', async () => {
    const fifo = join(folder, 'fifo');
    assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
    await chmod(fifo, 0o600);
    const place = await hospital(lab, { documents: 0, masterKey });
    const env = { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint };
    for (const path of [fifo, '/dev/zero', '/dev/stdin', folder]) {
      for (const [args, expected] of [
        [['migrate', '--local-key-file', path, '--to', 'aws', '--key-arn', lab.to.key], 'CLI_KEY_FILE_UNREADABLE'],
        [['backup', 'restore', path], 'CLI_FILE_INVALID'],
        [['backup', 'verify', path], 'CLI_FILE_INVALID'],
      ]) {
        const vault = args[1] === 'verify' ? [] : ['--key-vault', place.namespace];
        const { code, stdout } = await csfle([...args, ...vault, '--json'], {
          env,
          input: 'a pipe',
          whileRunning: (child) => setTimeout(() => child.kill('SIGKILL'), 60_000).unref(),
        });
        assert.deepEqual([code, JSON.parse(stdout).error?.code], [2, expected], `${args.join(' ')}`);
      }
      const { code, stdout } = await csfle(
        migration(place, '--mode', 'reencrypt', '--all-keys', '--no-backup', '--collection', `${place.database}.patients`, '--schema-file', path, '--json'),
        { env },
      );
      assert.notEqual(code, 0);
      assert.ok(
        JSON.parse(stdout).failures.some((one) => one.code === 'MIGRATION_SCHEMA_FAILED' || one.code === 'MIGRATION_COLLECTION_FAILED'),
        stdout,
      );
    }
  });
});
