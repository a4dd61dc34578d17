import { type ErrorCode, CsfleError } from '../index.js';
import { CliError, EXIT_FAILED, EXIT_USAGE } from './failure.js';
import { Redactor } from './redaction.js';

/** An error as `--json` prints it. */
export interface PrintableError {
  readonly code: ErrorCode | CliError['code'] | 'CLI_UNEXPECTED';
  readonly message: string;
  readonly remedy: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Results on stdout, everything else on stderr, nothing without redaction. */
export class Output {
  readonly redactor = new Redactor();
  /** Whether results are one JSON document. */
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
    // Credentials that SDK or driver might quote in a message.
    for (const name of ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'CSFLE_LOCAL_KEY'] as const)
      this.redactor.add(process.env[name]);
  }

  /** A line of the result, for people. */
  line(text = ''): void {
    if (!this.json) this.raw(text);
  }

  /** A line of the result in any case. */
  raw(text: string): void {
    process.stdout.write(`${this.redactor.clean(text)}\n`);
  }

  /** The result as one JSON document, when that was asked for. */
  document(value: unknown): void {
    if (this.json) this.raw(JSON.stringify(value, null, 2));
  }

  /** What a person should know while the command runs. */
  note(text: string): void {
    process.stderr.write(`${this.redactor.clean(text)}\n`);
  }

  warn(text: string): void {
    this.note(`${mark('warn')} ${text}`);
  }

  /** Prints an error and returns the exit code it asks for. */
  failure(error: unknown): number {
    const printable = printableError(error);
    if (this.json) this.document({ error: printable });
    else {
      this.note(`${mark('fail')} ${printable.message}  [${printable.code}]`);
      const cause = causeText(error);
      if (cause !== undefined) this.note(`       cause: ${cause}`);
      if (printable.remedy !== '') this.note(`       ${printable.remedy}`);
    }
    return exitCodeOf(error);
  }
}

// What the library refuses before it looks at anything: the command line has to change.
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ARGUMENT_INVALID',
  'OPTION_INVALID',
  'MIGRATION_TARGET_INVALID',
  'MASTER_KEY_INVALID',
  'KMS_ENDPOINT_INVALID',
  'KMS_PROVIDER_UNRECOGNIZED',
  'KEY_REFERENCE_INVALID',
  'KEY_ALT_NAME_INVALID',
]);

function exitCodeOf(error: unknown): number {
  if (error instanceof CliError) return error.exitCode;
  return CsfleError.is(error) && USAGE_CODES.has(error.code) ? EXIT_USAGE : EXIT_FAILED;
}

/** Code, message and remedy of any error; of unknown ones no more than the message. */
export function printableError(error: unknown): PrintableError {
  if (CsfleError.is(error)) {
    const { code, message, remedy, details } = error;
    return Object.keys(details).length > 0 ? { code, message, remedy, details } : { code, message, remedy };
  }
  if (error instanceof CliError) return { code: error.code, message: error.message, remedy: error.remedy };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'CLI_UNEXPECTED', message, remedy: '' };
}

function causeText(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : undefined;
}

const COLOURS = { ok: 32, warn: 33, fail: 31, dim: 2, bold: 1 } as const;

/** Colours a text when standard error is a terminal and nobody asked for plain text (no-color.org). */
export function paint(colour: keyof typeof COLOURS, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return stream.isTTY && !process.env.NO_COLOR ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text;
}

/** `ok`, `warn` or `fail`, padded to one width. */
export function mark(state: 'ok' | 'warn' | 'fail', stream: NodeJS.WriteStream = process.stderr): string {
  return paint(state, state.padEnd(4), stream);
}
