// The Node end of peer.py: libmongocrypt as promises. Bytes in, bytes out; a refusal of the library is an `Outcome` like
// any other result, only a broken peer throws.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { document, fromBase64, toBase64, value } from './raw-bson.mjs';

const SCRIPT = fileURLToPath(new URL('./peer.py', import.meta.url));

/** What pymongocrypt must report, so that a test never passes against some other library. */
export const ORACLE = Object.freeze({ pymongocrypt: '1.21.2', libmongocrypt: '1.21.0' });

/** The Python that has the oracle, as the test runner prepared it. */
export function testPython() {
  const python = process.env.TEST_PYTHON;
  if (!python) throw new Error('TEST_PYTHON is not set: run through `npm test`, or point it at a Python with pymongocrypt');
  return python;
}

export class Peer {
  #child;
  #waiting = new Map();
  #next = 1;
  #stderr = '';
  #ended;

  constructor(python = testPython()) {
    this.#child = spawn(python, ['-u', SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (text) => {
      this.#stderr += text;
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { id, ...answer } = JSON.parse(line);
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    this.#child.on('close', (status, signal) => this.#fail(new Error(`peer.py ended (${signal ?? status}): ${this.#stderr}`)));
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.stdin.on('error', () => {}); // the end of the process says why
  }

  /** Starts a peer and checks that it is the oracle. */
  static async start(python) {
    const peer = new Peer(python);
    const versions = await peer.call({ op: 'versions' });
    for (const [name, wanted] of Object.entries(ORACLE)) {
      if (versions[name] !== wanted) throw new Error(`the oracle is ${name} ${wanted}, found ${versions[name]}`);
    }
    return peer;
  }

  #fail(error) {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  async call(request) {
    if (this.#ended) throw this.#ended;
    const id = this.#next++;
    const answer = await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id, ...request })}\n`);
    });
    if (answer.broken) throw new Error(`peer.py: ${answer.broken}`);
    return answer;
  }

  /** An instance of the library with its own providers and key cache. */
  async open(kmsProviders, { keyExpirationMs } = {}) {
    const engine = `engine-${this.#next}`;
    const answer = await this.call({ op: 'open', engine, kmsProviders: toBase64(kmsProviders), keyExpirationMs });
    if (answer.refused) throw Object.assign(new Error(answer.refused.message), answer.refused);
    return new PeerEngine(this, engine);
  }

  /** The 96 bytes behind a KMIP object of the pretend KMS, registered ones included. */
  async kmipSecret(keyId) {
    return fromBase64((await this.call({ op: 'kmipSecret', keyId })).secret);
  }

  setKmipSecret(keyId, secret) {
    return this.call({ op: 'setKmipSecret', keyId, secret: toBase64(secret) });
  }

  async stop() {
    this.#child.stdin.end();
    await new Promise((resolve) => {
      this.#child.once('close', resolve);
    });
  }
}

const altNameDocument = (name) => toBase64(document([['keyAltName', value.string(name)]]));

class PeerEngine {
  constructor(peer, engine) {
    this.peer = peer;
    this.engine = engine;
  }

  /**
   * Runs one context to its end. `kind` and the options are peer.py's: `keys` are fed whatever was asked, of `vault` only
   * what the filter asks for. Resolves to `{ok: true, output, filters, kms}` or `{ok: false, message, at}`.
   */
  async run(kind, { input, keys = [], vault, keyId, keyAltNames = [], algorithm, masterKey, keyMaterial, random, kmsReplies, kmsForward, kmsSubstitute } = {}) {
    const answer = await this.peer.call({
      op: 'run',
      engine: this.engine,
      kind,
      keys: keys.map(toBase64),
      keyAltNames: keyAltNames.map(altNameDocument),
      ...(vault && { vault: vault.map(toBase64) }),
      ...(input && { input: toBase64(input) }),
      ...(keyId && { keyId: toBase64(keyId) }),
      ...(algorithm !== undefined && { algorithm }),
      ...(masterKey && { masterKey: toBase64(masterKey) }),
      ...(keyMaterial && { keyMaterial: toBase64(document([['keyMaterial', value.binData(keyMaterial)]])) }),
      ...(random && { random: random.map(toBase64) }),
      ...(kmsReplies && { kmsReplies: kmsReplies.map(toBase64) }),
      ...(kmsForward && { kmsForward }),
      ...(kmsSubstitute && { kmsSubstitute: toBase64(kmsSubstitute) }),
    });
    if (answer.refused) return { ok: false, ...answer.refused };
    if (answer.randomLeft > 0) throw new Error(`${answer.randomLeft} planned random draws were not used`);
    return {
      ok: true,
      output: answer.output === null ? null : fromBase64(answer.output),
      filters: answer.filters.map(fromBase64),
      kms: answer.kms.map((request) => ({ ...request, message: fromBase64(request.message) })),
    };
  }

  close() {
    return this.peer.call({ op: 'close', engine: this.engine });
  }
}
