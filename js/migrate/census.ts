import { CsfleError } from '../errors.js';
import type { CensusReport } from '../wasm.js';
import type { MigrationCollection } from './collection.js';
import { BATCH_BYTES, DEFAULT_BATCH_SIZE } from './options.js';
import type { ValueSamples } from './proof.js';
import type { PlannedCollection } from './report.js';
import type { MigrationRun } from './run-state.js';

/** How many documents of a collection are kept for a trial decryption. */
const SAMPLE_SIZE = 20;

/** What a collection holds, counted from the headers of its encrypted values. */
export class Census {
  documents = 0;
  values = 0;
  foreignValues = 0;
  /** Documents that the core could not walk, because they nest too deeply. */
  unreadable = 0;
  readonly #byKey = new Map<string, { deterministic: number; random: number }>();
  readonly #paths = new Map<string, number>();
  readonly #scoped = new Map<string, number>();

  add(report: CensusReport): void {
    this.documents += report.documents;
    this.values += report.values;
    this.foreignValues += report.queryable + report.markings + report.unknown;
    for (const { keyId, deterministic, random } of report.byKey) {
      const known = this.#byKey.get(keyId) ?? { deterministic: 0, random: 0 };
      this.#byKey.set(keyId, { deterministic: known.deterministic + deterministic, random: known.random + random });
    }
    for (const { keyId, values } of report.scoped) this.#scoped.set(keyId, (this.#scoped.get(keyId) ?? 0) + values);
    for (const { path, values } of report.paths) this.#paths.set(path, (this.#paths.get(path) ?? 0) + values);
  }

  get keyIds(): readonly string[] {
    return [...this.#byKey.keys()];
  }

  /** How many values each key has. */
  get byKey(): readonly (readonly [keyId: string, values: number])[] {
    return [...this.#byKey].map(([keyId, { deterministic, random }]) => [keyId, deterministic + random]);
  }

  /** Values under any of these keys. */
  under(isWanted: (keyId: string) => boolean): number {
    let values = 0;
    for (const [keyId, { deterministic, random }] of this.#byKey) if (isWanted(keyId)) values += deterministic + random;
    return values;
  }

  /** Values under any of these keys in the scope of code, where nothing is rewritten. */
  inScopes(isWanted: (keyId: string) => boolean): number {
    let values = 0;
    for (const [keyId, count] of this.#scoped) if (isWanted(keyId)) values += count;
    return values;
  }

  planned(namespace: string, isWanted: (keyId: string) => boolean): PlannedCollection {
    const { documents, values, foreignValues } = this;
    const byKey = [...this.#byKey].map(([keyId, counts]) => ({ keyId, ...counts }));
    const paths = [...this.#paths].map(([path, count]) => ({ path, values: count }));
    const { unreadable } = this;
    return { namespace, documents, values, valuesToMigrate: this.under(isWanted), byKey, paths, foreignValues, unreadable };
  }
}

/** The failure of a collection as a whole, without the driver's message: that may quote a connection string. */
export function asCollectionError(namespace: string, error: unknown): CsfleError {
  if (CsfleError.is(error)) return error;
  return new CsfleError('MIGRATION_COLLECTION_FAILED', `${namespace} cannot be read or written (${error instanceof Error ? error.name : 'unknown error'})`, {
    cause: error,
    details: { namespace },
  });
}

/** Walks a collection and counts; `sample` receives some of its documents that hold encrypted values, `values` some of these. */
export async function takeCensus(
  run: MigrationRun,
  collection: MigrationCollection,
  phase: 'census' | 'verify-documents',
  sample?: Uint8Array[],
  values?: ValueSamples,
): Promise<Census> {
  const census = new Census();
  run.censuses.set(collection, undefined);
  const progress = run.progress(phase, await collection.estimatedCount(), collection.namespace);
  for await (const batch of collection.scan({ documents: run.options.batchSize ?? DEFAULT_BATCH_SIZE, bytes: BATCH_BYTES })) {
    if (run.interrupted) break;
    addBatch(run, census, batch, values);
    if (sample !== undefined) {
      for (const document of batch) if (sample.length < SAMPLE_SIZE && holdsValues(run, document)) sample.push(document);
    }
    progress.advance(batch.length);
  }
  progress.finish();
  if (!run.interrupted) run.censuses.set(collection, census);
  return census;
}

function addBatch(run: MigrationRun, census: Census, batch: readonly Uint8Array[], values?: ValueSamples): void {
  try {
    const report = run.engine.census(batch);
    census.add(report);
    if (values?.gain(report.byKey) === true) values.take(batch);
  } catch (error) {
    if (!CsfleError.is(error) || batch.length === 0) throw error;
    if (batch.length > 1) for (const document of batch) addBatch(run, census, [document], values);
    else {
      census.documents += 1;
      census.unreadable += 1;
    }
  }
}

function holdsValues(run: MigrationRun, document: Uint8Array): boolean {
  try {
    return run.engine.census([document]).values > 0;
  } catch {
    return false;
  }
}
