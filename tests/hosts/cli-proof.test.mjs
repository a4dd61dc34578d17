// `csfle keys rewrap` where the KMS gives wrong answers: values prove keys, in collections that are named or in all, unless --no-proof says otherwise.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { listening } from '../listening.mjs';
import { hospital } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

/** A proxy before the KMS whose answers to Decrypt are the same wrong ones each time. */
async function lyingKms(endpoint) {
  const server = createServer(async (incoming, outgoing) => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const { host, 'content-length': _, connection, ...headers } = incoming.headers;
    const answer = await fetch(new URL(incoming.url, endpoint), { method: incoming.method, headers, body: Buffer.concat(chunks) });
    const body = await answer.json();
    if (body.Plaintext !== undefined) {
      const bytes = Buffer.from(body.Plaintext, 'base64');
      bytes[17] ^= 4;
      body.Plaintext = bytes.toString('base64');
    }
    outgoing.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.1' });
    outgoing.end(JSON.stringify(body));
  });
  await listening(server);
  return {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(resolve);
      }),
  };
}

describe('csfle keys rewrap from a KMS that gives wrong answers', { timeout: 120_000 }, () => {
  let lab;
  let kms;
  before(async () => {
    lab = await openCommandLab({ ownServer: true });
    kms = await lyingKms(lab.kmsEndpoint);
  });
  after(async () => {
    await kms.close();
    await lab.close();
  });

  async function ward() {
    const place = await hospital(lab, { documents: 3 });
    assert.equal((await place.migrate({ execute: true })).ok, true);
    const keyFile = await lab.keyFileOf(place);
    const empty = `${place.database}.empty`;
    await lab.client.db(place.database).collection('empty').insertOne({ a: 1 });
    const rewrap = async (flags, endpoint = kms.endpoint) => {
      const args = [
        'keys',
        'rewrap',
        '--all',
        '--key-vault',
        place.namespace,
        '--to',
        'local',
        '--local-key-file',
        keyFile,
        '--new-master-key',
        '--no-backup',
        '--json',
        ...flags,
      ];
      const { code, stdout } = await csfle(args, { env: { MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: endpoint } });
      const { error, rewrapped } = JSON.parse(stdout);
      return [code, error?.code, rewrapped];
    };
    return { ...place, empty, rewrap };
  }

  it('is refused because values of --proof-collection, or of all collections by default, do not decrypt', async () => {
    const place = await ward();
    const before = await place.dump();
    for (const flags of [[], ['--proof-collection', place.patientsNamespace]]) {
      assert.deepEqual(await place.rewrap(flags), [1, 'CRYPTO_AUTHENTICATION_FAILED', undefined], flags.join(' '));
      assert.deepEqual(await place.dump(), before);
    }
    assert.deepEqual(await place.rewrap(['--proof-collection', place.patientsNamespace], lab.kmsEndpoint), [0, undefined, 3]);
    await place.readsAs({ local: place.local });
  });

  it('is not noticed with --no-proof, or when the named collection has no encrypted value', async () => {
    for (const flags of [['--no-proof'], ['--proof-collection', 'empty']]) {
      const place = await ward();
      assert.deepEqual(await place.rewrap(flags.map((flag) => (flag === 'empty' ? place.empty : flag))), [0, undefined, 3], flags.join(' '));
      await assert.rejects(place.readsAs({ local: place.local }), { code: 'CRYPTO_AUTHENTICATION_FAILED' });
    }
  });
});
