// The test server stores no schema with `encrypt` in it, and no encryptedFields: replies to listCollections get what a server would
// have stored.
import { startReplyProxy } from './reply-proxy.mjs';

/**
 * Resolves to `{ port, schemas, encryptedFields, stop() }`; the two map namespaces to JSON schemas, and to encryptedFields. `target` is
 * that of `startReplyProxy`.
 */
export async function startSchemaProxy(target) {
  const stored = { schemas: new Map(), encryptedFields: new Map() };
  const proxy = await startReplyProxy(target, (command) => ('listCollections' in command ? (reply) => withStored(stored, command.$db, reply) : undefined));
  return { ...proxy, ...stored };
}

function withStored({ schemas, encryptedFields }, database, document) {
  for (const collection of document.cursor?.firstBatch ?? []) {
    const namespace = `${database}.${collection.name}`;
    if (schemas.has(namespace)) collection.options = { ...collection.options, validator: { $jsonSchema: schemas.get(namespace) } };
    if (encryptedFields.has(namespace)) collection.options = { ...collection.options, encryptedFields: encryptedFields.get(namespace) };
  }
  return document;
}
