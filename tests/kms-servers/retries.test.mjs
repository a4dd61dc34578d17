// What becomes of answers that are none: prose test 24 of the specification as far as the driver lets it. The driver asks for
// requests once a round, never waits, and gives up by itself when a connection breaks.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { faults } from './https-service.mjs';
import { RANDOM, workplace } from './workplace.mjs';

const place = await workplace(['aws', 'azure', 'gcp', 'kmip']);
const { encryption } = place;

const make = (provider, by = encryption()) => by.createDataKey(provider, { masterKey: place.cloud.masterKeys[provider] });
const fail = (provider, ...options) => place.cloud[provider].service.fail(...options);
const paths = (provider) => place.cloud[provider].service.paths();
const counted = async (provider, work) => {
  const before = paths(provider).length;
  await work();
  return paths(provider).length - before;
};
const throttled = (kind) => faults.status(400, { __type: kind, message: 'Rate exceeded' });
const MEBIBYTE = 1024 * 1024;
const TOKEN = /token$/;
const KEY = /\/(keys|projects)\/|^\/$/;
const passing = {
  aws: [
    [429, 'slow'],
    [503, ''],
    [500, { __type: 'KMSInternalException' }],
    [509, ''],
  ].map(([status, body]) => faults.status(status, body)),
  azure: [
    [429, { error: { code: 'Throttled' } }, { 'Retry-After': '1' }],
    [503, '', { 'Retry-After': '1' }],
    [504, ''],
  ].map((args) => faults.status(...args)),
  gcp: [
    [429, { error: { status: 'RESOURCE_EXHAUSTED' } }],
    [503, '', { 'Retry-After': '1' }],
    [599, ''],
  ].map((args) => faults.status(...args)),
};
passing.aws.push(throttled('ThrottlingException'), throttled('com.amazonaws.kms#ThrottlingException'));

