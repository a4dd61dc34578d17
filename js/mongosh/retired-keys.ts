/** Removing and restoring keys in the shell: the library's search for uses, with the shell's connections. */

import { CsfleError, type DeleteResult, type Document, type EvidenceOptions, type RetiredKey, restoreRetiredKeys, retiredKeys, retireKeys } from '../index.js';
import { requireOptions } from './arguments.js';
import { interruptible } from './help.js';
import { resolveKmsProviders } from './kms-providers.js';
import { type ProviderClient, providerClient } from './provider-client.js';
import type { ShellSession } from './session.js';
import { findMongo } from './shell.js';

/** Options of `deleteKey`. */
export interface ShellDeleteKeyOptions {
  /** Namespaces that are not searched for uses of the key, and why. */
  readonly evidence?: EvidenceOptions['evidence'];
  /** Further connections to search. */
  readonly dataClients?: readonly unknown[];
}

/**
 * Retires a key that nothing needs.
 * Errors: `KEY_VAULT_KEY_IN_USE`, whose message names the namespaces.
 */
export async function deleteKey(session: ShellSession, keyId: unknown, options: ShellDeleteKeyOptions = {}): Promise<DeleteResult> {
  requireOptions('KeyVault.deleteKey', options, ['evidence', 'dataClients']);
  const { vaultClient, namespace, mongo, vaultMongo, bson, state, encryption } = session;
  const ofData = mongo === vaultMongo ? [] : [providerClient(mongo)];
  const added = (options.dataClients ?? []).map((client) => providerClient(findMongo(client, options)));
  const providers = resolveKmsProviders(session.kmsProviders, state);
  try {
    const report = await interruptible(state, (signal) =>
      retireKeys({
        keyVault: { client: vaultClient, namespace },
        keys: [keyId as never],
        kmsProviders: providers.kmsProviders,
        dataClients: [...ofData, ...added] as readonly ProviderClient[],
        ...(options.evidence === undefined ? {} : { evidence: options.evidence }),
        ...session.trust,
        execute: true,
        requestedBy: 'mongosh KeyVault.deleteKey',
        signal,
        bson,
      }),
    );
    const [failure] = report.failures;
    if (failure !== undefined) throw new CsfleError(failure.code, failure.message, { details: { keyId: failure.id } });
    // The key is gone by now: this call makes the session forget what it keeps unwrapped.
    await encryption.deleteKey(keyId as never);
    return { acknowledged: true, deletedCount: report.keys.filter(({ outcome }) => outcome === 'retired').length };
  } finally {
    providers.wipe();
  }
}

/** The retired keys, as plain documents that the shell prints. */
export async function listRetired(session: ShellSession): Promise<readonly Document[]> {
  const entries = await retiredKeys({ keyVault: session.store });
  return entries.map(({ document, keyId, retiredAt, reason, requestedBy, replacedBy }: RetiredKey) => ({
    keyId,
    retiredAt,
    reason,
    requestedBy,
    ...(replacedBy === undefined ? {} : { replacedBy }),
    key: document,
  }));
}

/** Puts a retired key back and returns its key document. Errors: those of the library's `restoreRetiredKeys()`. */
export async function restoreKey(session: ShellSession, keyId: unknown): Promise<Document | null> {
  const { store, bson, encryption } = session;
  const report = await restoreRetiredKeys({ keyVault: store, keys: [keyId as never], bson });
  const [failure] = report.failures;
  if (failure !== undefined) throw new CsfleError(failure.code, failure.message, { details: { keyId: failure.id } });
  return encryption.getKey(keyId as never);
}
