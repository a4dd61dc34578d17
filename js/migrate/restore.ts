import { AbortScope, within } from '../abort.js';
import { type BsonBinary, binaryBytes, type BsonLibrary, type Document, isBinary, requireBson, serialize } from '../bson.js';
import { equalBytes } from '../bytes.js';
import { CsfleError } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { KeyVaultStore, KeyWrapping } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import { findDocuments, fromStore } from '../run.js';
import { refuseUnknownOptions, requireSignal } from '../session.js';
import { idText } from './engine.js';
import { type NamespacedClient, WRITE_ATTEMPTS } from './options.js';
import { deepFreeze, type MigrationFailure } from './report.js';
import { RestoreProof } from './restore-proof.js';
import { altNamesOf, isAbort } from './run-state.js';
import { openKeyVault } from './setup.js';

/** Options of `restoreKeyVault()`. */
export interface RestoreOptions {
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** The key documents of a backup, as `onBackup` of `migrate()` received them. */
  readonly documents: readonly Document[];
  /**
   * Providers to prove what is written: a wrapping of the backup must unwrap twice to the same key material, and to that of
   * the present wrapping if this one opens. Without them, or for a key whose provider is not among them, nothing is asked.
   */
  readonly kmsProviders?: KmsProviders | undefined;
  /** Writes only when this is `true`. */
  readonly execute?: boolean | undefined;
  /** Whether keys that are no longer in the vault are added again. Default: `false`, which names them as failures. */
  readonly insertMissing?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** Result of `restoreKeyVault()`. */
export interface RestoreReport {
  readonly executed: boolean;
  readonly ok: boolean;
  readonly interrupted: boolean;
  /** Keys whose wrapping differed and was (or would be) put back. */
  readonly restored: readonly string[];
  /** Keys that were (or would be) added again. */
  readonly inserted: readonly string[];
  /** Those of both that no provider was at hand for, so that their wrapping was not tried. */
  readonly unproven: readonly string[];
  /** Keys that are wrapped as in the backup. */
  readonly unchanged: number;
  readonly failures: readonly MigrationFailure[];
}

/**
 * Puts `keyMaterial` and `masterKey` of a backup back, for the keys whose present ones differ, each write conditional on
 * what was read and read back afterwards. Names and dates stay as they are.
 *
 * Errors: `ARGUMENT_INVALID` for documents that are no key documents; failures of single keys are in the report.
 */
export async function restoreKeyVault(options: RestoreOptions): Promise<RestoreReport> {
  refuseUnknownOptions(options, ['keyVault', 'documents', 'kmsProviders', 'execute', 'insertMissing', 'signal', 'bson'], 'restoreKeyVault()');
  requireSignal(options.signal);
  const bson = requireBson(options.bson);
  const store = openKeyVault(options.keyVault);
  const documents = options.documents.map(requireKeyDocument);
  const restored: string[] = [];
  const inserted: string[] = [];
  const unproven: string[] = [];
  const failures: MigrationFailure[] = [];
  const proof = options.kmsProviders === undefined ? undefined : new RestoreProof(options.kmsProviders, store, bson);
  const prove: Prove = async (backup, present) => {
    if ((await proof?.check(backup, present, options.signal)) !== true) unproven.push(idText(backup._id));
  };
  let unchanged = 0;
  const aborted = (): boolean => options.signal?.aborted ?? false;
  for (const document of documents) {
    if (aborted()) break;
    const id = idText(document._id);
    try {
      const outcome = await restoreKey(store, bson, document, options, prove);
      if (outcome === 'restored') restored.push(id);
      else if (outcome === 'inserted') inserted.push(id);
      else unchanged += 1;
    } catch (error) {
      if (aborted() && (isAbort(error) || error === options.signal?.reason)) break;
      const { code, message, remedy } = asCsfleError(error, 'KEY_VAULT_NOT_WRITABLE', 'restoring this key');
      failures.push({ kind: 'key', id, keyAltNames: altNamesOf(document), code, message, remedy });
    }
  }
  proof?.close();
  return deepFreeze({
    executed: options.execute === true,
    ok: failures.length === 0 && !aborted(),
    interrupted: aborted(),
    restored,
    inserted,
    unproven,
    unchanged,
    failures,
  });
}

/** Proves the wrapping of a backup against the present key document, or notes that it cannot. */
type Prove = (backup: Document & KeyWrapping, present: Document | undefined) => Promise<void>;

async function restoreKey(
  store: KeyVaultStore,
  bson: BsonLibrary,
  backup: Document & KeyWrapping,
  options: RestoreOptions,
  prove: Prove,
): Promise<'restored' | 'inserted' | 'unchanged'> {
  const id = backup._id as BsonBinary;
  const read = async (): Promise<(Document & KeyWrapping) | undefined> =>
    (await findDocuments(store, { _id: id }))[0] as (Document & KeyWrapping) | undefined;
  for (let attempt = 1; attempt <= WRITE_ATTEMPTS; attempt += 1) {
    const now = await untilAborted(read, options.signal);
    if (now === undefined) {
      if (options.insertMissing !== true)
        throw new CsfleError('KEY_VAULT_KEY_NOT_FOUND', `the key vault has no key ${idText(id)} any more`, {
          details: { keyId: idText(id) },
        });
      await prove(backup, undefined);
      if (options.execute === true) await fromStore(() => store.insert(backup));
      return 'inserted';
    }
    if (sameWrapping(bson, now, backup)) return 'unchanged';
    if (attempt === 1) await prove(backup, now);
    if (options.execute !== true) return 'restored';
    const next = { keyMaterial: backup.keyMaterial, masterKey: backup.masterKey };
    if (!(await fromStore(() => store.rewrapIf(id, { keyMaterial: now.keyMaterial, masterKey: now.masterKey }, next))))
      continue;
    const after = await read();
    if (after !== undefined && sameWrapping(bson, after, backup)) return 'restored';
    throw new CsfleError('MIGRATION_VERIFICATION_FAILED', `key ${idText(id)} is not wrapped as was written`, {
      details: { keyId: idText(id) },
    });
  }
  throw new CsfleError(
    'KEY_VAULT_CONFLICT',
    `key ${idText(id)} was changed by another process during ${WRITE_ATTEMPTS} attempts`,
    { details: { keyId: idText(id), attempts: WRITE_ATTEMPTS } },
  );
}

/** For reads before a write; what was written is read back in any case. */
async function untilAborted<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const scope = new AbortScope(undefined, signal);
  try {
    scope.throwIfAborted();
    return await within(scope, work());
  } finally {
    scope.release();
  }
}

function sameWrapping(bson: BsonLibrary, a: KeyWrapping, b: KeyWrapping): boolean {
  if (
    !isBinary(a.keyMaterial) ||
    !isBinary(b.keyMaterial) ||
    !equalBytes(binaryBytes(a.keyMaterial), binaryBytes(b.keyMaterial))
  )
    return false;
  return equalBytes(serialize(bson, a.masterKey, 'masterKey'), serialize(bson, b.masterKey, 'masterKey'));
}

function requireKeyDocument(document: Document, index: number): Document & KeyWrapping {
  const { _id, keyMaterial, masterKey } = document ?? {};
  const isMasterKey =
    typeof masterKey === 'object' && masterKey !== null && typeof (masterKey as Document).provider === 'string';
  if (isBinary(_id, 4) && isBinary(keyMaterial, 0) && isMasterKey) return document as Document & KeyWrapping;
  throw new CsfleError('ARGUMENT_INVALID', `documents[${index}] is no key document`, { details: { index } });
}
