/** Retired keys: retiring on evidence, listing, restoring, and destroying for good. */

import { type BsonBinary, type BsonLibrary, type Document, requireBson, requireKeyId, timeOf } from '../bson.js';
import { argumentError, CsfleError, kindOf } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { KeyVaultStore, RetiredKey } from '../key-vault.js';
import { altNamesIn, namesOfOthers, requireRetirement, type RetiringStore } from '../key-vault/retirement.js';
import type { KmsProviders } from '../kms/index.js';
import { findDocuments, fromStore } from '../run.js';
import { KMS_LIMIT_NAMES, type KmsLimits, refuseUnknownOptions, requireBooleans, requireFunctions, requireSignal, wholeNumber } from '../session.js';
import { idText, MigrationEngine } from './engine.js';
import { deploymentsOf } from './evidence/deployments.js';
import { usesText } from './evidence/key-uses.js';
import { checkEvidenceOptions, type EvidenceOptions } from './evidence/options.js';
import { type KeyOutcome, outcomeOf } from './evidence/outcome.js';
import { retireUnused } from './evidence/retire.js';
import { type Search, searchForUses } from './evidence/search.js';
import { keyMarker } from './markers.js';
import { LARGEST_BATCH } from './options.js';
import type { MigrationSchema, NamespacedClient } from './options.js';
import { type MigrationProgress, PhaseProgress } from './progress.js';
import { TRUST_OPTION_NAMES, type TrustOptions } from '../trust.js';
import { deepFreeze, type MigrationFailure } from './report.js';
import { isAbort } from './run-state.js';
import { openCollection, openKeyVault } from './setup.js';

/** What retiring and purging keys have in common. */
export interface KeyRemovalOptions extends EvidenceOptions, KmsLimits, TrustOptions {
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** Opens encrypted documents and arrays, to find what is encrypted inside. What does not open counts as use. */
  readonly kmsProviders?: KmsProviders | undefined;
  /** Schemas kept elsewhere, whose key ids count as use. */
  readonly schemas?: readonly MigrationSchema[] | undefined;
  /** Writes only when this is `true`. Default: `false`, which searches and says what would happen. */
  readonly execute?: boolean | undefined;
  readonly batchSize?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: MigrationProgress) => void) | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** Options of `retireKeys()`. */
export interface RetireKeysOptions extends KeyRemovalOptions {
  /** The ids of the keys. */
  readonly keys: readonly BsonBinary[];
  /** Kept with each retired key. Default: `not in use`. */
  readonly reason?: string | undefined;
  /** Who asks, kept with each retired key. Default: `retireKeys()`. */
  readonly requestedBy?: string | undefined;
}

/** Options of `purgeRetiredKeys()`. */
export interface PurgeRetiredKeysOptions extends KeyRemovalOptions {
  /** Only keys that were retired before this time, which is not in the future. */
  readonly before: Date;
}

/** Result of `retireKeys()` and `purgeRetiredKeys()`. */
export interface KeyRemovalReport {
  readonly executed: boolean;
  /** Whether every key is, or can be, removed. */
  readonly ok: boolean;
  readonly interrupted: boolean;
  readonly keys: readonly KeyOutcome[];
  readonly failures: readonly MigrationFailure[];
}

