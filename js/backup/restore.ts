import { AbortScope, within } from '../abort.js';
import { type BsonBinary, type BsonLibrary, binaryBytes, type Document, deserialize, EXACT_TYPES, isBinary, requireBson, serialize } from '../bson.js';
import { equalBytes, hexText, wipe } from '../bytes.js';
import { argumentError, CsfleError } from '../errors.js';
import type { KeyVaultStore, KeyWrapping } from '../key-vault.js';
import type { KmsProviders } from '../kms/index.js';
import { idText } from '../migrate/engine.js';
import type { NamespacedClient } from '../migrate/options.js';
import { deepFreeze, type MigrationFailure } from '../migrate/report.js';
import { altNamesOf, isAbort } from '../migrate/run-state.js';
import { findDocuments, fromStore } from '../run.js';
import { refuseUnknownOptions, requireSignal, Session, type SessionOptions } from '../session.js';
import { TRUST_OPTION_NAMES, type TrustOptions } from '../trust.js';
import { restoreCollections } from './collections.js';
import { createBackup, type SealedBackup } from './create.js';
import type { BackupKey, BackupOpeningKey } from './key.js';
import { readBackup } from './read.js';
import type { BackupRecords } from './records.js';
import { VaultSource } from './source.js';
import { sha256 } from '../wasm.js';

/** Where the present state goes before a key document is replaced. */
export interface PresentStateBackup {
  readonly key: BackupKey;
  /** Stores the file. It is called once, before the first replacement; what it throws ends the restore. */
  write(backup: SealedBackup): Promise<void> | void;
  /**
   * The bytes that are there already, or undefined. A backup of an earlier run, which holds each key that is replaced now
   * as it is now, is kept; any other ends the restore.
   */
  read?(): Promise<Uint8Array | undefined> | Uint8Array | undefined;
}

/** Options of `restoreBackup()`. */
export interface RestoreBackupOptions extends TrustOptions {
  /** The sealed backup. */
  readonly bytes?: Uint8Array | undefined;
  /** What opens it. */
  readonly key?: BackupOpeningKey | undefined;
  /** Instead of a sealed backup, key documents, as `onBackup` of `migrate()` receives them. */
  readonly documents?: readonly Document[] | undefined;
  readonly keyVault: KeyVaultStore | NamespacedClient;
  /** Writes only when this is `true`. Default: `false`, which compares and tells. */
  readonly execute?: boolean | undefined;
  /**
   * Puts the wrapping of the backup back where the present one differs. Default: `false`, which tells which keys differ.
   * Needs `replaced`, and `kmsProviders` or `allowUnproven`.
   */
  readonly overwrite?: boolean | undefined;
  /** Takes a backup of the present state before anything is replaced. */
  readonly replaced?: PresentStateBackup | undefined;
  /** Providers that open both wrappings of a key that differs: it is only replaced when both hold the same key material. */
  readonly kmsProviders?: KmsProviders | undefined;
  /** Replaces a wrapping although nothing shows that the backup's holds the same key material. Default: `false`. */
  readonly allowUnproven?: boolean | undefined;
  /** Puts validators and `encryptedFields` back: of these collections, or with `true` of all that the backup has. Default: none. */
  readonly collections?: readonly string[] | true | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly bson?: BsonLibrary | undefined;
}

/** Result of `restoreBackup()`: plain data, without secrets. */
export interface RestoreBackupReport {
  readonly executed: boolean;
  /** Whether nothing failed and nothing interrupted it. Keys that differ and were not to be replaced are no failure. */
  readonly ok: boolean;
  readonly interrupted: boolean;
  /** Keys that are wrapped as in the backup. */
  readonly unchanged: readonly string[];
  /** Keys that were gone, and were (or would be) inserted. */
  readonly inserted: readonly string[];
  /** Keys that are wrapped otherwise than in the backup, and stay so. */
  readonly differing: readonly string[];
  /** Keys whose wrapping was (or would be) replaced by that of the backup. */
  readonly replaced: readonly string[];
  /** Indexes of the key vault that were gone, and were (or would be) made again. */
  readonly indexes: readonly string[];
  /** Collections whose options were (or would be) put back. */
  readonly collections: readonly string[];
  /** The backup of the present state, when one was taken. */
  readonly replacedBackup: { readonly sha256: string; readonly keys: number } | null;
  readonly failures: readonly MigrationFailure[];
}

