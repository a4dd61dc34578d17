/** Looks through deployments for everything that may need a data key. Nothing is written. */

import type { Document } from '../../bson.js';
import { wipe } from '../../bytes.js';
import { CsfleError } from '../../errors.js';
import type { MigrationCollection } from '../collection.js';
import { driverMigrationCollection, type MigrationDriverClient } from '../driver-collection.js';
import type { MigrationEngine } from '../engine.js';
import { BATCH_BYTES, DEFAULT_BATCH_SIZE } from '../options.js';
import type { PhaseProgress } from '../progress.js';
import { KeyUses } from './key-uses.js';
import { type ListedNamespace, listNamespaces, serverReason } from './namespaces.js';
import { type SkippedEvidence, skipOf } from './options.js';
import { schemaKeys } from './schema-keys.js';

/** What a search works with. */
export interface Search {
  readonly engine: MigrationEngine;
  /** The deployments, the key vault's own first; each client once. */
  readonly clients: readonly MigrationDriverClient[];
  /** Collections to search beside those that the deployments list. */
  readonly collections: readonly MigrationCollection[];
  /** Schemas kept elsewhere. */
  readonly schemas: readonly { readonly name: string; read(): Promise<unknown> }[];
  readonly evidence: SkippedEvidence | undefined;
  readonly batchSize: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly progress: (total: number, namespace: string) => PhaseProgress;
}

/** How a search goes about it. */
export interface SearchDepth {
  /** Whether encrypted documents and arrays are opened, to find what is encrypted inside. */
  readonly nested: boolean;
  /** Collections that need no look. */
  readonly except?: readonly MigrationCollection[];
}

/** Searches every namespace, and the schemas. What cannot be searched is part of the result. */
export async function searchForUses(search: Search, { nested, except = [] }: SearchDepth): Promise<KeyUses> {
  const skip = skipOf(search.evidence);
  const uses = new KeyUses(search.evidence?.skipNamespaces ?? []);
  if (search.clients.length === 0 && !skip('*')) uses.addUnreadable({ namespace: '*', reason: 'no client is known that could list the namespaces' });
  const lists: (readonly [client: MigrationDriverClient, deployment: string, listed: readonly ListedNamespace[]])[] = [];
  for (const client of search.clients) {
    if (search.signal?.aborted) return uses;
    const { listed, unreadable } = await listNamespaces(client, skip);
    for (const one of unreadable) uses.addUnreadable(one);
    lists.push([client, await deploymentOf(client), listed.filter(({ namespace }) => !skip(namespace))]);
  }
  const seen = new Set(
    lists.flatMap(([client, deployment, listed]) => listed.filter((one) => isAmong(except, client, one)).map((one) => identityOf(deployment, one))),
  );
  const searched = new Set<string>();
  const isNamed = (namespace: string): boolean => search.evidence?.skipNamespaces.includes(namespace) === true;
  for (const [client, deployment, listed] of lists) {
    for (const one of listed) {
      if (search.signal?.aborted) return uses;
      // Two clients of one deployment list the same collections.
      if (seen.has(identityOf(deployment, one))) continue;
      if (one.uuid !== undefined) seen.add(identityOf(deployment, one));
      searched.add(one.namespace);
      addOptions(search, uses, one);
      if (one.type !== 'view') await searchListed(search, uses, client, one.namespace, nested);
    }
  }
  for (const collection of search.collections) {
    if (search.signal?.aborted) return uses;
    const { namespace, client } = collection;
    // What a deployment lists is searched already; a collection of the caller's own making may be something else. One that
    // the caller names is searched, unless it is skipped by the same name.
    if (isNamed(namespace) || except.includes(collection) || (searched.has(namespace) && client !== undefined)) continue;
    await searchCollection(search, uses, collection, nested);
  }
  for (const schema of search.schemas) {
    try {
      uses.addSchema(schema.name, schemaKeys(await schema.read()));
      uses.searched.push(schema.name);
    } catch (error) {
      uses.addUnreadable({ namespace: schema.name, reason: `it cannot be read${serverReason(error)}` });
    }
  }
  return uses;
}

/** Whether a listed collection is one of these. One without a client is known by its name alone. */
function isAmong(collections: readonly MigrationCollection[], client: MigrationDriverClient, { namespace }: ListedNamespace): boolean {
  return collections.some((one) => one.namespace === namespace && (one.client === undefined || one.client === client));
}

function identityOf(deployment: string, { namespace, uuid }: ListedNamespace): string {
  return `${deployment} ${namespace} ${uuid ?? ''}`;
}

/**
 * What tells one deployment from another: a copy of its files has the same collections with the same UUIDs. Through mongos
 * it is the UUIDs alone, since a cluster has several of them.
 */
async function deploymentOf(client: MigrationDriverClient): Promise<string> {
  try {
    const { msg, me, topologyVersion } = await client.db('admin').command({ hello: 1 });
    if (msg === 'isdbgrid') return 'mongos';
    return `${String((topologyVersion as Document | undefined)?.['processId'])} ${String(me)}`;
  } catch {
    return 'unknown';
  }
}

