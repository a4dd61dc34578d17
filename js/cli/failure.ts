/** How the command ends: exit codes, and the errors that are the command's own. */

import type { ErrorCode } from '../index.js';

/** Everything asked for is done. */
export const EXIT_DONE = 0;
/** Some keys, documents or checks failed; each is named. */
export const EXIT_FAILED = 1;
/** The command line, a file or the environment has to be corrected first. */
export const EXIT_USAGE = 2;
/** Stopped by SIGINT, SIGTERM or SIGHUP: 128 and the number of the signal, as shells report it. */
export const EXIT_OF_SIGNAL = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Codes of errors that only the command raises; append only, as the library's. */
export type CliErrorCode =
  | 'CLI_OPTION_INVALID'
  | 'CLI_URI_MISSING'
  | 'CLI_PACKAGE_MISSING'
  | 'CLI_KEY_FILE_UNREADABLE'
  | 'CLI_KEY_FILE_EXPOSED'
  | 'CLI_KEY_FILE_INVALID'
  | 'CLI_MASTER_KEY_MISSING'
  | 'CLI_FILE_EXISTS'
  | 'CLI_FILE_INVALID'
  | 'CLI_CONFIRMATION_MISSING'
  | 'CLI_SERVER_UNREACHABLE'
  | 'CLI_SERVER_FAILED'
  | 'CLI_OUTPUT_LOST'
  | 'CLI_PASSPHRASE_MISSING';

/** An error with its code and what to do about it. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    /** One of the library where the command finds out what the library would find, and knows the remedy in its own terms. */
    readonly code: CliErrorCode | ErrorCode,
    message: string,
    readonly remedy: string,
    readonly exitCode: number = EXIT_USAGE,
    options?: { readonly cause: unknown },
  ) {
    super(message, options);
  }
}
