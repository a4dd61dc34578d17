/** What `csfle.clientEncryption()` and `csfle.keyVault()` work with: a connection, a key vault, providers. */

import { type BsonLibrary, ClientEncryption, CsfleError, driverKeyVaultStore, type KeyVaultStore, type TrustOptions } from '../index.js';
import { requireOptions } from './arguments.js';
import { resolveKmsProviders, type ShellKmsProviders } from './kms-providers.js';
import { type ProviderClient, providerClient } from './provider-client.js';
import { findMongo, hostsOf, isMongo, type ShellInstanceState, type ShellMongo, splitNamespace } from './shell.js';
import { shellBson } from './shell-bson.js';

/** Options of `csfle.clientEncryption()`, `csfle.keyVault()` and `csfle.status()`. */
export interface ShellEncryptionOptions extends TrustOptions {
  /** The connection: a Mongo or a Database of the shell. Default: that of `db`. */
  readonly client?: unknown;
  /** The key vault, `database.collection`. */
  readonly keyVaultNamespace?: string;
  /** The connection of the key vault. Default: `client`. */
  readonly keyVaultClient?: unknown;
  /** Master keys by provider; see `csfle.localKeyFile()` and `csfle.awsKms()`. */
  readonly kmsProviders?: ShellKmsProviders;
  /** How long an unwrapped data key is kept. Default: 60000. */
  readonly keyExpirationMS?: number;
  readonly maxCachedKeys?: number;
  readonly kmsConcurrency?: number | undefined;
  readonly kmsTimeoutMS?: number | undefined;
  readonly kmsRetries?: number | undefined;
}

// Options of `Mongo(uri, fleOptions)` that concern automatic encryption only: the shell's own ClientEncryption leaves
// them aside too, so that one set of options serves both.
const AUTOMATIC_ONLY: readonly string[] = ['schemaMap', 'encryptedFieldsMap', 'bypassAutoEncryption', 'bypassQueryAnalysis', 'explicitEncryptionOnly'];

/** What the shell takes; the library has further ones, which are not for the shell. */
const OPTION_NAMES: readonly (keyof ShellEncryptionOptions)[] = [
  'client',
  'keyVaultNamespace',
  'keyVaultClient',
  'kmsProviders',
  'trustedMasterKeys',
  'allowedEndpoints',
  'keyExpirationMS',
  'maxCachedKeys',
  'kmsConcurrency',
  'kmsTimeoutMS',
  'kmsRetries',
];

const TRUST_NAMES: readonly string[] = ['trustedMasterKeys', 'allowedEndpoints'];

/** A connection with its key vault, before any key was needed. */
export interface ShellKeyVaultPlace {
  readonly mongo: ShellMongo;
  readonly state: ShellInstanceState | undefined;
  readonly bson: BsonLibrary;
  readonly vaultMongo: ShellMongo;
  readonly vaultClient: ProviderClient;
  /** `database.collection`. */
  readonly namespace: string;
  readonly database: string;
  readonly collection: string;
  readonly store: KeyVaultStore;
}

/** A place with a library object that knows the master keys. */
export interface ShellSession extends ShellKeyVaultPlace {
  readonly encryption: ClientEncryption;
  /** As they were given: master keys are read anew where they are needed again. */
  readonly kmsProviders: ShellKmsProviders | undefined;
  readonly trust: TrustOptions;
  /** Limits of KMS calls, as they were given. */
  readonly kmsLimits: Pick<ShellEncryptionOptions, 'kmsConcurrency' | 'kmsTimeoutMS' | 'kmsRetries'>;
}

/**
 * Finds connection and key vault for `options`, which may also be a Mongo that was opened with such options.
 * Errors: `ARGUMENT_INVALID` without connection or key vault namespace.
 */
export function findKeyVault(options: ShellEncryptionOptions): ShellKeyVaultPlace {
  const mongo = findMongo(options.client, options);
  const vaultMongo = options.keyVaultClient === undefined ? mongo : findMongo(options.keyVaultClient, undefined);
  const namespace = options.keyVaultNamespace;
  if (namespace === undefined) {
    throw new CsfleError('ARGUMENT_INVALID', 'FLE options must be passed to the Mongo object or to csfle: keyVaultNamespace is missing', {
      details: { argument: 'keyVaultNamespace' },
    });
  }
  const names = typeof namespace === 'string' ? splitNamespace(namespace) : undefined;
  if (names === undefined) {
    throw new CsfleError('ARGUMENT_INVALID', `Invalid keyVaultNamespace '${String(namespace)}'`, { details: { argument: 'keyVaultNamespace' } });
  }
  const bson = shellBson(vaultMongo._serviceProvider.bsonLibrary);
  const vaultClient = providerClient(vaultMongo);
  const store = driverKeyVaultStore(vaultClient, namespace);
  return { mongo, state: mongo._instanceState, bson, vaultMongo, vaultClient, namespace, ...names, store };
}

