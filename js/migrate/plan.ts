import { throwIfAborted } from '../abort.js';
import { backupKmsCalls } from './backup.js';
import type { BsonBinary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import type { AssessedKey } from '../wasm.js';
import { asCollectionError, type Census, takeCensus } from './census.js';
import { check, checkNewMasterKey, checkVault, type Fingerprints, keysUnwrapCheck, unwrapKeys } from './checks.js';
import { counted } from './counted.js';
import { idText, type Replacement } from './engine.js';
import { isOwnName, keyMarker, replacedKeyId } from './markers.js';
import type { MigrationCheck, MigrationPlan, PlannedCollection, PlannedKey } from './report.js';
import { altNamesOf, type MigrationRun } from './run-state.js';
import { planSchemas } from './schema.js';

/** A plan, with what executing it needs and reports do not show. */
export interface PlanState {
  readonly plan: MigrationPlan;
  /** The key documents that a backup holds: all that were looked at. */
  readonly documents: readonly Document[];
  /** The key documents to migrate, those that did not unwrap included. */
  readonly keys: readonly Document[];
  readonly fingerprints: Fingerprints;
  readonly faults: ReadonlyMap<string, CsfleError>;
  /** Replacements of earlier runs (`reencrypt`), by the id of the old key. */
  readonly replacements: ReadonlyMap<string, BsonBinary>;
}

/** Looks at everything and writes nothing. */
export async function makePlan(run: MigrationRun): Promise<PlanState> {
  const checks: MigrationCheck[] = [];
  const documents: Document[] = [];
  checks.push(
    await check('vault-readable', true, async () => {
      documents.push(...(await run.engine.find(vaultFilter(run), run.signal)));
      return counted(documents.length, 'key document');
    }),
  );
  checks.push(...(await checkVault(run)));

  const censuses = new Map<string, Census>();
  const samples: Uint8Array[][] = [];
  for (const collection of run.collections) {
    const sample: Uint8Array[] = [];
    samples.push(sample);
    const { namespace } = collection;
    checks.push(
      await check(
        'collection-readable',
        true,
        async () => {
          const census = await takeCensus(run, collection, 'census', sample).catch((error: unknown) => {
            throw asCollectionError(namespace, error);
          });
          censuses.set(namespace, census);
          return `${counted(census.documents, 'document')}, ${counted(census.values, 'encrypted value')}`;
        },
        namespace,
      ),
    );
    checks.push(
      await check(
        'collection-writable',
        true,
        async () => {
          const facts = (await collection.facts?.()) ?? { writable: true };
          if (!facts.writable)
            throw new CsfleError('MIGRATION_COLLECTION_FAILED', facts.reason ?? 'its documents cannot be updated', {
              details: { namespace },
            });
          return 'updates are allowed';
        },
        namespace,
      ),
    );
  }

  const assessed = assessKeys(run, documents, censuses);
  checks.push(keyDocumentsCheck(assessed));
  if (run.mode === 'reencrypt') checks.push(keysUnderTargetCheck(assessed));
  const byId = new Map(documents.map((document) => [idText(document._id), document]));
  const keys = assessed
    .filter(({ disposition }) => disposition === 'migrate')
    .map(({ id }) => byId.get(id))
    .filter((key) => key !== undefined);
  const { fingerprints, faults } = await unwrapKeys(run, keys);
  checks.push(keysUnwrapCheck(keys, faults));
  if (run.mode !== 'decrypt') checks.push(await checkNewMasterKey(run));

  for (const [index, { namespace }] of run.collections.entries()) {
    const sample = samples[index] as Uint8Array[];
    if (sample.length === 0) continue;
    checks.push(
      await check(
        'documents-decryptable',
        false,
        async () => {
          await run.engine.decrypt(sample, run.signal);
          return `a sample of ${counted(sample.length, 'document')} decrypts`;
        },
        namespace,
      ),
    );
  }

  const replacements = run.mode === 'reencrypt' ? await findReplacements(run, keys, faults) : new Map<string, BsonBinary>();
  const planned = await planSchemas(run, plannedReplacements(keys, replacements));
  checks.push(...planned.checks);
  if (run.mode === 'decrypt') checks.push(await confirmationCheck(run));

  // Half a plan would look like a whole one.
  throwIfAborted(run.signal);
  const wanted = new Set(keys.map((key) => idText(key._id)));
  const collections = [...censuses].map(([namespace, census]) => census.planned(namespace, wantedValues(run, wanted)));
  const count = (disposition: AssessedKey['disposition']): number =>
    assessed.filter((key) => key.disposition === disposition).length;
  const plan: MigrationPlan = {
    executable: checks.every(({ ok, required }) => ok || !required),
    checks,
    keys: assessed.map((key) => plannedKey(key, replacements, faults)),
    counts: { migrate: count('migrate'), done: count('done'), other: count('other'), malformed: count('malformed') },
    collections,
    schemas: planned.schemas,
    kmsCalls: estimateKmsCalls(run, keys, faults, replacements, collections) + (keys.length === 0 ? 0 : backupKmsCalls(run.options.backup)),
  };
  return { plan, documents, keys, fingerprints, faults, replacements };
}

function vaultFilter(run: MigrationRun): Document {
  const filters: Document[] = run.options.keyFilter === undefined ? [] : [run.options.keyFilter];
  // Without a new master key there is nothing to assess against: the fields of `from` are a filter like any other.
  if (run.mode === 'decrypt' && run.from !== null) {
    for (const [field, value] of Object.entries(run.from)) filters.push({ [`masterKey.${field}`]: value });
  }
  const only = filters[0];
  return filters.length > 1 ? { $and: filters } : (only ?? {});
}

function assessKeys(
  run: MigrationRun,
  documents: readonly Document[],
  censuses: ReadonlyMap<string, Census>,
): readonly AssessedKey[] {
  if (run.mode !== 'decrypt') return run.engine.assess(documents, run.from as Document, run.target).keys;
  const used = new Set([...censuses.values()].flatMap((census) => census.keyIds));
  return documents.map((document) => {
    const id = idText(document._id);
    const provider = String((document.masterKey as Document | undefined)?.provider);
    return { id, keyAltNames: altNamesOf(document), provider, disposition: used.has(id) ? 'migrate' : 'other' };
  });
}

/** Which values a migration replaces: those of the keys to migrate, or in the mode `decrypt` without limits every one. */
export function wantedValues(run: MigrationRun, wanted: ReadonlySet<string>): (keyId: string) => boolean {
  return leavesEveryKey(run) ? () => true : (keyId) => wanted.has(keyId);
}

/** Whether the mode `decrypt` was given no limit on keys, so that a value of a lost key is a named failure. */
export function leavesEveryKey(run: MigrationRun): boolean {
  return run.mode === 'decrypt' && run.from === null && run.options.keyFilter === undefined;
}

function keyDocumentsCheck(assessed: readonly AssessedKey[]): MigrationCheck {
  const bad = assessed.filter(({ disposition }) => disposition === 'malformed');
  const first = bad[0];
  const common = { name: 'key-documents', required: false } as const;
  if (first === undefined) return { ...common, ok: true, detail: 'every key document is well-formed' };
  const code = (first.code ?? 'KEY_VAULT_DOCUMENT_MALFORMED') as NonNullable<MigrationCheck['code']>;
  return {
    ...common,
    ok: false,
    detail: `${counted(bad.length, 'key document is', 'key documents are')} malformed, first ${first.id}: ${first.message ?? ''}`,
    code,
  };
}

/**
 * Whether keys count as done that no re-encryption made. After a leak of the old master key they are as exposed as before:
 * wrapping a key anew does not change it. Whether that matters only the caller knows, so it keeps nothing from running.
 */
function keysUnderTargetCheck(assessed: readonly AssessedKey[]): MigrationCheck {
  const done = assessed.filter(({ disposition }) => disposition === 'done');
  const kept = done.filter(({ keyAltNames }) => keyAltNames.every(isOwnName));
  const first = kept[0];
  const common = { name: 'keys-under-target', required: false } as const;
  if (first === undefined) {
    const detail = done.length === 0 ? 'no key is under the new master key yet' : `${counted(done.length, 'key')}, made by a re-encryption`;
    return { ...common, ok: true, detail };
  }
  const which = [first.id, ...first.keyAltNames].join(' ');
  return {
    ...common,
    ok: false,
    detail:
      `${counted(kept.length, 'key is', 'keys are')} under the new master key already, not known to be made by a re-encryption, and will keep ` +
      `the data key (first ${which}); if the master key they were under before leaked, undo the rewrap first (--undo, or from and ` +
      'to exchanged) or name another master key as the target',
  };
}

function confirmationCheck(run: MigrationRun): Promise<MigrationCheck> {
  return check('plaintext-confirmed', true, async () => {
    if (run.options.confirmPlaintext === true) return 'documents may become plaintext';
    throw new CsfleError(
      'MIGRATION_CONFIRMATION_MISSING',
      'the mode decrypt stores documents in the clear: confirmPlaintext is not set',
    );
  });
}

/** Replacements of earlier runs by the id of the old key; one that is not under the new master key is a fault of that key. */
async function findReplacements(
  run: MigrationRun,
  keys: readonly Document[],
  faults: Map<string, CsfleError>,
): Promise<Map<string, BsonBinary>> {
  const markers = keys.map((key) => keyMarker(idText(key._id)));
  if (markers.length === 0) return new Map();
  const found = await run.engine.find({ keyAltNames: { $in: markers } }, run.signal);
  const wanted = new Set(keys.map((key) => idText(key._id)));
  const assessed = run.engine.assess(found, run.from as Document, run.target).keys;
  const underTarget = new Set(assessed.filter(({ disposition }) => disposition === 'done').map(({ id }) => id));
  const replacements = new Map<string, BsonBinary>();
  for (const document of found) {
    for (const name of altNamesOf(document)) {
      const old = replacedKeyId(name);
      if (old === undefined || !wanted.has(old)) continue;
      const id = idText(document._id);
      replacements.set(old, document._id as BsonBinary);
      // Its marker leaves no room for a second replacement, and to use it would not do what was asked for.
      if (!underTarget.has(id) && !faults.has(old))
        faults.set(
          old,
          new CsfleError(
            'MIGRATION_TARGET_INVALID',
            `key ${id} replaces it already and is not under the new master key: name the master key of that one as the target, or wrap it anew first`,
            { details: { keyId: id } },
          ),
        );
    }
  }
  return replacements;
}

// The keys that replace others may not exist yet: any other id shows how many places of a schema change.
function plannedReplacements(keys: readonly Document[], replacements: ReadonlyMap<string, BsonBinary>): readonly Replacement[] {
  return keys.map((key) => {
    const from = key._id as BsonBinary;
    return { from, to: replacements.get(idText(from)) ?? from };
  });
}

function plannedKey(
  key: AssessedKey,
  replacements: ReadonlyMap<string, BsonBinary>,
  faults: ReadonlyMap<string, CsfleError>,
): PlannedKey {
  const { id, keyAltNames, provider, disposition } = key;
  const replacement = replacements.get(id);
  const fault = faults.get(id);
  const code = (fault?.code ?? key.code) as PlannedKey['code'] | undefined;
  const message = fault?.message ?? key.message;
  return {
    id,
    keyAltNames,
    provider,
    disposition,
    ...(replacement === undefined ? {} : { replacedBy: idText(replacement) }),
    ...(code === undefined ? {} : { code }),
    ...(message === undefined ? {} : { message }),
  };
}

/** Counts what executing will ask of a KMS; a local master key costs nothing. */
function estimateKmsCalls(
  run: MigrationRun,
  keys: readonly Document[],
  faults: ReadonlyMap<string, CsfleError>,
  replacements: ReadonlyMap<string, BsonBinary>,
  collections: readonly PlannedCollection[],
): number {
  const isRemote = (provider: unknown): boolean => typeof provider === 'string' && provider.split(':', 1)[0] !== 'local';
  const remoteKeys = keys.filter((key) => isRemote((key.masterKey as Document).provider));
  const opened = (key: Document): boolean => !faults.has(idText(key._id));
  const inUse = new Set(collections.flatMap(({ byKey }) => byKey.map(({ keyId }) => keyId)));
  // Once to look, and once more to work with each key that opened.
  const old =
    remoteKeys.length + remoteKeys.filter((key) => opened(key) && (run.mode === 'rewrap' || inUse.has(idText(key._id)))).length;
  if (!isRemote(run.to?.provider)) return old;
  const probe = 2;
  const good = keys.filter(opened);
  // Wrap, unwrap what was wrapped, and unwrap what was stored.
  if (run.mode === 'rewrap') return old + probe + 3 * good.length;
  const made = good.filter((key) => !replacements.has(idText(key._id)));
  const used = good.filter((key) => inUse.has(idText(key._id)));
  // Wrap each new key; unwrap every replacement when it is there and at the end, and twice for the documents under it: to
  // encrypt them, and independently to check what was encrypted.
  return old + probe + made.length + 2 * good.length + 2 * used.length;
}
