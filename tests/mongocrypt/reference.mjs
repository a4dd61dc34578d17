// The Node end of reference.py, and the same scripts run on our classes.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { MongoCrypt } from 'csfle-wasm';

const SCRIPT = fileURLToPath(new URL('./reference.py', import.meta.url));

export const toBase64 = (bytes) => Buffer.from(bytes).toString('base64');
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));

/** libmongocrypt in a process of its own. A script that ends the process ends the test. */
export class Reference {
  #child;
  #waiting = new Map();
  #next = 1;
  #stderr = '';

  constructor(python) {
    this.#child = spawn(python, ['-u', SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (text) => { this.#stderr += text; });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { id, ...answer } = JSON.parse(line);
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    this.#child.on('close', (status, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`reference.py ended (${signal ?? status}): ${this.#stderr}`));
    });
  }

  async run(script) {
    const id = this.#next++;
    const answer = await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ ...script, id })}\n`);
    });
    if (answer.broken) throw new Error(answer.broken);
    return answer;
  }

  async stop() {
    this.#child.stdin.end();
    await new Promise((resolve) => { this.#child.once('close', resolve); });
  }
}

const makers = {
  explicitEncrypt: (crypt, how) => crypt.makeExplicitEncryptionContext(bytes(how.input), explicitOptions(how, false)),
  explicitEncryptExpression: (crypt, how) => crypt.makeExplicitEncryptionContext(bytes(how.input), explicitOptions(how, true)),
  explicitDecrypt: (crypt, how) => crypt.makeExplicitDecryptionContext(bytes(how.input)),
  decrypt: (crypt, how) => crypt.makeDecryptionContext(bytes(how.input)),
  encrypt: (crypt, how) => crypt.makeEncryptionContext(how.database, bytes(how.input)),
  dataKey: (crypt, how) => crypt.makeDataKeyContext(bytes(how.masterKey), {
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
    return { state: this.context.state, message: this.context.status.message ?? '', result };
  }

  look() {}
  operation() { return toBase64(this.context.nextMongoOperation()); }
  feed(data) { this.context.addMongoOperationResponse(bytes(data)); }
  finishOperation() { this.context.finishMongoOperation(); }
  provide(data) { this.context.provideKMSProviders(bytes(data)); }

  nextRequest() {
    const request = this.context.nextKMSRequest();
    if (request === null) return null;
    this.#requests.push(request);
    return { provider: request.kmsProvider, endpoint: request.endpoint, message: toBase64(request.message), needed: request.bytesNeeded };
  }

  answer(index, data) {
    const request = this.#requests[index];
    if (request === undefined) return null;
    for (let reply = bytes(data); reply.length > 0 && request.bytesNeeded > 0;) {
      const needed = request.bytesNeeded;
      request.addResponse(reply.slice(0, needed));
      if (request.status.type !== 0) break;
      reply = reply.slice(needed);
    }
    return request.status.message ?? '';
  }

  fail(index) { return this.#requests[index]?.fail() ?? null; }
  finishRequests() { this.context.finishKMSRequests(); }
  finalize() { return toBase64(this.context.finalize()); }
}

/** Runs a script on our classes; the answer has the form of `Reference.run`. */
export function runOurs({ options, steps }) {
  const documents = ['kmsProviders', 'schemaMap', 'encryptedFieldsMap'].filter((name) => name in options);
  let crypt;
  try {
    crypt = new MongoCrypt({
      ...options,
      ...Object.fromEntries(documents.map((name) => [name, bytes(options[name])])),
      errorWrapper: (error) => error,
    });
  } catch (error) {
    return { refused: error.message };
  }
  let context;
  const outcomes = steps.map(([name, ...args]) => {
    if (name !== 'make') return context === null ? null : context.run(name, args);
    try {
      context = new OurContext(crypt, args[0]);
      return context.run('look', []);
    } catch (error) {
      context = null;
      return { refused: error.message };
    }
  });
  return { outcomes };
}
