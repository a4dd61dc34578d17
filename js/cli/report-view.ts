import { choiceText, type MasterKeyDocument, type MigrationCheck, type MigrationPlan, type MigrationReport, remainingText } from '../index.js';
import { counted } from './counted.js';
import { mark, type Output, paint } from './output.js';
import { seconds } from './progress-view.js';
import { fateOf } from './report-words.js';
import { renderTable } from './table.js';

const KEYS_SHOWN = 20;
const FAILURES_SHOWN = 50;
const INDENT = '  ';

const MODE_SENTENCES = {
  rewrap: 'wrap data keys under another master key; documents stay as they are',
  reencrypt: 'encrypt documents again under new data keys',
  decrypt: 'store documents in the clear',
} as const;

/** A master key on one line. */
export function masterKeyText(masterKey: MasterKeyDocument | null): string {
  if (masterKey === null) return 'plaintext';
  const { provider, ...fields } = masterKey;
  const { key, region, ...others } = fields as Readonly<Record<string, unknown>>;
  const known = [key, key !== undefined && String(key).includes(String(region)) ? undefined : region, ...Object.values(others)];
  return [provider, ...known.filter((field) => field !== undefined).map(String)].join('  ');
}

/** Where a migration happens, as reports name it. */
export interface ReportPlace {
  /** The key vault and its server. */
  readonly vault: string;
  /** Where the local master key of `to` is from, when that is one. */
  readonly keyFile: string | undefined;
}

/** Prints a plan: what, of which key vault, from where to where (a local master key with its file), the checks, and what will be touched. */
export function printPlan(output: Output, report: Pick<MigrationReport, 'mode' | 'from' | 'to' | 'choice' | 'plan'>, { vault, keyFile }: ReportPlace): void {
  const { mode, from, to, choice, plan } = report;
  output.line(paint('bold', `Plan: ${MODE_SENTENCES[mode]}`));
  output.line(`${INDENT}${vault}`);
  output.line(`${INDENT}from  ${from === null ? 'any master key' : masterKeyText(from)}`);
  output.line(`${INDENT}to    ${masterKeyText(to)}${keyFile === undefined ? '' : `  ${keyFile}`}`);
  if (choice !== null) output.line(`${INDENT}keys  ${choiceText(choice)}`);
  output.line();
  printChecks(output, plan.checks);
  output.line();
  printKeys(output, mode, plan);
  for (const { namespace, documents, values, valuesToMigrate, paths, foreignValues } of plan.collections) {
    output.line(`${INDENT}${namespace}: ${counted(documents, 'document')}, ${valuesToMigrate} of ${counted(values, 'encrypted value')} to rewrite`);
    for (const { path, values: count } of paths) output.line(`${INDENT}${INDENT}${path}  ${count}`);
    if (foreignValues > 0) output.line(`${INDENT}${INDENT}${counted(foreignValues, 'value')} of Queryable Encryption or of no known kind left alone`);
  }
  const { stays } = remainingText({ plan, remaining: null });
  if (stays !== null) output.line(`${INDENT}${mark('warn', process.stdout)}  ${stays}`);
  for (const { name, changes } of plan.schemas) if (changes > 0) output.line(`${INDENT}${name}: ${counted(changes, 'place changes', 'places change')}`);
  output.line(`${INDENT}KMS calls: ${plan.kmsCalls}`);
}

/** Prints checks as a list. */
export function printChecks(output: Output, checks: readonly MigrationCheck[]): void {
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const { name, ok, required, detail, subject, code, remedy } of checks as readonly (MigrationCheck & { readonly remedy?: string })[]) {
    const state = ok ? 'ok' : required ? 'fail' : 'warn';
    const about = subject === undefined ? '' : `${subject}: `;
    const reason = code === undefined ? '' : `  [${code}]`;
    output.line(`${INDENT}${mark(state, process.stdout)}  ${name.padEnd(width)}  ${about}${detail}${reason}`);
    if (remedy !== undefined) output.line(`${INDENT}${' '.repeat(width + 8)}${remedy}`);
  }
}

function printKeys(output: Output, mode: MigrationReport['mode'], plan: MigrationPlan): void {
  const shown = plan.keys.slice(0, KEYS_SHOWN);
  if (shown.length > 0) {
    const rows = shown.map((key) => [key.id, key.keyAltNames.join(', '), key.provider, fateOf(mode, key)]);
    output.line(renderTable(['data key', 'alternate names', 'provider', 'what happens'], rows, INDENT));
  }
  if (plan.keys.length > shown.length) output.line(`${INDENT}... and ${plan.keys.length - shown.length} more (--json lists all)`);
  const { migrate, done, other, malformed } = plan.counts;
  output.line(`${INDENT}${counted(plan.keys.length, 'key')}: ${migrate} to migrate, ${done} done, ${other} not asked for, ${malformed} malformed`);
}

