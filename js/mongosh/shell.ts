/**
 * mongosh as this package sees it: typed by structure, reached at run time, never imported.
 *
 * A module that the shell requires runs in Node's own realm, where neither `db` nor `print` exist: those are globals of
 * the context in which the shell evaluates what is typed. Three ways lead there, in this order: a `Mongo` or `db` in the
 * option `client`; the context in which the options were written; the context that csfle.mongosh.js handed over.
 */

import { CsfleError, type Document } from '../index.js';
import { visible } from '../node/text.js';

/** A value, or a promise of one: most of the shell's methods return promises that only typed code awaits by itself. */
export type Awaitable<T> = T | Promise<T>;

/** A cursor of the driver, as the service provider returns it. */
export interface ProviderCursor extends AsyncIterable<Document> {
  toArray(): Promise<Document[]>;
}

/** The shell's own way to the server: driver calls with the options of the connection. */
export interface ShellServiceProvider {
  readonly bsonLibrary: Readonly<Record<string, unknown>>;
  find(database: string, collection: string, filter: Document, options: Document): ProviderCursor;
  estimatedDocumentCount(database: string, collection: string): Promise<number>;
  insertOne(database: string, collection: string, document: Document, options: Document): Promise<unknown>;
  updateOne(database: string, collection: string, filter: Document, update: Document, options: Document): Promise<{ readonly matchedCount: number }>;
  updateMany(database: string, collection: string, filter: Document, update: Document, options: Document): Promise<unknown>;
  findOneAndUpdate(database: string, collection: string, filter: Document, update: Document | Document[], options: Document): Promise<Document | null>;
  deleteOne(database: string, collection: string, filter: Document, options: Document): Promise<{ readonly deletedCount: number }>;
  bulkWrite(database: string, collection: string, operations: readonly Document[], options: Document): Promise<{ readonly matchedCount: number }>;
  createIndexes(database: string, collection: string, indexes: readonly Document[], options: Document): Promise<unknown>;
  getIndexes(database: string, collection: string): Promise<Document[]>;
  runCommandWithCheck(database: string, command: Document): Promise<Document>;
  /** The options of automatic encryption of this connection, if it has any. */
  getFleOptions?(): unknown;
  /** The driver's client of this connection. */
  getRawClient?(): unknown;
}

/** What the shell keeps about the running session. */
export interface ShellInstanceState {
  readonly context?: ShellGlobal;
  readonly cliOptions?: { readonly json?: unknown };
  readonly isInteractive?: boolean;
  readonly interrupted?: ShellInterruptFlag;
  /** Where the shell prints. Its own print() refuses to while an interruption is under way. */
  readonly evaluationListener?: { onPrint?(values: readonly { readonly type: null; readonly printable: unknown }[], type: 'print'): Awaitable<unknown> };
  printWarning?(message: string): Awaitable<unknown>;
}

/** How the shell tells running calls about Ctrl+C. */
export interface ShellInterruptFlag {
  checkpoint(): void;
  asPromise(): { readonly promise: Promise<never>; destroy(): void };
  /** Runs `work`; on Ctrl+C the shell awaits `onInterrupt` before it closes its connections. */
  withOverrideInterruptBehavior?<T>(work: () => Promise<T>, onInterrupt: () => Promise<void>): Promise<T>;
}

/** The shell's cursor: what `getKeys()` returns prints in batches and answers to `it`. */
export interface ShellCursor {
  readConcern(level: string): ShellCursor;
}

interface ShellDatabase {
  getMongo(): unknown;
  getCollection(name: string): { find(filter: Document): Awaitable<ShellCursor> };
}

/** A connection of the shell: what `db.getMongo()` and `new Mongo(uri)` return. */
export interface ShellMongo {
  readonly _serviceProvider: ShellServiceProvider;
  readonly _instanceState?: ShellInstanceState;
  readonly _uri?: string;
  readonly _fleOptions?: Readonly<Record<string, unknown>> | undefined;
  getDB(name: string): ShellDatabase;
}

/** The global object of the context in which the shell evaluates what is typed. */
export interface ShellGlobal {
  readonly db?: unknown;
  print?(text: unknown): Awaitable<unknown>;
  version?(): string;
}

let loadedInto: ShellGlobal | undefined;

/** Remembers the global object of the shell. csfle.mongosh.js calls it; `require()` alone does not. */
export function rememberShell(global: ShellGlobal): void {
  loadedInto = global;
}

/**
 * Finds the connection to use: `client` (a Mongo or a Database) or else the current `db`.
 * `writtenInShell` is any object that the caller wrote in the shell, such as the options.
 * Errors: `ARGUMENT_INVALID` when `client` is neither, or when the shell has no connection.
 */