/** Options of `restoreRetiredKeys()`. */
export interface RestoreRetiredKeysOptions {
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** The ids of the keys. */
  readonly keys: readonly BsonBinary[];
  /** Whether a key comes back without those alternate names that other keys have now. Default: `false`. */
  readonly withoutTakenNames?: boolean | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** Result of `restoreRetiredKeys()`. */
export interface RestoreRetiredKeysReport {
  readonly ok: boolean;
  readonly restored: readonly string[];
  /** Keys that the vault had already, as they were retired. */
  readonly present: readonly string[];
  readonly failures: readonly MigrationFailure[];
}

const REMOVAL_OPTIONS = [
  'keyVault',
  'kmsProviders',
  'schemas',
  'execute',
  'batchSize',
  'signal',
  'onProgress',
  'bson',
  'dataClients',
  'otherCollections',
  'evidence',
  ...KMS_LIMIT_NAMES,
  ...TRUST_OPTION_NAMES,
] as const;

/**
 * Moves data keys to the retired keys beside the vault, each only if a search of every namespace of every known
 * deployment found nothing that needs it. After the move it searches again, and a key that something came to need is
 * put back.
 *
 * Errors: what is wrong with the options rejects, and `KEY_VAULT_RETIREMENT_UNSUPPORTED`, `KEY_VAULT_NOT_READABLE`. The
 * rest is in the report: `KEY_VAULT_KEY_IN_USE`, `KEY_VAULT_KEY_NOT_FOUND`.
 */
export async function retireKeys(options: RetireKeysOptions): Promise<KeyRemovalReport> {
  requireKeys(options);
  return removing(options, ['keys', 'reason', 'requestedBy'], 'retireKeys()', async (removal) => {
    const { store, engine } = removal;
    const keys: Document[] = [];
    const missing: KeyOutcome[] = [];
    for (const given of options.keys) {
      const id = requireKeyId(engine.bson, given);
      const key = await engine.findKey(id, options.signal);
      if (key !== undefined) keys.push(key);
      else missing.push(outcomeOf({ _id: id }, 'gone'));
    }
    const replacedBy = new Map<string, BsonBinary>();
    for (const { _id } of keys) {
      const [replacement] = await engine.find({ keyAltNames: keyMarker(idText(_id)) }, options.signal);
      if (replacement !== undefined) replacedBy.set(idText(_id), replacement['_id'] as BsonBinary);
    }
    const { evidence, reason = 'not in use', requestedBy = 'retireKeys()' } = options;
    const skipped = evidence === undefined ? '' : `; not searched: ${evidence.skipNamespaces.join(', ')} (${evidence.reason})`;
    const outcomes = await retireUnused(
      {
        store,
        search: removal.search,
        execute: options.execute === true,
        noteOf: ({ _id }) => ({ reason: `${reason}${skipped}`, requestedBy, replacedBy: replacedBy.get(idText(_id)) }),
        fail: removal.fail,
      },
      keys,
    );
    const all = [...outcomes, ...missing];
    for (const { id, keyAltNames, outcome } of all) {
      const error = new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `the key vault has no key ${id}`, { details: { keyId: id } });
      if (outcome === 'gone') removal.failures.push(keyFailure(id, keyAltNames, error));
    }
    return all;
  });
}

/**
 * Destroys retired keys for good: those that were retired before `before`, and that a search finds no use of. A use by an
 * alternate name counts as one of the retired key as long as no key of the vault has that name. A copy of a key that is in
 * the vault again with the same key material is destroyed whatever the search finds: it is not the last.
 * Errors: as `retireKeys()`; `ARGUMENT_INVALID` also for a time in the future.
 */
export async function purgeRetiredKeys(options: PurgeRetiredKeysOptions): Promise<KeyRemovalReport> {
  const before = timeOf(options?.before);
  if (before === undefined) throw argumentError(`before must be a Date, found ${kindOf(options?.before)}`, { argument: 'before' });
  if (before > Date.now()) throw argumentError(`before is in the future (${new Date(before).toISOString()})`, { argument: 'before' });
  return removing(options, ['before'], 'purgeRetiredKeys()', async ({ store, engine, search, fail }) => {
    const entries = (await fromStore(() => store.retiredKeys())).filter(({ retiredAt }) => (timeOf(retiredAt) ?? before) < before);
    if (entries.length === 0) return [];
    const uses = await searchForUses(search, { nested: true });
    const isTaken = await namesOfVault(engine, entries, options.signal);
    const outcomes: KeyOutcome[] = [];
    for (const entry of entries) {
      if (options.signal?.aborted) break;
      // Alternate names mean the key that has them now. A name that none has may be one of this key.
      const keyAltNames = altNamesIn(entry.document).filter((name) => !isTaken(name));
      const found = uses.of({ id: idText(entry.keyId), keyAltNames });
      const isCopy = await isInVault(engine, entry);
      if (found.length > 0 && !isCopy) outcomes.push(outcomeOf(entry.document, 'kept', found));
      else if (options.execute !== true) outcomes.push(outcomeOf(entry.document, 'unused'));
      else
        try {
          const purged = await fromStore(() => store.purgeRetiredKey(entry));
          // What was a copy was the last one, if the key was retired anew in between.
          const isLost = purged && found.length > 0 && !(await isInVault(engine, entry));
          if (isLost) await fromStore(() => store.insert(entry.document));
          outcomes.push(isLost ? outcomeOf(entry.document, 'restored', found) : outcomeOf(entry.document, purged ? 'purged' : 'gone'));
        } catch (error) {
          fail(entry.document, error);
          outcomes.push(outcomeOf(entry.document, 'failed'));
        }
    }
    return outcomes;
  });
}

