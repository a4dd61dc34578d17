/** A local master key that opens nothing in the vault is the wrong one, unless somebody says that a second one is meant. */

import { driverKeyVaultStore } from '../index.js';
import { keysThatNoneOpens } from '../node/known-master-key.js';
import type { Connection } from './connection.js';
import { counted } from './counted.js';
import { CliError, EXIT_FAILED } from './failure.js';
import { providerType } from './master-key.js';
import type { ProviderSet } from './providers.js';
import { type TrustFlags, trustOf } from './trust-options.js';

/** What the command line says about a second master key. */
export interface KnownMasterKeyFlags extends TrustFlags {
  readonly keyVault: string;
  readonly newMasterKey: boolean;
}

/**
 * Refuses to wrap under a local master key that opens none of the keys under its provider. `alsoRetired` says that one which opens
 * retired keys is known, too: keys may go back to it.
 * Errors: `CRYPTO_AUTHENTICATION_FAILED`.
 */
export async function requireKnownMasterKey(
  provider: string,
  flags: KnownMasterKeyFlags,
  providers: ProviderSet,
  { client, bson }: Connection,
  { alsoRetired = false }: { readonly alsoRetired?: boolean } = {},
): Promise<void> {
  if (providerType(provider) !== 'local' || flags.newMasterKey) return;
  const question = { kmsProviders: providers.kmsProviders, alsoRetired, ...trustOf(flags), bson };
  const keys = await keysThatNoneOpens(driverKeyVaultStore(client, flags.keyVault), provider, question);
  if (keys === 0) return;
  throw new CliError(
    'CRYPTO_AUTHENTICATION_FAILED',
    `the local master key of ${providers.sourceOf(provider)} opens none of the ${counted(keys, 'key')} that ${flags.keyVault} has under ${provider}: it is another master key, and nothing was written`,
    `Give the file of the master key that wraps them with --local-key-file. If a second master key is meant, give it a name, such as --to local:new --local-key-file local:new=<file>, or add --new-master-key.`,
    EXIT_FAILED,
  );
}
