// How much memory answers take: as much as has arrived, up to a limit, and never what they announce. It is given back.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { Binary, serialize } from 'bson';
import { openBoundary } from '../hosts/boundary.mjs';
import { encrypted } from './samples.mjs';

const MIB = 1024 * 1024;
const now = 1_700_000_000_000;
const head = (lines) => Buffer.from(`HTTP/1.1 200 X\r\n${lines}\r\n`);
const endless = (unit) => ({ unit: Buffer.from(unit.repeat(Math.ceil(4096 / unit.length))) });
const announced = (length) => {
  const bytes = Buffer.from('42007b0100000000', 'hex');
  bytes.writeUInt32BE(length, 4);
  return bytes;
};

// `growth`: most the instance may grow by, in MiB. `message`: how it ends; absent where it waits for more.
const aws = { provider: 'aws', region: 'r', key: 'k' };
const kmip = { provider: 'kmip', keyId: 'id' };
const tooLarge = (status) => `KMS response parser error with status ${status}, error: 'KMS response too large'`;
const cases = {
  'a head without end': { growth: 1, parts: [head('').subarray(0, -2), endless('X: yyyyyyyy\r\n')], message: tooLarge(200) },
  'a status line without end': { growth: 1, parts: [endless('HTTP/1.1 ')], message: tooLarge(0) },
  'a header without end': { growth: 1, parts: [head('').subarray(0, -2), Buffer.from('X: '), endless('y')], message: tooLarge(200) },
  'much that is announced': { growth: 1, parts: [head(`Content-Length: ${16 * MIB}\r\n`), Buffer.from('{')] },
  'more than may be announced': {
    growth: 1,
    parts: [head(`Content-Length: ${16 * MIB + 1}\r\n`)],
    message: "KMS response parser error with status 200, error: 'Could not parse Content-Length header.'",
  },
  'a chunk that is announced': { growth: 1, parts: [head('Transfer-Encoding: chunked\r\n'), Buffer.from('1000000\r\nx')] },
  'a chunk line without end': {
    growth: 1,
    parts: [head('Transfer-Encoding: chunked\r\n'), endless('0')],
    message: "KMS response parser error with status 200, error: 'Failed to parse hex chunk length.'",
  },
  'tiny chunks without end': { growth: 40, parts: [head('Transfer-Encoding: chunked\r\n'), endless('1\r\nx\r\n')], message: tooLarge(200) },
  'chunks without end': { growth: 64, parts: [head('Transfer-Encoding: chunked\r\n'), endless(`1000\r\n${'x'.repeat(4096)}\r\n`)], message: tooLarge(200) },
  'a body as long as may be': { growth: 64, parts: [head(`Content-Length: ${16 * MIB}\r\n`), endless('[')], message: /nested deeper than 32 levels/ },
  'a text as long as may be': {
    growth: 96,
    parts: [head(`Content-Length: ${16 * MIB}\r\n`), Buffer.from('{"CiphertextBlob":"'), endless('QUFB')],
    message: /Incomplete JSON/,
  },
  'KMIP: much that is announced': { growth: 1, masterKey: kmip, parts: [announced(16 * MIB), Buffer.alloc(100)] },
  'KMIP: more than may be announced': {
    growth: 1,
    masterKey: kmip,
    parts: [announced(16 * MIB + 1)],
    message: "KMS response parser error with error: 'KMS KMIP response too large'",
  },
  'KMIP: all that can be announced': {
    growth: 1,
    masterKey: kmip,
    parts: [announced(0xffffffff)],
    message: "KMS response parser error with error: 'KMS KMIP response too large'",
  },
  'KMIP: as much as may be': { growth: 64, masterKey: kmip, parts: [announced(16 * MIB), endless('\0')], message: /unable to find tag/ },
};

