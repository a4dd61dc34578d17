import { ClientEncryption, type KeyDocument, type MasterKeyDocument, type ProviderName } from '../index.js';
import { type Connection, connect, connectionString, vaultPlace } from './connection.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { type KnownMasterKeyFlags, requireKnownMasterKey } from './known-master-key.js';
import type { LocalKeyFiles } from './key-file.js';
import type { Output } from './output.js';
import { newMasterKey } from './master-key.js';
import { providersFor, type ProviderSet } from './providers.js';
import { type TrustFlags, trustOf } from './trust-options.js';

/** What every `csfle keys` command takes. */
export interface KeysFlags extends TrustFlags {
  readonly uri?: string;
  readonly keyVault: string;
  readonly localKeyFile?: LocalKeyFiles;
  readonly kmsModule?: string;
  readonly json: boolean;
}

/** Options that name a new master key. */
export interface NewMasterKeyFlags extends KeysFlags {
  readonly to?: string;
  readonly keyArn?: string;
  readonly region?: string;
  readonly endpoint?: string;
  readonly toMasterKey?: string;
}

/** Opens the vault, runs `work`, and closes and wipes whatever happens. `complete` adds the providers that its keys need. */
export async function withVault<T>(
  flags: KeysFlags,
  output: Output,
  providers: ProviderSet | undefined,
  work: (vault: ClientEncryption, connection: Connection) => Promise<T>,
  complete?: (connection: Connection) => Promise<void>,
): Promise<T> {
  let connection: Connection | undefined;
  let vault: ClientEncryption | undefined;
  try {
    connection = await connect(connectionString(flags.uri, output), output);
    await complete?.(connection);
    vault = new ClientEncryption(connection.client, {
      keyVaultNamespace: flags.keyVault,
      kmsProviders: providers?.kmsProviders ?? {},
      ...trustOf(flags, (flags as NewMasterKeyFlags).endpoint),
      bson: connection.bson,
    });
    return await work(vault, connection);
  } finally {
    vault?.close();
    providers?.wipe();
    await connection?.client.close();
  }
}

/** `csfle keys show <key>` */
export function showKey(name: string, flags: KeysFlags, output: Output): Promise<number> {
  return withVault(flags, output, undefined, async (vault, connection) => {
    const key = await findKey(vault, name, connection);
    output.document(printableKey(key));
    const { id, keyAltNames, masterKey, creationDate, updateDate, status, wrappedBytes } = printableKey(key);
    const rows = [
      ['data key', id],
      ['alternate names', keyAltNames.join(', ')],
      ['provider', masterKey.provider],
      ...Object.entries(masterKey)
        .filter(([field]) => field !== 'provider')
        .map(([field, value]) => [`  ${field}`, String(value)]),
      ['created', creationDate],
      ['updated', updateDate],
      ['status', String(status)],
      ['wrapped', `${wrappedBytes} bytes`],
    ];
    for (const [field = '', value = ''] of rows) output.line(`${field.padEnd(17)}${value}`);
    return EXIT_DONE;
  });
}

/** `csfle keys create` */
export async function createKey(flags: NewMasterKeyFlags & KnownMasterKeyFlags & { readonly altName: readonly string[] }, output: Output): Promise<number> {
  const target = targetOf(flags, 'local');
  const providers = await providersFor([target.provider], flags, output);
  return withVault(flags, output, providers, async (vault, connection) => {
    const { provider, ...masterKey } = target;
    await requireKnownMasterKey(provider, flags, providers, connection);
    const id = await vault.createDataKey(provider as ProviderName, { masterKey, keyAltNames: flags.altName });
    output.document({ id: id.toHexString(true), keyAltNames: flags.altName, masterKey: target });
    output.line(id.toHexString(true));
    return EXIT_DONE;
  });
}