const OPTION_NAMES: readonly (keyof RestoreBackupOptions)[] = [
  'bytes',
  'key',
  'documents',
  'keyVault',
  'execute',
  'overwrite',
  'replaced',
  'kmsProviders',
  'allowUnproven',
  'collections',
  'signal',
  'bson',
  ...TRUST_OPTION_NAMES,
];

/**
 * Compares a backup with the key vault, and with `execute` puts back what is gone: key documents and indexes. A key that is
 * wrapped otherwise now stays as it is unless `overwrite` is set; then its wrapping is replaced on the condition that it is
 * exactly what was read, after a backup of the present state was stored, and only if both wrappings hold the same key
 * material. Running it twice changes nothing.
 *
 * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, those of `readBackup()`. Failures of single keys are in the report.
 */
export async function restoreBackup(options: RestoreBackupOptions): Promise<RestoreBackupReport> {
  refuseUnknownOptions(options, OPTION_NAMES, 'restoreBackup()');
  requireSignal(options.signal);
  if (options.overwrite === true && options.execute === true && options.replaced === undefined) {
    throw new CsfleError('OPTION_INVALID', 'overwrite needs `replaced`: what is replaced has to be in a backup first', {
      details: { option: 'replaced' },
    });
  }
  const bson = requireBson(options.bson);
  const source = new VaultSource(options.keyVault, bson);
  const contents = await contentsOf(options, bson);
  for (const { key } of contents.localMasterKeys) wipe(key);
  const run = new Restore(options, bson, source);
  try {
    await run.perform(contents);
  } finally {
    run.close();
  }
  return run.report();
}

async function contentsOf({ bytes, key, documents, signal }: RestoreBackupOptions, bson: BsonLibrary): Promise<BackupRecords> {
  if (documents === undefined && bytes !== undefined && key !== undefined) return readBackup(bytes, key, { bson, signal });
  if (!Array.isArray(documents) || bytes !== undefined)
    throw argumentError('restoreBackup() takes bytes with their key, or documents', { argument: 'bytes' });
  const keyDocuments = documents.map((document: Document, index) => {
    const { _id, keyMaterial, masterKey } = document ?? {};
    if (isBinary(_id, 4) && isBinary(keyMaterial, 0) && typeof masterKey === 'object' && masterKey !== null) return serialize(bson, document, 'a key document');
    throw argumentError(`documents[${index}] is no key document`, { index });
  });
  return { keyDocuments, indexes: [], collections: [], schemas: [], localMasterKeys: [] };
}

class Restore {
  readonly #unchanged: string[] = [];
  readonly #inserted: string[] = [];
  readonly #differing: string[] = [];
  readonly #replaced: string[] = [];
  readonly #indexes: string[] = [];
  readonly #failures: MigrationFailure[] = [];
  #collections: readonly string[] = [];
  #replacedBackup: { sha256: string; keys: number } | null = null;
  #proof: MaterialProof | undefined;

  constructor(
    readonly options: RestoreBackupOptions,
    readonly bson: BsonLibrary,
    readonly source: VaultSource,
  ) {}

  close(): void {
    this.#proof?.close();
  }