for (const [provider, answers] of Object.entries(passing)) {
  describe(provider, () => {
    test('an answer that may pass is asked for again, when wrapping and when unwrapping', async () => {
      for (const fault of answers) {
        const maker = encryption();
        await make(provider, maker);
        fail(provider, fault, { path: KEY });
        let id;
        assert.equal(
          await counted(provider, async () => {
            id = await make(provider, maker);
          }),
          2,
        );
        fail(provider, fault, { path: KEY });
        assert.equal(await counted(provider, () => maker.encrypt('x', { algorithm: RANDOM, keyId: id })), 2);
      }
    });

    test('three times, and then what the KMS said is told', async () => {
      fail(provider, faults.status(503, 'out of order'), { times: 4, path: KEY });
      const maker = encryption();
      await assert.rejects(make(provider, maker), {
        name: 'MongoCryptError',
        message: 'KMS request failed after maximum of 3 retries: Error in KMS response. HTTP status=503. Response body=\nout of order',
      });
      assert.equal(await counted(provider, () => make(provider, maker)), 1);
    });

    test('of several keys only those that failed are asked for again', async () => {
      const maker = encryption();
      const ids = await Promise.all(Array.from({ length: 4 }, () => make(provider, maker)));
      const values = await Promise.all(ids.map((keyId) => encryption().encrypt('x', { algorithm: RANDOM, keyId })));
      fail(provider, answers[0], { times: 2, path: KEY });
      await place.withClient({}, async (automatic) => {
        const name = `several_${provider}`;
        await place.collection(name).insertOne({ _id: 1, values });
        const count = await counted(provider, async () => {
          assert.deepEqual((await automatic.collection(name).findOne({ _id: 1 })).values, ['x', 'x', 'x', 'x']);
        });
        assert.equal(count, (provider === 'aws' ? 0 : 1) + 4 + 2);
      });
    });

    test('other refusals are told at once, in the words of the KMS', async () => {
      for (const [status, body, message] of [
        [403, { error: 'forbidden' }, 'Error in KMS response. HTTP status=403. Response body=\n{"error":"forbidden"}'],
        [400, { __type: 'AccessDeniedException' }, 'Error in KMS response. HTTP status=400. Response body=\n{"__type":"AccessDeniedException"}'],
        [404, '', 'Error in KMS response. HTTP status=404. Empty body.'],
        [302, 'elsewhere', 'Unsupported HTTP code in KMS response. HTTP status=302. Response body=\nelsewhere'],
      ]) {
        fail(provider, faults.status(status, body), { path: KEY });
        await assert.rejects(make(provider), { name: 'MongoCryptError', message });
      }
    });

    test('what is no answer is refused, and nothing hangs or grows', async () => {
      const head = (length) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
      for (const [text, message] of [
        ['no HTTP at all\r\n', /^KMS response parser error with status 0, error: 'Could not parse HTTP-Version\.'$/],
        ['HTTP/1.1 2x0 OK\r\n', /^KMS response parser error with status 0, error: 'Could not parse Status-Code\.'$/],
        ['HTTP/1.1 200 OK\r\nno colon\r\n', /^KMS response parser error with status 200, error: 'Could not parse header, no colon found\.'$/],
        ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n', /^KMS response parser error with status 200, error: 'Unsupported Transfer-Encoding: gzip'$/],
        [
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n',
          /^KMS response parser error with status 200, error: 'Failed to parse hex chunk length\.'$/,
        ],
        [head(17 * MEBIBYTE), /^KMS response parser error with status 200, error: 'Could not parse Content-Length header\.'$/],
        [
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${`100000\r\n${'x'.repeat(MEBIBYTE)}\r\n`.repeat(17)}`,
          /^KMS response parser error with status 200, error: 'KMS response too large'$/,
        ],
        [`${head(3)}{]}`, /^Error parsing JSON in KMS response /],
        [`${head(2)}{}`, /^KMS JSON response does not include field '/],
        [`${head(2)}{}more`, /^KMS response parser error with status 200, error: 'Unexpected|^KMS JSON response does not include field '/],
        [head(0), /^(Empty KMS response\. HTTP status=200|Error parsing JSON in KMS response )/],
      ]) {
        fail(provider, faults.raw(text), { path: KEY });
        await assert.rejects(make(provider), (error) => error.name === 'MongoCryptError' && message.test(error.message), text.slice(0, 80));
      }
      fail(provider, faults.cut, { path: KEY });
      await assert.rejects(make(provider), { name: 'MongoCryptError', message: 'KMS request closed' });
      await make(provider);
    });
  });
}

for (const provider of ['azure', 'gcp']) {
  test(`the token of ${provider} is asked for again as well, once for all keys that need it`, async () => {
    fail(provider, faults.status(503, 'down'), { times: 2, path: TOKEN });
    assert.equal(await counted(provider, () => make(provider)), 4);
    fail(provider, faults.status(429, 'slow'), { times: 4, path: TOKEN });
    await assert.rejects(make(provider), {
      message: 'KMS request failed after maximum of 3 retries: Error in KMS response. HTTP status=429. Response body=\nslow',
    });
    const ids = [await make(provider), await make(provider)];
    const values = await Promise.all(ids.map((keyId) => encryption().encrypt('x', { algorithm: RANDOM, keyId })));
    await place.withClient({}, async (automatic) => {
      await place.collection(`token_${provider}`).insertOne({ _id: 1, values });
      fail(provider, faults.status(503, 'down'), { path: TOKEN });
      assert.equal(await counted(provider, () => automatic.collection(`token_${provider}`).findOne({ _id: 1 })), 4);
    });
    fail(provider, faults.status(400, { error: 'invalid_client' }), { path: TOKEN });
    await assert.rejects(make(provider), { message: 'Error in KMS response. HTTP status=400. Response body=\n{"error":"invalid_client"}' });
    for (const body of [
      {},
      { access_token: 'x' },
      { access_token: 'x', expires_in: -1 },
      { access_token: 'x', expires_in: 1e300 },
      { access_token: 'a\r\nb', expires_in: 3600 },
    ]) {
      fail(provider, faults.status(200, body), { path: TOKEN });
      await assert.rejects(
        make(provider),
        ({ name, message }) => name === 'MongoCryptError' && /^(Invalid KMS response\.|OAuth response invalid)/.test(message),
        JSON.stringify(body),
      );
    }
  });
}

test('KMIP: answers that are cut, of another kind or too long are refused, and are not asked for again', async () => {
  const { service } = place.cloud.kmip;
  const expected = [
    [(socket) => socket.destroy(), /^KMS request (closed|failed)$/],
    [(socket, answer) => socket.end(answer.subarray(0, answer.length / 2)), /^KMS request closed$/],
    [(socket) => socket.end(Buffer.from('42007b0102000000', 'hex')), /KMS KMIP response too large/],
    [(socket) => socket.end(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'.padEnd(600))), /^KMS request closed$|too large/],
    [
      (socket) => socket.end(Buffer.from('42007b0100000000', 'hex')),
      /^Error getting UniqueIdentifer from KMIP Register response: unable to find tag: BatchItem$/,
    ],
  ];
  for (const [fault, message] of expected) {
    const before = service.operations.length;
    service.fail(fault);
    await assert.rejects(make('kmip'), (error) => error.name === 'MongoCryptError' && message.test(error.message));
    assert.deepEqual(service.operations.slice(before), ['Register']);
  }
  await make('kmip');
});

test('a KMS that says nothing is left when the connection of the application ends', async () => {
  fail('aws', faults.silence);
  const kmsConnectCallback = async (where) => {
    const socket = await place.cloud.kmsConnectCallback(where);
    return socket.setTimeout(100, () => socket.destroy());
  };
  await assert.rejects(make('aws', encryption({}, { kmsConnectCallback })), { name: 'MongoCryptError', message: /^KMS request (closed|failed)$/ });
  await make('aws');
});
