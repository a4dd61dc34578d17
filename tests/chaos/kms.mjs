// The KMS of the chaos run: honest at its root, and lying to the jobs that a fault was planned for. What is honest is either the
// emulator, to which calls are passed on, or AES-256-GCM of our own, which is faster. A job reaches it with the real SDK under
// `/job/<name>`; the independent reader and the harness reach the honest side alone.
import { createCipheriv, createDecipheriv, createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { listening } from '../listening.mjs';

const MAGIC = Buffer.from('CHAOS-KMS\0');
const AUTHORIZATION = 'AWS4-HMAC-SHA256 Credential=chaos/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00';

/** The ARN of a key that only this KMS has. */
export const ownKeyArn = () => `arn:aws:kms:us-east-1:111122223333:key/${randomUUID()}`;

const secretOf = (arn) => createHash('sha256').update(`chaos ${arn}`).digest();

function wrap(arn, plaintext) {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', secretOf(arn), iv);
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([MAGIC, Buffer.from(`${arn}\0`), iv, cipher.getAuthTag(), sealed]);
}

function unwrap(blob) {
  const end = blob.indexOf(0, MAGIC.length);
  const arn = blob.subarray(MAGIC.length, end).toString();
  const [iv, tag, sealed] = [blob.subarray(end + 1, end + 13), blob.subarray(end + 13, end + 29), blob.subarray(end + 29)];
  const decipher = createDecipheriv('aes-256-gcm', secretOf(arn), iv).setAuthTag(tag);
  return { arn, plaintext: Buffer.concat([decipher.update(sealed), decipher.final()]) };
}

/**
 * Starts the KMS. `emulatorArns` are the keys that the emulator at `emulator` has. Resolves to `{ port, endpointOf(job), lie(job,
 * liar), requestsOf(job), forget(job), encrypt(arn, bytes), decrypt(arn, bytes), stop() }`. A liar is called with
 * `{ operation, body, number }` and returns undefined for an honest answer, or `{ error, status }`, `{ hang }`, `{ drop }`,
 * `{ text }`, `{ change(answer) }`, of which `change` takes and returns the honest fields.
 */
export async function startKms({ emulator, emulatorArns = [] } = {}) {
  const ofEmulator = new Set(emulatorArns);
  const liars = new Map();
  const requests = new Map();

  async function honest(operation, body) {
    const blob = body.CiphertextBlob === undefined ? undefined : Buffer.from(body.CiphertextBlob, 'base64');
    const isOurs = operation === 'Encrypt' ? !ofEmulator.has(body.KeyId) : blob.subarray(0, MAGIC.length).equals(MAGIC);
    if (!isOurs) {
      if (emulator === undefined) return { status: 400, fields: { __type: 'InvalidCiphertextException' } };
      const headers = { 'x-amz-target': `TrentService.${operation}`, 'content-type': 'application/x-amz-json-1.1', authorization: AUTHORIZATION };
      const response = await fetch(emulator, { method: 'POST', headers, body: JSON.stringify(body) });
      return { status: response.status, fields: await response.json() };
    }
    if (operation === 'Encrypt')
      return { status: 200, fields: { KeyId: body.KeyId, CiphertextBlob: wrap(body.KeyId, Buffer.from(body.Plaintext, 'base64')).toString('base64') } };
    try {
      const { arn, plaintext } = unwrap(blob);
      if (body.KeyId !== undefined && body.KeyId !== arn) return { status: 400, fields: { __type: 'IncorrectKeyException' } };
      return { status: 200, fields: { KeyId: arn, Plaintext: plaintext.toString('base64') } };
    } catch {
      return { status: 400, fields: { __type: 'InvalidCiphertextException' } };
    }
  }

  async function answer(request, response, text) {
    const operation = String(request.headers['x-amz-target']).split('.')[1];
    const body = JSON.parse(text);
    const job = /^\/job\/([^/]+)/.exec(request.url)?.[1];
    const seen = requests.get(job) ?? [];
    if (job !== undefined) requests.set(job, seen);
    const told = job === undefined ? undefined : await liars.get(job)?.({ operation, body, number: seen.length });
    seen.push({ operation, text });
    if (told?.hang) return;
    if (told?.drop) return void request.socket.destroy();
    const send = (status, content) => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(content);
    };
    if (told?.text !== undefined) return send(200, told.text);
    if (told?.error !== undefined) return send(told.status ?? 400, JSON.stringify({ __type: told.error, message: 'told to fail' }));
    const { status, fields } = await honest(operation, body);
    send(status, JSON.stringify(status === 200 && told?.change ? told.change(fields) : fields));
  }

  const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      answer(request, response, Buffer.concat(chunks).toString()).catch(() => {
        request.socket.destroy();
      });
    });
    request.on('error', () => {});
  });
  await listening(server);
  const { port } = server.address();
  const required = async (operation, body, field) => {
    const { status, fields } = await honest(operation, body);
    if (status !== 200) throw new Error(`the honest KMS refused ${operation}: ${fields.__type}`);
    return Buffer.from(fields[field], 'base64');
  };
  return {
    port,
    endpointOf: (job) => `http://127.0.0.1:${port}/job/${job}`,
    lie: (job, liar) => {
      liars.set(job, liar);
    },
    requestsOf: (job) => requests.get(job) ?? [],
    forget(job) {
      liars.delete(job);
      requests.delete(job);
    },
    encrypt: (arn, bytes) => required('Encrypt', { KeyId: arn, Plaintext: Buffer.from(bytes).toString('base64') }, 'CiphertextBlob'),
    decrypt: (arn, bytes) => required('Decrypt', { KeyId: arn, CiphertextBlob: Buffer.from(bytes).toString('base64') }, 'Plaintext'),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
