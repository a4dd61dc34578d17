import { ClientEncryption, CsfleError, type Document } from '../index.js';
import { type Connection, connect, connectionString, type DriverBson } from './connection.js';
import { counted } from './counted.js';
import { encryptedFilter, encryptedPathsOf } from './encrypted-filter.js';
import { CliError, EXIT_DONE, EXIT_FAILED } from './failure.js';
import { Interrupt } from './interrupt.js';
import type { LocalKeyFiles } from './key-file.js';
import { type Output, printableError } from './output.js';
import { providersAtHand, type ProviderSet } from './providers.js';
import { standardOutput } from './stream.js';
import { type TrustFlags, trustOf } from './trust-options.js';

/** What the command line of `csfle decrypt` says. */
export interface DecryptFlags extends TrustFlags {
  readonly uri?: string;
  readonly keyVault: string;
  readonly localKeyFile?: LocalKeyFiles;
  readonly kmsModule?: string;
  readonly id?: string;
  readonly filter?: string;
  readonly filterEncrypted: readonly string[];
  readonly relaxed: boolean;
  readonly json: boolean;
}

// Extended JSON shows types, so they must survive reading.
const KEEP_TYPES = { promoteValues: false, promoteLongs: false, promoteBuffers: false, bsonRegExp: true } as const;
const BATCH_DOCUMENTS = 200;
const BATCH_BYTES = 4 * 1024 * 1024;

/** `csfle decrypt <namespace>`: documents as extended JSON, one per line; with `--json` one array. */
export async function decryptCommand(namespace: string, flags: DecryptFlags, output: Output): Promise<number> {
  const dot = namespace.indexOf('.');
  if (dot <= 0 || dot === namespace.length - 1) throw new CliError('CLI_OPTION_INVALID', `${namespace} is no namespace`, 'Give database.collection.');
  if (flags.id !== undefined && flags.filter !== undefined)
    throw new CliError('CLI_OPTION_INVALID', '--id and --filter exclude each other', 'Use one of them.');
  const connection = await connect(connectionString(flags.uri, output), output);
  const interrupt = new Interrupt((text) => output.note(text));
  let providers: ProviderSet | undefined;
  let encryption: ClientEncryption | undefined;
  try {
    const { client, bson } = connection;
    providers = await providersAtHand(['local', ...(await providersInVault(connection, flags))], flags, output);
    encryption = new ClientEncryption(client, {
      keyVaultNamespace: flags.keyVault,
      kmsProviders: providers.kmsProviders,
      ...trustOf(flags),
      bson,
    });
    const writer = new DocumentWriter(output, flags, bson);
    const collection = client.db(namespace.slice(0, dot)).collection(namespace.slice(dot + 1));
    const plain = filterOf(flags, bson);
    const isEncrypted = flags.filterEncrypted.length > 0;
    const filter = isEncrypted ? { $and: [plain, await encryptedFilter(flags.filterEncrypted, collection as never, encryption, bson)] } : plain;
    let failed: number;
    try {
      failed = await decryptAll(collection.find(filter, { raw: true }) as AsyncIterable<unknown>, encryption, writer, interrupt, output, bson);
    } catch (error) {
      if (!output.json || writer.count === 0) throw error;
      // The array that was begun is ended, so that what was printed stays one JSON document.
      writer.end();
      const { code, message } = printableError(error);
      output.note(`stopped after ${counted(writer.count, 'document')}: ${message}  [${code}]`);
      return EXIT_FAILED;
    }
    writer.end();
    if (writer.count + failed === 0 && !interrupt.happened && !output.isLost && !(await exists(client.db(namespace.slice(0, dot)), namespace.slice(dot + 1)))) {
      output.note(`there is no collection ${namespace}`);
      return EXIT_FAILED;
    }
    if (flags.filter !== undefined && writer.count + failed === 0)
      for (const path of await encryptedPathsOf(plain, collection as never))
        output.warn(`${path} is stored encrypted, and --filter compares what is stored. See: --filter-encrypted '${path}=...'`);
    if (flags.id !== undefined && writer.count === 0 && failed === 0) {
      output.note(`${namespace} has no document of the _id ${flags.id}`);
      return EXIT_FAILED;
    }
    if (interrupt.happened) return interrupt.exitCode;
    return failed === 0 ? EXIT_DONE : EXIT_FAILED;
  } finally {
    interrupt.release();
    encryption?.close();
    providers?.wipe();
    await connection.client.close();
  }
}

async function exists(database: ReturnType<Connection['client']['db']>, name: string): Promise<boolean> {
  return (await database.listCollections({ name }, { nameOnly: true }).toArray()).length > 0;
}

/** Prints as it goes, so that a large collection needs no memory. */
class DocumentWriter {
  count = 0;

  constructor(
    private readonly output: Output,
    private readonly flags: DecryptFlags,
    private readonly bson: DriverBson,
  ) {}

  write(document: Document): void {
    const text = this.bson.EJSON.stringify(document, { relaxed: this.flags.relaxed });
    const lead = this.count === 0 ? '[' : ',';
    this.output.jsonLine(this.output.json ? `${lead}${text}` : text);
    this.count += 1;
  }