/** The retired keys of a vault, the latest first. Errors: `KEY_VAULT_RETIREMENT_UNSUPPORTED`, `KEY_VAULT_NOT_READABLE`. */
export async function retiredKeys(options: { readonly keyVault: KeyVaultStore | NamespacedClient }): Promise<readonly RetiredKey[]> {
  refuseUnknownOptions(options, ['keyVault'], 'retiredKeys()');
  const store = requireRetirement(openKeyVault(options.keyVault));
  return fromStore(() => store.retiredKeys());
}

/**
 * Puts retired keys back into the vault, as they were, and reads them back. The retired copies stay until they are
 * purged. The key that replaced one in a re-encryption is marked as its replacement again.
 * Errors: what is wrong with the options rejects. In the report: `KEY_VAULT_KEY_NOT_FOUND`; `KEY_VAULT_DUPLICATE_KEY`
 * when the vault has another document of the id, or another key has an alternate name; `KEY_VAULT_COPY_MISMATCH`.
 */
export async function restoreRetiredKeys(options: RestoreRetiredKeysOptions): Promise<RestoreRetiredKeysReport> {
  refuseUnknownOptions(options, ['keyVault', 'keys', 'withoutTakenNames', 'bson'], 'restoreRetiredKeys()');
  const store = requireRetirement(openKeyVault(options.keyVault));
  requireKeys(options);
  requireBooleans(options, ['withoutTakenNames']);
  const bson = requireBson(options.bson);
  const restored: string[] = [];
  const present: string[] = [];
  const failures: MigrationFailure[] = [];
  for (const id of options.keys.map((given) => requireKeyId(bson, given, 'keys'))) {
    const text = idText(id);
    try {
      const [entry] = await fromStore(() => store.retiredKeys(id));
      if (entry === undefined) throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `there is no retired key ${text}`, { details: { keyId: text } });
      const without = options.withoutTakenNames === true ? [...(await namesOfOthers(store, { ...entry.document, _id: entry.keyId })).keys()] : [];
      const outcome = await fromStore(() => store.restoreKey(entry, without));
      (outcome === 'present' ? present : restored).push(text);
      await markReplacement(store, entry);
    } catch (error) {
      failures.push(failureOf({ _id: id }, error));
    }
  }
  return deepFreeze({ ok: failures.length === 0, restored, present, failures });
}

function requireKeys(options: { readonly keys: readonly BsonBinary[] }): void {
  if (!Array.isArray(options?.keys)) throw argumentError(`keys must be an array, found ${kindOf(options?.keys)}`, { argument: 'keys' });
}

interface Removal {
  readonly store: RetiringStore;
  readonly engine: MigrationEngine;
  readonly search: Search;
  readonly failures: MigrationFailure[];
  readonly fail: (key: Document, error: unknown) => boolean;
}

