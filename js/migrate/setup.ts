import { argumentError, CsfleError, kindOf } from '../errors.js';
import { driverKeyVaultStore, type KeyVaultStore, type MasterKeyDocument } from '../key-vault.js';
import { refuseUnknownOptions, requireBooleans, requireFunctions, requireSignal, wholeNumber } from '../session.js';
import { TRUST_OPTION_NAMES } from '../trust.js';
import { checkedCollection } from './checked-collection.js';
import type { MigrationCollection } from './collection.js';
import { type DriverMigrationCollection, driverMigrationCollection } from './driver-collection.js';
import { MigrationEngine } from './engine.js';
import { requireRetirement } from '../key-vault/retirement.js';
import { deploymentsOf } from './evidence/deployments.js';
import { checkEvidenceOptions, skipOf } from './evidence/options.js';
import { keyChoiceOf } from './key-choice.js';
import { LARGEST_BATCH } from './options.js';
import type { MigrateOptions, MigrationCollectionInput, MigrationMode, MigrationSchema, NamespacedClient } from './options.js';
import { MigrationRun } from './run-state.js';

const MODES: readonly MigrationMode[] = ['rewrap', 'reencrypt', 'decrypt'];
const OPTION_NAMES: readonly (keyof MigrateOptions)[] = [
  'keyVault',
  'kmsProviders',
  'from',
  'to',
  'mode',
  'execute',
  'createdBefore',
  'keyIds',
  'all',
  'keyFilter',
  'allowEmpty',
  'collections',
  'schemas',
  'confirmPlaintext',
  'dataClients',
  'otherCollections',
  'evidence',
  'deleteOldKeys',
  'onBackup',
  'backup',
  'batchSize',
  'kmsConcurrency',
  'kmsTimeoutMS',
  'kmsRetries',
  'signal',
  'onProgress',
  'bson',
  ...TRUST_OPTION_NAMES,
];

/**
 * Settles the options of a run.
 * Errors: `ARGUMENT_INVALID` and `OPTION_INVALID` for what is wrong in itself, `MIGRATION_TARGET_INVALID` for a source or
 * target that does not fit the mode or the providers, `MASTER_KEY_INVALID` and its kin for a master key that is none.
 */
export function setUp(options: MigrateOptions): MigrationRun {
  if (typeof options !== 'object' || options === null) throw argumentError(`migrate() takes an object of options, found ${kindOf(options)}`);
  if ('witnesses' in options)
    throw new CsfleError('OPTION_INVALID', 'the option `witnesses` is called `otherCollections` now', { details: { option: 'witnesses' } });
  refuseUnknownOptions(options, OPTION_NAMES, 'migrate()');
  if (typeof options.kmsProviders !== 'object' || options.kmsProviders === null)
    throw argumentError(`kmsProviders must be an object, found ${kindOf(options.kmsProviders)}`, { argument: 'kmsProviders' });
  requireFunctions(options, ['onProgress', 'onBackup']);
  checkEvidenceOptions(options);
  requireSignal(options.signal);
  requireBooleans(options, ['execute', 'all', 'allowEmpty', 'confirmPlaintext', 'deleteOldKeys']);
  if (options.batchSize !== undefined) wholeNumber('batchSize', options.batchSize, 1, LARGEST_BATCH);
  const mode = options.mode ?? 'rewrap';
  if (!MODES.includes(mode)) throw new CsfleError('OPTION_INVALID', `mode must be one of ${MODES.join(', ')}`, { details: { option: 'mode' } });
  refuseOptionsOfOtherModes(mode, options);
  requireBackup(options.backup);
  const { kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, trustedMasterKeys, allowedEndpoints } = options;
  const engine = new MigrationEngine({ kmsProviders, kmsConcurrency, kmsTimeoutMS, kmsRetries, bson, trustedMasterKeys, allowedEndpoints }, () =>
    openKeyVault(options.keyVault),
  );
  try {
    const { from, to } = endpoints(mode, options, engine);
    engine.pin(from, to, options.trustedMasterKeys !== undefined);
    const collections = (options.collections ?? []).map(openCollection);
    const otherCollections = (options.otherCollections ?? []).map(openCollection);
    const schemas = [...collections.flatMap(validatorOf), ...(options.schemas ?? [])];
    if (mode === 'reencrypt') requireSearchable(options, [...collections, ...otherCollections]);
    if (options.deleteOldKeys === true) requireRetirement(engine.store);
    return new MigrationRun(mode, options, engine, from, to, collections, otherCollections, schemas, mode === 'reencrypt' ? keyChoiceOf(options) : null);
  } catch (error) {
    engine.close();
    throw error;
  }
}

/** A re-encryption looks for other uses of its keys. Where nothing can list them, the caller has to say that there are none. */
function requireSearchable({ keyVault, dataClients, evidence }: MigrateOptions, collections: readonly MigrationCollection[]): void {
  if (deploymentsOf(keyVault, collections, dataClients).length > 0 || skipOf(evidence)('*')) return;
  throw new CsfleError(
    'OPTION_INVALID',
    'no client is known that could list the namespaces in which these keys may be in use: name one in dataClients, or say that ' +
      "no other namespace needs a search: evidence: { skipNamespaces: ['*'], reason: '...' }, with otherCollections for those to search",
    { details: { option: 'evidence' } },
  );
}

