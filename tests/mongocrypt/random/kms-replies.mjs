// What a KMS says to a request, out of the request's own bytes: the right thing, or one of many wrong ones.
import { concat } from '../../interop/raw-bson.mjs';
import { byteString, decryptedData, encryptedData, find, named, OPERATION, refusal, response, secret, TAG, text } from '../kmip-replies.mjs';
import { structure } from '../ttlv.mjs';

const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** What a request over HTTP asks for: `{ asks, plaintext, ciphertext }`. */
export function readHttp(message) {
  const [head, body] = Buffer.from(message).toString('latin1').split('\r\n\r\n');
  const path = head.split('\r\n')[0].split(' ')[1];
  if (/\/token$/.test(path)) return { asks: 'token' };
  const one = (name) => {
    const found = new RegExp(`"${name}": "([^"]*)"`).exec(body)?.[1];
    return found === undefined ? undefined : Buffer.from(found, 'base64');
  };
  if (/X-Amz-Target:TrentService.Encrypt/.test(head)) return { asks: 'CiphertextBlob', plaintext: one('Plaintext') };
  if (/X-Amz-Target:TrentService.Decrypt/.test(head)) return { asks: 'Plaintext', ciphertext: one('CiphertextBlob') };
  if (/\/wrapkey\?/.test(path)) return { asks: 'value', plaintext: one('value') };
  if (/\/unwrapkey\?/.test(path)) return { asks: 'value', ciphertext: one('value') };
  return /:encrypt$/.test(path) ? { asks: 'ciphertext', plaintext: one('plaintext') } : { asks: 'plaintext', ciphertext: one('ciphertext') };
}

const RETRYABLE = [408, 429, 500, 502, 503, 504, 509];
const REFUSALS = [400, 401, 403, 404, 418, 501];
const ODD_STATUSES = [201, 204, 302, 100, 199, 599];

export class KmsReplies {
  constructor(world) {
    this.world = world;
    this.rng = world.rng;
    /** A KMS that is too busy for a while, so that all retries are used up. */
    this.isBusy = world.rng.chance(0.03);
  }

  /** `{ bytes, what }` for a request, right with a chance of 1 - `trouble`. */
  reply({ provider, message }, trouble) {
    const bytes = Buffer.from(message, 'base64');
    if (provider.startsWith('kmip')) return this.#kmip(bytes, trouble);
    const asked = readHttp(bytes);
    const { rng } = this;
    if (this.isBusy && rng.chance(0.9)) return { what: 'retryable', bytes: this._retryable() };
    if (!rng.chance(trouble)) return { what: 'right', bytes: this.#framed(200, this.#right(asked)) };
    const what = rng.pick(['status', 'status', 'retryable', 'retryable', 'body', 'body', 'frame', 'length']);
    return { what, bytes: this[`_${what}`](asked) };
  }

  #wrapped(plaintext) {
    const wrapped = this.rng.bytes(this.rng.between(96, 300));
    this.world.unwraps.set(hex(wrapped), plaintext);
    return wrapped;
  }

