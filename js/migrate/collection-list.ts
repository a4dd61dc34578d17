/** The collections of a database, as `listCollections` describes them. */

import type { Document } from '../bson.js';

/** A client that runs commands: of a driver, or of the shell, which passes the second argument over. */
export interface CommandClient {
  db(name: string): { command(command: Document, options?: Document): Promise<Document> };
}

// One reply: a second one would need the session of the first, which a driver's command() does not keep.
const WHOLE_LIST = 1_000_000;

/**
 * Lists collections in one reply. `settings` are fields of the command, `options` those of the driver.
 * Errors: those of the driver, and `ListTooLong`: a part of the list would look like all of it.
 */
export async function listCollections(client: CommandClient, database: string, settings: Document = {}, options?: Document): Promise<readonly Document[]> {
  const command = { listCollections: 1, filter: {}, ...settings, cursor: { batchSize: WHOLE_LIST } };
  const answer = await client.db(database).command(command, ...(options === undefined ? [] : [options]));
  const { firstBatch, id } = answer['cursor'] as { firstBatch: readonly Document[]; id: unknown };
  if (String(id) !== '0') throw Object.assign(new Error('the list is longer than one reply'), { name: 'ListTooLong' });
  return firstBatch;
}