  end(): void {
    if (this.output.json) this.output.jsonLine(this.count === 0 ? '[]' : ']');
  }
}

async function decryptAll(
  documents: AsyncIterable<unknown>,
  encryption: ClientEncryption,
  writer: DocumentWriter,
  interrupt: Interrupt,
  output: Output,
  bson: DriverBson,
): Promise<number> {
  let failed = 0;
  const causes = new Causes();
  let batch: Uint8Array[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    for (const document of await decryptBatch(batch, encryption)) {
      if (document.error === undefined) writer.write(bson.deserialize(document.bytes, KEEP_TYPES));
      else {
        failed += 1;
        const { code, message, remedy } = printableError(document.error);
        causes.add(`${message}  [${code}]`, remedy, bson.EJSON.stringify(bson.deserialize(document.bytes)._id));
      }
    }
    batch = [];
    size = 0;
  };
  try {
    for await (const document of documents) {
      // Nobody reads any more: to go on would be for nothing.
      if (interrupt.happened || output.isLost) break;
      await standardOutput.drained(interrupt.signal);
      const bytes = Uint8Array.from(document as Uint8Array);
      batch.push(bytes);
      size += bytes.length;
      if (batch.length >= BATCH_DOCUMENTS || size >= BATCH_BYTES) await flush();
    }
    await flush();
  } finally {
    causes.print(output);
  }
  return failed;
}

const IDS_SHOWN = 10;

/** Why documents do not decrypt: each cause once, with its documents. */
class Causes {
  readonly #causes = new Map<string, { readonly remedy: string; readonly ids: string[]; count: number }>();

  add(text: string, remedy: string, id: string): void {
    const cause = this.#causes.get(text) ?? { remedy, ids: [], count: 0 };
    this.#causes.set(text, cause);
    cause.count += 1;
    if (cause.ids.length < IDS_SHOWN) cause.ids.push(id);
  }

  print(output: Output): void {
    for (const [text, { remedy, ids, count }] of this.#causes) {
      const more = count > ids.length ? `, and ${count - ids.length} more` : '';
      output.note(count === 1 ? `document ${ids[0]}: ${text}` : `${counted(count, 'document')}: ${text}`);
      if (count > 1) output.note(`       _id ${ids.join(', ')}${more}`);
      if (remedy !== '') output.note(`       ${remedy}`);
    }
  }
}

interface Decrypted {
  readonly bytes: Uint8Array;
  readonly error?: unknown;
}

/** Decrypts a batch at once; when that fails, one by one, so that the one that fails is named. */
async function decryptBatch(batch: readonly Uint8Array[], encryption: ClientEncryption): Promise<readonly Decrypted[]> {
  if (batch.length === 0) return [];
  try {
    const joined = await encryption.decryptDocuments(Buffer.concat(batch));
    return split(joined);
  } catch (error) {
    if (!CsfleError.is(error)) throw error;
    const [only] = batch;
    if (batch.length === 1 && only !== undefined) return [{ bytes: only, error }];
    const results: Decrypted[] = [];
    for (const one of batch) results.push(...(await decryptBatch([one], encryption)));
    return results;
  }
}

function split(joined: Uint8Array): readonly Decrypted[] {
  const view = new DataView(joined.buffer, joined.byteOffset, joined.byteLength);
  const documents: Decrypted[] = [];
  for (let offset = 0; offset < joined.length; ) {
    const length = view.getInt32(offset, true);
    documents.push({ bytes: joined.subarray(offset, offset + length) });
    offset += length;
  }
  return documents;
}

function filterOf({ id, filter }: DecryptFlags, bson: DriverBson): Document {
  if (filter !== undefined) {
    try {
      const parsed: unknown = bson.EJSON.parse(filter);
      if (Object.prototype.toString.call(parsed) !== '[object Object]') throw new TypeError('it is no document');
      return parsed as Document;
    } catch {
      // The parser's own error quotes the filter, which may hold a value in the clear.
      throw new CliError('CLI_OPTION_INVALID', '--filter is no document of extended JSON', 'For example: --filter \'{"ward": "B"}\'');
    }
  }
  return id === undefined ? {} : { _id: { $in: idCandidates(id, bson) } };
}

/** What an `_id` on a command line may mean: extended JSON, an ObjectId, a UUID, or simply text. */
function idCandidates(id: string, bson: DriverBson): unknown[] {
  const candidates: unknown[] = [id];
  try {
    candidates.unshift(bson.EJSON.parse(id));
  } catch {
    // Plain text.
  }
  if (/^[0-9a-f]{24}$/i.test(id)) candidates.unshift(new bson.ObjectId(id));
  if (/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(id)) candidates.unshift(new bson.UUID(id));
  return candidates;
}

async function providersInVault({ client }: Connection, flags: DecryptFlags): Promise<readonly string[]> {
  const dot = flags.keyVault.indexOf('.');
  const ids = await client
    .db(flags.keyVault.slice(0, dot))
    .collection(flags.keyVault.slice(dot + 1))
    .distinct('masterKey.provider');
  return ids.filter((provider): provider is string => typeof provider === 'string' && /^(?:aws|local)(?::|$)/.test(provider));
}
