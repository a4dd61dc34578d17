/** `csfle keys list`: the data keys of a key vault, by master key. */

import type { KeyDocument } from '../index.js';
import { counted } from './counted.js';
import { EXIT_DONE } from './failure.js';
import { altNamesOf, dateOf, idOf, type KeysFlags, masterKeyOf, printableKey, warnOfEmptyVault, withVault } from './keys-command.js';
import type { Output } from './output.js';
import { masterKeyText } from './report-view.js';
import { renderTable } from './table.js';

/** What the command line of `csfle keys list` says. */
export interface ListFlags extends KeysFlags {
  readonly provider?: string;
  readonly masterKey?: string;
  readonly limit?: number;
}

/** Names longer than this are cut in the table, so that a line fits 100 columns. `--json` has them whole. */
const NAMES_WIDTH = 42;

/** `csfle keys list` */
export function listKeys(flags: ListFlags, output: Output): Promise<number> {
  return withVault(flags, output, undefined, async (vault, connection) => {
    const all = await vault.getKeys().toArray();
    const matching = all.filter((key) => matches(key, flags));
    const shown = matching.slice(0, flags.limit);
    output.document({ keyVault: flags.keyVault, keys: shown.map(printableKey), matching: matching.length, total: all.length });
    for (const [masterKey, keys] of byMasterKey(matching)) {
      output.line(`${masterKey}: ${counted(keys.length, 'key')}`);
      const rows = keys.filter((key) => shown.includes(key)).map((key) => [idOf(key), cut(altNamesOf(key).join(', ')), minuteOf(key)]);
      if (rows.length > 0) output.line(renderTable(['data key', 'alternate names', 'updated'], rows, '  '));
      output.line();
    }
    if (all.length === 0) warnOfEmptyVault(connection, flags, output);
    if (shown.length < matching.length) output.line(`... and ${counted(matching.length - shown.length, 'more key')} (--limit ${flags.limit})`);
    output.line(
      matching.length === all.length
        ? `${counted(all.length, 'key')} in ${flags.keyVault}`
        : `${matching.length} of ${counted(all.length, 'key')} in ${flags.keyVault}`,
    );
    return EXIT_DONE;
  });
}

/** A provider without a name stands for those with one too; of a master key any part of its text is enough. */
function matches(key: KeyDocument, { provider, masterKey }: ListFlags): boolean {
  const found = masterKeyOf(key);
  const id = String(found.provider);
  const isOfProvider = provider === undefined || id === provider || id.split(':', 1)[0] === provider;
  return isOfProvider && (masterKey === undefined || masterKeyText(found).includes(masterKey));
}

function byMasterKey(keys: readonly KeyDocument[]): readonly (readonly [masterKey: string, keys: readonly KeyDocument[]])[] {
  const groups = new Map<string, KeyDocument[]>();
  for (const key of keys) {
    const text = masterKeyText(masterKeyOf(key));
    const group = groups.get(text);
    if (group === undefined) groups.set(text, [key]);
    else group.push(key);
  }
  return [...groups].sort(([one], [other]) => (one < other ? -1 : 1));
}

function cut(names: string): string {
  return names.length <= NAMES_WIDTH ? names : `${names.slice(0, NAMES_WIDTH - 3)}...`;
}

/** The time of the last change to the minute. */
function minuteOf(key: KeyDocument): string {
  return dateOf(key.updateDate).slice(0, 16).replace('T', ' ');
}
