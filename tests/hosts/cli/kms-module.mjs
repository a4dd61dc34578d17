// A module for --kms-module: Azure Key Vault, with a client that has its RSA key in the environment.
import { constants, createPrivateKey, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
import { azureKms } from 'csfle-wasm';

const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };

export function kmsProviders() {
  const privateKey = createPrivateKey(process.env.TEST_RSA_KEY);
  return {
    azure: azureKms({
      wrapKey: async (_algorithm, key) => ({ result: publicEncrypt({ key: createPublicKey(privateKey), ...padding }, key) }),
      unwrapKey: async (_algorithm, wrapped) => ({ result: privateDecrypt({ key: privateKey, ...padding }, wrapped) }),
    }),
  };
}