describe('the memory of the instance', { timeout: 120_000 }, () => {
  let boundary;
  let crypt;
  before(async () => {
    boundary = await openBoundary();
    crypt = boundary.newMongoCrypt(
      serialize({ aws: { accessKeyId: 'a', secretAccessKey: 'b' }, kmip: { endpoint: 'k' } }),
      undefined,
      undefined,
      false,
      60_000,
    );
  });
  const size = () => boundary.memory.buffer.byteLength / MIB;

  function feed(context, number, parts) {
    for (const part of parts) {
      const isEndless = 'unit' in part;
      let rest = part.unit ?? part;
      for (let fed = 0; rest.length > 0; fed += 1) {
        const taken = Math.min(context.kmsBytesNeeded(number), rest.length);
        if (taken === 0) return;
        context.kmsFeed(number, rest.subarray(0, taken));
        rest = rest.subarray(taken);
        if (rest.length === 0 && isEndless) rest = part.unit;
        assert.ok(fed < 100_000, 'it comes to an end');
      }
    }
  }

  function run({ masterKey = aws, parts }) {
    const context = crypt.createDataKey(serialize(masterKey), [], serialize({ keyMaterial: new Binary(Buffer.alloc(96, 1)) }), now);
    const number = context.nextKmsRequest();
    feed(context, number, parts);
    const failure = context.kmsFailure(number)?.message;
    context.free();
    return failure;
  }

  for (const [name, given] of Object.entries(cases)) {
    test(`grows little with ${name}, and not again`, () => {
      const start = size();
      const failure = run(given);
      const grown = size();
      assert.ok(grown - start <= given.growth, `it grew by ${grown - start} MiB`);
      if (given.message instanceof RegExp) assert.match(failure, given.message);
      else assert.equal(failure, given.message);
      for (let times = 0; times < 3; times += 1) run(given);
      assert.ok(size() - grown <= given.growth / 8, `it grew again by ${size() - grown} MiB`);
    });
  }

  test('is given back by contexts that failed, though the host keeps them', () => {
    const local = boundary.newMongoCrypt(serialize({ local: { key: Buffer.alloc(96) } }), undefined, undefined, false, 60_000);
    const reply = serialize({ a: encrypted(1), text: Buffer.alloc(8 * MIB) });
    const makers = [() => local.decrypt(reply, now), () => local.encrypt('db', serialize({ insert: 'c', documents: [{ text: Buffer.alloc(8 * MIB) }] }), now)];
    for (const make of makers) {
      const first = make();
      first.finalize(now);
      const start = size();
      const kept = Array.from({ length: 40 }, () => {
        const context = make();
        context.finalize(now);
        assert.equal(context.state(), 0);
        return context;
      });
      assert.ok(size() - start < 40, `it grew by ${size() - start} MiB`);
      for (const context of [first, ...kept]) context.free();
    }
  });

  test('is given back by requests that failed, though the host keeps them', () => {
    const { parts, masterKey = aws } = cases['a body as long as may be'];
    const begin = () => crypt.createDataKey(serialize(masterKey), [], serialize({ keyMaterial: new Binary(Buffer.alloc(96, 1)) }), now);
    const start = size();
    const kept = Array.from({ length: 12 }, () => {
      const context = begin();
      const number = context.nextKmsRequest();
      feed(context, number, parts);
      assert.match(context.kmsFailure(number).message, /nested deeper/);
      return context;
    });
    assert.ok(size() - start < 64, `it grew by ${size() - start} MiB`);
    for (const context of kept) context.free();
  });

  test('is not used up by input that can be nothing', () => {
    const huge = new Uint8Array(1024 * MIB);
    huge.set(serialize({ a: 1 }));
    const start = size();
    assert.throws(() => crypt.decrypt(huge, now), { code: 'BSON_MALFORMED' });
    const context = crypt.createDataKey(serialize(aws), [], serialize({ keyMaterial: new Binary(Buffer.alloc(96, 1)) }), now);
    const number = context.nextKmsRequest();
    context.kmsFeed(number, huge);
    assert.equal(context.kmsFailure(number).message, "argument 'bytes' cannot be empty");
    context.free();
    assert.equal(size(), start);
  });
});
