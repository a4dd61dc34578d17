// The same types through require().
import csfle = require('csfle-wasm');

const encryption: csfle.ClientEncryption = new csfle.ClientEncryption(null, {
  keyVaultStore: new csfle.MemoryKeyVaultStore(),
  kmsProviders: { local: { key: 'base64' } },
});
encryption.close();
