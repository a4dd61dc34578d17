/** The report of `csfle.backup.restore()` for readers. The report itself stays plain data. */

import type { RestoreBackupReport } from '../index.js';
import { visible } from '../node/text.js';
import { AS_PRINTABLE } from './help.js';

/** Result of `csfle.backup.restore()`. */
export interface ShellRestoreReport extends RestoreBackupReport {
  /** The file with the state before, when one was written. */
  readonly replacedFile: string | null;
}

/** The same report, which prints as text. `vault` says which key vault it is about. */
export function readableRestore(report: ShellRestoreReport, file: string, vault: string): ShellRestoreReport {
  return Object.defineProperty(report, AS_PRINTABLE, { value: () => summary(report, file, vault) });
}

function summary(report: ShellRestoreReport, file: string, vault: string): string {
  const { executed, inserted, replaced, unchanged, differing, namesLeftOut, unproven, indexes, collections, replacedFile, failures } = report;
  const verb = executed ? '' : 'would be ';
  const list = (label: string, of: readonly string[], reason?: string): readonly string[] =>
    of.length === 0 ? [] : [`  ${label.padEnd(12)} ${reason === undefined ? '' : `${reason}: `}${of.join(', ')}`];
  const unopened = unproven.filter((id) => inserted.includes(id));
  const uncompared = unproven.filter((id) => !inserted.includes(id));
  const lines = [
    `${executed ? 'Restore' : 'Restore plan'} of ${file}`,
    '',
    `  vault        ${vault}`,
    `  keys         ${inserted.length} ${verb}inserted, ${replaced.length} ${verb}replaced, ${unchanged.length} are as in the backup, ${differing.length} differ and stay, ${failures.length} failed`,
    ...list('inserted', inserted),
    ...list('replaced', replaced),
    ...list('differ', differing),
    ...namesLeftOut.map(
      ({ id, name, ownerId }) => `  names        ${id} ${executed ? 'came' : 'would come'} back without the alternate name ${name}, which ${ownerId} has now`,
    ),
    ...list('unproven', unopened, 'no master key at hand opens them'),
    ...list('unproven', uncompared, `not compared with the wrapping that they ${executed ? 'replaced' : 'would replace'}`),
    ...list('indexes', indexes),
    ...list('collections', collections),
    ...(replacedFile === null ? [] : [`  before       the state before is in ${replacedFile}`]),
    ...failures.flatMap(({ kind, id, code, message, remedy }) => [
      `  failed       ${kind === id ? '' : `${kind} `}${id}: ${message} [${code}]`,
      `               ${remedy}`,
    ]),
    '',
    verdict(report),
  ];
  return lines.map(visible).join('\n');
}

function verdict({ executed, ok, interrupted, inserted, replaced, differing, indexes, collections }: ShellRestoreReport): string {
  if (interrupted) return 'Interrupted. Run it again: it goes on where it stopped.';
  if (executed) return ok ? 'Done.' : 'Not done: see above what failed.';
  const more = differing.length === 0 ? '' : ' overwrite: true puts the wrapping of the backup back for keys that differ.';
  if (!ok) return `Nothing was written: see what failed above.${more}`;
  const isSame = [inserted, replaced, indexes, collections].every((one) => one.length === 0);
  return `${isSame ? 'Nothing was written, and nothing is to be put back.' : 'Nothing was written. Run it again with execute: true.'}${more}`;
}
