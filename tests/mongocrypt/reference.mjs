// The Node end of reference.py, and the same scripts run on our classes.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MongoCrypt } from 'csfle-wasm';
import { ALGORITHM } from '../interop/samples.mjs';
import { drawingFrom, streamOf } from './random-stream.mjs';

const SCRIPT = fileURLToPath(new URL('./reference.py', import.meta.url));

export const toBase64 = (bytes) => Buffer.from(bytes).toString('base64');
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));

/** A step of a script ended the process of the reference. */
export class ReferenceEnded extends Error {
  constructor(message, step) {
    super(message);
    this.step = step;
  }
}

/** libmongocrypt in a process of its own, which is started again when a script ends it. */
export class Reference {
  #python;
  #child;
  #waiting = new Map();
  #next = 1;
  #stderr = '';
  #progress = Buffer.alloc(4);

  constructor(python) {
    this.#python = python;
    this.#start();
  }

  #start() {
    const child = spawn(this.#python, ['-u', SCRIPT], { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#stderr = '';
    child.stderr.on('data', (text) => {
      this.#stderr += text;
    });
    // Numbers of steps, four bytes each: the last one is where it is.
    child.stdio[3].on('data', (bytes) => {
      this.#progress = Buffer.concat([this.#progress, bytes]).subarray(-4);
    });
    child.stdin.on('error', () => {}); // It ended; `close` follows.
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, ...answer } = JSON.parse(line);
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    child.on('close', (status, signal) => {
      if (child === this.#child) this.#ended(signal ?? status);
    });
  }

  // Scripts are run in turn, so the first one without an answer is the one that did it.
  #ended(how) {
    const [first, ...others] = this.#waiting;
    if (first === undefined) return;
    this.#waiting.clear();
    this.#start();
    for (const [id, asked] of others) this.#ask(id, asked);
    first[1].reject(new ReferenceEnded(`libmongocrypt ended its process (${how}): ${this.#stderr.trim()}`, this.#progress.readUInt32LE()));
  }

  #ask(id, asked) {
    this.#waiting.set(id, asked);
    this.#child.stdin.write(`${JSON.stringify({ ...asked.script, id })}\n`);
  }

  async run(script) {
    const answer = await new Promise((resolve, reject) => {
      this.#ask(this.#next++, { resolve, reject, script: { seed: script.seed ?? '', options: script.options, steps: script.steps } });
    });
    if (answer.broken) throw new Error(answer.broken);
    return answer;
  }

  async stop() {
    const child = this.#child;
    this.#child = undefined;
    child.stdin.end();
    await new Promise((resolve) => {
      child.once('close', resolve);
    });
  }
}

const makers = {
  explicitEncrypt: (crypt, how) => crypt.makeExplicitEncryptionContext(bytes(how.input), explicitOptions(how, false)),
  explicitEncryptExpression: (crypt, how) => crypt.makeExplicitEncryptionContext(bytes(how.input), explicitOptions(how, true)),
  explicitDecrypt: (crypt, how) => crypt.makeExplicitDecryptionContext(bytes(how.input)),
  decrypt: (crypt, how) => crypt.makeDecryptionContext(bytes(how.input)),
  encrypt: (crypt, how) => crypt.makeEncryptionContext(how.database, bytes(how.input)),
  dataKey: (crypt, how) =>
    crypt.makeDataKeyContext(bytes(how.masterKey), {
      keyAltNames: (how.keyAltNames ?? []).map(bytes),
      ...(how.keyMaterial && { keyMaterial: bytes(how.keyMaterial) }),
    }),
  rewrap: (crypt, how) => crypt.makeRewrapManyDataKeyContext(bytes(how.input), how.masterKey && bytes(how.masterKey)),
};

const explicitOptions = (how, expressionMode) => ({
  expressionMode,
  ...(how.keyId && { keyId: bytes(how.keyId) }),
  ...(how.keyAltNames?.[0] && { keyAltName: bytes(how.keyAltNames[0]) }),
  ...(how.algorithm !== undefined && { algorithm: how.algorithm }),
});

class OurContext {
  #requests = [];

  constructor(crypt, how) {
    this.context = makers[how.kind](crypt, how);
  }

  run(name, args) {
    const result = this[name](...args) ?? null;
    const { state, status } = this.context;
    return { state, status, result };
  }

