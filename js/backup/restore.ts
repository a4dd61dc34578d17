import { AbortScope, within } from '../abort.js';
import { type BsonBinary, type BsonLibrary, type Document, deserialize, EXACT_TYPES, isBinary, requireBson, serialize } from '../bson.js';
import { hexText, wipe } from '../bytes.js';
import { argumentError, CsfleError } from '../errors.js';
import { asCsfleError } from '../foreign-error.js';
import type { KeyWrapping } from '../key-vault.js';
import { namesOfOthers } from '../key-vault/retirement.js';
import { idText } from '../migrate/engine.js';
import { deepFreeze, type MigrationFailure } from '../migrate/report.js';
import { altNamesOf, isAbort } from '../migrate/run-state.js';
import { findDocuments, fromStore, rewrapThrough } from '../run.js';
import { refuseUnknownOptions, requireBooleans, requireSignal } from '../session.js';
import { restoreCollections } from './collections.js';
import { createBackup } from './create.js';
import type { BackupKey } from './key.js';
import { isMalformed, MaterialProof } from './proof.js';
import { readBackup } from './read.js';
import { type NameLeftOut, RESTORE_OPTION_NAMES, type RestoreBackupOptions, type RestoreBackupReport } from './restore-options.js';
import type { BackupRecords } from './records.js';
import { sameWrapping, VaultSource } from './source.js';
import { sha256 } from '../wasm.js';

/**
 * Compares a backup with the key vault, and with `execute` puts back what is gone: key documents and indexes. A key that is
 * wrapped otherwise now stays as it is unless `overwrite` is set; then its wrapping is replaced on the condition that it is
 * exactly what was read, after a backup of the present state was stored, and only if both wrappings hold the same key
 * material. Every key is held against `trustedMasterKeys` and `allowedEndpoints` first, and opened where a provider is at hand.
 * Running it twice changes nothing.
 *
 * Errors: `ARGUMENT_INVALID`, `OPTION_INVALID`, `BACKUP_KEY_VAULT_MISMATCH`, those of `readBackup()`. Failures of single keys are in the report.
 */
export async function restoreBackup(options: RestoreBackupOptions): Promise<RestoreBackupReport> {
  refuseUnknownOptions(options, RESTORE_OPTION_NAMES, 'restoreBackup()');
  requireBooleans(options, ['execute', 'overwrite', 'allowUnproven', 'fromAnotherKeyVault']);
  requireSignal(options.signal);
  if (options.overwrite === true && options.execute === true && options.replaced === undefined) {
    throw new CsfleError('OPTION_INVALID', 'overwrite needs `replaced`: what is replaced has to be in a backup first', {
      details: { option: 'replaced' },
    });
  }
  const bson = requireBson(options.bson);
  const source = new VaultSource(options.keyVault, bson);
  const { kmsProviders = {}, kmsConcurrency, kmsTimeoutMS, kmsRetries, trustedMasterKeys, allowedEndpoints } = options;
  const proof = new MaterialProof({ kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, trustedMasterKeys, allowedEndpoints, bson });
  try {
    const { records, keyVault } = await contentsOf(options, bson);
    for (const { key } of records.localMasterKeys) wipe(key);
    requireSameVault(keyVault, source.namespace, options);
    const run = new Restore(options, bson, source, proof);
    await run.perform(records);
    return run.report();
  } finally {
    proof.close();
  }
}

interface Contents {
  readonly records: BackupRecords;
  /** Of which key vault, where the backup says so. */
  readonly keyVault: string | null;
}

async function contentsOf({ bytes, key, documents, signal }: RestoreBackupOptions, bson: BsonLibrary): Promise<Contents> {
  if (documents === undefined && bytes !== undefined && key !== undefined) {
    const records = await readBackup(bytes, key, { bson, signal });
    return { records, keyVault: records.manifest.keyVault };
  }
  if (!Array.isArray(documents) || bytes !== undefined) throw argumentError('restoreBackup() takes bytes with their key, or documents', { argument: 'bytes' });
  const keyDocuments = documents.map((document: Document, index) => {
    const { _id, keyMaterial, masterKey } = document ?? {};
    if (isBinary(_id, 4) && isBinary(keyMaterial, 0) && typeof masterKey === 'object' && masterKey !== null) return serialize(bson, document, 'a key document');
    throw argumentError(`documents[${index}] is no key document`, { index });
  });
  return { records: { keyDocuments, indexes: [], collections: [], schemas: [], localMasterKeys: [] }, keyVault: null };
}

function requireSameVault(ofBackup: string | null, present: string | null, { fromAnotherKeyVault }: RestoreBackupOptions): void {
  if (fromAnotherKeyVault === true || ofBackup === null || present === null || ofBackup === present) return;
  throw new CsfleError('BACKUP_KEY_VAULT_MISMATCH', `the backup is of the key vault ${ofBackup}, not of ${present}`, {
    details: { ofBackup, keyVault: present },
  });
}

class Restore {
  readonly #unchanged: string[] = [];
  readonly #inserted: string[] = [];
  readonly #namesLeftOut: NameLeftOut[] = [];
  readonly #differing: string[] = [];
  readonly #replaced: string[] = [];
  readonly #unproven: string[] = [];
  readonly #indexes: string[] = [];
  readonly #failures: MigrationFailure[] = [];
  #collections: readonly string[] = [];
  #replacedBackup: { sha256: string; keys: number } | null = null;