/** A key vault, given as such or as a collection of a `MongoClient`. */
export function openKeyVault(input: KeyVaultStore | NamespacedClient): KeyVaultStore {
  if (typeof input === 'object' && input !== null) {
    if ('find' in input && typeof input.find === 'function') return input;
    if ('client' in input && 'namespace' in input) return driverKeyVaultStore(input.client, input.namespace);
  }
  throw argumentError(`keyVault must be a key vault store or { client, namespace }, found ${kindOf(input)}`, {
    argument: 'keyVault',
  });
}

/** A collection to read, given as such or as a collection of a `MongoClient`. */
export function openCollection(input: MigrationCollectionInput): MigrationCollection {
  if (typeof input === 'object' && input !== null) {
    if ('scan' in input && typeof input.scan === 'function') return checkedCollection(input);
    if ('client' in input && typeof input.namespace === 'string') return driverMigrationCollection(input as DriverMigrationCollection);
  }
  throw argumentError(`a collection must be { client, namespace } or have the methods of MigrationCollection, found ${kindOf(input)}`, {
    argument: 'collections',
  });
}

function validatorOf(collection: MigrationCollection): MigrationSchema[] {
  const { readSchema, writeSchema } = collection;
  if (readSchema === undefined || writeSchema === undefined) return [];
  return [
    {
      name: `validator of ${collection.namespace}`,
      read: () => readSchema.call(collection),
      write: (rewritten) => writeSchema.call(collection, rewritten),
    },
  ];
}

function requireBackup(backup: MigrateOptions['backup']): void {
  if (backup === undefined) return;
  const { key, write, read = write } = (backup ?? {}) as Partial<NonNullable<MigrateOptions['backup']>>;
  if (typeof key === 'object' && key !== null && typeof write === 'function' && typeof read === 'function') return;
  throw argumentError(`backup must be { key, write, read? }, found ${kindOf(backup)}`, { argument: 'backup' });
}

function refuseOptionsOfOtherModes(mode: MigrationMode, options: MigrateOptions): void {
  const meantFor: readonly (readonly [keyof MigrateOptions, readonly MigrationMode[]])[] = [
    ['collections', ['reencrypt', 'decrypt']],
    ['schemas', ['reencrypt', 'decrypt']],
    ['dataClients', ['reencrypt']],
    ['otherCollections', ['rewrap', 'reencrypt']],
    ['evidence', ['reencrypt']],
    ['deleteOldKeys', ['reencrypt']],
    ['createdBefore', ['reencrypt']],
    ['keyIds', ['reencrypt']],
    ['all', ['reencrypt']],
    ['confirmPlaintext', ['decrypt']],
    ['to', ['rewrap', 'reencrypt']],
  ];
  for (const [name, modes] of meantFor) {
    const value = options[name];
    const given = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false;
    if (given && !modes.includes(mode)) {
      throw new CsfleError('OPTION_INVALID', `${name} is of the mode ${modes.join(' or ')}, not of ${mode}`, {
        details: { option: name },
      });
    }
  }
  if (mode !== 'rewrap' && (options.collections ?? []).length === 0) {
    throw new CsfleError('OPTION_INVALID', `the mode ${mode} needs collections: name every one that holds values under these keys`, {
      details: { option: 'collections' },
    });
  }
}

function endpoints(mode: MigrationMode, options: MigrateOptions, engine: MigrationEngine): { from: MasterKeyDocument | null; to: MasterKeyDocument | null } {
  if (mode === 'decrypt') return { from: options.from === undefined ? null : configured('from', options.from, options), to: null };
  // A re-encryption goes by the choice of keys: a source that nobody named would leave out whatever was wrapped anew.
  const source = options.from ?? (mode === 'rewrap' ? { provider: 'local' } : undefined);
  const from = source === undefined ? null : configured('from', source, options);
  if (options.to === undefined) throw targetInvalid('to', `the mode ${mode} needs the new master key in \`to\``);
  const to = engine.parseMasterKey(configured('to', options.to, options));
  if (mode === 'rewrap' && from !== null && engine.same(from, to)) throw targetInvalid('to', '`from` and `to` are the same master key: nothing would change');
  return { from, to };
}

function configured(name: 'from' | 'to', masterKey: MasterKeyDocument, options: MigrateOptions): MasterKeyDocument {
  if (typeof masterKey !== 'object' || masterKey === null || typeof masterKey.provider !== 'string') {
    throw targetInvalid(name, `\`${name}\` must be a master key with its provider, found ${kindOf(masterKey)}`);
  }
  const { provider } = masterKey;
  if ((options.kmsProviders as Readonly<Record<string, unknown>> | undefined)?.[provider] === undefined) {
    throw targetInvalid(name, `\`${name}\` is of the provider ${JSON.stringify(provider)}, which kmsProviders does not have`);
  }
  return masterKey;
}

function targetInvalid(argument: string, message: string): CsfleError {
  return new CsfleError('MIGRATION_TARGET_INVALID', message, { details: { argument } });
}
