import { existsSync } from 'node:fs';
import confirm from '@inquirer/confirm';
import {
  type ClientEncryption,
  driverKeyVaultStore,
  type KeyRemovalReport,
  type KeyUse,
  purgeRetiredKeys,
  type RetiredKey,
  restoreRetiredKeys,
  retiredKeys,
  retireKeys,
} from '../index.js';
import { type Connection, vaultPlace } from './connection.js';
import { counted } from './counted.js';
import { DataClients, type EvidenceFlags, skippedEvidence } from './evidence-options.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { schemaFile } from './files.js';
import { Interrupt } from './interrupt.js';
import { altNamesOf, findKey, idOf, type KeysFlags, masterKeyOf, warnOfEmptyVault, withVault } from './keys-command.js';
import { UUID } from './migrate-options.js';
import { mark, type Output } from './output.js';
import { ProgressView } from './progress-view.js';
import { addProvidersAtHand, providersAtHand, providersOf } from './providers.js';
import { masterKeyText } from './report-view.js';
import { renderTable } from './table.js';
import { trustOf } from './trust-options.js';
import { inCommand } from './words.js';

const USES_SHOWN = 10;

type RemovalFlags = KeysFlags & EvidenceFlags & { readonly schemaFile: readonly string[]; readonly yes: boolean };

/** `csfle keys delete <key>`: moves a key that nothing needs to the retired keys. */
export function deleteKey(name: string, flags: RemovalFlags, output: Output): Promise<number> {
  return removing(flags, output, async (vault, connection, options, settled) => {
    output.line(vaultPlace(connection.client, flags.keyVault));
    const key = await findKey(vault, name, connection);
    const id = idOf(key);
    const remove = (execute: boolean): Promise<KeyRemovalReport> =>
      settled(retireKeys({ ...options, keys: [key._id], execute, requestedBy: 'csfle keys delete' }));
    const shown = (result: KeyRemovalReport): number => report(result, output, { id, deletedCount: retiredIn(result) });
    const plan = await remove(false);
    if (!plan.ok) return shown(plan);
    await confirmed(flags, `Retire ${id}? No value under it was found. csfle keys restore brings it back.`, `retiring ${id}`);
    return shown(await remove(true));
  });
}

/** `csfle keys purge`: destroys retired keys that nothing needs. */
export function purgeKeys(flags: RemovalFlags & { readonly before: Date; readonly execute: boolean }, output: Output): Promise<number> {
  const { before } = flags;
  return removing(flags, output, async (_vault, { client }, options, settled) => {
    output.line(vaultPlace(client, flags.keyVault));
    const plan = await settled(purgeRetiredKeys({ ...options, before }));
    const purgeable = plan.keys.filter(({ outcome }) => outcome === 'unused').length;
    if (!flags.execute || purgeable === 0) {
      const code = report(plan, output, {}, await withoutOldKeys(client, flags));
      if (!flags.execute && !plan.interrupted) output.line('Nothing was written. Add --execute to carry this out.');
      return code;
    }
    await confirmed(
      flags,
      `Destroy ${counted(purgeable, 'retired key')} for ever? What is under them in a backup of the data becomes unreadable.`,
      `destroying ${counted(purgeable, 'retired key')}`,
    );
    return report(await settled(purgeRetiredKeys({ ...options, before, execute: true })), output);
  });
}

/** What there is when no retired key is old enough. */
async function withoutOldKeys(client: Connection['client'], { keyVault, before }: KeysFlags & { readonly before: Date }): Promise<string> {
  const entries = await retiredKeys({ keyVault: { client, namespace: keyVault } });
  const first = entries.map(({ retiredAt }) => retiredAt.getTime()).sort((one, other) => one - other)[0];
  const oldest = first === undefined ? '' : `, the first of them at ${new Date(first).toISOString()}`;
  return `no key was retired before ${before.toISOString()}: ${counted(entries.length, 'retired key')} in all${oldest}`;
}

