/** `--config <file>`: options from a file of JSON, under those of the command line. */

import type { Command, Option } from 'commander';
import { InvalidArgumentError } from 'commander';
import { FileError, readRegularFileSync } from '../node/files.js';
import { CliError } from './failure.js';
import { withFile } from './files.js';

const LONGEST_CONFIG = 1024 * 1024;
/** What changes or confirms something is said each time, and never by a file. */
const SAID_EACH_TIME: ReadonlySet<string> = new Set([
  'execute',
  'dryRun',
  'yes',
  'undo',
  'confirmPlaintext',
  'overwrite',
  'allowUnproven',
  'newMasterKey',
  'allowEmpty',
  'deleteOldKeys',
  'config',
]);
/** A file with one of these may hold a password: only its owner may read it. */
const WITH_PASSWORD: readonly string[] = ['uri', 'dataUri'];
const REMEDY =
  'Names are those of the options, such as "local-key-file" or "localKeyFile"; values are texts, numbers, true or false, or lists where an option may be repeated.';

/**
 * Sets options of a command that its command line does not have. Options of other commands are passed over.
 * Errors: `CLI_OPTION_INVALID` for what is no option of any command, or no value for it; `CLI_FILE_INVALID`.
 */
export async function applyConfigFile(command: Command): Promise<void> {
  const path: unknown = command.getOptionValue('config');
  if (typeof path !== 'string') return;
  const settings = await withFile(() => readSettings(path), REMEDY);
  const everywhere = new Set(allOptions(rootOf(command)).map((option) => option.attributeName()));
  for (const [given, value] of Object.entries(settings)) {
    const name = camelCase(given);
    if (!everywhere.has(name)) throw refusal(path, given, 'is no option of any command');
    if (SAID_EACH_TIME.has(name)) throw refusal(path, given, 'has to be given on the command line each time');
    const option = command.options.find((one) => one.attributeName() === name);
    if (option === undefined || command.getOptionValueSource(name) === 'cli') continue;
    command.setOptionValueWithSource(name, parsed(option, value, path, given), 'config');
  }
}

function readSettings(path: string): Readonly<Record<string, unknown>> {
  let settings: unknown;
  try {
    settings = JSON.parse(Buffer.from(readRegularFileSync(path, { maxBytes: LONGEST_CONFIG })).toString('utf8'));
  } catch (error) {
    if (error instanceof FileError) throw error;
    // The parser's own error quotes the text, which may hold a password.
    throw new FileError('FILE_MALFORMED', path, `${path} is no JSON`);
  }
  if (Object.prototype.toString.call(settings) !== '[object Object]') throw new FileError('FILE_MALFORMED', path, `${path} is no JSON object`);
  const names = Object.keys(settings as object).map(camelCase);
  if (WITH_PASSWORD.some((name) => names.includes(name))) readRegularFileSync(path, { maxBytes: LONGEST_CONFIG, ownerOnly: true });
  return settings as Readonly<Record<string, unknown>>;
}

/** A value as the command line would give it. */
function parsed(option: Option, value: unknown, path: string, name: string): unknown {
  if (!option.required && !option.optional) {
    if (typeof value !== 'boolean') throw refusal(path, name, 'has to be true or false');
    return value;
  }
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  let result: unknown = option.defaultValue;
  for (const one of values) {
    if (typeof one !== 'string' && typeof one !== 'number') throw refusal(path, name, 'has to be a text, a number, or a list of those');
    try {
      result = option.parseArg === undefined ? String(one) : option.parseArg(String(one), result as never);
    } catch (error) {
      if (!(error instanceof InvalidArgumentError)) throw error;
      throw refusal(path, name, `has a value that cannot be used: ${error.message}`);
    }
  }
  if (Array.isArray(value) && (typeof result !== 'object' || result === null || result instanceof Date)) throw refusal(path, name, 'takes one value');
  return result;
}

function refusal(path: string, name: string, what: string): CliError {
  return new CliError('CLI_OPTION_INVALID', `${path}: ${JSON.stringify(name)} ${what}`, REMEDY);
}

function camelCase(name: string): string {
  return name
    .replace(/^--/, '')
    .replace(/^no-/, '')
    .replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function rootOf(command: Command): Command {
  return command.parent === null ? command : rootOf(command.parent);
}

function allOptions(command: Command): readonly Option[] {
  return [...command.options, ...command.commands.flatMap(allOptions)];
}
