// Mistakes on the command line that used to pass in silence: each is named, and nothing is written.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { UUID } from 'bson';
import { hospital } from '../migration/fixtures.mjs';
import { csfle, stallingServer } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle and mistakes', { timeout: 300_000 }, () => {
  let lab;
  let folder;
  let place;
  let keyFile;
  before(async () => {
    lab = await openCommandLab();
    folder = lab.folder;
    place = await hospital(lab, { documents: 2 });
    keyFile = await lab.keyFileOf(place);
  });
  after(() => lab.close());

  const run = (...args) =>
    csfle([...(args.includes('--key-vault') ? args : [...args, '--key-vault', place.namespace])], {
      env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint },
    });
  const json = async (...args) => {
    const { code, stdout, stderr } = await run(...args, '--json');
    return { code, stderr, document: JSON.parse(stdout) };
  };

  it('options of an AWS key without an AWS key are refused, and nothing is wrapped or made', async () => {
    const before = await place.dump();
    const arn = lab.to.key;
    for (const args of [
      ['keys', 'create', '--key-arn', arn, '--local-key-file', keyFile],
      ['keys', 'rewrap', '--all', '--key-arn', arn, '--local-key-file', keyFile],
      ['keys', 'rewrap', '--all', '--to', 'local', '--region', 'eu-west-1', '--local-key-file', keyFile],
      ['migrate', '--to', 'local:new', '--to-local-key-file', keyFile, '--local-key-file', keyFile, '--endpoint', 'x', '--execute'],
      ['migrate', '--to', 'aws', '--key-arn', arn, '--from-key-arn', arn, '--local-key-file', keyFile, '--execute'],
      ['migrate', '--to', 'aws', '--key-arn', arn, '--from', 'aws', '--from-region', 'eu-west-1', '--execute'],
      ['migrate', '--mode', 'decrypt', '--collection', place.patientsNamespace, '--key-arn', arn, '--local-key-file', keyFile],
    ]) {
      const { code, document } = await json(...args);
      assert.deepEqual([code, document.error?.code], [2, 'CLI_OPTION_INVALID'], args.join(' '));
    }
    assert.deepEqual(await place.dump(), before);
  });

  it('keys rewrap with a name that no key has wraps none of the others either', async () => {
    const before = await place.dump();
    const { code, document } = await json('keys', 'rewrap', 'ssn', 'nobody', '--local-key-file', keyFile);
    assert.deepEqual([code, document.error?.code], [1, 'CLI_OPTION_INVALID']);
    assert.match(document.error.message, /"nobody"/);
    assert.deepEqual(await place.dump(), before);
  });

  it('migrate warns of a key vault without keys, and of keys that are not there', async () => {
    const target = ['--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', keyFile];
    const empty = await json('migrate', ...target, '--key-vault', `${place.database}.nowhere`);
    assert.match(empty.stderr, /^warn .*\.nowhere has no data key; check --key-vault$/m);
    const named = await json('migrate', ...target, '--key', 'ssn', '--key', 'nobody');
    assert.deepEqual(named.stderr.match(/^warn .*$/gm), [`warn ${place.namespace} has no key of the id or alternate name "nobody"`]);
    assert.equal(named.document.plan.counts.migrate, 1);
    const before = await place.dump();
    const executed = await json('migrate', ...target, '--key', 'ssn', '--key', 'nobody', '--execute');
    assert.deepEqual([executed.code, executed.document.error?.code], [1, 'CLI_OPTION_INVALID']);
    assert.deepEqual(await place.dump(), before);
  });

  it('decrypt names a collection that is not there, and filters that are none', async () => {
    await lab.client.db(place.database).createCollection('empty');
    assert.equal((await run('decrypt', `${place.database}.empty`)).code, 0);
    const absent = await json('decrypt', `${place.database}.nowhere`);
    assert.deepEqual([absent.code, absent.document], [1, []]);
    assert.match(absent.stderr, /there is no collection .*\.nowhere/);
    for (const args of [
      ['decrypt', `${place.database}.`],
      ...['5', 'null', '[]', '"text"'].map((filter) => ['decrypt', place.patientsNamespace, '--filter', filter]),
    ]) {
      const { code, document } = await json(...args);
      assert.deepEqual([code, document.error?.code], [2, 'CLI_OPTION_INVALID'], args.join(' '));
    }
  });

  it('decrypt --json prints one document even when the server is lost half-way', async () => {
    const bulky = lab.client.db(place.database).collection('bulky');
    // More than one reply of 16 MB holds.
    for (let n = 0; n < 20; n += 5) await bulky.insertMany([0, 1, 2, 3, 4].map((more) => ({ _id: n + more, text: 'x'.repeat(1e6) })));
    const server = await stallingServer(
      lab.uri,
      (bytes) => bytes.includes('getMore'),
      () => {
        void server.close();
      },
    );
    const { code, stdout, stderr } = await csfle(['decrypt', `${place.database}.bulky`, '--key-vault', place.namespace, '--json'], {
      env: { MONGODB_URI: server.uri },
    });
    assert.equal(code, 1);
    assert.ok(JSON.parse(stdout).length > 0);
    assert.match(stderr, /^stopped after \d+ documents: /m);
  });

  it('documents in the vault that are no key documents are listed, checked and named, and the others go on', async () => {
    const vault = lab.client.db(place.database).collection('damaged');
    const key = await place.vault.findOne({ keyAltNames: 'notes' });
    await vault.insertMany([
      key,
      { _id: 5 },
      { _id: new UUID(), keyAltNames: 'text' },
      { _id: 'text', masterKey: null, keyMaterial: 5 },
      { ...key, _id: new UUID(), keyAltNames: [7], masterKey: { provider: 5 } },
    ]);
    const there = ['--key-vault', `${place.database}.damaged`];
    const listed = await json('keys', 'list', ...there);
    assert.deepEqual([listed.code, listed.document.keys?.length], [0, 5]);
    assert.match((await run('keys', 'list', ...there)).stdout, /^5 keys in /m);
    const checked = await json('doctor', '--local-key-file', keyFile, ...there);
    assert.equal(checked.code, 1);
    assert.deepEqual(
      checked.document.findings
        .filter(({ name }) => name === 'data key')
        .map(({ state }) => state)
        .sort(),
      ['fail', 'fail', 'fail', 'fail', 'ok'],
    );
    const moved = await run('migrate', '--to', 'aws', '--key-arn', lab.to.key, '--local-key-file', keyFile, '--execute', ...there);
    assert.equal(moved.code, 1);
    assert.match(moved.stdout, /1 of 1 key wrapped anew/);
    assert.match(moved.stdout, /^ {2}warn {2}key-documents: 4 key documents are malformed, /m);
  });

  it('every command says in the help of its parent what it does', async () => {
    for (const parent of [[], ['keys'], ['keys', 'alt-name'], ['backup']]) {
      const { stdout } = await csfle([...parent, '--help']);
      const commands = stdout.slice(stdout.indexOf('Commands:')).match(/^ {2}\S.*$/gm);
      assert.ok(commands.length > 1);
      for (const line of commands) assert.match(line, /^ {2}\S+( \[options\])?( [<[]\S+[>\]])* {2,}\S|^ {2}\S+ .{28,}$/, line);
    }
  });

  it('a backup that cannot be written is a mistake in the path', async () => {
    const { code, document } = await json('backup', 'create', join(folder, 'no', 'where'), '--no-collections', '--to', 'local', '--local-key-file', keyFile);
    assert.deepEqual([code, document.error?.code], [2, 'CLI_FILE_INVALID']);
  });
});
