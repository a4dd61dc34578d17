/** `csfle keys index`: the unique index on alternate names, without which two keys can take one. */

import { CsfleError, driverKeyVaultStore, type KeyDocument, type KeyVaultStore } from '../index.js';
import { type Connection, connect, connectionString } from './connection.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { altNamesOf, idOf, type KeysFlags } from './keys-command.js';
import type { Output } from './output.js';
import { vaultOption } from './vault-option.js';

/** `csfle keys index` */
export async function indexKeys(flags: KeysFlags, output: Output): Promise<number> {
  const connection = await connect(connectionString(flags.uri, output), output);
  try {
    const store = driverKeyVaultStore(connection.client, flags.keyVault);
    const isThere = (await store.capabilities?.())?.uniqueIndex === true;
    if (!isThere) await makeIndex(store, flags, connection);
    output.document({ keyVault: flags.keyVault, created: !isThere });
    output.line(isThere ? `${flags.keyVault} has its unique index on keyAltNames` : `unique index on keyAltNames made in ${flags.keyVault}`);
    return EXIT_DONE;
  } finally {
    await connection.client.close();
  }
}

async function makeIndex(store: KeyVaultStore, flags: KeysFlags, { client }: Connection): Promise<void> {
  const dot = flags.keyVault.indexOf('.');
  const collection = client.db(flags.keyVault.slice(0, dot)).collection(flags.keyVault.slice(dot + 1), { writeConcern: { w: 'majority' } });
  // As mongosh does: the index would take two keys with empty arrays for two of one name.
  await collection.updateMany({ keyAltNames: { $size: 0 } }, { $unset: { keyAltNames: '' }, $currentDate: { updateDate: true } });
  try {
    await store.ensureIndex?.();
  } catch (cause) {
    const shared = sharedNames((await store.find({}).catch(() => [])) as readonly KeyDocument[]);
    const [first] = shared;
    if (first !== undefined)
      throw refusal(
        `keys of ${flags.keyVault} share alternate names: ${shared.map(([name, ids]) => `${JSON.stringify(name)} (${ids.join(', ')})`).join('; ')}`,
        `Take each name from all keys but one: csfle keys alt-name remove <id> <name>${vaultOption(flags.keyVault)}. Then run this command again.`,
        cause,
      );
    const code = CsfleError.is(cause) ? (cause.cause as { codeName?: unknown; code?: unknown } | undefined) : undefined;
    throw refusal(
      `the index on ${flags.keyVault} cannot be made (${String(code?.codeName ?? code?.code ?? 'no answer')})`,
      'Grant createIndex on the key vault to this user. An index on keyAltNames that is not unique has to be dropped first.',
      cause,
    );
  }
}

/** Alternate names that more than one key has, with their keys. */
function sharedNames(keys: readonly KeyDocument[]): readonly (readonly [name: string, ids: readonly string[]])[] {
  const ids = new Map<string, string[]>();
  for (const key of keys) for (const name of new Set(altNamesOf(key))) ids.set(name, [...(ids.get(name) ?? []), idOf(key)]);
  return [...ids].filter(([, having]) => having.length > 1);
}

function refusal(message: string, remedy: string, cause: unknown): CliError {
  return new CliError('MIGRATION_INDEX_MISSING', message, remedy, EXIT_FAILED, { cause });
}
