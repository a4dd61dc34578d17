import { CliError } from './failure.js';

/** Imports an optional peer, or says how to install it. */
export async function loadPackage<T>(name: string, load: () => Promise<T>, purpose: string): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw cause;
    throw new CliError('CLI_PACKAGE_MISSING', `the package ${name} is not installed; ${purpose}`, `Run: npm install ${name}`, undefined, { cause });
  }
}
