import { throwIfAborted } from '../abort.js';
import { backupKmsCalls, needsBackup } from './backup.js';
import type { BsonBinary, Document } from '../bson.js';
import { CsfleError } from '../errors.js';
import type { AssessedKey } from '../wasm.js';
import { asCollectionError, type Census, takeCensus } from './census.js';
import { check, checkNewMasterKey, checkVault, type Fingerprints, keysProvenCheck, keysUnwrapCheck, unknown, unwrapKeys } from './checks.js';
import { counted } from './counted.js';
import { idText, type Replacement } from './engine.js';
import { modeOf } from './modes/index.js';
import { type ChosenKey, emptyVaultCheck, type Look, readVault, toMigrate, valuesNotChosen } from './modes/mode.js';
import { findReplacedBefore, findReplacements } from './modes/reencrypt.js';
import { ValueSamples } from './proof.js';
import { searchForProof } from './proof-collections.js';
import type { MigrationCheck, MigrationPlan, PlannedCollection, PlannedKey } from './report.js';
import type { MigrationRun } from './run-state.js';
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
  /** Whether values under a key are asked to be replaced. */
  readonly isWanted: (keyId: string) => boolean;
  /** Values under the keys that were met. */
  readonly values: ValueSamples;
}

/** Looks at everything and writes nothing. */
export async function makePlan(run: MigrationRun): Promise<PlanState> {
  const checks: MigrationCheck[] = [];
  const documents: Document[] = [];
  let matched: ReadonlySet<string> | undefined;
  checks.push(
    await check('vault-readable', true, async () => {
      const vault = await readVault(run);
      documents.push(...vault.documents);
      run.replacedBefore = await findReplacedBefore(run, vault.documents);
      matched = vault.matched;
      return counted(documents.length, 'key document');
    }),
  );
  checks.push(...(await checkVault(run, documents)));

  const censuses = new Map<string, Census>();
  const samples: Uint8Array[][] = [];
  const values = new ValueSamples();
  for (const collection of run.collections) {
    const sample: Uint8Array[] = [];
    samples.push(sample);
    const { namespace } = collection;
    checks.push(
      await check(
        'collection-readable',
        true,
        async () => {
          const census = await takeCensus(run, collection, 'census', sample, values).catch((error: unknown) => {
            throw asCollectionError(namespace, error);
          });
          censuses.set(namespace, census);
          const unread = census.unreadable === 0 ? '' : `; ${counted(census.unreadable, 'document nests', 'documents nest')} too deeply to be looked through`;
          return `${counted(census.documents, 'document')}, ${counted(census.values, 'encrypted value')}${unread}`;
        },
        namespace,
      ),
    );
    checks.push(
      await check(
        'collection-writable',
        true,
        async () => {
          const facts = await collection.facts?.();
          if (facts === undefined) return unknown('this collection cannot tell; the first write will');
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

  const mode = modeOf(run.mode);
  const look: Look = { documents, censuses: [...censuses.values()], matched };
  const assessed = mode.choose(run, look);
  checks.push(keyDocumentsCheck(assessed));
  const isReadable = checks.every(({ name, ok }) => ok || name !== 'vault-readable');
  // Of a vault that was not read nothing can be said.
  if (isReadable) checks.push(...(documents.length === 0 ? [emptyVaultCheck(run)] : mode.checks(run, look, assessed)));
  const keys = toMigrate(documents, assessed);
  const searched = await searchForProof(run, keys, values);
  const { fingerprints, faults, proven } = await unwrapKeys(run, keys, values);
  checks.push(keysUnwrapCheck(keys, faults));
  if (searched !== undefined) checks.push(keysProvenCheck(keys, proven, searched, run.options.otherCollections !== undefined));
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
  const isWanted = mode.wantsValues(run, assessed);
  const collections = [...censuses].map(([namespace, census]) => census.planned(namespace, isWanted));
  const count = (disposition: AssessedKey['disposition']): number => assessed.filter((key) => key.disposition === disposition).length;
  const plan: MigrationPlan = {
    executable: checks.every(({ ok, required }) => ok || !required),
    checks,
    keys: assessed.map((key) => plannedKey(key, replacements, faults)),
    counts: { migrate: count('migrate'), done: count('done'), other: count('other'), malformed: count('malformed') },
    collections,
    notChosen: valuesNotChosen(look.censuses, assessed, isWanted),
    schemas: planned.schemas,
    kmsCalls:
      estimateKmsCalls(run, keys, faults, replacements, collections) +
      doneToOpen(run, assessed) +
      (needsBackup(run, keys, documents, planned.schemas) ? backupKmsCalls(run.options.backup) : 0),
  };
  return { plan, documents, keys, fingerprints, faults, replacements, isWanted, values };
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

function confirmationCheck(run: MigrationRun): Promise<MigrationCheck> {
  return check('plaintext-confirmed', true, async () => {
    if (run.options.confirmPlaintext === true) return 'documents may become plaintext';
    throw new CsfleError('MIGRATION_CONFIRMATION_MISSING', 'the mode decrypt stores documents in the clear: confirmPlaintext is not set');
  });
}

// The keys that replace others may not exist yet: any other id shows how many places of a schema change.
function plannedReplacements(keys: readonly Document[], replacements: ReadonlyMap<string, BsonBinary>): readonly Replacement[] {
  return keys.map((key) => {
    const from = key._id as BsonBinary;
    return { from, to: replacements.get(idText(from)) ?? from };
  });
}

function plannedKey(key: ChosenKey, replacements: ReadonlyMap<string, BsonBinary>, faults: ReadonlyMap<string, CsfleError>): PlannedKey {
  const { id, keyAltNames, provider, disposition, reason } = key;
  const replacement = replacements.get(id);
  const fault = faults.get(id);
  const code = (fault?.code ?? key.code) as PlannedKey['code'] | undefined;
  const message = fault?.message ?? key.message;
  return {
    id,
    keyAltNames,
    provider,
    disposition,
    reason,
    ...(replacement === undefined ? {} : { replacedBy: idText(replacement) }),
    ...(code === undefined ? {} : { code }),
    ...(message === undefined ? {} : { message }),
  };
}

/** A rewrap unwraps each key that is under the target already, once. */
function doneToOpen({ mode, to }: MigrationRun, assessed: readonly ChosenKey[]): number {
  if (mode !== 'rewrap' || to === null || to.provider.split(':', 1)[0] === 'local') return 0;
  return assessed.filter(({ disposition }) => disposition === 'done').length;
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
  const old = remoteKeys.length + remoteKeys.filter((key) => opened(key) && (run.mode === 'rewrap' || inUse.has(idText(key._id)))).length;
  if (!isRemote(run.to?.provider)) return old;
  const probe = 2;
  const good = keys.filter(opened);
  // Wrap, unwrap what was wrapped, and unwrap what was stored.
  if (run.mode === 'rewrap') return old + probe + 3 * good.length;
  const made = good.filter((key) => !replacements.has(idText(key._id)));
  const used = good.filter((key) => inUse.has(idText(key._id)));
  // Wrap each new key and unwrap its wrapping; unwrap every replacement when it is there and at the end, and once more to
  // check independently what was encrypted.
  return old + probe + 2 * made.length + 2 * good.length + used.length;
}