/** Prints what a run did. */
export function printResults(output: Output, report: MigrationReport, { vault, keyFile }: ReportPlace): void {
  const { mode, plan, keys, collections, schemas, failures, kmsCalls, durationMs, interrupted, ok } = report;
  const unfinished = failures.length > 0 ? 'Not done: see the failures below' : 'Not done: see below what is left';
  // A date that is too early chooses no key: that is to be read as such, and not as work that was done.
  const nothingChosen = keys.planned === 0 ? plan.checks.find(({ name }) => name === 'keys-chosen') : undefined;
  const done = nothingChosen === undefined ? 'Done' : 'Nothing to do';
  const verdict = interrupted ? 'Interrupted: run it again to go on' : ok ? done : unfinished;
  output.line(paint(ok ? 'ok' : 'warn', `${verdict}, ${seconds(durationMs)}`));
  output.line(`${INDENT}${vault}`);
  if (mode === 'rewrap' && nothingChosen === undefined) {
    output.line(`${INDENT}${keys.migrated} of ${counted(keys.planned, 'key')} wrapped anew, ${keys.alreadyDone} were done, ${keys.failed} failed`);
    output.line(`${INDENT}${counted(keys.verified, 'key')} unwrapped again from the vault: the same key material as before`);
  }
  if (nothingChosen !== undefined) output.line(`${INDENT}${nothingChosen.detail}`);
  else if (mode === 'reencrypt') {
    output.line(
      `${INDENT}${keys.migrated} of ${counted(keys.planned, 'key')} replaced by new ones, ${keys.alreadyDone} were done, ${keys.failed} failed; ${counted(keys.namesMoved, 'alternate name')} moved, ${counted(keys.deleted, 'old key')} retired`,
    );
  }
  for (const { namespace, documentsRewritten, valuesRewritten, documentsFailed, valuesLeft, passes } of collections) {
    output.line(
      `${INDENT}${namespace}: ${counted(documentsRewritten, 'document')} with ${counted(valuesRewritten, 'value')} rewritten in ${counted(passes, 'pass', 'passes')}, ${documentsFailed} failed; ${valuesLeft === null ? 'not known how many old values are' : counted(valuesLeft, 'old value')} left`,
    );
  }
  for (const { name, changes, written } of schemas) if (written) output.line(`${INDENT}${name}: ${counted(changes, 'place')} rewritten`);
  for (const { id, outcome, uses } of report.oldKeys) {
    if (uses.length === 0) continue;
    output.line(`${INDENT}${id} ${outcome}:`);
    for (const { namespace, kind, count, reason } of uses.slice(0, FAILURES_SHOWN))
      output.line(`${INDENT}${INDENT}${namespace}  ${kind}${count === 0 ? '' : `  ${count}`}${reason === undefined ? '' : `  ${reason}`}`);
  }
  if (keyFile !== undefined) output.line(`${INDENT}the new master key is that of ${keyFile}`);
  if (report.backup !== null)
    output.line(`${INDENT}backup${report.backup.kept ? ' of an earlier run' : ''}: ${report.backup.file ?? 'stored'}, ${counted(report.backup.keys, 'key')}`);
  output.line(`${INDENT}KMS calls: ${kmsCalls.wrap} wrap, ${kmsCalls.unwrap} unwrap`);
  const { left, stays } = remainingText(report);
  for (const line of left) output.line(`${INDENT}${mark('fail', process.stdout)}  left: ${line}`);
  if (stays !== null) output.line(`${INDENT}${mark('warn', process.stdout)}  ${stays}`);
  // No failures of this run, and yet keys that "Done" alone would hide.
  for (const { name, ok: passed, detail } of plan.checks)
    if ((name === 'keys-under-target' || name === 'key-documents') && !passed) output.line(`${INDENT}${mark('warn', process.stdout)}  ${name}: ${detail}`);
  let said = '';
  for (const { kind, id, namespace, keyAltNames, code, message, remedy } of failures.slice(0, FAILURES_SHOWN)) {
    const names = keyAltNames === undefined || keyAltNames.length === 0 ? '' : ` (${keyAltNames.join(', ')})`;
    output.line(
      `${INDENT}${mark('fail', process.stdout)}  ${kind === id ? '' : `${kind} `}${namespace === undefined ? '' : `${namespace} `}${id}${names}: ${message}  [${code}]`,
    );
    // Once where many failed for one reason.
    if (remedy !== said) output.line(`${INDENT}      ${remedy}`);
    said = remedy;
  }
  if (failures.length > FAILURES_SHOWN) output.line(`${INDENT}... and ${failures.length - FAILURES_SHOWN} more failures (--json lists all)`);
}
