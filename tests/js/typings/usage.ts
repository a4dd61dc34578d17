// The public types against the real driver, SDK and BSON library. It is compiled, never run; every @ts-expect-error is a
// mistake that the compiler has to find.
import { DecryptCommand, EncryptCommand, KMS, KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import {
  awsKms,
  azureKms,
  type BsonBinary,
  type BsonLibrary,
  ClientEncryption,
  type ClientEncryptionOptions,
  CsfleError,
  driverKeyVaultStore,
  type ErrorCode,
  gcpKms,
  init,
  type KeyDocument,
  type KeyVaultStore,
  type KmsCallbacks,
  type KmsProviders,
  MemoryKeyVaultStore,
} from 'csfle-wasm';
import { type Binary, Long, MongoClient, UUID } from 'mongodb';

const library: BsonLibrary = bson;
const client = new MongoClient('mongodb://127.0.0.1');
const callbacks: KmsCallbacks = {
  encrypt: async ({ plaintext, masterKey, signal, dataKeyId }) =>
    signal.aborted || dataKeyId === masterKey['key'] ? plaintext : { ciphertext: plaintext, keyId: 'x' },
  decrypt: ({ ciphertext, keyAltNames }) => (keyAltNames.length > 0 ? ciphertext : new Uint8Array(96)),
};
const kmsProviders: KmsProviders = {
  local: { key: Buffer.alloc(96) },
  aws: awsKms(new KMSClient({ region: 'eu-central-1' })),
  'aws:eu': awsKms(new KMS({})),
  'aws:us': awsKms(({ region, endpoint }) => new KMSClient({ region, ...(endpoint === undefined ? {} : { endpoint }) }), { EncryptCommand, DecryptCommand }),
  'local:test': { key: new bson.Binary(new Uint8Array(96)) },
  azure: azureKms(({ keyId }) => ({
    wrapKey: async (_algorithm, key) => ({ result: key, keyID: keyId }),
    unwrapKey: async (_algorithm, key) => ({ result: key }),
  })),
  gcp: gcpKms({ encrypt: async ({ plaintext }) => [{ ciphertext: plaintext }], decrypt: async ({ ciphertext }) => [{ plaintext: ciphertext }] }),
  kmip: callbacks,
};
const options: ClientEncryptionOptions = { keyVaultNamespace: 'encryption.__keyVault', kmsProviders, bson, deserializeOptions: { promoteValues: false } };

export async function use(): Promise<void> {
  await init();
  const encryption = new ClientEncryption(client, options);
  const withVaultClient = new ClientEncryption(null, { ...options, keyVaultClient: client });
  const keyId = await encryption.createDataKey('aws', { masterKey: { region: 'r', key: 'k' }, keyAltNames: ['a'], keyMaterial: Buffer.alloc(96) });
  const text: string = keyId.toHexString();
  const value: BsonBinary = await encryption.encrypt(Long.fromNumber(1), { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId });
  await withVaultClient.encrypt(text, { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic', keyAltName: 'a' });
  await encryption.encrypt(1, { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId: new UUID() });
  const decrypted: string = await encryption.decrypt<string>(value);
  const fromDriver: unknown = await encryption.decrypt({} as Binary);
  const key: KeyDocument | null = await encryption.getKey(keyId);
  const provider: string | undefined = key?.masterKey.provider;
  for await (const one of encryption.getKeys()) one.creationDate.getTime();
  const { bulkWriteResult } = await encryption.rewrapManyDataKey({ keyAltNames: { $exists: true } }, { provider: 'local', signal: AbortSignal.timeout(5) });
  const modified: number | undefined = bulkWriteResult?.modifiedCount;
  const document = await encryption.decryptDocument<{ ssn: string }>({ ssn: value });
  const bytes: Uint8Array = await encryption.decryptDocument(new Uint8Array(5));
  await encryption.encryptDocuments([{ a: 1 }], { fields: { a: { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId } } });
  await client.db('d').collection('c').insertOne({ ssn: value, length: bytes.length, modified, provider, decrypted, fromDriver, name: document.ssn });
  // What a library is typed as decides what results are.
  const structural = await new ClientEncryption(client, { ...options, bson: library }).encrypt(1, {
    keyAltName: 'a',
    algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random',
  });
  const anyBinary: BsonBinary = structural;
  // @ts-expect-error no binary of the package bson
  const noBinary: Binary = structural;
  // @ts-expect-error a library that is not the one of the options
  const ofAnother: ClientEncryptionOptions = { kmsProviders, bson: library };
  const store: KeyVaultStore = driverKeyVaultStore(client, 'a.b');
  new ClientEncryption(null, { keyVaultStore: store, kmsProviders: {} }).close();
  new ClientEncryption(undefined, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: {} }).close();
  const code: ErrorCode = new CsfleError('KMS_THROTTLED', 'x').code;
  const dispose: () => void = encryption[Symbol.dispose];
  if (code === 'KEY_VAULT_KEY_NOT_FOUND' && [anyBinary, noBinary, ofAnother].length > 0) dispose();

  // @ts-expect-error a key must be named
  await encryption.encrypt(1, { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
  // @ts-expect-error by one of the two only
  await encryption.encrypt(1, { algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random', keyId, keyAltName: 'a' });
  // @ts-expect-error an algorithm that is none
  await encryption.encrypt(1, { algorithm: 'AES', keyId });
  // @ts-expect-error the id of a key is no text
  await encryption.getKey(text);
  new ClientEncryption(client, { ...options, kmsProviders: { aws: { accessKeyId: 'a', secretAccessKey: 'b' } } });
  new ClientEncryption(client, { ...options, kmsProviders: { aws: {}, 'aws:eu': {} } });
  // @ts-expect-error half of the credentials
  new ClientEncryption(client, { ...options, kmsProviders: { aws: { accessKeyId: 'a' } } });
  // @ts-expect-error a misspelt option
  new ClientEncryption(client, { ...options, keyVaultNamespaces: 'x' });
  // @ts-expect-error no such code
  new CsfleError('KMS_SLOW', 'x');
  // @ts-expect-error a local key is no number
  new ClientEncryption(client, { kmsProviders: { local: { key: 96 } } });
}
