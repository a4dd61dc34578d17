// AWS KMS: Encrypt and Decrypt of one key. The AWS SDK's own signer says what a request's signature has to be.
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import { symmetricKeys, withKey } from './held-keys.mjs';
import { expectHeaders, headerOf, startHttpsService } from './https-service.mjs';

const TYPE = 'application/x-amz-json-1.1';
const REGION = 'us-east-1';
const KEY = `arn:aws:kms:${REGION}:123456789012:key/0f1b2c3d-csfle`;
const MAX_SKEW_MS = 300_000;
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const refusal = (kind, message, status = 400) => ({ status, type: TYPE, body: { __type: kind, message } });

/** The digest that the signer asks for. */
class Sha256 {
  constructor(secret) {
    this.hash = secret === undefined ? createHash('sha256') : createHmac('sha256', secret);
  }
  update(bytes) {
    this.hash.update(bytes);
  }
  async digest() {
    return this.hash.digest();
  }
}

// A ciphertext names its key itself: who decrypts it does not.
const ownKeys = () => symmetricKeys(({ key = KEY }) => (key === KEY ? KEY : undefined));

/** `hosts` are the names that the service answers to, `keys` those it holds. */
export async function startAws(certificateFile, { hosts = [`kms.${REGION}.amazonaws.com`, 'kms.us-east-2.amazonaws.com'], keys = ownKeys() } = {}) {
  const accounts = new Map();
  const aws = { hosts, masterKey: { region: REGION, key: KEY } };

  /** Credentials that the service takes; with a session token when they are temporary. */
  aws.addAccount = ({ isTemporary = false } = {}) => {
    const account = {
      accessKeyId: `AKIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64'),
      ...(isTemporary && { sessionToken: randomBytes(60).toString('base64') }),
    };
    accounts.set(account.accessKeyId, account);
    return account;
  };

  const answer = async (request, complain) => {
    const { host, body } = request;
    if (!hosts.includes(host.split(':')[0])) complain(`host ${host}`);
    if (request.path !== '/') complain('path');
    const authorization = headerOf(request, 'Authorization', complain);
    const [date, target] = ['X-Amz-Date', 'X-Amz-Target'].map((name) => headerOf(request, name, complain));
    const [, keyId, day, region] = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/kms\/aws4_request, /.exec(authorization) ?? [];
    const account = accounts.get(keyId);
    const sessionToken = request.headers.find((line) => line.startsWith('X-Amz-Security-Token:'))?.slice('X-Amz-Security-Token:'.length);
    if (account === undefined || sessionToken !== account.sessionToken)
      return refusal('UnrecognizedClientException', 'The security token included in the request is invalid.');
    const signed = { 'content-length': String(Buffer.byteLength(body)), 'content-type': TYPE, host, 'x-amz-date': date, 'x-amz-target': target };
    const token = sessionToken === undefined ? [] : [`X-Amz-Security-Token:${sessionToken}`];
    // The one header with a space after its colon, and the one that is not in its place.
    const last = `Authorization: ${authorization}`;
    expectHeaders({ ...request, headers: request.headers.slice(0, -1) }, complain, [
      `Content-Type:${TYPE}`,
      `X-Amz-Date:${date}`,
      `X-Amz-Target:${target}`,
      ...token,
    ]);
    if (request.headers.at(-1) !== last) complain(`last header ${request.headers.at(-1)}`);
    const signingDate = new Date(date.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
    if (!(Math.abs(signingDate - Date.now()) < MAX_SKEW_MS) || !date.startsWith(day)) complain(`date ${date}, day ${day}`);
    const signer = new SignatureV4({ service: 'kms', region, credentials: account, sha256: Sha256, applyChecksum: false });
    const { headers } = await signer.sign({ method: 'POST', protocol: 'https:', hostname: host, path: '/', query: {}, headers: signed, body }, { signingDate });
    if (headers.authorization !== authorization) complain(`signature\n${authorization}\ninstead of\n${headers.authorization}`);
    if (region !== REGION || (!host.includes(REGION) && host.endsWith('.amazonaws.com')))
      return refusal('InvalidSignatureException', 'Credential should be scoped to a valid region.');
    return operate(target, body, complain);
  };

  const operate = (target, body, complain) => {
    const [missing, invalid] = [refusal('NotFoundException', 'Invalid keyId'), refusal('InvalidCiphertextException', '')];
    const answered = (answer) => ({ type: TYPE, body: { EncryptionAlgorithm: 'SYMMETRIC_DEFAULT', KeyId: KEY, ...answer } });
    if (target === 'TrentService.Encrypt') {
      const [, text = '', key = '""'] = /^\{"Plaintext": "([A-Za-z0-9+/]+={0,2})", "KeyId": ("[^"]*")\}$/.exec(body) ?? [];
      const plaintext = Buffer.from(text, 'base64');
      if (plaintext.length !== 96) complain(`body of ${target}, with ${plaintext.length} bytes to encrypt`);
      const masterKey = { region: REGION, key: JSON.parse(key) };
      return withKey(async () => answered({ KeyId: masterKey.key, CiphertextBlob: base64(await keys.encrypt({ masterKey, plaintext })) }), {
        missing,
        invalid,
      });
    }
    // Named only where the master keys are pinned.
    const [, text, named] = /^\{"CiphertextBlob": "([A-Za-z0-9+/]+={0,2})"(?:, "KeyId": ("[^"]*"))?\}$/.exec(body) ?? [];
    if (target !== 'TrentService.Decrypt' || text === undefined) complain(`${target} with its body`);
    return withKey(
      async () =>
        answered({
          Plaintext: base64(
            await keys.decrypt({ masterKey: { region: REGION, ...(named && { key: JSON.parse(named) }) }, ciphertext: Buffer.from(text ?? '', 'base64') }),
          ),
        }),
      { missing, invalid },
    );
  };

  aws.kmsProvider = aws.addAccount();
  return Object.assign(aws, { service: await startHttpsService('aws', certificateFile, answer) });
}
