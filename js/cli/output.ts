import { randomBytes } from 'node:crypto';
import { type ErrorCode, CsfleError } from '../index.js';
import { visible, visibleJson } from '../node/text.js';
import { CliError, EXIT_FAILED, EXIT_USAGE } from './failure.js';
import { Redactor } from './redaction.js';
import { standardError, standardOutput, type TextStream } from './stream.js';
import { inCommand } from './words.js';

/** An error as `--json` prints it. */
export interface PrintableError {
  readonly code: ErrorCode | CliError['code'] | 'CLI_UNEXPECTED';
  readonly message: string;
  readonly remedy: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Results on stdout, everything else on stderr. The one place where text leaves the command: no secret passes it, and of what others
 * wrote no character that would end a line, move the cursor or hide something.
 */
export class Output {
  readonly redactor = new Redactor();
  /** Whether results are one JSON document. */
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
    // Credentials that SDK or driver might quote in a message.
    for (const name of ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'CSFLE_LOCAL_KEY'] as const) this.redactor.add(process.env[name]);
  }

  /** Lines of the result, for people. A text is one line, whatever is in it. */
  line(text: string | readonly string[] = ''): void {
    if (!this.json) this.#print(standardOutput, text);
  }

  /** The result as one JSON document, when that was asked for. */
  document(value: unknown): void {
    if (this.json) standardOutput.write(`${visibleJson(JSON.stringify(this.#withoutSecrets(value), null, 2))}\n`);
  }

  /** JSON that is written already, without a line end: documents as they were asked for, in which nothing is blanked out. */
  jsonLine(text: string): void {
    standardOutput.write(`${visibleJson(text)}\n`);
  }

  /** Whether there is nobody left who reads results. */
  get isLost(): boolean {
    return standardOutput.lostCode !== undefined;
  }

  /** Why results were lost although somebody wants them, such as `ENOSPC`; a reader that left early, such as head, is no such case. */
  get lostCode(): string | undefined {
    const code = standardOutput.lostCode;
    return code === 'EPIPE' ? undefined : code;
  }

  /** Resolves when everything is written, or cannot be. */
  async finished(): Promise<void> {
    await standardOutput.finished();
  }

  /** What a person should know while the command runs. */
  note(text: string | readonly string[]): void {
    this.#print(standardError, text);
  }

  #print(stream: TextStream, text: string | readonly string[]): void {
    for (const line of typeof text === 'string' ? [text] : text) stream.write(`${forTerminal(this.redactor.clean(line))}\n`);
  }

  // Before it is JSON: there a secret with a quotation mark would look different.
  #withoutSecrets(value: unknown): unknown {
    return JSON.parse(JSON.stringify(value), (_, one) => (typeof one === 'string' ? this.redactor.clean(one) : one));
  }

  warn(text: string): void {
    this.note(`${mark('warn')} ${text}`);
  }

  /** Prints an error and returns the exit code it asks for. */
  failure(error: unknown): number {
    const printable = printableError(error);
    if (this.json) this.document({ error: printable });
    if (!this.json || this.isLost) {
      this.note(`${mark('fail')} ${withKeyId(printable)}  [${printable.code}]`);
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
  // What is wrong with a stored key is nothing that the command line could say better.
  return CsfleError.is(error) && error.details['keyId'] === undefined && USAGE_CODES.has(error.code) ? EXIT_USAGE : EXIT_FAILED;
}

function withKeyId({ message, details }: PrintableError): string {
  const id = details?.['keyId'];
  return id === undefined || message.includes(String(id)) ? message : `key ${String(id)}: ${message}`;
}

/** Code, message and remedy of any error, in words of the command; of unknown ones no more than the message. */
export function printableError(error: unknown): PrintableError {
  if (CsfleError.is(error)) {
    const { code, details } = error;
    const { message, remedy } = inCommand.error({ code, message: error.message, remedy: error.remedy, details });
    return Object.keys(details).length > 0 ? { code, message, remedy, details } : { code, message, remedy };
  }
  if (error instanceof CliError) return { code: error.code, message: error.message, remedy: error.remedy };
  const message = error instanceof Error ? error.message : String(error);
  // The driver's own, about a command of the command: everything else it throws has been classified by the library.
  if (error instanceof Error && /^(Mongo|BSON)/.test(error.name)) return printableError(serverFailure(error));
  return { code: 'CLI_UNEXPECTED', message, remedy: 'This is a mistake in this command: please report it.' };
}

function serverFailure(cause: Error): CliError {
  const { code } = cause as { code?: unknown };
  const reason = typeof code === 'number' ? `${cause.name}, server code ${code}` : cause.name;
  return new CliError(
    'CLI_SERVER_FAILED',
    `the server did not do what it was asked (${reason}): ${cause.message}`,
    'Check the connection and the rights of this user, and run the command again.',
    EXIT_FAILED,
    { cause },
  );
}

function causeText(error: unknown): string | undefined {
  const cause = error instanceof Error ? error.cause : undefined;
  // Its message is that of the error itself.
  if (cause instanceof Error && cause.name === 'FileError') return undefined;
  if (!(cause instanceof Error)) return undefined;
  // What a server or the BSON library says may quote documents. The code of the server is in the message of the error itself.
  if (/^(Mongo(Server|BulkWrite|WriteConcern)Error|BSON\w*Error)$/.test(cause.name)) return cause.name;
  return `${cause.name}: ${cause.message}`;
}

const COLOURS = { ok: 32, warn: 33, fail: 31, dim: 2, bold: 1 } as const;

// What paint() puts around a text. Nobody else knows these marks, so nothing that others wrote is taken for a colour.
const SECRET = randomBytes(8).toString('hex');
const MARKS = new RegExp(`(\\{${SECRET}:\\d+\\})`);

/** Colours a text when standard error is a terminal and nobody asked for plain text (no-color.org). */
export function paint(colour: keyof typeof COLOURS, text: string, stream: Pick<NodeJS.WriteStream, 'isTTY'> = process.stdout): string {
  return stream.isTTY && !process.env.NO_COLOR ? `{${SECRET}:${COLOURS[colour]}}${text}{${SECRET}:0}` : text;
}

/** A line with its colours, and with everything else in it made visible. */
function forTerminal(line: string): string {
  return line
    .split(MARKS)
    .map((piece, index) => (index % 2 === 1 ? `\u001b[${piece.slice(SECRET.length + 2, -1)}m` : visible(piece)))
    .join('');
}

/** `ok`, `warn` or `fail`, padded to one width. */
export function mark(state: 'ok' | 'warn' | 'fail', stream: Pick<NodeJS.WriteStream, 'isTTY'> = process.stderr): string {
  return paint(state, state.padEnd(4), stream);
}
