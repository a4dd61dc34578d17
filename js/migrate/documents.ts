import { throwIfAborted } from '../abort.js';
import { type BsonLibrary, deserialize } from '../bson.js';
import { equalBytes, hexText } from '../bytes.js';
import { CsfleError, type ErrorCode } from '../errors.js';
import { asCollectionError, takeCensus } from './census.js';
import { changedValues, holdsChanges } from './changed-values.js';
import type { DocumentChange, MigrationCollection, WriteOutcome } from './collection.js';
import { counted } from './counted.js';
import type { ComputedChange } from './engine.js';
import { type BsonElement, elementNamed, elementsOf, exactDocument, exactValue, wrapValue } from './exact-bson.js';
import { BATCH_BYTES, DEFAULT_BATCH_SIZE, WRITE_ATTEMPTS } from './options.js';
import type { CollectionResults } from './report.js';
import { isAbort, type MigrationRun } from './run-state.js';

/** What a mode does to documents. */
export interface DocumentTransformation {
  /** The changes that documents need. */
  compute(documents: readonly Uint8Array[]): Promise<readonly ComputedChange[]>;
  /** Whether the new values are plaintext (`decrypt`) or decrypt to the same plaintext as the old ones (`reencrypt`). */
  readonly toPlaintext: boolean;
  /** Whether values under this key are to be replaced. */
  readonly isOld: (keyId: string) => boolean;
}

/** One change, ready to be written. */
interface PreparedChange {
  readonly id: BsonElement;
  readonly values: number;
  readonly change: DocumentChange;
  /** Documents of one field per value, before and after: their plaintext must agree. */
  readonly oldValues: Uint8Array;
  readonly newValues: Uint8Array;
}

/** A document of operators, in order. */
type Stage = ReadonlyMap<string, unknown>;

/** Passes over one collection before the run gives up against writers that keep using old keys. */
const MAX_PASSES = 5;

/**
 * Rewrites one collection in passes until a census finds nothing left. `known` is how many old values there are, from a
 * census of before; without it one is taken first.
 */
export async function rewriteCollection(
  run: MigrationRun,
  collection: MigrationCollection,
  transformation: DocumentTransformation,
  known: number | undefined,
): Promise<CollectionResults> {
  const { namespace } = collection;
  const work = new CollectionWork(run, collection, transformation);
  const countLeft = async (): Promise<number> => {
    const census = await takeCensus(run, collection, 'verify-documents');
    throwIfAborted(run.signal);
    return census.under(transformation.isOld);
  };
  let passes = 0;
  let left = known ?? 0;
  try {
    if (known === undefined) left = await countLeft();
    let proven = known === undefined;
    while (passes < MAX_PASSES && (left > 0 || !proven)) {
      const before = work.documentsRewritten;
      if (left > 0) {
        passes += 1;
        await work.pass();
      }
      left = await countLeft();
      proven = true;
      if (work.documentsRewritten === before) break;
    }
    if (left > 0 && !run.hasFailed('key') && !run.hasFailed('document')) {
      throw new CsfleError(
        'MIGRATION_COLLECTION_FAILED',
        `${namespace} still has ${counted(left, 'value')} under old keys after ${counted(passes, 'pass', 'passes')}: others go on using them`,
        { details: { namespace, values: left, passes } },
      );
    }
  } catch (error) {
    run.fail({ kind: 'collection', id: namespace }, asCollectionError(namespace, error));
  }
  return {
    namespace,
    passes,
    documentsRewritten: work.documentsRewritten,
    valuesRewritten: work.valuesRewritten,
    documentsFailed: work.failedIds.size,
    valuesLeft: left,
  };
}

class CollectionWork {
  documentsRewritten = 0;
  valuesRewritten = 0;
  /** Documents named as failed already: once is enough, however many passes follow. */
  readonly failedIds = new Set<string>();
  readonly #run: MigrationRun;
  readonly #collection: MigrationCollection;
  readonly #transformation: DocumentTransformation;

  constructor(run: MigrationRun, collection: MigrationCollection, transformation: DocumentTransformation) {
    this.#run = run;
    this.#collection = collection;
    this.#transformation = transformation;
  }

