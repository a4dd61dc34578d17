/** Where values are found that show which key material is right. */

import type { Document } from '../bson.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import type { KeyVaultStore } from '../key-vault.js';
import { asCollectionError } from './census.js';
import type { MigrationCollection } from './collection.js';
import { driverMigrationCollection, type MigrationDriverClient } from './driver-collection.js';
import { idText } from './engine.js';
import { listReadableNamespaces } from './evidence/namespaces.js';
import type { MigrationCollectionInput } from './options.js';
import { isRemoteKey, ValueSamples } from './proof.js';
import { type Decrypts, ProofWalk } from './proof-walk.js';
import type { MigrationRun } from './run-state.js';
import { openCollection } from './setup.js';

/**
 * Looks for values under keys that a KMS is to unwrap for a rewrap: in the collections that were named, or else in every
 * one of the key vault's deployment. Returns those that cannot be read; undefined when there is nothing to prove or
 * nowhere to look.
 */
export async function searchForProof(run: MigrationRun, keys: readonly Document[], values: ValueSamples): Promise<readonly string[] | undefined> {
  const wanted = remoteKeyIds(keys);
  if (run.mode !== 'rewrap' || wanted.length === 0) return undefined;
  const { otherCollections, batchSize } = run.options;
  const collections = otherCollections === undefined ? await collectionsBeside(run.engine.store) : run.otherCollections;
  if (collections.length === 0) return undefined;
  const unread: string[] = [];
  const search = new ProofWalk(values, wanted, {
    open: (documents) => run.engine.decrypt(documents, run.signal),
    batchSize,
    signal: run.signal,
    progressOf: async (collection) => run.progress('prove-keys', await collection.estimatedCount(), collection.namespace),
  });
  await search.through(collections, async (collection) => void unread.push(collection.namespace));
  if (otherCollections === undefined) await search.throughOptions(run.engine.store, (options) => run.engine.encode(options, 'the options of a collection'));
  return unread;
}

/** Which collections prove keys before `rewrapManyDataKey` wraps them anew. */
export interface RewrapProof {
  /** Collections with values under the keys; read until each key has a value, and to the end while one has none. */
  readonly collections: readonly MigrationCollectionInput[];
}

/**
 * Values, as one document, that what a KMS unwraps for `keys` has to open: of the collections that `proof` names, or else
 * of all beside the key vault that can be read.
 * Errors: `OPTION_INVALID` and `ARGUMENT_INVALID` for a `proof` that is none, `MIGRATION_COLLECTION_FAILED` for a named
 * collection that cannot be read.
 */
export async function valuesUnder(
  keys: readonly Document[],
  store: KeyVaultStore,
  proof: RewrapProof | undefined,
  open: Decrypts,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const wanted = remoteKeyIds(keys);
  const values = new ValueSamples();
  const named = proof === undefined ? undefined : collectionsOf(proof);
  if (wanted.length === 0) return values.of();
  const search = new ProofWalk(values, wanted, { open, signal });
  await search.through(named ?? (await collectionsBeside(store)), async (collection, error) => {
    // Of what nobody named, a part that cannot be read has no values to offer.
    if (named !== undefined) throw asCollectionError(collection.namespace, error);
  });
  return values.of(...wanted);
}

function collectionsOf(proof: RewrapProof): readonly MigrationCollection[] {
  const { collections, ...others } = (proof ?? {}) as Partial<RewrapProof>;
  if (!Array.isArray(collections) || Object.keys(others).length > 0)
    throw new CsfleError('OPTION_INVALID', 'proof must be false or { collections }', { details: { option: 'proof' } });
  if (collections.length === 0)
    throw argumentError(`proof.collections names no collection; \`proof: false\` asks for none, found ${kindOf(collections)}`, { argument: 'proof' });
  return collections.map(openCollection);
}

function remoteKeyIds(keys: readonly Document[]): readonly string[] {
  return keys.filter(isRemoteKey).map((key) => idText(key._id));
}

/**
 * Every collection of a key vault's deployment that its client may read, without the vault itself; none where no client
 * reaches it, where the client encrypts automatically, or where the user may not list collections.
 */
async function collectionsBeside({ deployment }: KeyVaultStore): Promise<readonly MigrationCollection[]> {
  if (deployment === undefined) return [];
  const client = deployment.client as unknown as MigrationDriverClient;
  try {
    const listed = await listReadableNamespaces(client);
    const names = listed.map(({ namespace }) => namespace).filter((namespace) => namespace !== deployment.namespace);
    return names.map((namespace) => driverMigrationCollection({ client, namespace }));
  } catch {
    return [];
  }
}
