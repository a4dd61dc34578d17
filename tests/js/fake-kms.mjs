// A small AWS KMS over HTTP for what the emulator cannot do: refusing, throttling, hanging and answering nonsense.
// It wraps by AES-256-GCM under one key per CMK, so that what it wraps only it can unwrap.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { listening } from '../listening.mjs';

// Starts the server. `behave(call)` decides what happens to a call { operation, body, count }: undefined answers properly,
// { error, status } answers with that exception, { hang: true } never answers, { fields } answers with those fields,
// { drop: true } closes the connection.
export async function startFakeKms(behave = () => undefined) {
  const calls = [];
  const kms = { calls, behave, open: 0, mostOpen: 0 };
  const server = createServer((request, response) => {
    const chunks = [];
    kms.open += 1;
    kms.mostOpen = Math.max(kms.mostOpen, kms.open);
    response.on('close', () => {
      kms.open -= 1;
    });
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const call = { operation: request.headers['x-amz-target'].split('.')[1], body: JSON.parse(Buffer.concat(chunks).toString()), count: calls.length };
      calls.push(call);
      const told = await kms.behave(call);
      if (told?.hang) return;
      if (told?.drop) return void request.socket.destroy();
      if (told?.error !== undefined) return reply(response, told.status ?? 400, { __type: told.error, message: `told to fail with ${told.error}` });
      reply(response, 200, told?.fields ?? perform(call));
    });
  });
  await listening(server);
  kms.endpoint = `http://127.0.0.1:${server.address().port}`;
  kms.stop = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return kms;
}

function reply(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(body));
}

function perform({ operation, body }) {
  if (operation === 'Encrypt') {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', secretOf(body.KeyId), iv);
    const sealed = Buffer.concat([cipher.update(Buffer.from(body.Plaintext, 'base64')), cipher.final()]);
    return { KeyId: body.KeyId, CiphertextBlob: Buffer.concat([Buffer.from(`${body.KeyId}\0`), iv, cipher.getAuthTag(), sealed]).toString('base64') };
  }
  const blob = Buffer.from(body.CiphertextBlob, 'base64');
  const end = blob.indexOf(0);
  const keyId = blob.subarray(0, end).toString();
  const [iv, tag, sealed] = [blob.subarray(end + 1, end + 13), blob.subarray(end + 13, end + 29), blob.subarray(end + 29)];
  const decipher = createDecipheriv('aes-256-gcm', secretOf(keyId), iv).setAuthTag(tag);
  return { KeyId: keyId, Plaintext: Buffer.concat([decipher.update(sealed), decipher.final()]).toString('base64') };
}

const secretOf = (keyId) => createHash('sha256').update(`fake kms ${keyId}`).digest();