/** `csfle keys retired` */
export function listRetiredKeys(flags: KeysFlags, output: Output): Promise<number> {
  return withVault(flags, output, undefined, async (_, { client }) => {
    const entries = await retiredKeys({ keyVault: { client, namespace: flags.keyVault } });
    output.document({ keyVault: flags.keyVault, retired: entries.map(printableEntry) });
    const rows = entries.map((entry) => {
      const { id, keyAltNames, retiredAt, requestedBy, reason } = printableEntry(entry);
      return [id, keyAltNames.join(', '), masterKeyText(masterKeyOf(entry.document as never)), retiredAt, requestedBy, reason];
    });
    if (rows.length > 0) output.line(renderTable(['data key', 'alternate names', 'master key', 'retired', 'by', 'reason'], rows));
    output.line(`${counted(entries.length, 'retired key')} of ${flags.keyVault}`);
    return EXIT_DONE;
  });
}

/** `csfle keys restore [key...]` */
export async function restoreKeys(
  names: readonly string[],
  flags: KeysFlags & { readonly all: boolean; readonly withoutTakenNames: boolean },
  output: Output,
): Promise<number> {
  const file = names.find((name) => !UUID.test(name) && existsSync(name));
  if (file !== undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      `${file} is a file: keys restore brings retired keys back`,
      `To restore a backup file: csfle backup restore ${file}`,
    );
  if (names.length === 0 && !flags.all)
    throw new CliError('CLI_OPTION_INVALID', 'which retired keys?', 'Name them by id or alternate name, or pass --all. See: csfle keys retired');
  return withVault(flags, output, undefined, async (_, { client, bson }) => {
    const keyVault = { client, namespace: flags.keyVault };
    const entries = await retiredKeys({ keyVault });
    const named = flags.all ? entries : names.map((name) => entryOf(name, entries));
    const ids = new Map(named.map(({ keyId, document }) => [idOf(document as never), keyId]));
    const result = inCommand.report(await restoreRetiredKeys({ keyVault, keys: [...ids.values()], withoutTakenNames: flags.withoutTakenNames, bson }));
    output.document(result);
    output.line(vaultPlace(client, flags.keyVault));
    output.line(`${counted(result.restored.length, 'key')} restored, ${result.present.length} were in the key vault, ${result.failures.length} failed`);
    if (flags.all && entries.length === 0) warnOfEmptyVault({ client }, flags, output, 'retired key');
    for (const { id, message, code, remedy } of result.failures)
      output.line([`  ${mark('fail', process.stdout)}  ${id}: ${message}  [${code}]`, `        ${remedy}`]);
    return result.ok ? EXIT_DONE : EXIT_FAILED;
  });
}

function entryOf(name: string, entries: readonly RetiredKey[]): RetiredKey {
  const wanted = name.toLowerCase();
  const found = entries.find(({ document }) => idOf(document as never) === wanted || altNamesOf(document as never).includes(name));
  if (found !== undefined) return found;
  throw new CliError(
    'CLI_OPTION_INVALID',
    `there is no retired key of the id or alternate name ${JSON.stringify(name)}`,
    'See: csfle keys retired',
    EXIT_FAILED,
  );
}

type SharedOptions = Omit<Parameters<typeof purgeRetiredKeys>[0], 'before'>;
/** Waits for work that shows progress, and ends that before anything else is printed or asked. */
type Settled = <T>(work: Promise<T>) => Promise<T>;

