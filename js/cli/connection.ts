import type { BSON, MongoClient } from 'mongodb';
import { CliError, EXIT_FAILED } from './failure.js';
import type { Output } from './output.js';
import { loadPackage } from './package-loading.js';
import { passwordOf, redactUri } from './redaction.js';

const SERVER_SELECTION_TIMEOUT_MS = 10_000;
/** A server that took a command and says nothing for so long is given up: no command of ours takes as long as that. */
const SOCKET_TIMEOUT_MS = 600_000;
/** To connect, to be greeted, and to be answered for the first time. */
const CONNECT_TIMEOUT_MS = 30_000;

/** The connection string: of the option, else of the environment. */
export function connectionString(option: string | undefined, output: Output): string {
  const uri = option ?? process.env.MONGODB_URI;
  if (uri === undefined || uri === '') {
    throw new CliError('CLI_URI_MISSING', 'no connection string', 'Set MONGODB_URI in the environment, or pass --uri.');
  }
  output.redactor.addUri(uri);
  if (option !== undefined) warnOfPassword(option, '--uri', 'MONGODB_URI', output);
  return uri;
}

/** Warns when the connection string of an option holds a password. `variable` may hold it instead. */
export function warnOfPassword(uri: string, option: string, variable: string, output: Output): void {
  if (passwordOf(uri) === undefined) return;
  output.warn(`${option} holds a password, which other users of this machine can see in the list of processes; prefer ${variable} in the environment`);
}

/** The BSON library of the driver in use: documents must be made by the one that reads and writes them. */
export type DriverBson = typeof BSON;

/** A connected client with its BSON library. */
export interface Connection {
  readonly client: MongoClient;
  readonly bson: DriverBson;
}

/** Which key vault a plan or a report is about: its name and the hosts of its server, as the driver reads them, and nobody's password. */
export function vaultPlace({ options }: Pick<Connection['client'], 'options'>, namespace: string): string {
  const hosts = options.srvHost ?? options.hosts.map((host) => host.toString()).join(',');
  return `vault ${namespace} at ${hosts}`;
}

/** Connects, or says in one sentence why not. */
export async function connect(uri: string, output: Output): Promise<Connection> {
  const driver = await loadPackage('mongodb', () => import('mongodb'), 'it is the driver that connects to the server');
  let client: MongoClient;
  try {
    // Options would override the connection string, whose own word on this counts more than our default.
    const patience = Object.fromEntries(
      Object.entries({
        serverSelectionTimeoutMS: SERVER_SELECTION_TIMEOUT_MS,
        connectTimeoutMS: CONNECT_TIMEOUT_MS,
        socketTimeoutMS: SOCKET_TIMEOUT_MS,
      }).filter(([option]) => !new RegExp(`[?&]${option}=`, 'i').test(uri)),
    );
    client = new driver.MongoClient(uri, { appName: 'csfle', ...patience });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(
      'CLI_OPTION_INVALID',
      `the connection string is refused: ${output.redactor.clean(message)}`,
      'Correct it; special characters in user and password are written percent-encoded.',
      undefined,
      { cause },
    );
  }
  try {
    const patienceMs = Number(/[?&]serverSelectionTimeoutMS=(\d+)/i.exec(uri)?.[1] ?? SERVER_SELECTION_TIMEOUT_MS);
    await within(CONNECT_TIMEOUT_MS + patienceMs, async () => {
      await client.connect();
      await client.db('admin').command({ ping: 1 });
    });
    return { client, bson: driver.BSON };
  } catch (cause) {
    await client.close().catch(() => undefined);
    const name = cause instanceof Error ? cause.name : 'unknown error';
    throw new CliError(
      'CLI_SERVER_UNREACHABLE',
      `no server answers at ${redactUri(uri)} (${name})`,
      'Check address, network path, TLS and credentials.',
      EXIT_FAILED,
      { cause },
    );
  }
}

/** Ends waiting after a while, whatever the work waits for. */
async function within(limitMs: number, work: () => Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('no answer in time'), { name: 'no answer in time' })), limitMs);
  });
  try {
    await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}
