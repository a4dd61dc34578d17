import type { Connection } from './connection.js';
import { CliError, EXIT_FAILED } from './failure.js';

/** A collection as the library takes it. */
export interface NamedCollection {
  readonly client: Connection['client'];
  readonly namespace: string;
}

/** Every collection that this user may see, system collections, views and `except` left out. */
export async function readableCollections({ client }: Pick<Connection, 'client'>, except: Iterable<string>): Promise<readonly NamedCollection[]> {
  const known = new Set(except);
  const found: NamedCollection[] = [];
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true, authorizedDatabases: true });
  for (const { name } of databases) {
    if (['admin', 'config', 'local'].includes(name)) continue;
    for await (const { name: collection, type } of client.db(name).listCollections({}, { nameOnly: true, authorizedCollections: true })) {
      const namespace = `${name}.${collection}`;
      if (type !== 'view' && !collection.startsWith('system.') && !known.has(namespace)) found.push({ client, namespace });
    }
  }
  return found;
}

/** Those of these namespaces that are not there. One whose database cannot be listed may be: reading it will tell. */
export async function missingCollections({ client }: Pick<Connection, 'client'>, namespaces: readonly string[]): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const namespace of namespaces) {
    const dot = namespace.indexOf('.');
    const name = namespace.slice(dot + 1);
    if (dot <= 0 || name === '') missing.push(namespace);
    else if (!(await isThere(client, namespace.slice(0, dot), name))) missing.push(namespace);
  }
  return missing;
}

async function isThere(client: Connection['client'], database: string, name: string): Promise<boolean> {
  try {
    const found = client.db(database).listCollections({ name }, { nameOnly: true, authorizedCollections: true });
    return (await found.toArray()).length > 0;
  } catch {
    return true;
  }
}

/** What to do about a collection that was named and is not there. */
export const MISSING_REMEDY = 'Check its name, database.collection, and the connection string.';

/** Refuses collections that were named and are not there: a search of nothing finds nothing wrong. Errors: `CLI_OPTION_INVALID`. */
export async function requireCollections(connection: Pick<Connection, 'client'>, option: string, namespaces: readonly string[]): Promise<void> {
  const [missing] = await missingCollections(connection, namespaces);
  if (missing !== undefined) throw new CliError('CLI_OPTION_INVALID', `${option}: there is no collection ${missing}`, MISSING_REMEDY, EXIT_FAILED);
}