  #unwrapped(ciphertext) {
    return this.#given(this.world.unwraps.get(hex(ciphertext)) ?? this.rng.bytes(96));
  }

  /** Keeps what may be taken for key material, so that what is encrypted with it can be opened. */
  #given(bytes) {
    this.world.given.push(bytes);
    return bytes;
  }

  #right({ asks, plaintext, ciphertext }) {
    const { rng } = this;
    if (asks === 'token')
      return JSON.stringify({
        access_token: `token${rng.below(1000)}`,
        expires_in: rng.pick([0, 3, 5, 3600, 3600, 86400]),
        ...(rng.chance(0.3) && { token_type: 'Bearer' }),
      });
    const content = plaintext ? this.#wrapped(plaintext) : this.#unwrapped(ciphertext ?? new Uint8Array());
    const encoded = asks === 'value' ? Buffer.from(content).toString('base64url') : base64(content);
    const others = rng.chance(0.3) ? { KeyId: 'k', n: { a: [1, null, true, 'x'] } } : {};
    return JSON.stringify(rng.chance(0.5) ? { ...others, [asks]: encoded } : { [asks]: encoded, ...others }, null, rng.pick([0, 0, 2]));
  }

  _status(asked) {
    const { rng } = this;
    const body = rng.pick(['', '{"message":"no"}', 'no', '<html>', '{}', this.#right(asked)]);
    return this.#framed(rng.chance(0.8) ? rng.pick(REFUSALS) : rng.pick(ODD_STATUSES), body);
  }

  _retryable() {
    return this.#framed(this.rng.pick(RETRYABLE), this.rng.pick(['', '{"message":"later"}', 'busy']));
  }

  /** A successful answer with another body. */
  _body(asked) {
    const { rng } = this;
    const right = this.#right(asked);
    const { asks } = asked;
    return this.#framed(
      200,
      rng.pick([
        () => '',
        () => '{}',
        () => '[]',
        () => 'x',
        () => '{',
        () => right.slice(0, rng.below(right.length)),
        () => `${right}x`,
        () => ` ${right}\n`,
        () => JSON.stringify({ [asks]: 1 }),
        () => JSON.stringify({ [asks]: null }),
        () => JSON.stringify({ [asks]: '' }),
        () => JSON.stringify({ [asks]: '?' }),
        () => JSON.stringify({ [asks]: 'AAAA' }),
        () => JSON.stringify({ [asks]: base64(this.#given(rng.bytes(rng.between(95, 97)))) }),
        () => JSON.stringify({ [asks.toUpperCase()]: 'AAAA' }),
        () => JSON.stringify({ access_token: 't' }),
        () => JSON.stringify({ access_token: 't', expires_in: '3600' }),
        () => JSON.stringify({ access_token: 1, expires_in: 3600 }),
        () => JSON.stringify({ access_token: 't', expires_in: 12.5 }),
        () => JSON.stringify({ expires_in: 3600 }),
      ])(),
    );
  }

  /** Another head than HTTP's. */
  _frame(asked) {
    const whole = Buffer.from(this.#framed(200, this.#right(asked))).toString('latin1');
    const { rng } = this;
    return Buffer.from(
      rng.pick([
        () => whole.replace('HTTP/1.1', 'HTTP/1.0'),
        () => whole.replace('HTTP/1.1', 'http/1.1'),
        () => whole.replace('HTTP/1.1 200', 'HTTP/1.1 2x0'),
        () => whole.replace('HTTP/1.1 200', 'HTTP/1.1'),
        () => whole.replace('\r\n', '\r\nno colon here\r\n'),
        () => whole.replace(/Content-Length:/, 'content-length:'),
        () => whole.replace(/(Content-Length: ?)\d+/, '$1x'),
        () => whole.replace(/(Content-Length: ?)\d+/, '$1'),
        () => whole.replace('\r\n', '\r\nTransfer-Encoding: gzip\r\n'),
        () => whole.replace(/Content-Length[^\r]*\r\n/, ''),
        () => `\r\n${whole}`,
        () => whole.replaceAll('\r\n', '\n'),
        () => whole.replace(' 200 ', ' 99 '),
        () => whole.replace(' 200 ', ' 0200 '),
        () => whole.replace(' 200 OK', ' 200'),
      ])(),
      'latin1',
    );
  }

  /** More or less than was announced. */
  _length(asked) {
    const body = this.#right(asked);
    const { rng } = this;
    const length = Math.max(0, body.length + rng.pick([-1, 1, -5, 10, 1000]));
    return Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${body}`);
  }

  #framed(status, body) {
    const { rng } = this;
    const bytes = Buffer.from(body);
    const others = rng.pick([[], ['Content-Type: application/json'], ['X-A:b', 'Date: Thu, 01 Jan 1970 00:00:00 GMT'], ['x-empty:', 'Server: x']]);
    const chunked = rng.chance(0.25);
    const own = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${bytes.length}`;
    const headers = rng.chance(0.5) ? [own, ...others] : [...others, own];
    return concat(Buffer.from(`HTTP/1.1 ${status} OK\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`), chunked ? this.#chunks(bytes) : bytes);
  }

  #chunks(bytes) {
    const { rng } = this;
    const parts = [];
    for (let offset = 0; offset < bytes.length; ) {
      const length = Math.min(bytes.length - offset, rng.between(1, 120));
      const shown = rng.chance(0.5) ? length.toString(16) : length.toString(16).toUpperCase();
      parts.push(Buffer.from(`${shown}\r\n`), bytes.subarray(offset, offset + length), Buffer.from('\r\n'));
      offset += length;
    }
    return concat(...parts, Buffer.from('0\r\n\r\n'));
  }

  #kmip(message, trouble) {
    const { rng } = this;
    const operation = find(message, TAG.operation).readUInt32BE(0);
    const right = this.#kmipRight(message, operation);
    if (!rng.chance(trouble)) return { what: 'right', bytes: right };
    return rng.pick([
      () => ({
        what: 'refusal',
        bytes: refusal(operation, { status: rng.between(1, 4), reason: rng.pick([1, 2, 8, 12, 24, 25, 256, 0]), message: rng.pick(['gone', '', 'a "b"']) }),
      }),
      () => ({ what: 'other operation', bytes: named(rng.pick(Object.values(OPERATION)), 'x') }),
      () => ({ what: 'short secret', bytes: secret(rng.bytes(rng.pick([0, 95, 97, 1]))) }),
      () => ({ what: 'short iv', bytes: encryptedData(rng.bytes(112), rng.bytes(rng.pick([0, 12, 17]))) }),
      () => ({ what: 'empty payload', bytes: response(operation, 0, structure(TAG.responsePayload)) }),
      () => ({ what: 'no payload', bytes: response(operation, 0) }),
      () => ({ what: 'other data', bytes: decryptedData(this.#given(rng.bytes(rng.pick([0, 95, 96, 97])))) }),
      () => ({ what: 'nothing inside', bytes: structure(TAG.responseMessage) }),
      () => ({ what: 'other structure', bytes: structure(TAG.batchItem, text(TAG.uniqueIdentifier, 'x')) }),
      () => ({ what: 'bytes', bytes: byteString(TAG.responseMessage, rng.bytes(16)) }),
      () => ({ what: 'a bit', bytes: this.#told(flipped(rng, right)) }),
    ])();
  }

  /** Writes down the secret in a reply, if there is one. */
  #told(bytes) {
    const found = find(bytes, TAG.keyMaterial);
    if (found?.length === 96) this.world.toldSecrets.push(found);
    return bytes;
  }

  #kmipRight(message, operation) {
    const { rng, world } = this;
    const id = find(message, TAG.uniqueIdentifier)?.toString() ?? `made${world.kmipSecrets.size}`;
    switch (operation) {
      case OPERATION.register:
        world.kmipSecrets.set(id, Buffer.from(find(message, TAG.keyMaterial)));
        return named(operation, id);
      case OPERATION.get:
        return secret(world.kmipSecret(id), id);
      case OPERATION.encrypt: {
        const [iv, data] = [rng.bytes(16), rng.bytes(112)];
        world.unwraps.set(hex(concat(iv, data)), Buffer.from(find(message, TAG.data)));
        return encryptedData(data, iv, id);
      }
      case OPERATION.decrypt:
        return decryptedData(this.#unwrapped(concat(find(message, TAG.ivCounterNonce), find(message, TAG.data))), id);
      default:
        return named(operation, id);
    }
  }
}

function flipped(rng, bytes) {
  const out = Buffer.from(bytes);
  out[rng.below(out.length)] ^= 1 << rng.below(8);
  return out;
}
