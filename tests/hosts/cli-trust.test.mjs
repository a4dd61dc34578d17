// Key documents that a writer of the vault planted, and what the command does with them: nothing is sent.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Binary, UUID } from 'bson';
import { listening } from '../listening.mjs';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle, with key documents that lead elsewhere', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  let place;
  let keyFile;
  let elsewhere;
  let connections = 0;
  before(async () => {
    lab = await openCommandLab();
    folder = lab.folder;
    place = await hospital(lab, { documents: 2 });
    keyFile = await lab.keyFileOf(place);
    elsewhere = createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    await listening(elsewhere);
  });
  after(async () => {
    await new Promise((resolve) => {
      elsewhere.close(resolve);
    });
    await lab.close();
  });
  beforeEach(async () => {
    connections = 0;
    await place.vault.deleteMany({ keyAltNames: 'planted' });
  });

  // Without AWS_ENDPOINT_URL_KMS: the endpoint of the key document would be used.
  const run = (args, env = {}) =>
    csfle([...args, '--key-vault', place.namespace, '--local-key-file', keyFile], { env: { MONGODB_URI: lab.uri, AWS_MAX_ATTEMPTS: '1', ...env } });
  const host = () => `127.0.0.1:${elsewhere.address().port}`;
  async function plant(more = {}) {
    const dates = { creationDate: new Date(), updateDate: new Date(), status: 0 };
    const masterKey = { ...lab.to, endpoint: host(), ...more };
    await place.vault.insertOne({ _id: new UUID(randomUUID()), keyAltNames: ['planted'], keyMaterial: new Binary(Buffer.alloc(180)), ...dates, masterKey });
  }
  const findingOf = ({ stdout }) => JSON.parse(stdout).findings.find(({ detail }) => detail.includes('planted'));

  it('doctor does not connect to an endpoint that nobody allowed, and says so', async () => {
    await plant();
    const first = await run(['doctor', '--json']);
    const { state, code, detail } = findingOf(first);
    assert.deepEqual([first.code, state, code], [1, 'fail', 'KMS_ENDPOINT_NOT_ALLOWED']);
    assert.match(detail, /not tried/);
    assert.ok(detail.includes(host()));
    assert.equal(connections, 0);
  });

  it('says which flags allow an endpoint, wherever it is refused', async () => {
    await plant();
    const { remedy } = JSON.parse((await run(['doctor', '--json'])).stdout).findings.find(
      ({ detail, name }) => name === 'data key' && detail.includes('planted'),
    );
    const rewrap = JSON.parse((await run(['keys', 'rewrap', 'planted', '--to', 'local', '--no-backup', '--json'])).stdout).error;
    assert.equal(rewrap.code, 'KMS_ENDPOINT_NOT_ALLOWED');
    const migrate = ['migrate', '--from', 'aws', '--to', 'local', '--no-backup'];
    const plan = (await run(migrate)).stdout;
    const executed = JSON.parse((await run([...migrate, '--execute', '--json'])).stdout).failures[0];
    for (const text of [remedy, rewrap.remedy, plan, executed.remedy]) {
      assert.match(text, /--allow-endpoint <host/);
      assert.match(text, /--from-endpoint/);
      assert.doesNotMatch(text, /allowedEndpoints|add it to trustedMasterKeys/);
    }
    // The flags that the message names allow the endpoint: a request is sent to it now.
    assert.equal(connections, 0);
    await run([...migrate, '--allow-endpoint', host(), '--kms-timeout-ms', '2000']);
    assert.ok(connections > 0);
    connections = 0;
    await run([...migrate, '--from-key-arn', lab.to.key, '--from-endpoint', host(), '--kms-timeout-ms', '2000']);
    assert.ok(connections > 0);
  });

  it('doctor connects where the flag or the environment allows it', async () => {
    await plant();
    assert.notEqual(findingOf(await run(['doctor', '--json', '--allow-endpoint', host()])).code, 'KMS_ENDPOINT_NOT_ALLOWED');
    assert.ok(connections > 0);
    const before = connections;
    await run(['doctor', '--json'], { CSFLE_ALLOWED_ENDPOINTS: `kms.hospital.example, ${host()}` });
    assert.ok(connections > before);
  });

  for (const [way, flags, env] of [
    ['the flag', ['--trusted-master-key', 'local', '--trusted-master-key', 'arn:aws:kms:*:111122223333:key/*'], {}],
    ['JSON', ['--trusted-master-key', '{"provider":"local"}'], {}],
    ['the environment', [], { CSFLE_TRUSTED_MASTER_KEYS: '[{"provider":"local"}]' }],
    ['both, where either refuses', ['--trusted-master-key', 'aws'], { CSFLE_TRUSTED_MASTER_KEYS: '["local"]' }],
  ]) {
    it(`a pin by ${way} holds for doctor, keys rewrap and keys create, whatever endpoint is allowed`, async () => {
      await plant({ key: 'arn:aws:kms:us-east-1:999999999999:key/1', region: 'us-east-1' });
      const all = ['--allow-endpoint', host(), ...flags, '--json'];
      assert.equal(findingOf(await run(['doctor', ...all], env)).code, 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED');
      const rewrap = await run(['keys', 'rewrap', 'planted', ...all], env);
      assert.deepEqual([rewrap.code, JSON.parse(rewrap.stdout).error.code], [1, 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED']);
      const create = await run(['keys', 'create', '--to', 'aws', '--key-arn', 'arn:aws:kms:us-east-1:999999999999:key/1', '--endpoint', host(), ...all], env);
      assert.equal(JSON.parse(create.stdout).error.code, 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED');
      assert.equal(connections, 0);
    });
  }

  it('migrate unwraps what its source and target say, and the endpoint that the command line names', async () => {
    await plant();
    const args = ['migrate', '--from', 'aws', '--from-key-arn', lab.to.key, '--to', 'local', '--json'];
    const report = JSON.parse((await run(args)).stdout);
    assert.deepEqual(
      report.plan.checks.filter(({ name }) => name === 'old-keys-unwrap').map(({ code }) => code),
      ['KEY_VAULT_MASTER_KEY_NOT_TRUSTED'],
    );
    assert.equal(connections, 0);
    await run([...args, '--from-endpoint', host()]);
    assert.ok(connections > 0);
  });

  it('decrypt names a document whose key is not trusted, and reads the others', async () => {
    const { code, stdout, stderr } = await run(['decrypt', place.patientsNamespace, '--trusted-master-key', 'aws']);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /KEY_VAULT_MASTER_KEY_NOT_TRUSTED/);
    assert.equal((await run(['decrypt', place.patientsNamespace, '--trusted-master-key', 'local'])).code, 0);
  });

  it('a malformed master key makes only its own data key fail, which is named', async () => {
    const [{ ssn }] = place.originals;
    for (const masterKey of [{ provider: 'aws:a!' }, { provider: 'nope' }, { endpoint: 'localhost:1' }]) {
      await plant(masterKey);
      const { _id } = await place.vault.findOne({ keyAltNames: 'planted' });
      const id = _id.toHexString(true);
      const decrypted = await run(['decrypt', place.patientsNamespace]);
      assert.equal(decrypted.code, 0, decrypted.stderr);
      assert.ok(decrypted.stdout.includes(ssn));
      const checked = JSON.parse((await run(['doctor', '--json'])).stdout);
      assert.deepEqual(
        checked.findings.filter(({ name, state }) => name === 'data key' && state === 'fail').map(({ detail }) => detail.includes(id)),
        [true],
      );
      assert.equal(checked.findings.filter(({ name, state }) => name === 'data key' && state === 'ok').length, 3);
      const rewrapped = await run(['keys', 'rewrap', '--all', '--no-proof']);
      assert.equal(rewrapped.code, 1);
      assert.ok(rewrapped.stderr.includes(id), rewrapped.stderr);
      const removed = await run(['keys', 'delete', 'planted', '--yes', '--skip-namespace', '*', '--skip-reason', 'it was planted']);
      assert.equal(removed.code, 0, removed.stderr);
    }
    assert.equal(connections, 0);
  });

  it('a key file that cannot be used ends the command', async () => {
    const { code, stderr } = await csfle(['decrypt', place.patientsNamespace, '--key-vault', place.namespace, '--local-key-file', join(folder, 'absent.bin')], {
      env: { MONGODB_URI: lab.uri },
      // A command that hangs is killed here, and has no exit code then.
      whileRunning: (child) => setTimeout(() => child.kill('SIGKILL'), 20_000).unref(),
    });
    assert.equal(code, 2, stderr);
    assert.match(stderr, /CLI_KEY_FILE_UNREADABLE/);
  });

  it('patterns that are none end with a code', async () => {
    for (const [flags, env, code] of [
      [['--trusted-master-key', '*'], {}, 'OPTION_INVALID'],
      [['--trusted-master-key', '{'], {}, 'CLI_OPTION_INVALID'],
      [['--allow-endpoint', '*.example.com'], {}, 'OPTION_INVALID'],
      [[], { CSFLE_TRUSTED_MASTER_KEYS: 'local' }, 'OPTION_INVALID'],
    ]) {
      const { code: exit, stdout } = await run(['keys', 'rewrap', '--all', '--json', ...flags], env);
      assert.notEqual(exit, 0);
      assert.equal(JSON.parse(stdout).error.code, code, stdout);
    }
  });
});