/** Connects to every deployment, fetches the master keys at hand, shows progress, and closes whatever happens. */
async function removing(
  flags: RemovalFlags,
  output: Output,
  work: (vault: ClientEncryption, connection: Connection, options: SharedOptions, settled: Settled) => Promise<number>,
): Promise<number> {
  const evidence = skippedEvidence(flags);
  const providers = await providersAtHand(['local'], flags, output);
  // Without the SDK, what is under keys of AWS KMS cannot be opened and counts as use.
  await providers.addAws('aws').catch(() => undefined);
  const progress = new ProgressView((text) => output.note(text));
  const interrupt = new Interrupt((text) => {
    progress.close();
    output.note(text);
  });
  const others = new DataClients();
  try {
    const dataClients = await others.connect(flags.dataUri, output);
    const code = await withVault(flags, output, providers, async (vault, connection) => {
      await addProvidersAtHand(providers, providersOf(await driverKeyVaultStore(connection.client, flags.keyVault).find({})), flags, output);
      return work(
        vault,
        connection,
        {
          keyVault: { client: connection.client, namespace: flags.keyVault },
          kmsProviders: providers.kmsProviders,
          dataClients,
          schemas: flags.schemaFile.map((path) => schemaFile(path, connection.bson)),
          ...trustOf(flags),
          ...(evidence === undefined ? {} : { evidence }),
          signal: interrupt.signal,
          onProgress: progress.show,
          bson: connection.bson,
        },
        (one) => one.finally(() => progress.close()),
      );
    });
    return interrupt.happened && code !== EXIT_DONE ? interrupt.exitCode : code;
  } finally {
    interrupt.release();
    providers.wipe();
    await others.close();
  }
}

async function confirmed(flags: RemovalFlags, message: string, what: string): Promise<void> {
  if (flags.yes) return;
  const canAsk = process.stdin.isTTY && process.stderr.isTTY && !flags.json;
  if (canAsk && (await confirm({ message, default: false }, { output: process.stderr }))) return;
  throw new CliError('CLI_CONFIRMATION_MISSING', `${what} was not confirmed`, 'Add --yes when that is what you want.');
}

function retiredIn({ keys }: KeyRemovalReport): number {
  return keys.filter(({ outcome }) => outcome === 'retired').length;
}

function report(given: KeyRemovalReport, output: Output, more: Readonly<Record<string, unknown>> = {}, nothing = 'no key'): number {
  const result = inCommand.report(given);
  output.document({ ...more, ...result });
  for (const { id, keyAltNames, outcome, uses } of result.keys) {
    const names = keyAltNames.length === 0 ? '' : ` (${keyAltNames.join(', ')})`;
    output.line(`${id}${names}: ${outcome}`);
    for (const use of uses.slice(0, USES_SHOWN)) output.line(`  ${useText(use)}`);
    if (uses.length > USES_SHOWN) output.line(`  ... and ${uses.length - USES_SHOWN} more (--json lists all)`);
  }
  if (result.keys.length === 0) output.line(nothing);
  for (const { message, code, remedy } of result.failures) {
    output.line(`${mark('fail', process.stdout)}  ${message}  [${code}]`);
    output.line(`      ${remedy}`);
  }
  if (result.interrupted) output.line(`Interrupted: ${removedText(result)}`);
  return result.ok ? EXIT_DONE : EXIT_FAILED;
}

/** What an interrupted command removed. */
function removedText({ keys }: KeyRemovalReport): string {
  const number = (wanted: string): number => keys.filter(({ outcome }) => outcome === wanted).length;
  if (number('purged') > 0) return `${counted(number('purged'), 'retired key')} destroyed; the others are still there`;
  return number('retired') > 0 ? `${counted(number('retired'), 'key')} retired` : 'nothing was destroyed';
}

function useText({ namespace, kind, count, reason }: KeyUse): string {
  return `${namespace}  ${kind}${count === 0 ? '' : `  ${count}`}${reason === undefined ? '' : `  ${reason}`}`;
}

function printableEntry(entry: RetiredKey): {
  id: string;
  keyAltNames: readonly string[];
  masterKey: unknown;
  retiredAt: string;
  requestedBy: string;
  reason: string;
} {
  const { document, retiredAt, requestedBy, reason } = entry;
  const key = document as never;
  return {
    id: idOf(key),
    keyAltNames: altNamesOf(key),
    masterKey: masterKeyOf(key),
    retiredAt: retiredAt.toISOString(),
    requestedBy: inCommand.text(requestedBy),
    reason,
  };
}
