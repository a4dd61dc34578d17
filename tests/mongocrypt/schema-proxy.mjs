// The test server stores no schema with `encrypt` in it: replies to listCollections get the schemas that a server would have stored.
import { startReplyProxy } from './reply-proxy.mjs';

/** Resolves to `{ port, schemas, stop() }`; `schemas` maps namespaces to JSON schemas. `target` is that of `startReplyProxy`. */
export async function startSchemaProxy(target) {
  const schemas = new Map();
  const proxy = await startReplyProxy(target, (command) => ('listCollections' in command ? (reply) => withSchemas(schemas, command.$db, reply) : undefined));
  return { ...proxy, schemas };
}

function withSchemas(schemas, database, document) {
  for (const collection of document.cursor?.firstBatch ?? []) {
    const $jsonSchema = schemas.get(`${database}.${collection.name}`);
    if ($jsonSchema) collection.options = { ...collection.options, validator: { $jsonSchema } };
  }
  return document;
}
