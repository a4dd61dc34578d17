// The published tests' KMS accounts over TLS, under the names of the real services: the driver's `kmsConnectCallback` leads
// its connections here. What the accounts hold is in ../accounts.mjs.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { makeCertificates } from '../../kms-servers/certificates.mjs';
import { startHttpsService } from '../../kms-servers/https-service.mjs';
import { account } from '../accounts.mjs';
import { LOCAL_MASTER_KEY } from '../published.mjs';
import { startKmipService } from './kmip.mjs';

const NAMES = ['*.us-east-1.amazonaws.com', '*.us-east-2.amazonaws.com', 'login.microsoftonline.com', '*.vault.azure.net', '*.googleapis.com', 'localhost'];
const CLOUDS = ['kms.us-east-1.amazonaws.com', 'kms.us-east-2.amazonaws.com', 'login.microsoftonline.com', 'drivers-3392-key-vault.vault.azure.net', 'oauth2.googleapis.com', 'cloudkms.googleapis.com'];
const KMIP_ENDPOINT = 'localhost:5698';

const standIns = { aws: account('aws'), azure: account('azure'), gcp: account('gcp') };
const json = (body, status = 200) => ({ status, body });
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const bytesOf = (text) => Uint8Array.from(Buffer.from(text, 'base64'));
const bearerOf = ({ headers }) => headers.find((line) => line.startsWith('Authorization:Bearer '))?.slice('Authorization:Bearer '.length);

/** What a stand-in answers, or the refusal. */
async function asked(call, refusal) {
  try {
    return await call();
  } catch {
    return refusal;
  }
}

/** Starts the services. `kmsProvider(id)` gives credentials, `tlsOptions(ids)` and `kmsConnectCallback` go to the driver. */
export async function startPublishedKms(python) {
  const certificates = makeCertificates(python, { server: { hosts: NAMES }, client: { usage: 'client' } });
  const tokens = { azure: randomBytes(24).toString('base64url'), gcp: randomBytes(24).toString('base64url') };
  const credentials = credentialsOf(tokens);
  const clouds = await startHttpsService('published', certificates.file('server'), (request) => answer(request, credentials, tokens));
  const kmip = await startKmipService(certificates);
  const ports = new Map([...CLOUDS.map((host) => [`${host}:443`, clouds.port]), [KMIP_ENDPOINT, kmip.port]]);
  const tlsOf = { tlsCAFile: certificates.caFile };
  return {
    kmsProvider: (id) => credentials[id.split(':')[0]],
    credentials,
    tokens,
    tlsOptions: (ids) => Object.fromEntries(ids.map((id) => [id, id.startsWith('kmip') ? { ...tlsOf, tlsCertificateKeyFile: certificates.file('client') } : tlsOf])),
    kmsConnectCallback: ({ host, port }) => new Promise((resolve, reject) => {
      const local = ports.get(`${host}:${port}`);
      if (local === undefined) {
        reject(Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' }));
        return;
      }
      const socket = connect({ host: '127.0.0.1', port: local }, () => resolve(socket));
      socket.once('error', reject);
    }),
    violations: () => clouds.violations.splice(0),
    async stop() {
      await Promise.all([clouds.stop(), kmip.stop()]);
      certificates.remove();
    },
  };
}

function credentialsOf(tokens) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const secret = () => randomBytes(30).toString('base64');
  const temporary = { accessKeyId: 'ASIACONFORMANCE', secretAccessKey: secret(), sessionToken: secret() };
  return {
    local: { key: Buffer.from(LOCAL_MASTER_KEY) },
    aws: { accessKeyId: 'AKIACONFORMANCE', secretAccessKey: secret() },
    awsTemporary: temporary,
    awsTemporaryNoSessionToken: { ...temporary, sessionToken: undefined },
    azure: { tenantId: 'tenant', clientId: 'client', clientSecret: secret() },
    azureToken: { accessToken: tokens.azure },
    gcp: { email: 'someone@example.com', privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64') },
    gcpToken: { accessToken: tokens.gcp },
    kmip: { endpoint: KMIP_ENDPOINT },
  };
}

function answer(request, credentials, tokens) {
  const { host, path, body } = request;
  if (host.endsWith('.amazonaws.com')) return answerAws(request, credentials);
  if (host === 'login.microsoftonline.com') return json({ access_token: tokens.azure, expires_in: 3600, token_type: 'Bearer' });
  if (path === '/token') return json({ access_token: tokens.gcp, expires_in: 3600, token_type: 'Bearer' });
  const isAzure = host.endsWith('.vault.azure.net');
  if (bearerOf(request) !== tokens[isAzure ? 'azure' : 'gcp']) return json({ error: { code: 'Unauthorized' } }, 401);
  return isAzure ? answerAzure(host, path, JSON.parse(body)) : answerGcp(path, JSON.parse(body));
}

/** The real service tells temporary credentials by their first letters, and wants their token with them. */
function answerAws({ host, headers, body }, { awsTemporary }) {
  const header = (name) => headers.find((line) => line.startsWith(`${name}:`))?.slice(name.length + 1).trim();
  const isTemporary = header('Authorization').includes(`Credential=${awsTemporary.accessKeyId}/`);
  if (header('X-Amz-Security-Token') !== (isTemporary ? awsTemporary.sessionToken : undefined)) {
    return json({ __type: 'UnrecognizedClientException', message: 'The security token included in the request is invalid.' }, 400);
  }
  const masterKey = { region: host.split('.')[1] };
  const { Plaintext, KeyId, CiphertextBlob } = JSON.parse(body);
  const refusal = json({ __type: 'NotFoundException', message: 'no such key' }, 400);
  if (Plaintext === undefined) return asked(async () => json({ Plaintext: base64(await standIns.aws.decrypt({ masterKey, ciphertext: bytesOf(CiphertextBlob) })) }), refusal);
  return asked(async () => json({ CiphertextBlob: base64(await standIns.aws.encrypt({ masterKey: { ...masterKey, key: KeyId }, plaintext: bytesOf(Plaintext) })) }), refusal);
}

function answerAzure(keyVaultEndpoint, path, { value }) {
  const [, keyName, verb] = /^\/keys\/([^/]*)\/[^/]*\/(wrapkey|unwrapkey)\?api-version=7\.1$/.exec(path) ?? [];
  const given = bytesOf(value);
  const masterKey = { keyVaultEndpoint, keyName };
  return asked(async () => {
    const made = verb === 'wrapkey' ? await standIns.azure.encrypt({ masterKey, plaintext: given }) : await standIns.azure.decrypt({ masterKey, ciphertext: given });
    return json({ value: Buffer.from(made).toString('base64url') });
  }, json({ error: { code: 'KeyNotFound' } }, 404));
}

function answerGcp(path, { plaintext, ciphertext }) {
  const [, projectId, keyRing, keyName, verb] = /^\/v1\/projects\/([^/]*)\/locations\/global\/keyRings\/([^/]*)\/cryptoKeys\/([^/:]*):(encrypt|decrypt)$/.exec(path) ?? [];
  const masterKey = { projectId, keyRing, keyName };
  return asked(async () => (verb === 'encrypt'
    ? json({ ciphertext: base64(await standIns.gcp.encrypt({ masterKey, plaintext: bytesOf(plaintext) })) })
    : json({ plaintext: base64(await standIns.gcp.decrypt({ masterKey, ciphertext: bytesOf(ciphertext) })) })), json({ error: { code: 404, status: 'NOT_FOUND' } }, 404));
}
