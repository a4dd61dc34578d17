// The KMS accounts that the published tests were written for are closed. Stand-ins hold exactly the keys which those tests
// say that the accounts hold; they wrap, unwrap what they wrapped, and answer one material for what was wrapped elsewhere.
import { fakeKms } from '../interop/fake-kms.mjs';
import { NoSuchKey } from '../kms-servers/held-keys.mjs';
import { KMIP_SECRET_1 } from './published.mjs';

export const SUBSTITUTE = new Uint8Array(96).fill(5);

const HELD = {
  aws: ({ key, region }) => region === 'us-east-1' && (key === undefined || key.startsWith('arn:aws:kms:us-east-1:')),
  azure: ({ keyVaultEndpoint, keyName }) => keyVaultEndpoint === 'drivers-3392-key-vault.vault.azure.net' && keyName === 'drivers-3392-keyname',
  gcp: ({ projectId, keyRing, keyName }) => projectId === 'devprod-drivers' && keyRing === 'key-ring-csfle' && keyName === 'key-name-csfle',
  kmip: () => true,
};

/** `{ encrypt, decrypt }` of one provider type, with these keys only. */
export function account(type) {
  const kms = fakeKms(type, { substitute: SUBSTITUTE, kmipSecrets: { 1: KMIP_SECRET_1 } });
  const held = (call) => {
    if (!HELD[type](call.masterKey)) throw new NoSuchKey('no such key');
    return call;
  };
  return { encrypt: (call) => kms.encrypt(held(call)), decrypt: (call) => kms.decrypt(held(call)) };
}
