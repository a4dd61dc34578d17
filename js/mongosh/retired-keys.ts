/** Removing and restoring keys in the shell: the library's search for uses, with the shell's connections. */

import {
  CsfleError,
  type DeleteResult,
  type Document,
  type EvidenceOptions,
  type KeyRemovalReport,
  type MigrationSchema,
  type RetiredKey,
  restoreRetiredKeys,
  retiredKeys,
  retireKeys,
} from '../index.js';
import { requireOptions } from './arguments.js';
import { interruptible } from './help.js';
import { resolveKmsProviders } from './kms-providers.js';
import { listOf, namespaceOf, type ShellCollection } from './migration.js';
import { type ProviderClient, providerClient } from './provider-client.js';
import type { ShellSession } from './session.js';
import { findMongo } from './shell.js';

/** Options of `deleteKey`. */
export interface ShellDeleteKeyOptions {
  /** Namespaces that are not searched for uses of the key, and why. */
  readonly evidence?: EvidenceOptions['evidence'];
  /** Further connections to search. */
  readonly dataClients?: readonly unknown[];
  /** Collections to search beside those that the connections list: of the shell, or their names as `database.collection`. */
  readonly otherCollections?: readonly (string | ShellCollection)[];
  /** Schemas kept elsewhere, whose key ids and alternate names count as use. */
  readonly schemas?: readonly MigrationSchema[];
}

/**
 * Retires a key that nothing needs.
 * Errors: `KEY_VAULT_KEY_IN_USE`, whose message names the namespaces; `OPERATION_ABORTED` after Ctrl+C, when the key stays.
 */
export async function deleteKey(session: ShellSession, keyId: unknown, options: ShellDeleteKeyOptions = {}): Promise<DeleteResult> {
  requireOptions('KeyVault.deleteKey', options, ['evidence', 'dataClients', 'otherCollections', 'schemas']);
  const { vaultClient, namespace, mongo, vaultMongo, bson, state, encryption } = session;
  const ofData = mongo === vaultMongo ? [] : [providerClient(mongo)];
  const added = listOf('dataClients', options.dataClients ?? []).map((client) => providerClient(findMongo(client, options)));
  const dataClient = ofData[0] ?? vaultClient;
  const others = listOf('otherCollections', options.otherCollections ?? []).map((one) => ({
    client: dataClient,
    namespace: namespaceOf('otherCollections', one),
  }));
  const providers = resolveKmsProviders(session.kmsProviders, state);
  try {
    const report = await interruptible(state, (signal) =>
      retireKeys({
        keyVault: { client: vaultClient, namespace },
        keys: [keyId as never],
        kmsProviders: providers.kmsProviders,
        dataClients: [...ofData, ...added] as readonly ProviderClient[],
        ...(options.evidence === undefined ? {} : { evidence: options.evidence }),
        ...(options.schemas === undefined ? {} : { schemas: options.schemas }),
        otherCollections: others,
        ...session.trust,
        ...session.kmsLimits,
        execute: true,
        requestedBy: 'mongosh KeyVault.deleteKey',
        signal,
        bson,
      }),
    );
    requireRemoval(report);
    return { acknowledged: true, deletedCount: report.keys.filter(({ outcome }) => outcome === 'retired').length };
  } finally {
    providers.wipe();
    encryption.forgetKeys();
  }
}

/** Only a report that is ok says that the key is removed. As in the shell's own method, a key that is not there is no error. */
function requireRemoval({ ok, interrupted, keys, failures: [failure] }: KeyRemovalReport): void {
  if (ok || failure?.code === 'KEY_VAULT_KEY_NOT_FOUND') return;
  if (failure !== undefined) throw new CsfleError(failure.code, failure.message, { details: { keyId: failure.id } });
  const stays = keys.some(({ outcome }) => outcome === 'restored') ? 'was retired and is in the key vault again' : 'stays in the key vault';
  if (interrupted) throw new CsfleError('OPERATION_ABORTED', `the search for uses was interrupted: the key ${stays}`);
  throw new CsfleError('INTERNAL', 'a key was not removed, and no failure says why');
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
