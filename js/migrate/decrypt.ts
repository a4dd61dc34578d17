import type { BsonBinary } from '../bson.js';
import type { DocumentTransformation } from './documents.js';
import { idText } from './engine.js';
import { leavesEveryKey } from './modes/decrypt.js';
import type { PlanState } from './plan.js';
import { type DataResults, rewriteAll } from './reencrypt.js';
import type { KeyResults } from './report.js';
import { failKey } from './rewrap.js';
import type { MigrationRun } from './run-state.js';
import { writeSchemas } from './schema.js';

/**
 * Puts every value back to plaintext. Schemas lose their encryption first: a server that validates with `encrypt`
 * refuses plaintext. The keys stay in the vault; backups and other collections may need them.
 */
export async function executeDecrypt(run: MigrationRun, state: PlanState): Promise<{ keys: KeyResults } & DataResults> {
  let failed = 0;
  for (const key of state.keys) {
    const fault = state.faults.get(idText(key._id));
    if (fault !== undefined && failKey(run, key, fault)) failed += 1;
  }
  const schemas = await writeSchemas(run, []);
  const usable = state.keys.filter((key) => !state.faults.has(idText(key._id)));
  // No list means every key: a value whose key is lost is then a failure of its document, not passed over.
  const everyKey = leavesEveryKey(run);
  const keyIds = everyKey ? [] : usable.map((key) => key._id as BsonBinary);
  const transformation: DocumentTransformation = {
    compute: async (documents) => (everyKey || keyIds.length > 0 ? run.engine.leave(documents, keyIds, run.signal) : []),
    toPlaintext: true,
    isOld: state.isWanted,
  };
  const planned = new Map(state.plan.collections.map(({ namespace, valuesToMigrate }) => [namespace, valuesToMigrate]));
  // A schema that could not be stripped would have the server refuse each document in turn.
  const stripped = !run.hasFailed('schema');
  const collections = stripped ? await rewriteAll(run, transformation, (namespace) => planned.get(namespace)) : [];
  const keys = { planned: state.keys.length, migrated: 0, alreadyDone: 0, failed, namesMoved: 0, deleted: 0, verified: 0 };
  return { keys, collections, schemas };
}