export function findMongo(client: unknown, writtenInShell: unknown): ShellMongo {
  if (client !== undefined) {
    const mongo = isMongo(client) ? client : isDatabase(client) ? client.getMongo() : undefined;
    if (isMongo(mongo)) return mongo;
    throw new CsfleError('ARGUMENT_INVALID', 'client must be a Mongo or a Database of the shell, such as db.getMongo()', { details: { argument: 'client' } });
  }
  const global = realmOf(writtenInShell) ?? loadedInto;
  const database = currentDatabase(global);
  const mongo = database?.getMongo();
  if (!isMongo(mongo)) {
    throw new CsfleError('ARGUMENT_INVALID', 'no connection: start mongosh with a connection string, or pass { client: new Mongo(uri) }', {
      details: { argument: 'client' },
    });
  }
  loadedInto ??= global;
  return mongo;
}

/** The session of the shell, if one is known by now. */
export function knownInstanceState(): ShellInstanceState | undefined {
  const mongo = currentDatabase(loadedInto)?.getMongo();
  return isMongo(mongo) ? mongo._instanceState : undefined;
}

/** Says whether `value` is a connection of the shell. */
export function isMongo(value: unknown): value is ShellMongo {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as ShellMongo)._serviceProvider === 'object' &&
    typeof (value as ShellMongo).getDB === 'function'
  );
}

/** Says whether the shell runs under --json: its output is one document then, to which nothing may be added. */
export function printsJson(state: ShellInstanceState | undefined): boolean {
  const json = state?.cliOptions?.json;
  return json !== undefined && json !== false;
}

/** Prints one line in the shell; nothing under --json. */
export async function printLine(state: ShellInstanceState | undefined, line: string): Promise<void> {
  if (!printsJson(state)) await state?.context?.print?.(visible(line));
}

/** Tells what a call that returns at once did, in the shell that `writtenInShell` comes from; under --json, or without a connection, on standard error. */
export function announce(writtenInShell: unknown, line: string): void {
  const context = realmOf(writtenInShell) ?? loadedInto;
  const mongo = currentDatabase(context)?.getMongo();
  const state = isMongo(mongo) ? mongo._instanceState : undefined;
  if (state?.context?.print === undefined || printsJson(state)) process.stderr.write(`${visible(line)}\n`);
  else void printLine(state, line);
}

/** Prints a text although the shell is being interrupted; nothing under --json. */
export async function printAfterInterrupt(state: ShellInstanceState | undefined, text: string): Promise<void> {
  if (!printsJson(state)) await state?.evaluationListener?.onPrint?.([{ type: null, printable: text }], 'print');
}

/** Prints a warning as the shell prints its own; under --json to standard error. */
export async function printWarning(state: ShellInstanceState | undefined, message: string): Promise<void> {
  if (printsJson(state)) process.stderr.write(`Warning: ${visible(message)}\n`);
  else await state?.printWarning?.(visible(message));
}

/** Where a connection leads, without credentials: scheme and hosts of its connection string. */
export function hostsOf(mongo: ShellMongo): string {
  const [address = ''] = (mongo._uri ?? '').split('?');
  const match = /^(mongodb(?:\+srv)?:\/\/)(?:.*@)?([^/]*)/s.exec(address);
  return match === null ? 'this connection' : `${match[1]}${match[2]}`;
}

/** Splits `db.collection`; the collection part may hold further dots. */
export function splitNamespace(namespace: string): { readonly database: string; readonly collection: string } | undefined {
  const match = /^([^.]+)\.(.+)$/s.exec(namespace);
  return match?.[1] === undefined || match[2] === undefined ? undefined : { database: match[1], collection: match[2] };
}

function isDatabase(value: unknown): value is ShellDatabase {
  return typeof value === 'object' && value !== null && typeof (value as ShellDatabase).getMongo === 'function';
}

// An object literal's Object constructor, and with it Function, belongs to the context that the literal was written in;
// a function made there returns that context's global object. Objects from elsewhere lead to globals without `db`.
function realmOf(value: unknown): ShellGlobal | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const maker: unknown = (Object.getPrototypeOf(value) as { constructor?: unknown } | null)?.constructor;
  if (typeof maker !== 'function' || typeof maker.constructor !== 'function') return undefined;
  try {
    const global: unknown = (maker.constructor as (body: string) => () => unknown)('return globalThis')();
    return currentDatabase(global as ShellGlobal) === undefined ? undefined : (global as ShellGlobal);
  } catch {
    return undefined; // A shell started with --disallow-code-generation-from-strings.
  }
}

function currentDatabase(global: ShellGlobal | undefined): ShellDatabase | undefined {
  try {
    return isDatabase(global?.db) ? global.db : undefined;
  } catch {
    return undefined; // `db` is an accessor that throws under --nodb.
  }
}
