// Azure: the identity platform's tokens for client credentials, and one key of a key vault (REST API 7.1).
import { constants, generateKeyPairSync, privateDecrypt, publicEncrypt } from 'node:crypto';
import { bearerTokens } from './bearer-tokens.mjs';
import { NoSuchKey, withKey } from './held-keys.mjs';
import { expectHeaders, startHttpsService } from './https-service.mjs';

export const KEY_VAULT = 'csfle-test.vault.azure.net';
const IDENTITY = 'login.microsoftonline.com';
// What has to be encoded in a form is in it.
const CLIENT = { tenantId: '5e0a4a07-tenant', clientId: 'client-0f1b', clientSecret: 'a&b+c=d%20~é' };
const KEY = { name: 'csfle-key', version: 'b2c0f6d4e8' };
const refusal = (status, code, message) => ({ status, body: { error: { code, message } } });

function ownKeys() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  const held = ({ keyName, keyVersion }) => {
    if (keyName !== KEY.name || (keyVersion !== '' && keyVersion !== KEY.version)) throw new NoSuchKey();
  };
  return {
    encrypt({ masterKey, plaintext }) {
      held(masterKey);
      return publicEncrypt({ key: publicKey, ...padding }, plaintext);
    },
    decrypt({ masterKey, ciphertext }) {
      held(masterKey);
      return privateDecrypt({ key: privateKey, ...padding }, ciphertext);
    },
  };
}

/** `hosts` are the names that the service answers to, `keys` those it holds. */
export async function startAzure(certificateFile, { hosts = [IDENTITY, KEY_VAULT], keys = ownKeys() } = {}) {
  const azure = { hosts, kmsProvider: CLIENT, masterKey: { keyVaultEndpoint: KEY_VAULT, keyName: KEY.name, keyVersion: KEY.version } };

  const tokens = bearerTokens(azure, 'eyJ0eXAi');

  const answerToken = (request, complain) => {
    expectHeaders(request, complain, ['Accept:application/json', 'Content-Type:application/x-www-form-urlencoded']);
    if (request.path !== `/${CLIENT.tenantId}/oauth2/v2.0/token`) complain('path of the token');
    const form = [...new URLSearchParams(request.body)];
    const expected = {
      client_id: CLIENT.clientId,
      scope: 'https://vault.azure.net/.default',
      client_secret: CLIENT.clientSecret,
      grant_type: 'client_credentials',
    };
    const names = form.map(([name]) => name).join();
    if (names !== Object.keys(expected).join()) complain(`form of ${names}`);
    for (const [name, value] of form) if (value !== expected[name]) complain(`${name}=${value}`);
    return { body: { token_type: 'Bearer', expires_in: azure.tokenLifetimeS, ext_expires_in: azure.tokenLifetimeS, access_token: azure.issueToken() } };
  };

  const answerKey = (request, complain) => {
    const bearer = request.headers.find((line) => line.startsWith('Authorization:'))?.slice('Authorization:Bearer '.length);
    expectHeaders(request, complain, ['Accept:application/json', `Authorization:Bearer ${bearer}`, 'Content-Type:application/json']);
    const [, name, version, verb] = /^\/keys\/([^/]*)\/([^/]*)\/(wrapkey|unwrapkey)\?api-version=7\.1$/.exec(request.path) ?? [];
    if (verb === undefined) complain('path of the key');
    if (!tokens.isKnown(bearer)) complain(`token ${bearer}`);
    if (!tokens.isGood(bearer)) return refusal(401, 'Unauthorized', 'Error validating token: expired');
    const [, text] = /^\{"alg": "RSA-OAEP-256", "value": "([A-Za-z0-9_-]+={0,2})"\}$/.exec(request.body) ?? [];
    if (text === undefined || text.length % 4 !== 0) complain(`body of ${verb}`);
    const value = Buffer.from(text ?? '', 'base64url');
    if (verb === 'wrapkey' && value.length !== 96) complain(`${value.length} bytes to wrap`);
    const masterKey = { keyVaultEndpoint: request.host, keyName: name, keyVersion: version };
    const made = async () => (verb === 'wrapkey' ? keys.encrypt({ masterKey, plaintext: value }) : keys.decrypt({ masterKey, ciphertext: value }));
    return withKey(
      async () => ({ body: { kid: `https://${request.host}/keys/${name}/${version || KEY.version}`, value: Buffer.from(await made()).toString('base64url') } }),
      {
        missing: refusal(404, 'KeyNotFound', `A key with (name/id) ${name} was not found in this key vault.`),
        invalid: refusal(400, 'BadParameter', 'The parameter is incorrect.'),
      },
    );
  };

  const answer = (request, complain) => {
    if (!hosts.includes(request.host.split(':')[0])) complain(`host ${request.host}`);
    return request.path.startsWith('/keys/') ? answerKey(request, complain) : answerToken(request, complain);
  };
  return Object.assign(azure, { service: await startHttpsService('azure', certificateFile, answer) });
}