/** Which key vault a plan or a report is about: its name and the hosts of its server. */
export function vaultPlace({ namespace, vaultMongo }: Pick<ShellKeyVaultPlace, 'namespace' | 'vaultMongo'>): string {
  return `${namespace} at ${hostsOf(vaultMongo).replace(/^mongodb(?:\+srv)?:\/\//, '')}`;
}

/** Completes options with those that their connection was opened with. `options` may be that connection itself. */
export function withOptionsOfMongo(options: unknown): ShellEncryptionOptions {
  if (typeof options !== 'object' || options === null) {
    throw new CsfleError(
      'ARGUMENT_INVALID',
      'expected options such as { keyVaultNamespace: "encryption.__keyVault", kmsProviders: { local: csfle.localKeyFile("master-key.bin") } }',
      {
        details: { argument: 'options' },
      },
    );
  }
  const given: ShellEncryptionOptions = isMongo(options) ? { client: options } : options;
  const client = findMongo(given.client, options);
  refuseMisspeltTrust(client._fleOptions ?? {});
  const { keyVaultNamespace, kmsProviders, keyVaultClient, trustedMasterKeys, allowedEndpoints } = (client._fleOptions ?? {}) as ShellEncryptionOptions;
  const known = { keyVaultNamespace, kmsProviders, keyVaultClient: openedVaultClient(client, keyVaultClient, given), trustedMasterKeys, allowedEndpoints };
  const opened = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
  const own = Object.fromEntries(Object.entries(given).filter(([name, value]) => value !== undefined && !AUTOMATIC_ONLY.includes(name)));
  return { ...opened, ...own, client };
}

/**
 * The connection of the key vault that a Mongo was opened with. The shell keeps the driver's client of it, and with automatic decryption
 * the driver puts one of its own there: both stand for this Mongo, as long as they lead to the same servers.
 * Errors: `ARGUMENT_INVALID` for a client of other servers, which the shell has no Mongo for.
 */
function openedVaultClient(mongo: ShellMongo, opened: unknown, given: ShellEncryptionOptions): unknown {
  const hosts = driverHosts(opened);
  if (hosts === undefined || given.keyVaultClient !== undefined) return opened;
  if (hosts === driverHosts(mongo._serviceProvider.getRawClient?.())) return undefined;
  throw new CsfleError('ARGUMENT_INVALID', `this Mongo has its key vault at ${hosts}: pass keyVaultClient: Mongo('mongodb://${hosts}/') too`, {
    details: { argument: 'keyVaultClient' },
  });
}

/** The servers of a driver's client; nothing for what is none. */
function driverHosts(client: unknown): string | undefined {
  const hosts = (client as { readonly options?: { readonly hosts?: unknown } } | null | undefined)?.options?.hosts;
  return Array.isArray(hosts) ? hosts.map(String).sort().join(',') : undefined;
}

/** Options of a Mongo are taken by name; a restriction that is misspelt there must not be passed over. */
function refuseMisspeltTrust(options: object): void {
  const name = Object.keys(options).find((one) => /trust|allow.*endpoint|master.?key/i.test(one) && !TRUST_NAMES.includes(one));
  if (name !== undefined)
    throw new CsfleError(
      'OPTION_INVALID',
      `the options of this Mongo have ${JSON.stringify(name)}, which is no option; there are ${TRUST_NAMES.join(' and ')}`,
      {
        details: { option: name },
      },
    );
}

/**
 * Opens a session for `method`: the master keys are read and handed to the library.
 * Errors: those of `findKeyVault` and of the providers; `OPTION_INVALID` for an option that is not known.
 */
export function openSession(options: unknown, method = 'csfle.clientEncryption'): ShellSession {
  const complete = withOptionsOfMongo(options);
  requireOptions(method, complete, OPTION_NAMES);
  const place = findKeyVault(complete);
  const { client: _client, keyVaultClient: _vaultClient, keyVaultNamespace: _namespace, kmsProviders, ...limits } = complete;
  const providers = resolveKmsProviders(kmsProviders, place.state);
  try {
    const encryption = new ClientEncryption(null, { ...limits, keyVaultStore: place.store, kmsProviders: providers.kmsProviders, bson: place.bson });
    const { trustedMasterKeys, allowedEndpoints, kmsConcurrency, kmsTimeoutMS, kmsRetries } = complete;
    return { ...place, encryption, kmsProviders, trust: { trustedMasterKeys, allowedEndpoints }, kmsLimits: { kmsConcurrency, kmsTimeoutMS, kmsRetries } };
  } finally {
    providers.wipe();
  }
}
