import type { Connection } from './connection.js';

/** A collection as the library takes it. */
export interface NamedCollection {
  readonly client: Connection['client'];
  readonly namespace: string;
}

/** Every collection that this user may see, system collections, views and `except` left out. */
export async function readableCollections(
  { client }: Pick<Connection, 'client'>,
  except: Iterable<string>,
): Promise<readonly NamedCollection[]> {
  const known = new Set(except);
  const found: NamedCollection[] = [];
  const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true, authorizedDatabases: true });
  for (const { name } of databases) {
    if (['admin', 'config', 'local'].includes(name)) continue;
    for await (const { name: collection, type } of client
      .db(name)
      .listCollections({}, { nameOnly: true, authorizedCollections: true })) {
      const namespace = `${name}.${collection}`;
      if (type !== 'view' && !collection.startsWith('system.') && !known.has(namespace)) found.push({ client, namespace });
    }
  }
  return found;
}
