// What the shell adds, in parentheses, to the message of an error. It goes by the message alone, and does so for every error at the prompt.
const OPTIONS = '{ keyVaultNamespace, kmsProviders }';

module.exports = [
  {
    matches: [/FLE API is not available/, /Optional module `mongodb-client-encryption` not found/, /Could not load mongodb-client-encryption package/],
    message: `csfle encrypts, decrypts and manages keys without that library: run csfle.clientEncryption(${OPTIONS}) or csfle.keyVault(${OPTIONS}); csfle.help() says more`,
  },
  {
    // In parentheses it is part of a message of csfle, which says more already.
    matches: [/(?<!\()HMAC validation failure/],
    message: `the master key is not the one of this data key, or the value is damaged: run csfle.status(${OPTIONS}) to see which data keys the master key opens`,
  },
  {
    matches: [/not all keys requested were satisfied/],
    message: `the key vault does not have this data key: run csfle.status(${OPTIONS}) to see which keys it has, csfle.keyVault(${OPTIONS}).restoreKey(id) for a retired key, and csfle.backup.restore(file, { ... }) for a key in a backup`,
  },
];