  get #isInterrupted(): boolean {
    return this.options.signal?.aborted ?? false;
  }

  async perform(contents: BackupRecords): Promise<void> {
    // The unique index first: a key that takes the name of another one is refused then.
    await this.#restoreIndexes(contents);
    const documents = contents.keyDocuments.map((bytes) => deserialize(this.bson, bytes, EXACT_TYPES));
    const differing: Differing[] = [];
    for (const document of documents) {
      if (this.#isInterrupted) return;
      await this.#attempt({ kind: 'key', id: idText(document._id), keyAltNames: altNamesOf(document) }, async () => {
        const found = await this.#compare(document);
        if (found !== undefined) differing.push(found);
      });
    }
    if (this.options.overwrite === true) await this.#replaceAll(differing);
    else this.#differing.push(...differing.map(({ id }) => idText(id)));
    await this.#restoreCollections(contents);
  }

  report(): RestoreBackupReport {
    return deepFreeze({
      executed: this.options.execute === true,
      ok: this.#failures.length === 0 && !this.#isInterrupted,
      interrupted: this.#isInterrupted,
      unchanged: this.#unchanged,
      inserted: this.#inserted,
      differing: this.#differing,
      replaced: this.#replaced,
      indexes: this.#indexes,
      collections: this.#collections,
      replacedBackup: this.#replacedBackup,
      failures: this.#failures,
    });
  }

  /** Names what failed and lets the rest go on; an abort is no failure. */
  async #attempt(subject: Pick<MigrationFailure, 'kind' | 'id' | 'keyAltNames'>, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (this.#isInterrupted && (isAbort(error) || error === this.options.signal?.reason)) return false;
      const known = CsfleError.is(error) ? error : new CsfleError('HOST_CALLBACK_FAILED', String(error), { cause: error });
      this.#failures.push({ ...subject, code: known.code, message: known.message, remedy: known.remedy });
      return false;
    }
  }

  async #restoreIndexes({ indexes }: BackupRecords): Promise<void> {
    const { namespace } = this.source;
    if (namespace === null) return;
    const present = await this.source.indexes();
    const shape = ({ key, unique }: Document): string => JSON.stringify([key, unique === true]);
    const known = new Set(present.map(({ definition }) => shape(definition)));
    for (const index of indexes.filter(({ definition }) => !known.has(shape(plain(this.bson, definition))))) {
      const name = String(index.definition.name);
      await this.#attempt({ kind: 'collection', id: `index ${name} of ${namespace}` }, async () => {
        if (this.options.execute === true) {
          await this.source.createIndex({ namespace, definition: index.definition }).catch((cause: unknown) => {
            throw new CsfleError('KEY_VAULT_NOT_WRITABLE', `the index ${name} of ${namespace} cannot be made`, { cause, details: { namespace } });
          });
        }
        this.#indexes.push(name);
      });
    }
  }

  /** Waits no longer than the caller wants. What was written is read back in any case. */
  async #read(id: unknown, signal: AbortSignal | undefined): Promise<Document | undefined> {
    const scope = new AbortScope(undefined, signal);
    try {
      scope.throwIfAborted();
      return (await within(scope, findDocuments(this.source.store, { _id: id })))[0];
    } finally {
      scope.release();
    }
  }

  /** Inserts a key that is gone; returns one that is wrapped otherwise. */
  async #compare(backup: Document): Promise<Differing | undefined> {
    const id = requireId(backup._id);
    const present = await this.#read(id, this.options.signal);
    if (present === undefined) {
      if (this.options.execute === true) {
        await fromStore(() => this.source.store.insert(backup));
        const stored = await this.#read(id, undefined);
        if (stored === undefined || !sameWrapping(this.bson, stored, backup)) throw notAsWritten(id);
      }
      this.#inserted.push(idText(id));
      return undefined;
    }
    if (!sameWrapping(this.bson, present, backup)) return { id, present, backup };
    this.#unchanged.push(idText(id));
    return undefined;
  }

  async #replaceAll(differing: readonly Differing[]): Promise<void> {
    if (differing.length === 0 || this.#isInterrupted) return;
    const proven: Differing[] = [];
    for (const one of differing) {
      const subject = { kind: 'key', id: idText(one.id), keyAltNames: altNamesOf(one.backup) } as const;
      if (this.#isInterrupted) return;
      if (await this.#attempt(subject, () => this.#requireProof(one))) proven.push(one);
      else this.#differing.push(subject.id);
    }
    if (proven.length > 0 && this.options.execute === true && !(await this.#backUpPresentState(proven))) {
      this.#differing.push(...proven.map(({ id }) => idText(id)));
      return;
    }
    for (const one of proven) {
      const subject = { kind: 'key', id: idText(one.id), keyAltNames: altNamesOf(one.backup) } as const;
      if (this.#isInterrupted) return;
      await this.#attempt(subject, async () => {
        if (this.options.execute === true) await this.#replace(one);
        this.#replaced.push(subject.id);
      });
    }
  }

  async #requireProof({ id, present, backup }: Differing): Promise<void> {
    const { kmsProviders = {}, allowUnproven, trustedMasterKeys, allowedEndpoints } = this.options;
    if (allowUnproven === true) return;
    this.#proof ??= new MaterialProof({ kmsProviders, trustedMasterKeys, allowedEndpoints, bson: this.bson });
    const keyId = idText(id);
    const of = async (document: Document, what: string): Promise<string> => {
      try {
        return await (this.#proof as MaterialProof).fingerprint(document, this.options.signal);
      } catch (cause) {
        if (isAbort(cause)) throw cause;
        throw new CsfleError('BACKUP_RESTORE_UNPROVEN', `key ${keyId}: the ${what} wrapping cannot be opened to compare it`, { cause, details: { keyId } });
      }
    };
    if ((await of(present, 'present')) !== (await of(backup, "backup's")))
      throw new CsfleError('BACKUP_RESTORE_UNPROVEN', `key ${keyId}: the backup's wrapping holds other key material than the present one`, { details: { keyId } });
  }

  async #backUpPresentState(keys: readonly Differing[]): Promise<boolean> {
    return this.#attempt({ kind: 'backup', id: 'replaced' }, async () => {
      const { replaced, keyVault, signal } = this.options;
      if (replaced === undefined) throw new CsfleError('INTERNAL', 'overwrite without `replaced`');
      const existing = await replaced.read?.();
      if (existing !== undefined) {
        this.#replacedBackup = { sha256: hexText(sha256(existing)), keys: await this.#requirePresentState(existing, replaced.key, keys) };
        return;
      }
      const backup = await createBackup({ keyVault, key: replaced.key, signal, bson: this.bson });
      await replaced.write(backup);
      this.#replacedBackup = { sha256: backup.sha256, keys: backup.keys };
    });
  }

  /** Returns how many keys a backup holds, if it holds each of these as it is now. */
  async #requirePresentState(existing: Uint8Array, key: BackupKey, keys: readonly Differing[]): Promise<number> {
    const refuse = (reason: string, cause?: unknown): CsfleError =>
      new CsfleError('BACKUP_VERIFICATION_FAILED', `the backup of the present state is there already and ${reason}: choose another name`, { cause });
    const contents = await readBackup(existing, key, { bson: this.bson, signal: this.options.signal }).catch((cause: unknown) => {
      if (isAbort(cause)) throw cause;
      throw refuse('cannot be opened', cause);
    });
    for (const local of contents.localMasterKeys) wipe(local.key);
    if (contents.manifest.keyVault !== this.source.namespace) throw refuse('is of another key vault');
    const kept = new Map(contents.keyDocuments.map((bytes) => deserialize(this.bson, bytes, EXACT_TYPES)).map((document) => [idText(document._id), document]));
    for (const { id, present } of keys) {
      const before = kept.get(idText(id));
      if (before === undefined || !sameWrapping(this.bson, present, before)) throw refuse(`does not hold key ${idText(id)} as it is now`);
    }
    return kept.size;
  }

  async #replace({ id, present, backup }: Differing): Promise<void> {
    const { store } = this.source;
    if (!(await fromStore(() => store.rewrapIf(id, wrappingOf(present), wrappingOf(backup))))) {
      throw new CsfleError('KEY_VAULT_CONFLICT', `key ${idText(id)} was changed by another process meanwhile and stays as found`, {
        details: { keyId: idText(id) },
      });
    }
    const stored = await this.#read(id, undefined);
    if (stored === undefined || !sameWrapping(this.bson, stored, backup)) throw notAsWritten(id);
  }

  async #restoreCollections({ collections }: BackupRecords): Promise<void> {
    const wanted = this.options.collections;
    if (wanted === undefined || this.#isInterrupted) return;
    const chosen = collections.filter(({ namespace }) => wanted === true || wanted.includes(namespace));
    const attempt = (namespace: string, work: () => Promise<void>): Promise<boolean> => this.#attempt({ kind: 'collection', id: namespace }, work);
    this.#collections = await restoreCollections(this.source, chosen, this.options.execute === true, attempt);
    const known = new Set(chosen.map(({ namespace }) => namespace));
    for (const namespace of wanted === true ? [] : wanted.filter((name) => !known.has(name))) {
      await attempt(namespace, async () => {
        throw new CsfleError('BACKUP_COLLECTION_FAILED', `the backup has no options of ${namespace}`, { details: { namespace } });
      });
    }
  }
}