  async pass(): Promise<void> {
    const { options } = this.#run;
    const progress = this.#run.progress('documents', await this.#collection.estimatedCount(), this.#collection.namespace);
    for await (const batch of this.#collection.scan({
      documents: options.batchSize ?? DEFAULT_BATCH_SIZE,
      bytes: BATCH_BYTES,
    })) {
      if (this.#run.interrupted) return;
      const failedBefore = this.failedIds.size;
      await this.#batch(batch);
      progress.advance(batch.length, this.failedIds.size - failedBefore);
    }
    progress.finish();
  }

  async #batch(documents: readonly Uint8Array[]): Promise<void> {
    let pending = documents;
    for (let attempt = 1; attempt <= WRITE_ATTEMPTS; attempt += 1) {
      const prepared = await this.#prepare(pending);
      if (attempt > 1) await this.#checkOthers(pending, prepared);
      if (prepared.length === 0 || this.#run.interrupted) return;
      pending = await this.#write(prepared);
      if (pending.length === 0) return;
    }
    // What still needs a change now lost every attempt.
    const prepared = await this.#prepare(pending);
    await this.#checkOthers(pending, prepared);
    for (const { id } of prepared) {
      this.#fail(
        id,
        new CsfleError('MIGRATION_DOCUMENT_CONFLICT', `the document was changed by others during ${WRITE_ATTEMPTS} attempts`, {
          details: { attempts: WRITE_ATTEMPTS },
        }),
      );
    }
  }

  /**
   * Looks at documents that were read back with something else than was written, and yet need no further change.
   * Under new keys that is another writer's newer value, if it decrypts; plaintext shows no such proof.
   */
  async #checkOthers(pending: readonly Uint8Array[], prepared: readonly PreparedChange[]): Promise<void> {
    const known = new Set(prepared.map(({ id }) => keyOf(id)));
    for (const document of pending) {
      const id = elementNamed(document, '_id');
      if (id === undefined || known.has(keyOf(id))) continue;
      try {
        if (this.#transformation.toPlaintext)
          throw new CsfleError(
            'MIGRATION_VERIFICATION_FAILED',
            'the document does not hold what was written: another writer, or a server that does not keep every type',
          );
        await this.#run.engine.decrypt([document], this.#run.signal);
      } catch (error) {
        this.#fail(id, error);
      }
    }
  }

  /** Computes changes and checks, before anything is written, that the new values mean the same as the old ones. */
  async #prepare(documents: readonly Uint8Array[]): Promise<readonly PreparedChange[]> {
    const prepared: PreparedChange[] = [];
    const byId = new Map(documents.map((document) => [keyOf(elementNamed(document, '_id')), document]));
    for (const { bytes } of await this.#compute(documents)) {
      const id = elementNamed(bytes, '_id');
      if (id === undefined) throw new CsfleError('INTERNAL', 'a computed change has no _id');
      try {
        refuseFailure(bytes, this.#run.engine.bson);
        prepared.push(this.#prepareOne(bytes, id, byId.get(keyOf(id)) as Uint8Array));
      } catch (error) {
        this.#fail(id, error);
      }
    }
    return this.#keepEquivalent(prepared);
  }

  async #compute(documents: readonly Uint8Array[]): Promise<readonly ComputedChange[]> {
    try {
      return await this.#transformation.compute(documents);
    } catch (error) {
      // A KMS or a vault that does not answer fails every document alike: that is the collection's failure.
      if (isAbort(error) || !CsfleError.is(error) || isOutage(error)) throw error;
      const [document] = documents;
      if (documents.length > 1 || document === undefined) {
        const changes: ComputedChange[] = [];
        for (const one of documents) changes.push(...(await this.#compute([one])));
        return changes;
      }
      const id = elementNamed(document, '_id');
      if (id !== undefined) this.#fail(id, error);
      return [];
    }
  }

  #prepareOne(bytes: Uint8Array, id: BsonElement, before: Uint8Array): PreparedChange {
    const { bson } = this.#run.engine;
    const parts = new Map([...elementsOf(bytes)].map((element) => [element.name, element]));
    const bytesOf = (name: string): Uint8Array => (parts.get(name) as BsonElement).value;
    const update = exactValue(parts.get('u') as BsonElement, bson) as Stage | readonly Stage[];
    const change: DocumentChange = {
      filter: exactDocument(bytesOf('q'), bson),
      // Drivers look for operators among the own properties of an update.
      update: Array.isArray(update) ? update.map(Object.fromEntries) : Object.fromEntries(update as Stage),
      before,
      after: bytesOf('r'),
    };
    const values = new DataView(bytesOf('values').slice().buffer).getInt32(0, true);
    const changed = changedValues(before, change.after);
    return { id, values, change, oldValues: changed.old, newValues: changed.new };
  }

  async #keepEquivalent(prepared: readonly PreparedChange[]): Promise<readonly PreparedChange[]> {
    if (prepared.length === 0) return prepared;
    const { engine, signal } = this.#run;
    const before = await engine.decrypt(
      prepared.map(({ oldValues }) => oldValues),
      signal,
    );
    const values = prepared.map(({ newValues }) => newValues);
    const after = this.#transformation.toPlaintext ? values : await engine.decryptIndependently(values, signal);
    return prepared.filter((one, index) => {
      if (equalBytes(before[index] as Uint8Array, after[index] as Uint8Array)) return true;
      this.#fail(one.id, new CsfleError('MIGRATION_VERIFICATION_FAILED', 'the new values do not decrypt to the old ones: nothing was written'));
      return false;
    });
  }

  /** Writes changes and reads them back; returns the documents that still need one, as they are now. */
  async #write(prepared: readonly PreparedChange[]): Promise<readonly Uint8Array[]> {
    const outcome = await this.#send(prepared);
    const refused = new Map(outcome.refused.map(({ index, error }) => [prepared[index], error]));
    const { bson } = this.#run.engine;
    const ids = prepared.map(({ id }) => exactValue(id, bson));
    const now = new Map((await this.#collection.read(ids)).map((document) => [keyOf(elementNamed(document, '_id')), document]));
    const again: Uint8Array[] = [];
    for (const one of prepared) {
      const document = now.get(keyOf(one.id));
      // A document that is gone was removed by its owner.
      if (document === undefined) continue;
      if (refused.has(one)) {
        // What was refused was meant for the document as it was read: for another one the change is computed anew.
        if (equalBytes(document, one.change.before)) this.#fail(one.id, refusal(refused.get(one)));
        else again.push(document);
      } else if (holdsChanges(document, one.change.before, one.change.after)) {
        this.documentsRewritten += 1;
        this.valuesRewritten += one.values;
      } else again.push(document);
    }
    return again;
  }

  async #send(prepared: readonly PreparedChange[]): Promise<WriteOutcome> {
    try {
      return await this.#collection.write(prepared.map(({ change }) => change));
    } catch (error) {
      if (isConnectionError(error)) throw error;
      if (prepared.length === 1) return { refused: [{ index: 0, error }] };
      // One change can spoil a whole command, by its size for example: alone each shows whether it was the one.
      const refused: { index: number; error: unknown }[] = [];
      for (const [index, one] of prepared.entries()) {
        for (const { error: reason } of (await this.#send([one])).refused) refused.push({ index, error: reason });
      }
      return { refused };
    }
  }

  #fail(id: BsonElement, error: unknown): void {
    const key = keyOf(id);
    if (this.failedIds.has(key)) return;
    const subject = { kind: 'document', id: idOf(id, this.#run.engine.bson), namespace: this.#collection.namespace } as const;
    if (this.#run.fail(subject, error)) this.failedIds.add(key);
  }
}

/** Type and bytes of an `_id`, as a key of maps. */
function keyOf(id: BsonElement | undefined): string {
  return id === undefined ? '' : `${id.type}:${hexText(id.value)}`;
}

/** An `_id` as extended JSON where the BSON library writes it, else its type and bytes. */
function idOf(id: BsonElement, bson: BsonLibrary): string {
  const { EJSON } = bson as { EJSON?: { stringify(value: unknown): string } };
  try {
    if (EJSON !== undefined) return EJSON.stringify(deserialize(bson, wrapValue(id)).v);
  } catch {
    // Not every value has extended JSON in every library; the bytes always do.
  }
  return keyOf(id);
}

/** The core names a document that cannot be changed in the place of its change: `{_id, code, message, ...}`. */
function refuseFailure(bytes: Uint8Array, bson: BsonLibrary): void {
  if (elementNamed(bytes, 'code') === undefined) return;
  const { _id, code, message, ...details } = deserialize(bson, bytes);
  throw new CsfleError(code as ErrorCode, String(message), { details: details as Record<string, string> });
}

/** The server's refusal of one change, without its message: that may quote values of the document. */
function refusal(error: unknown): CsfleError {
  if (CsfleError.is(error)) return error;
  const { code } = (error ?? {}) as { code?: unknown };
  const reason = typeof code === 'number' ? `server code ${code}` : error instanceof Error ? error.name : 'unknown error';
  return new CsfleError('MIGRATION_DOCUMENT_REFUSED', `the change was refused (${reason})`, {
    cause: error,
    details: { reason },
  });
}

function isOutage(error: CsfleError): boolean {
  return (
    error.retryable ||
    error.code === 'KEY_VAULT_NOT_READABLE' ||
    error.code === 'HOST_CALLBACK_FAILED' ||
    error.code.startsWith('KMS_CREDENTIALS_') ||
    error.code === 'INTERNAL'
  );
}

function isConnectionError(error: unknown): boolean {
  return error instanceof Error && /^Mongo(Network|ServerSelection|TopologyClosed|NotConnected|WaitQueueTimeout|ClientClosed)/.test(error.name);
}
