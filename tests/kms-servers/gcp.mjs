// Google Cloud: tokens for a service account's signed assertion (RFC 7523), and one key of Cloud KMS (REST API v1).
import { generateKeyPairSync, verify } from 'node:crypto';
import { bearerTokens } from './bearer-tokens.mjs';
import { symmetricKeys, withKey } from './held-keys.mjs';
import { expectHeaders, startHttpsService } from './https-service.mjs';

const KEY_PATH = /^\/v1\/projects\/([^/]+)\/locations\/([^/]+)\/keyRings\/([^/]+)\/cryptoKeys\/([^/:]+)(\/cryptoKeyVersions\/[^/:]+)?:(encrypt|decrypt)$/;

const TOKEN_HOST = 'oauth2.googleapis.com';
const KMS_HOST = 'cloudkms.googleapis.com';
const EMAIL = 'csfle-test@project-one.iam.gserviceaccount.com';
const SCOPE = 'https://www.googleapis.com/auth/cloudkms';
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const KEY = { projectId: 'project-one', location: 'global', keyRing: 'ring-one', keyName: 'key-one' };
const refusal = (code, status, message) => ({ status: code, body: { error: { code, message, status } } });

const pathOf = ({ projectId, location, keyRing, keyName }) => `projects/${projectId}/locations/${location}/keyRings/${keyRing}/cryptoKeys/${keyName}`;
const ownKeys = () => symmetricKeys((masterKey) => (pathOf(masterKey) === pathOf(KEY) ? pathOf(KEY) : undefined));

/** `hosts` are the names that the service answers to, `keys` those it holds. */
export async function startGcp(certificateFile, { hosts = [TOKEN_HOST, KMS_HOST], keys = ownKeys() } = {}) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const gcp = {
    hosts,
    kmsProvider: { email: EMAIL, privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }) },
    masterKey: KEY,
  };

  const tokens = bearerTokens(gcp, 'ya29');

  const answerToken = (request, complain) => {
    expectHeaders(request, complain, ['Accept:application/json', 'Content-Type:application/x-www-form-urlencoded']);
    const form = [...new URLSearchParams(request.body)];
    if (form.map(([name]) => name).join() !== 'grant_type,assertion') complain(`form of ${form.map(([name]) => name)}`);
    const { grant_type: grant, assertion = '' } = Object.fromEntries(form);
    if (grant !== GRANT) complain(`grant ${grant}`);
    const parts = assertion.split('.');
    if (parts.length !== 3 || parts.some((part) => part.length % 4 !== 0 || !/^[A-Za-z0-9_-]+={0,2}$/.test(part))) complain('form of the assertion');
    const [header, claims, signature] = parts.map((part) => Buffer.from(part, 'base64url'));
    if (!verify('sha256', Buffer.from(parts.slice(0, 2).join('.')), publicKey, signature ?? Buffer.alloc(0))) complain('signature of the assertion');
    if (header.toString() !== '{"alg":"RS256","typ":"JWT"}') complain(`header ${header}`);
    const { iss, aud, scope, iat, exp, ...rest } = JSON.parse(claims?.toString() || '{}');
    if (iss !== EMAIL) complain(`iss ${iss}`);
    if (aud !== `https://${request.host.split(':')[0]}/token`) complain(`aud ${aud}`);
    if (Math.abs(iat - Date.now() / 1000) > 30) complain(`iat ${iat}`);
    if (exp !== iat + 300) complain(`exp ${exp}`);
    if (Object.keys(rest).length > 0) complain(`claims ${Object.keys(rest)}`);
    // A scope of the caller's making is refused and no fault in the form: it follows the endpoint of the master key.
    if (scope !== SCOPE) return { status: 400, body: { error: 'invalid_scope', error_description: `${scope} is not a valid audience string.` } };
    return { body: { access_token: gcp.issueToken(), expires_in: gcp.tokenLifetimeS, token_type: 'Bearer' } };
  };

  const answerKey = (request, complain) => {
    const bearer = request.headers.find((line) => line.startsWith('Authorization:'))?.slice('Authorization:Bearer '.length);
    expectHeaders(request, complain, ['Accept:application/json', `Authorization:Bearer ${bearer}`, 'Content-Type:application/json']);
    const [, projectId, location, keyRing, keyName, version, verb] = KEY_PATH.exec(request.path) ?? [];
    if (verb === undefined) complain('path of the key');
    if (verb === 'decrypt' && version !== undefined) complain('version to decrypt with');
    if (!tokens.isKnown(bearer)) complain(`token ${bearer}`);
    if (!tokens.isGood(bearer)) return refusal(401, 'UNAUTHENTICATED', 'Request had invalid authentication credentials.');
    const field = verb === 'encrypt' ? 'plaintext' : 'ciphertext';
    const [, text] = new RegExp(`^\\{"${field}": "([A-Za-z0-9+/]+={0,2})"\\}$`).exec(request.body) ?? [];
    if (text === undefined || text.length % 4 !== 0) complain(`body of ${verb}`);
    const value = Buffer.from(text ?? '', 'base64');
    if (verb === 'encrypt' && value.length !== 96) complain(`${value.length} bytes to encrypt`);
    const masterKey = { projectId, location, keyRing, keyName };
    return withKey(async () => ({ body: await (verb === 'encrypt' ? encrypted(masterKey, version, value) : decrypted(masterKey, value)) }), {
      missing: refusal(404, 'NOT_FOUND', `CryptoKey ${pathOf(masterKey)} not found.`),
      invalid: refusal(400, 'INVALID_ARGUMENT', 'Decryption failed: the ciphertext is invalid.'),
    });
  };

  const encrypted = async (masterKey, version = '/cryptoKeyVersions/1', plaintext) => {
    const ciphertext = Buffer.from(await keys.encrypt({ masterKey, plaintext })).toString('base64');
    return { name: `${pathOf(masterKey)}${version}`, ciphertext, ciphertextCrc32c: '1', protectionLevel: 'SOFTWARE' };
  };

  const decrypted = async (masterKey, ciphertext) => ({
    plaintext: Buffer.from(await keys.decrypt({ masterKey, ciphertext })).toString('base64'),
    usedPrimary: true,
  });

  const answer = (request, complain) => {
    if (!hosts.includes(request.host.split(':')[0])) complain(`host ${request.host}`);
    return request.path === '/token' ? answerToken(request, complain) : answerKey(request, complain);
  };
  return Object.assign(gcp, { service: await startHttpsService('gcp', certificateFile, answer) });
}
