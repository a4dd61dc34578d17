/** What a caller says about where data keys may be in use. */

import { argumentError, CsfleError, kindOf } from '../../errors.js';
import type { MigrationDriverClient } from '../driver-collection.js';
import type { MigrationCollectionInput } from '../options.js';

/** The parts of a deployment that are not searched. */
export interface SkippedEvidence {
  /** `database.collection`, `database.*`, or `*` for every deployment. No value there counts as use of a key. */
  readonly skipNamespaces: readonly string[];
  /** Why these need no search. It is kept with each retired key. */
  readonly reason: string;
}

/** Where to look before a key is removed. */
export interface EvidenceOptions {
  /** Further deployments to search: by default that of the key vault and those of the collections. */
  readonly dataClients?: readonly MigrationDriverClient[] | undefined;
  /** Collections to search beside those that the deployments list. They are read and not changed. */
  readonly otherCollections?: readonly MigrationCollectionInput[] | undefined;
  /** What is not searched. Default: nothing; what cannot be read counts as in use. */
  readonly evidence?: SkippedEvidence | undefined;
}

/**
 * Checks `evidence` and `dataClients`.
 * Errors: `OPTION_INVALID`, `ARGUMENT_INVALID`.
 */
export function checkEvidenceOptions({ dataClients, evidence }: EvidenceOptions): void {
  for (const client of dataClients ?? [])
    if (typeof (client as Partial<MigrationDriverClient> | null)?.db !== 'function')
      throw argumentError(`dataClients must hold MongoClients, found ${kindOf(client)}`, { argument: 'dataClients' });
  if (evidence === undefined) return;
  const { skipNamespaces, reason } = evidence ?? {};
  const named = Array.isArray(skipNamespaces) && skipNamespaces.every((name) => name === '*' || (typeof name === 'string' && name.includes('.')));
  if (!named)
    throw new CsfleError('OPTION_INVALID', 'evidence.skipNamespaces must list namespaces such as "logs.audit", "logs.*" or "*"', {
      details: { option: 'evidence' },
    });
  if (typeof reason !== 'string' || reason.trim() === '')
    throw new CsfleError('OPTION_INVALID', 'evidence.reason must say why these namespaces need no search', {
      details: { option: 'evidence' },
    });
}

/** Whether a namespace is among those that are not searched. */
export function skipOf(evidence: SkippedEvidence | undefined): (namespace: string) => boolean {
  const skipped = new Set(evidence?.skipNamespaces ?? []);
  return (namespace) => skipped.size > 0 && (skipped.has('*') || skipped.has(namespace) || skipped.has(`${namespace.slice(0, namespace.indexOf('.'))}.*`));
}
