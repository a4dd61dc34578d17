// A program that imports the package itself, under the name that it has here.
import { ClientEncryption, MemoryKeyVaultStore } from 'mongodb-client-encryption';

const kmsProviders = { local: { key: new Uint8Array(96).fill(7) } };
const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders });
const keyId = await encryption.createDataKey('local');
const value = await encryption.encrypt('hello', { keyId, algorithm: 'AEAD_AES_256_CBC_HMAC_SHA_512-Random' });
console.log(`${value.sub_type} ${await encryption.decrypt(value)}`);
