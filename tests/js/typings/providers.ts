// Providers, master keys and algorithms are checked for each provider. It is compiled, never run.
import { ClientEncryption, createBackup, kmipKms, type KmsCallbacks, type KmsProviders, MemoryKeyVaultStore, migrate, type ProviderName } from 'csfle-wasm';

const callbacks: KmsCallbacks = { encrypt: ({ plaintext }) => plaintext, decrypt: ({ ciphertext }) => ciphertext };
const local = { key: new Uint8Array(96) };
const keyVault = new MemoryKeyVaultStore();
const kmsProviders: KmsProviders = { local, 'local:new': local, aws: callbacks, 'aws:prod': callbacks, azure: callbacks, 'gcp:a': callbacks, kmip: callbacks };
const encryption = new ClientEncryption(null, { keyVaultStore: keyVault, kmsProviders });
const aws = { region: 'r', key: 'k' };
const azure = { keyVaultEndpoint: 'e', keyName: 'k' };
const gcp = { projectId: 'p', location: 'l', keyRing: 'r', keyName: 'k' };
const algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';

export async function rightOnes(name: ProviderName): Promise<void> {
  await encryption.createDataKey('local');
  await encryption.createDataKey('local:new', { keyAltNames: ['a'] });
  await encryption.createDataKey('local', { masterKey: {}, keyMaterial: Buffer.alloc(96) });
  await encryption.createDataKey('aws', { masterKey: aws });
  await encryption.createDataKey('aws:prod', { masterKey: { region: 'r', key: 'k', endpoint: 'h:443' } });
  await encryption.createDataKey('azure:eu', { masterKey: azure });
  await encryption.createDataKey('gcp', { masterKey: { ...gcp, keyVersion: '1' } });
  await encryption.createDataKey('kmip');
  await encryption.createDataKey('kmip:x', { masterKey: { keyId: '1', delegated: true } });
  await encryption.createDataKey(name, { masterKey: aws });
  await encryption.rewrapManyDataKey({}, { provider: 'aws:prod', masterKey: aws });
  await encryption.rewrapManyDataKey({}, { provider: 'local' });
  await encryption.rewrapManyDataKey({});
  await migrate({ keyVault, kmsProviders, from: { provider: 'local' }, to: { provider: 'aws:prod', ...aws } });
  await migrate({ keyVault, kmsProviders, from: { provider: 'gcp', keyRing: 'r' }, to: { provider: 'local' } });
  await createBackup({ keyVault, key: { kmsProviders, masterKey: { provider: 'azure', ...azure } } });
  kmipKms({
    encrypt: ({ plaintext }) => ({ ciphertext: plaintext, keyId: '1' }),
    decrypt: ({ ciphertext, masterKey }) => Buffer.from(masterKey.keyId + ciphertext.length),
  });
}

export async function wrongOnes(text: string): Promise<void> {
  // @ts-expect-error no such provider
  await encryption.createDataKey('asw', { masterKey: aws });
  // @ts-expect-error no such provider, with a name
  await encryption.createDataKey('asw:prod');
  // @ts-expect-error any text
  await encryption.createDataKey(text);
  // @ts-expect-error a misspelt field
  await encryption.createDataKey('aws', { masterKey: { regoin: 'r', key: 'k' } });
  // @ts-expect-error a misspelt field beside those that are needed
  await encryption.createDataKey('aws', { masterKey: { region: 'r', key: 'k', endpiont: 'h' } });
  // @ts-expect-error a field is missing, with a name
  await encryption.createDataKey('aws:prod', { masterKey: { region: 'r' } });
  // @ts-expect-error the fields of another provider
  await encryption.createDataKey('azure', { masterKey: gcp });
  // @ts-expect-error a master key is needed
  await encryption.createDataKey('gcp', { keyAltNames: ['a'] });
  // @ts-expect-error a local master key has no fields
  await encryption.createDataKey('local', { masterKey: { key: 'k' } });
  // @ts-expect-error a misspelt option
  await encryption.createDataKey('local', { keyAltName: ['a'] });
  // @ts-expect-error no such provider
  await encryption.rewrapManyDataKey({}, { provider: 'asw', masterKey: aws });
  // @ts-expect-error a misspelt field
  await encryption.rewrapManyDataKey({}, { provider: 'aws', masterKey: { regoin: 'r', key: 'k' } });
  // @ts-expect-error no such provider
  new ClientEncryption(null, { keyVaultStore: keyVault, kmsProviders: { lcal: local } });
  // @ts-expect-error no such provider, with a name
  new ClientEncryption(null, { keyVaultStore: keyVault, kmsProviders: { 'lcal:new': local } });
  // @ts-expect-error a local master key has no callbacks
  new ClientEncryption(null, { keyVaultStore: keyVault, kmsProviders: { 'local:new': callbacks } });
  // @ts-expect-error nor has AWS a key
  new ClientEncryption(null, { keyVaultStore: keyVault, kmsProviders: { 'aws:prod': local } });
  // @ts-expect-error no such algorithm
  await encryption.encrypt(1, { keyAltName: 'a', algorithm: 'Indexed' });
  // @ts-expect-error no such algorithm in a rule
  await encryption.encryptDocument({ a: 1 }, { fields: { a: { keyAltName: 'a', algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-random' } } });
  // @ts-expect-error a misspelt option in a rule
  await encryption.encryptDocument({ a: 1 }, { fields: { a: { keyAltName: 'a', algorithm, optinal: true } } });
  // @ts-expect-error no such provider
  await migrate({ keyVault, kmsProviders, from: { provider: 'lcal' }, to: { provider: 'aws', ...aws } });
  // @ts-expect-error a misspelt field
  await migrate({ keyVault, kmsProviders, to: { provider: 'aws', regoin: 'r', key: 'k' } });
  // @ts-expect-error a master key that is not whole
  await migrate({ keyVault, kmsProviders, to: { provider: 'aws' } });
  // @ts-expect-error no such provider
  await createBackup({ keyVault, key: { kmsProviders, masterKey: { provider: 'asw', ...aws } } });
}