  look() {}
  operation() {
    return toBase64(this.context.nextMongoOperation());
  }
  feed(data) {
    this.context.addMongoOperationResponse(bytes(data));
  }
  finishOperation() {
    this.context.finishMongoOperation();
  }
  provide(data) {
    this.context.provideKMSProviders(bytes(data));
  }

  nextRequest() {
    const request = this.context.nextKMSRequest();
    if (request === null) return null;
    this.#requests.push(request);
    const { kmsProvider: provider, endpoint, uSleep: sleep } = request;
    return { provider, endpoint, message: toBase64(request.message), sleep, ...this.#progress(request) };
  }

  #progress({ bytesNeeded: needed, status }) {
    return { needed, status };
  }

  /** Feeds as many bytes as are wanted. */
  answer(index, data) {
    const request = this.#requests[index];
    if (request === undefined) return null;
    const needs = [];
    for (let reply = bytes(data); reply.length > 0 && request.bytesNeeded > 0; ) {
      const needed = request.bytesNeeded;
      needs.push(needed);
      request.addResponse(reply.slice(0, needed));
      if (request.status.type !== 0) break;
      reply = reply.slice(needed);
    }
    return { needs, ...this.#progress(request) };
  }

  /** Feeds these bytes, however many are wanted. */
  chunk(index, data) {
    const request = this.#requests[index];
    if (request === undefined) return null;
    request.addResponse(bytes(data));
    return this.#progress(request);
  }

  fail(index) {
    const request = this.#requests[index];
    return request === undefined ? null : { again: request.fail(), ...this.#progress(request) };
  }

  finishRequests() {
    this.context.finishKMSRequests();
  }
  finalize() {
    return toBase64(this.context.finalize());
  }
}

const PROBE = bytes('EgAAAAJ2AAYAAABwcm9iZQAA'); // {v: 'probe'}
const READY = 5;

/** What a value becomes under the key that the cache has for an id or a name; null where it has none. */
function cached(crypt, reference) {
  const context = crypt.makeExplicitEncryptionContext(PROBE, { expressionMode: false, algorithm: ALGORITHM.deterministic, ...reference });
  return context.state === READY ? toBase64(context.finalize()) : null;
}

const DOCUMENTS = ['kmsProviders', 'schemaMap', 'encryptedFieldsMap'];

/** One library of ours and its contexts, step by step. Time stands still but for `sleep`. */
export class OurSession {
  #crypt;
  #contexts = [];
  #context = null;
  #stream;
  #nowMs = Date.now();

  /** Throws what the constructor throws. */
  constructor({ options, seed = '' }) {
    this.#stream = streamOf(seed);
    const given = Object.fromEntries(DOCUMENTS.filter((name) => name in options).map((name) => [name, bytes(options[name])]));
    this.#crypt = new MongoCrypt({ ...options, ...given, errorWrapper: (error) => error });
  }

  step([name, ...args]) {
    const now = Date.now;
    Date.now = () => this.#nowMs;
    try {
      return drawingFrom(this.#stream, () => this.#step(name, args));
    } finally {
      Date.now = now;
    }
  }

  #step(name, args) {
    if (name === 'make') return this.#make(args[0]);
    if (name === 'sleep') {
      this.#nowMs += args[0];
      return null;
    }
    if (name === 'cached') {
      const [ids, names] = args;
      return {
        ids: ids.map((id) => cached(this.#crypt, { keyId: bytes(id) })),
        names: names.map((keyAltName) => cached(this.#crypt, { keyAltName: bytes(keyAltName) })),
      };
    }
    if (name !== 'use') return this.#context?.run(name, args) ?? null;
    this.#context = this.#contexts[args[0]];
    return this.#context?.run('look', []) ?? null;
  }

  #make(how) {
    this.#context = null;
    try {
      this.#context = new OurContext(this.#crypt, how);
      return this.#context.run('look', []);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return { refused: error.message };
    } finally {
      this.#contexts.push(this.#context);
    }
  }
}

/** Runs a script on our classes; the answer has the form of `Reference.run`. */
export function runOurs(script) {
  let session;
  try {
    session = new OurSession(script);
  } catch (error) {
    return { refused: error.message };
  }
  return { outcomes: script.steps.map((step) => session.step(step)) };
}
