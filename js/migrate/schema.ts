import type { Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import { check } from './checks.js';
import { counted } from './counted.js';
import { idText, type Replacement } from './engine.js';
import { schemaKeys } from './evidence/schema-keys.js';
import type { MigrationSchema } from './options.js';
import type { MigrationCheck, PlannedSchema, SchemaResults } from './report.js';
import { messageOf, type MigrationRun } from './run-state.js';

/** Computes what would change in each schema and writes nothing. */
export async function planSchemas(
  run: MigrationRun,
  replacements: readonly Replacement[],
): Promise<{ schemas: readonly PlannedSchema[]; checks: readonly MigrationCheck[] }> {
  const schemas: PlannedSchema[] = [];
  const checks: MigrationCheck[] = [];
  for (const schema of run.schemas) {
    const result = await check(
      'schema-rewritable',
      true,
      async () => {
        const before = await reading(schema);
        const changes = before === null ? 0 : requireFollowed(schema.name, rewritten(run, before, replacements), replacements).changed;
        schemas.push({ name: schema.name, changes });
        return before === null ? 'there is none' : counted(changes, 'place changes', 'places change');
      },
      schema.name,
    );
    checks.push(result);
  }
  return { schemas, checks };
}

/** Writes each schema that changes, if it is still what was read, and reads it back. */
export async function writeSchemas(run: MigrationRun, replacements: readonly Replacement[]): Promise<readonly SchemaResults[]> {
  const results: SchemaResults[] = [];
  for (const schema of run.schemas) {
    if (run.interrupted) break;
    try {
      results.push(await writeSchema(run, schema, replacements));
    } catch (error) {
      run.fail({ kind: 'schema', id: schema.name }, error);
      results.push({ name: schema.name, changes: 0, written: false });
    }
  }
  return results;
}

async function writeSchema(run: MigrationRun, schema: MigrationSchema, replacements: readonly Replacement[]): Promise<SchemaResults> {
  const { name } = schema;
  const before = await reading(schema);
  if (before === null) return { name, changes: 0, written: false };
  const { schema: after, changed } = rewritten(run, before, replacements);
  if (changed === 0) return { name, changes: 0, written: false };
  // No server offers a conditional collMod: reading once more just before keeps the window as small as it gets.
  const now = await reading(schema);
  if (now === null || !run.engine.same(now, before)) throw failed(name, 'it was changed by another process meanwhile');
  try {
    await schema.write(after, before);
  } catch (cause) {
    throw failed(name, `it cannot be written${isOfServer(cause) ? ` (${cause.name})` : `: ${messageOf(cause)}`}`, cause);
  }
  const stored = await reading(schema);
  if (stored === null || !run.engine.same(stored, after)) {
    throw new CsfleError('MIGRATION_VERIFICATION_FAILED', `the ${name} is not what was written`, { details: { schema: name } });
  }
  return { name, changes: changed, written: true };
}

function rewritten(run: MigrationRun, schema: Document, replacements: readonly Replacement[]): { readonly schema: Document; readonly changed: number } {
  const namespaces = Object.keys(schema);
  // A map of namespaces (an application's schemaMap) is walked as one schema with a property per namespace.
  const isMap = namespaces.length > 0 && namespaces.every((name) => name.includes('.') && !name.startsWith('$'));
  const whole = isMap ? { properties: schema } : schema;
  const result = run.mode === 'decrypt' ? run.engine.stripSchema(whole) : run.engine.rewriteSchema(whole, replacements);
  return isMap ? { schema: result.schema.properties as Document, changed: result.changed } : result;
}

/** A schema of another shape would keep the old key ids, and count as one in which nothing is to change. */
function requireFollowed<T extends { readonly schema: Document; readonly changed: number }>(name: string, result: T, replacements: readonly Replacement[]): T {
  const { keyIds } = schemaKeys(result.schema);
  const left = replacements.find(({ from, to }) => keyIds.has(idText(from)) && (idText(from) !== idText(to) || result.changed === 0));
  if (left === undefined) return result;
  throw failed(name, `it names key ${idText(left.from)} where a JSON schema has no key id: give a JSON schema, or a map of namespaces to schemas`);
}

async function reading(schema: MigrationSchema): Promise<Document | null> {
  try {
    return await schema.read();
  } catch (cause) {
    if (CsfleError.is(cause)) throw cause;
    throw failed(schema.name, `it cannot be read: ${messageOf(cause)}`, cause);
  }
}

/** Errors of the driver quote what the server says, which may be values of a validator. */
function isOfServer(cause: unknown): cause is Error {
  return cause instanceof Error && /^(?:Mongo|BSON)/.test(cause.name);
}

function failed(name: string, reason: string, cause?: unknown): CsfleError {
  return new CsfleError('MIGRATION_SCHEMA_FAILED', `the ${name}: ${reason}`, { details: { schema: name }, cause });
}