  constructor(
    readonly options: RestoreBackupOptions,
    readonly bson: BsonLibrary,
    readonly source: VaultSource,
    readonly proof: MaterialProof,
  ) {}

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
      namesLeftOut: this.#namesLeftOut,
      differing: this.#differing,
      replaced: this.#replaced,
      unproven: this.#unproven,
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
      const known = asCsfleError(error, 'HOST_CALLBACK_FAILED', `the work on this ${subject.kind}`);
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
      const isProven = await this.#opens(backup);
      // Names stay where they are now: applications find the keys that have them by these names.
      const taken = await namesOfOthers(this.source.store, backup);
      if (this.options.execute === true) {
        await fromStore(() => this.source.store.insert(withoutNames(backup, taken)));
        const stored = await this.#read(id, undefined);
        if (stored === undefined || !sameWrapping(this.bson, stored, backup)) throw notAsWritten(id);
      }
      this.#inserted.push(idText(id));
      for (const [name, ownerId] of taken) this.#namesLeftOut.push({ id: idText(id), name, ownerId });
      if (!isProven) this.#unproven.push(idText(id));
      return undefined;
    }
    if (!sameWrapping(this.bson, present, backup)) return { id, present, backup };
    this.#unchanged.push(idText(id));
    return undefined;
  }

  /** Whether the wrapping of a key that is gone opens. What its provider refuses is not inserted. */
  async #opens(backup: Document): Promise<boolean> {
    try {
      return 'fingerprint' in (await this.proof.ofBackup(backup, this.options.signal));
    } catch (error) {
      if (this.options.allowUnproven === true && CsfleError.is(error) && isMalformed(error)) return false;
      throw error;
    }
  }

  async #replaceAll(differing: readonly Differing[]): Promise<void> {
    if (differing.length === 0 || this.#isInterrupted) return;
    const proven: Differing[] = [];
    const uncompared = new Set<Differing>();
    for (const one of differing) {
      const subject = { kind: 'key', id: idText(one.id), keyAltNames: altNamesOf(one.backup) } as const;
      if (this.#isInterrupted) return;
      const isAllowed = await this.#attempt(subject, async () => {
        if (!(await this.#prove(one))) uncompared.add(one);
      });
      if (isAllowed) proven.push(one);
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
        if (uncompared.has(one)) this.#unproven.push(subject.id);
      });
    }
  }

  /** Opens both wrappings and compares them. Returns whether that was possible, which `allowUnproven` alone lets be missing. */
  async #prove({ id, present, backup }: Differing): Promise<boolean> {
    const { signal, allowUnproven } = this.options;
    const keyId = idText(id);
    const unproven = (reason: string, cause?: CsfleError): CsfleError =>
      new CsfleError('BACKUP_RESTORE_UNPROVEN', `key ${keyId}: ${reason}`, { details: { keyId }, ...(cause === undefined ? {} : { cause }) });
    const ofBackup = await this.proof.ofBackup(backup, signal);
    const ofPresent = await this.proof.ofPresent(present, signal);
    if ('fingerprint' in ofBackup && 'fingerprint' in ofPresent) {
      if (ofBackup.fingerprint === ofPresent.fingerprint) return true;
      throw unproven("the backup's wrapping holds other key material than the present one");
    }
    if (allowUnproven === true) return false;
    const closed = (which: string, error: CsfleError): CsfleError =>
      unproven(`${which} wrapping cannot be opened to compare it (${error.code}: ${error.message})`, error);
    if ('closed' in ofBackup) throw closed("the backup's", ofBackup.closed);
    throw 'closed' in ofPresent ? closed('the present', ofPresent.closed) : unproven('the present wrapping cannot be compared');
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
    if (!(await rewrapThrough(store, id, wrappingOf(present), wrappingOf(backup)))) {
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

/** A key document without these alternate names; without any, it has no such field, as the unique index wants it. */
function withoutNames(document: Document, names: ReadonlyMap<string, string>): Document {
  if (names.size === 0) return document;
  const { keyAltNames, ...others } = document;
  const left = (keyAltNames as readonly unknown[]).filter((name) => typeof name !== 'string' || !names.has(name));
  return left.length === 0 ? others : Object.fromEntries(Object.entries(document).map(([field, value]) => [field, field === 'keyAltNames' ? left : value]));
}

function requireId(id: unknown): BsonBinary {
  if (isBinary(id)) return id;
  throw new CsfleError('KEY_VAULT_FIELD_INVALID', 'a key document of the backup has an _id that is no binary');
}

function wrappingOf({ keyMaterial, masterKey }: Document): KeyWrapping {
  return { keyMaterial: keyMaterial as BsonBinary, masterKey: masterKey as Document };
}

/** A document with plain JavaScript values, as a driver returns it. */
function plain(bson: BsonLibrary, document: Document): Document {
  return deserialize(bson, serialize(bson, document, 'an index'));
}

function notAsWritten(id: BsonBinary): CsfleError {
  return new CsfleError('BACKUP_VERIFICATION_FAILED', `key ${idText(id)} is not what was written`, { details: { keyId: idText(id) } });
}
