/** `--kms-module <file>`: providers that a module of the user makes, with the SDKs and the credentials that it chooses. */

import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CliError } from './failure.js';

const REMEDY = 'A module exports kmsProviders as the library takes them, or a function that gives them: export const kmsProviders = { azure: azureKms(...) };';

/** The providers by their identifiers. Errors: `CLI_OPTION_INVALID` for a module that cannot be loaded, or gives no providers. */
export async function providersOfModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  const path = resolve(file);
  const failed = (what: string, cause?: unknown): CliError =>
    new CliError('CLI_OPTION_INVALID', `--kms-module ${path} ${what}`, REMEDY, undefined, cause === undefined ? undefined : { cause });
  let found: unknown;
  try {
    const loaded = (await import(pathToFileURL(path).href)) as { readonly kmsProviders?: unknown; readonly default?: { readonly kmsProviders?: unknown } };
    found = loaded.kmsProviders ?? loaded.default?.kmsProviders ?? loaded.default;
    if (typeof found === 'function') found = await (found as () => unknown)();
  } catch (cause) {
    // Its message is that of code of the user, and may hold anything.
    throw failed(`cannot be loaded: ${cause instanceof Error ? cause.name : typeof cause}${codeOf(cause)}`, cause);
  }
  if (Object.prototype.toString.call(found) !== '[object Object]' || Object.keys(found as object).length === 0) throw failed('exports no providers');
  return found as Readonly<Record<string, unknown>>;
}

function codeOf(cause: unknown): string {
  const code: unknown = (cause as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[A-Z_]+$/.test(code) ? ` (${code})` : '';
}