async function removing(
  options: KeyRemovalOptions,
  own: readonly string[],
  name: string,
  work: (removal: Removal) => Promise<readonly KeyOutcome[]>,
): Promise<KeyRemovalReport> {
  refuseUnknownOptions(options, [...REMOVAL_OPTIONS, ...own], name);
  checkEvidenceOptions(options);
  requireSignal(options.signal);
  requireBooleans(options, ['execute']);
  requireFunctions(options, ['onProgress']);
  if (options.batchSize !== undefined) wholeNumber('batchSize', options.batchSize, 1, LARGEST_BATCH);
  const { keyVault, signal, onProgress, batchSize, evidence, schemas = [] } = options;
  if (!Array.isArray(schemas)) throw argumentError(`schemas must be an array, found ${kindOf(schemas)}`, { argument: 'schemas' });
  const { kmsProviders = {}, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, trustedMasterKeys, allowedEndpoints } = options;
  const collections = (options.otherCollections ?? []).map(openCollection);
  const settings = { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, trustedMasterKeys, allowedEndpoints };
  const engine = new MigrationEngine(settings, () => openKeyVault(keyVault));
  const failures: MigrationFailure[] = [];
  const fail = (key: Document, error: unknown): boolean => {
    if (signal?.aborted && isAbort(error)) return false;
    failures.push(failureOf(key, error));
    return true;
  };
  try {
    const search: Search = {
      engine,
      clients: deploymentsOf(keyVault, collections, options.dataClients),
      collections,
      schemas,
      evidence,
      batchSize,
      signal,
      progress: (total, namespace) => new PhaseProgress(onProgress, 'evidence', total, namespace),
    };
    let keys: readonly KeyOutcome[] = [];
    try {
      keys = await work({ store: requireRetirement(engine.store), engine, search, failures, fail });
    } catch (error) {
      if (!(signal?.aborted && (isAbort(error) || error === signal.reason))) throw error;
    }
    for (const { id, keyAltNames, outcome, uses } of keys) if (uses.length > 0) failures.push(inUse(id, keyAltNames, outcome, usesText(uses)));
    const interrupted = signal?.aborted ?? false;
    return deepFreeze({ executed: options.execute === true, ok: failures.length === 0 && !interrupted, interrupted, keys, failures });
  } finally {
    engine.close();
  }
}

function inUse(id: string, keyAltNames: readonly string[], outcome: KeyOutcome['outcome'], text: string): MigrationFailure {
  const what = outcome === 'restored' ? 'was retired and is in the key vault again' : 'stays';
  return keyFailure(id, keyAltNames, new CsfleError('KEY_VAULT_KEY_IN_USE', `key ${id} ${what}: ${text}`));
}

function failureOf(key: Document, error: unknown): MigrationFailure {
  return keyFailure(idText(key['_id']), altNamesIn(key), asCsfleError(error, 'KEY_VAULT_NOT_READABLE', 'the work on this key'));
}

function keyFailure(id: string, keyAltNames: readonly string[], { code, message, remedy }: CsfleError): MigrationFailure {
  return { kind: 'key', id, keyAltNames, code, message, remedy };
}

/** Says which alternate names of these entries the keys of the vault have. */
async function namesOfVault(engine: MigrationEngine, entries: readonly RetiredKey[], signal: AbortSignal | undefined): Promise<(name: string) => boolean> {
  const names = [...new Set(entries.flatMap(({ document }) => altNamesIn(document)))];
  const owners = names.length === 0 ? [] : await engine.find({ keyAltNames: { $in: names } }, signal);
  const taken = new Set(owners.flatMap(altNamesIn));
  return (name) => taken.has(name);
}

/** Whether the vault has this key with the key material and master key that were retired. */
async function isInVault(engine: MigrationEngine, { keyId, document }: RetiredKey): Promise<boolean> {
  const now = await engine.findKey(keyId);
  return now !== undefined && engine.sameWrapping(now, document);
}

/** Removing an old key took the marker off its replacement: with it, a later re-encryption knows the pair again. */
async function markReplacement(store: RetiringStore, { keyId, replacedBy }: RetiredKey): Promise<void> {
  if (replacedBy === undefined) return;
  const [replacement] = await findDocuments(store, { _id: replacedBy });
  if (replacement !== undefined) await fromStore(() => store.addKeyAltName(replacedBy, keyMarker(idText(keyId))));
}