/** A key that is wrapped otherwise in the vault than in the backup. */
interface Differing {
  readonly id: BsonBinary;
  readonly present: Document;
  readonly backup: Document;
}

/** Compares the key material of key documents by fingerprints of one engine, each unwrapped anew. */
class MaterialProof {
  readonly #session: Session;
  #document: Document = {};

  constructor(options: SessionOptions) {
    const find = async (): Promise<readonly Document[]> => [this.#document];
    this.#session = new Session(options, () => ({ find }) as unknown as KeyVaultStore);
  }

  async fingerprint(document: Document, signal: AbortSignal | undefined): Promise<string> {
    this.#document = document;
    const { bson } = this.#session;
    const filter = serialize(bson, { _id: document._id }, 'a filter');
    const noValues = serialize(bson, {}, 'values');
    const output = await this.#session.run((engine) => engine.fingerprint(filter, noValues, false), signal);
    const { fingerprint } = (deserialize(bson, output).v as Document[])[0] ?? {};
    if (!isBinary(fingerprint)) throw new CsfleError('INTERNAL', 'the core returned no fingerprint');
    return hexText(binaryBytes(fingerprint));
  }

  close(): void {
    this.#session.close();
  }
}

function requireId(id: unknown): BsonBinary {
  if (isBinary(id)) return id;
  throw new CsfleError('KEY_VAULT_FIELD_INVALID', 'a key document of the backup has an _id that is no binary');
}

function wrappingOf({ keyMaterial, masterKey }: Document): KeyWrapping {
  return { keyMaterial: keyMaterial as BsonBinary, masterKey: masterKey as Document };
}

function sameWrapping(bson: BsonLibrary, a: Document, b: Document): boolean {
  if (!isBinary(a.keyMaterial) || !isBinary(b.keyMaterial)) return false;
  if (!equalBytes(binaryBytes(a.keyMaterial), binaryBytes(b.keyMaterial))) return false;
  return equalBytes(serialize(bson, a.masterKey as Document, 'masterKey'), serialize(bson, b.masterKey as Document, 'masterKey'));
}

/** A document with plain JavaScript values, as a driver returns it. */
function plain(bson: BsonLibrary, document: Document): Document {
  return deserialize(bson, serialize(bson, document, 'an index'));
}

function notAsWritten(id: BsonBinary): CsfleError {
  return new CsfleError('BACKUP_VERIFICATION_FAILED', `key ${idText(id)} is not what was written`, { details: { keyId: idText(id) } });
}
