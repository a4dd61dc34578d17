import { resolve } from 'node:path';
import password from '@inquirer/password';
import { type AwsKmsClient, awsKms, type Document, type KmsProviders } from '../index.js';
import { CliError } from './failure.js';
import { type LocalKeyFiles, localKeyFileOf, namedLocalKeys, parseMasterKey, readKeyFile } from './key-file.js';
import type { Output } from './output.js';
import { providersOfModule } from './kms-module.js';
import { providerType } from './master-key.js';
import { loadPackage } from './package-loading.js';
import { inCommand } from './words.js';

/** Options that say which master keys are at hand; the secrets themselves come from files, environment or a prompt. */
export interface ProviderOptions {
  readonly localKeyFile?: LocalKeyFiles;
  readonly kmsModule?: string;
}

/** Providers of a command, with what has to be wiped when it ends. */
export class ProviderSet {
  readonly #providers: Record<string, unknown> = {};
  readonly #secrets: Uint8Array[] = [];
  readonly #sources = new Map<string, string>();

  /** A set that has the providers of `--kms-module` and that `work` fills; what it holds already is wiped when that fails. */
  static async filled({ kmsModule }: ProviderOptions, work: (set: ProviderSet) => Promise<void>): Promise<ProviderSet> {
    const set = new ProviderSet();
    try {
      if (kmsModule !== undefined) await set.#addModule(kmsModule);
      await work(set);
      return set;
    } catch (error) {
      set.wipe();
      throw error;
    }
  }

  get kmsProviders(): KmsProviders {
    return this.#providers as KmsProviders;
  }

  has(id: string): boolean {
    return this.#providers[id] !== undefined;
  }

  /** Where a local master key is from: the absolute path of its file, or the name of the variable. */
  sourceOf(id: string): string | undefined {
    return this.#sources.get(id);
  }

  /** A local master key, from the file that was named or from where `localMasterKey` finds it. */
  async addLocal(id: string, file: string | undefined, output: Output): Promise<void> {
    const { key, source } = await foundMasterKey(file, output);
    this.#secrets.push(key);
    this.#sources.set(id, file === undefined ? (process.env.CSFLE_LOCAL_KEY ? 'CSFLE_LOCAL_KEY' : 'what was typed') : resolve(file));
    this.#providers[id] = { key };
    inCommand.localKeys.set(id, source);
  }

  /** AWS KMS with the SDK's own credential chain; AWS_ENDPOINT_URL_KMS and AWS_PROFILE are the SDK's to honour. */
  async addAws(id: string): Promise<void> {
    // Said once per process otherwise, on every start, about a Node release of the future.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    const { KMS } = await loadPackage('@aws-sdk/client-kms', () => import('@aws-sdk/client-kms'), 'it is what calls AWS KMS');
    // Retries are the library's, which also knows the deadline.
    this.#providers[id] = awsKms((target) => new KMS({ ...target, maxAttempts: 1 }) as unknown as AwsKmsClient);
  }

  /** What the command cannot make itself comes from a module of the user, with the SDK and the credentials that it chooses. */
  async #addModule(file: string): Promise<void> {
    for (const [id, provider] of Object.entries(await providersOfModule(file))) this.#providers[id] = provider;
  }

  wipe(): void {
    for (const secret of this.#secrets) secret.fill(0);
  }
}

const PROVIDER_ID = /^(?:aws|local)(?::[A-Za-z0-9_]+)?$/;

/**
 * The local master key: from the file that was named, else from CSFLE_LOCAL_KEY (base64), else from a hidden prompt.
 * Errors: `CLI_MASTER_KEY_MISSING` when there is none of these.
 */
export async function localMasterKey(file: string | undefined, output: Output): Promise<Uint8Array> {
  return (await foundMasterKey(file, output)).key;
}

async function foundMasterKey(file: string | undefined, output: Output): Promise<{ readonly key: Uint8Array; readonly source: string }> {
  if (file !== undefined) return { key: await readKeyFile(file), source: file };
  const fromEnvironment = process.env.CSFLE_LOCAL_KEY;
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    output.redactor.add(fromEnvironment);
    return {
      key: parseMasterKey(Buffer.from(fromEnvironment, 'latin1'), 'CSFLE_LOCAL_KEY', 'Set it to the base64 text of the local master key.'),
      source: 'CSFLE_LOCAL_KEY',
    };
  }
  if (process.stdin.isTTY && process.stderr.isTTY) {
    const typed = await password({ message: 'Local master key (base64):', mask: true }, { output: process.stderr });
    output.redactor.add(typed);
    return {
      key: parseMasterKey(Buffer.from(typed, 'latin1'), 'what was typed', 'Type the base64 text of the local master key, or pass --local-key-file.'),
      source: 'what was typed',
    };
  }
  throw new CliError('CLI_MASTER_KEY_MISSING', 'the local master key is needed', 'Pass --local-key-file, or set CSFLE_LOCAL_KEY to its base64 text.');
}

/** Providers for these identifiers, as far as this command can make them. */
export function providersFor(ids: Iterable<string>, options: ProviderOptions, output: Output): Promise<ProviderSet> {
  return ProviderSet.filled(options, async (set) => {
    for (const id of new Set(ids)) {
      if (set.has(id)) continue;
      const type = providerType(id);
      if (type === 'local') await set.addLocal(id, localKeyFileOf(options.localKeyFile, id), output);
      else if (type === 'aws') await set.addAws(id);
      else throw unsupported(id);
    }
  });
}

/** As `providersFor`, leaving out what cannot be made: its keys then fail by name. */
export function providersAtHand(ids: Iterable<string>, options: ProviderOptions, output: Output): Promise<ProviderSet> {
  return ProviderSet.filled(options, (set) => addAtHand(set, ids, options, output, (aws) => set.addAws(aws)));
}

/** Adds those of these identifiers that a set lacks and that can be made. Without the SDK, what is under keys of AWS KMS stays closed. */
export function addProvidersAtHand(set: ProviderSet, ids: Iterable<string>, options: ProviderOptions, output: Output): Promise<void> {
  return addAtHand(set, ids, options, output, (aws) => set.addAws(aws).catch(() => undefined));
}

async function addAtHand(
  set: ProviderSet,
  ids: Iterable<string>,
  options: ProviderOptions,
  output: Output,
  addAws: (id: string) => Promise<void>,
): Promise<void> {
  const hasLocalKey = (id: string): boolean => localKeyFileOf(options.localKeyFile, id) !== undefined || (process.env.CSFLE_LOCAL_KEY ?? '') !== '';
  for (const id of new Set([...ids, ...namedLocalKeys(options.localKeyFile)])) {
    // Whoever writes the key vault chooses identifiers too: one that is none makes its own key fail, not the command.
    if (set.has(id) || !PROVIDER_ID.test(id)) continue;
    const type = providerType(id);
    if (type === 'aws') await addAws(id);
    if (type === 'local' && hasLocalKey(id)) await set.addLocal(id, localKeyFileOf(options.localKeyFile, id), output);
  }
}

/** The providers that key documents name. */
export function providersOf(documents: readonly Document[]): readonly string[] {
  return [...new Set(documents.map(({ masterKey }) => String((masterKey as Document | null | undefined)?.provider)))];
}

/** For a provider that the command has no client of. */
export function unsupported(id: string): CliError {
  return new CliError(
    'CLI_OPTION_INVALID',
    `the command itself makes clients of local and aws, not of ${id}`,
    `Pass --kms-module <file>: a module that exports kmsProviders as the library takes them, such as { ${JSON.stringify(id)}: azureKms(...) }.`,
  );
}