function addOptions({ engine }: Search, uses: KeyUses, { namespace, options }: ListedNamespace): void {
  uses.addSchema(namespace, schemaKeys(options));
  // A validator or the pipeline of a view may hold encrypted values too.
  uses.addCensus(namespace, engine.census([engine.encode(options, 'the options of a collection')]));
}

async function searchListed(search: Search, uses: KeyUses, client: MigrationDriverClient, namespace: string, nested: boolean): Promise<void> {
  let collection: MigrationCollection;
  try {
    collection = driverMigrationCollection({ client, namespace });
  } catch (error) {
    const reason = CsfleError.is(error) ? error.message : `it cannot be opened${serverReason(error)}`;
    uses.addUnreadable({ namespace, reason });
    return;
  }
  await searchCollection(search, uses, collection, nested);
}

async function searchCollection(search: Search, uses: KeyUses, collection: MigrationCollection, nested: boolean, attempt = 1): Promise<void> {
  const { namespace } = collection;
  try {
    const progress = search.progress(await collection.estimatedCount(), namespace);
    for await (const batch of collection.scan({ documents: search.batchSize ?? DEFAULT_BATCH_SIZE, bytes: BATCH_BYTES })) {
      if (search.signal?.aborted) return;
      await searchBatch(search, uses, namespace, batch, nested);
      progress.advance(batch.length);
    }
    progress.finish();
    uses.searched.push(namespace);
  } catch (error) {
    if (search.signal?.aborted) return;
    // A cursor dies when its collection is dropped or moved. What was counted twice is only more of a reason to keep a key.
    if (attempt === 1) return searchCollection(search, uses, collection, nested, 2);
    uses.addUnreadable({ namespace, reason: `it cannot be read${serverReason(error)}` });
  }
}

async function searchBatch(search: Search, uses: KeyUses, namespace: string, batch: readonly Uint8Array[], nested: boolean): Promise<void> {
  if (batch.length === 0) return;
  let containers = 0;
  try {
    const report = search.engine.census(batch);
    uses.documents += report.documents;
    uses.addCensus(namespace, report);
    containers = report.containers;
  } catch (error) {
    if (!CsfleError.is(error) || error.code === 'INTERNAL') throw error;
    // A document that the core cannot walk may hold anything; the others of its batch are looked at one by one.
    if (batch.length === 1) uses.addUnattributed(namespace, 1);
    else for (const document of batch) await searchBatch(search, uses, namespace, [document], nested);
    return;
  }
  if (nested && containers > 0) await new Opening(search, uses, namespace).open(search.engine.containers(batch));
}

/** Where the key id of a value stands in `{v: value}`: length, type, "v" and its end, length, subtype, kind. */
const KEY_ID_START = 4 + 1 + 2 + 4 + 1 + 1;
const KEY_ID_END = KEY_ID_START + 16;
/** Decrypted values inside decrypted values: no writer goes deeper, and each level costs memory. */
const MAX_NESTING = 100;

/** Opens encrypted documents and arrays, and those inside them. */
class Opening {
  readonly #search: Search;
  readonly #uses: KeyUses;
  readonly #namespace: string;

  constructor(search: Search, uses: KeyUses, namespace: string) {
    this.#search = search;
    this.#uses = uses;
    this.#namespace = namespace;
  }

  async open(values: readonly Uint8Array[], level = 1): Promise<void> {
    if (level > MAX_NESTING) return this.#uses.addUnopened(this.#namespace, values.length);
    // Values of one key open or stay closed together, apart from damaged ones.
    const byKey = new Map<string, Uint8Array[]>();
    for (const value of values) {
      const key = value.subarray(KEY_ID_START, KEY_ID_END).join();
      const group = byKey.get(key);
      if (group === undefined) byKey.set(key, [value]);
      else group.push(value);
    }
    for (const group of byKey.values()) await this.#openGroup(group, level);
  }

  async #openGroup(group: readonly Uint8Array[], level: number): Promise<void> {
    if (await this.#decrypt(group, level)) return;
    if (group.length === 1) return this.#uses.addUnopened(this.#namespace, 1);
    let closed = 0;
    for (const value of group) {
      if (this.#search.signal?.aborted) return;
      if (!(await this.#decrypt([value], level))) closed += 1;
      // The key itself is not at hand: the rest of its values is as closed as the first.
      if (closed === 1 && value === group[0]) {
        closed = group.length;
        break;
      }
    }
    this.#uses.addUnopened(this.#namespace, closed);
  }

  /** Decrypts values, counts what is inside, and wipes the plaintext. Returns whether it could. */
  async #decrypt(values: readonly Uint8Array[], level: number): Promise<boolean> {
    const { engine, signal } = this.#search;
    let plain: readonly Uint8Array[];
    try {
      plain = await engine.decrypt(values, signal);
    } catch {
      return false;
    }
    try {
      const report = engine.census(plain);
      this.#uses.addCensus(this.#namespace, report, true);
      if (report.containers > 0) await this.open(engine.containers(plain), level + 1);
      return true;
    } catch {
      return false;
    } finally {
      wipe(...plain);
    }
  }
}