/** `csfle keys alt-name add|remove <key> <name>` */
export function changeAltName(change: 'add' | 'remove', name: string, altName: string, flags: KeysFlags, output: Output): Promise<number> {
  return withVault(flags, output, undefined, async (vault, connection) => {
    const { _id } = await findKey(vault, name, connection);
    const before = change === 'add' ? await vault.addKeyAltName(_id, altName) : await vault.removeKeyAltName(_id, altName);
    const had = (before?.keyAltNames ?? []).includes(altName);
    const after = await vault.getKey(_id);
    output.document({
      id: _id.toHexString(true),
      changed: change === 'add' ? !had : had,
      keyAltNames: after?.keyAltNames ?? [],
    });
    output.line(`${_id.toHexString(true)}  ${(after?.keyAltNames ?? []).join(', ')}`);
    if (change === 'add' || had) return EXIT_DONE;
    output.note(
      `the key ${_id.toHexString(true)} has no alternate name ${JSON.stringify(altName)}: nothing was changed. See: csfle keys show ${_id.toHexString(true)}`,
    );
    return EXIT_FAILED;
  });
}

/** A misspelt key vault looks like one that has no keys. */
export function warnOfEmptyVault({ client }: Pick<Connection, 'client'>, { keyVault }: Pick<KeysFlags, 'keyVault'>, output: Output, what = 'data key'): void {
  output.warn(`${vaultPlace(client, keyVault)} has no ${what}; check --key-vault and the connection string`);
}

/** `csfle keys backup`, which is a command of its own now. */
export async function movedToBackup(file: string): Promise<number> {
  throw new CliError('CLI_OPTION_INVALID', 'this is now csfle backup create', `Run: csfle backup create ${file}, and see its --help.`);
}

/** The master key that the command line names. */
export function targetOf(flags: NewMasterKeyFlags, fallback: string): MasterKeyDocument {
  return newMasterKey(flags.to ?? fallback, flags);
}

/** The key of this id or name. Names that no key has are refused before anything is written: with others named too they would go unnoticed. */
export async function findKey(vault: ClientEncryption, name: string, { bson }: Connection): Promise<KeyDocument> {
  const byName = await vault.getKeyByAltName(name);
  if (byName !== null) return byName;
  const byId = /^[0-9a-f-]{36}$/i.test(name) ? await vault.getKey(new bson.UUID(name)) : null;
  if (byId !== null) return byId;
  throw new CliError('CLI_OPTION_INVALID', `the key vault has no key of the id or alternate name ${JSON.stringify(name)}`, 'See: csfle keys list', EXIT_FAILED);
}

/** A key document without its key material, as printed. */
export function printableKey(key: KeyDocument): {
  id: string;
  keyAltNames: readonly string[];
  masterKey: MasterKeyDocument;
  creationDate: string;
  updateDate: string;
  status: number;
  wrappedBytes: number;
} {
  const { creationDate, updateDate, status, keyMaterial } = key;
  return {
    id: idOf(key),
    keyAltNames: altNamesOf(key),
    masterKey: masterKeyOf(key),
    creationDate: dateOf(creationDate),
    updateDate: dateOf(updateDate),
    status,
    wrappedBytes: Number((keyMaterial as { position?: unknown } | undefined)?.position ?? 0),
  };
}

// What others wrote into the vault may be no key document at all: it is listed all the same, so that it can be found.

/** The id as text; of what is no UUID its own text. */
export function idOf(key: KeyDocument): string {
  const id = key._id as { toHexString?(hyphens: boolean): string } | null;
  return typeof id?.toHexString === 'function' ? id.toHexString(true) : String(id);
}

/** The alternate names that are texts. */
export function altNamesOf(key: KeyDocument): readonly string[] {
  const names: unknown = key.keyAltNames;
  return Array.isArray(names) ? names.filter((name): name is string => typeof name === 'string') : [];
}

export function masterKeyOf(key: KeyDocument): MasterKeyDocument {
  return (key.masterKey as MasterKeyDocument | null | undefined) ?? { provider: 'unknown' };
}

export function dateOf(date: unknown): string {
  return date instanceof Date ? date.toISOString() : String(date);
}
