import { Limiter } from '../abort.js';
import type { BsonBinary, BsonLibrary, Document } from '../bson.js';
import type { ErrorCode } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { KeyVaultStore } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import { KMS_LIMIT_NAMES, type KmsLimits, refuseUnknownOptions, requireSignal } from '../session.js';
import { TRUST_OPTION_NAMES, type TrustOptions } from '../trust.js';
import { idText, MigrationEngine } from './engine.js';
import type { MigrationCollectionInput, NamespacedClient } from './options.js';
import { ValueSamples } from './proof.js';
import { deepFreeze } from './report.js';
import { altNamesOf, isAbort } from './run-state.js';
import { openCollection, openKeyVault } from './setup.js';

/** Options of `proveKeys()`. */
export interface ProveKeysOptions extends KmsLimits, TrustOptions {
  readonly keyVault: KeyVaultStore | NamespacedClient;
  readonly kmsProviders: KmsProviders;
  /** Where to look for values: in the first 2,000 documents of each. */
  readonly collections: readonly MigrationCollectionInput[];
  /** Restricts the keys, in MongoDB's query language. Default: every key. */
  readonly keyFilter?: Document | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** What was found out about one data key. */
export interface KeyProof {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  /** Whether its master key unwraps it. */
  readonly unwraps: boolean;
  /** Values under it that were tried; 0 when none was found. Where there are deterministic ones, these alone. */
  readonly tried: number;
  /** Values that what was unwrapped opens; deterministic ones become the same bytes again too. */
  readonly opened: number;
  /** Why it does not unwrap. */
  readonly code?: ErrorCode;
  readonly message?: string;
  readonly remedy?: string;
}

/** What the first 2,000 documents of a collection hold, counted from the headers of encrypted values. */
export interface ValuesFound {
  readonly namespace: string;
  /** Documents that were looked at. */
  readonly documents: number;
  /** Values under each key id, whether the key vault has the key or not. */
  readonly byKey: readonly { readonly keyId: string; readonly values: number }[];
}

/** Result of `proveKeys()`. */
export interface KeyProofReport {
  readonly keys: readonly KeyProof[];
  /** What the collections hold that could be read. */
  readonly found: readonly ValuesFound[];
  /** Collections that could not be read, or not as far as was asked; `found` does not name them. */
  readonly unread: readonly string[];
}

const OPTION_NAMES = ['keyVault', 'kmsProviders', 'collections', 'keyFilter', 'signal', 'bson', ...KMS_LIMIT_NAMES, ...TRUST_OPTION_NAMES] as const;

/**
 * Unwraps every data key and tries what was unwrapped on values under it. That a key unwraps shows only that its master
 * key answered; that it opens a value shows that the answer is right. Nothing is written.
 *
 * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, `KEY_VAULT_NOT_READABLE`, `OPERATION_ABORTED`. What is wrong with one key is
 * in its entry.
 */
export async function proveKeys(options: ProveKeysOptions): Promise<KeyProofReport> {
  refuseUnknownOptions(options, OPTION_NAMES, 'proveKeys()');
  requireSignal(options.signal);
  const { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, signal, trustedMasterKeys, allowedEndpoints } = options;
  const settings = { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, trustedMasterKeys, allowedEndpoints };
  const engine = new MigrationEngine(settings, () => openKeyVault(options.keyVault));
  try {
    const documents = await engine.find(options.keyFilter ?? {}, signal);
    const values = new ValueSamples();
    const unread: string[] = [];
    const found: ValuesFound[] = [];
    const keyIds = documents.map((document) => idText(document._id));
    for (const collection of options.collections.map(openCollection)) {
      const { namespace } = collection;
      const counts = new Map<string, number>();
      let looked = 0;
      const advance = (more: number): void => {
        looked += more;
      };
      const met = (keyId: string): void => {
        counts.set(keyId, (counts.get(keyId) ?? 0) + 1);
      };
      try {
        await values.search(collection, keyIds, { toTheEnd: false, signal, advance, met });
        found.push({ namespace, documents: looked, byKey: [...counts].map(([keyId, count]) => ({ keyId, values: count })) });
      } catch {
        unread.push(namespace);
      }
    }
    const limiter = new Limiter(kmsConcurrency ?? 8);
    const keys = await Promise.all(documents.map((key) => limiter.run(() => proveOne(engine, key, values, signal))));
    return deepFreeze({ keys, found, unread });
  } finally {
    engine.close();
  }
}

async function proveOne(engine: MigrationEngine, key: Document, values: ValueSamples, signal: AbortSignal | undefined): Promise<KeyProof> {
  const id = idText(key._id);
  const provider = String((key.masterKey as Document | undefined)?.provider);
  const common = { id, keyAltNames: altNamesOf(key), provider };
  try {
    const { tried, opened } = await engine.prove(key._id as BsonBinary, values.of(id), false, signal);
    return { ...common, unwraps: true, tried, opened };
  } catch (error) {
    if (isAbort(error)) throw error;
    const { code, message, remedy } = asCsfleError(error, 'KEY_VAULT_NOT_READABLE', 'unwrapping');
    return { ...common, unwraps: false, tried: 0, opened: 0, code, message, remedy };
  }
}
