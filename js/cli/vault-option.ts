import { shellWord } from '../node/files.js';

/** Where the key vault is when `--key-vault` says nothing. */
export const DEFAULT_KEY_VAULT = 'encryption.__keyVault';

/** What a command in a remedy needs so that it means the same key vault. */
export function vaultOption(namespace: string): string {
  return namespace === DEFAULT_KEY_VAULT ? '' : ` --key-vault ${shellWord(namespace)}`;
}
