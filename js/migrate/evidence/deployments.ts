/** The deployments to search: those of the key vault and of the collections, and those that the caller adds. */

import type { KeyVaultStore } from '../../key-vault.js';
import type { MigrationCollection } from '../collection.js';
import type { MigrationDriverClient } from '../driver-collection.js';
import type { NamespacedClient } from '../options.js';

/** Each client once, that of the key vault first. */
export function deploymentsOf(
  keyVault: KeyVaultStore | NamespacedClient,
  collections: readonly MigrationCollection[],
  dataClients: readonly MigrationDriverClient[] = [],
): readonly MigrationDriverClient[] {
  const ofVault = 'client' in keyVault ? [keyVault.client as unknown as MigrationDriverClient] : [];
  const ofCollections = collections.map(({ client }) => client).filter((client) => client !== undefined);
  return [...new Set([...ofVault, ...ofCollections, ...dataClients])];
}
