import { resolve } from 'node:path';
import password from '@inquirer/password';
import { type AwsKmsClient, awsKms, type Document, type KmsProviders, type MasterKeyDocument } from '../index.js';
import { CliError } from './failure.js';
import { type LocalKeyFiles, localKeyFileOf, namedLocalKeys, parseMasterKey, readKeyFile } from './key-file.js';
import type { Output } from './output.js';
import { loadPackage } from './package-loading.js';
import { inCommand } from './words.js';

/** Options that say which master keys are at hand; the secrets themselves come from files, environment or a prompt. */
export interface ProviderOptions {
  readonly localKeyFile?: LocalKeyFiles;
}

/** Providers of a command, with what has to be wiped when it ends. */
export class ProviderSet {
  readonly #providers: Record<string, unknown> = {};
  readonly #secrets: Uint8Array[] = [];
  readonly #sources = new Map<string, string>();

  /** A set that `work` fills; what it holds already is wiped when that fails. */
  static async filled(work: (set: ProviderSet) => Promise<void>): Promise<ProviderSet> {
    const set = new ProviderSet();
    try {
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

  wipe(): void {
    for (const secret of this.#secrets) secret.fill(0);
  }
}

const PROVIDER_ID = /^(?:aws|local)(?::[A-Za-z0-9_]+)?$/;

/** The type of a provider identifier: `aws` of `aws:eu`. */
export function providerType(id: string): string {
  return id.split(':', 1)[0] as string;
}

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
  return ProviderSet.filled(async (set) => {
    for (const id of new Set(ids)) {
      const type = providerType(id);
      if (type === 'local') await set.addLocal(id, localKeyFileOf(options.localKeyFile, id), output);
      else if (type === 'aws') await set.addAws(id);
      else throw unsupported(id);
    }
  });
}

/** As `providersFor`, leaving out what cannot be made: its keys then fail by name. */
export function providersAtHand(ids: Iterable<string>, options: ProviderOptions, output: Output): Promise<ProviderSet> {
  return ProviderSet.filled((set) => addAtHand(set, ids, options, output, (aws) => set.addAws(aws)));
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

function unsupported(id: string): CliError {
  return new CliError(
    'CLI_OPTION_INVALID',
    `the command knows the providers local and aws, not ${id}`,
    'Use the library for azure, gcp and kmip: migrate() takes any KMS client.',
  );
}

/** Options that describe an AWS master key. */
export interface AwsKeyOptions {
  readonly keyArn?: string | undefined;
  readonly region?: string | undefined;
  readonly endpoint?: string | undefined;
}

/**
 * Refuses options of an AWS key where no AWS key is meant: passed over in silence they would look obeyed.
 * `advice` says what gives them a meaning.
 */
export function refuseAwsKeyOptions({ keyArn, region, endpoint }: AwsKeyOptions, prefix: '--' | '--from-', advice: string): void {
  const given = [keyArn === undefined ? '' : 'key-arn', region === undefined ? '' : 'region', endpoint === undefined ? '' : 'endpoint'];
  const name = given.find((one) => one !== '');
  if (name !== undefined) throw new CliError('CLI_OPTION_INVALID', `${prefix}${name} is without effect here`, advice);
}

const ARN_FORM = 'an ARN of the form arn:aws:kms:<region>:<account>:key/<id>';
const ARN_REGION = /^arn:[^:]+:kms:([a-z0-9-]+):[^:]*:(?:key|alias)\//;

/** What it holds beside its scheme may be a password, so no more is shown. */
function requireHost(endpoint: string, option: string): void {
  const scheme = /^[a-z][a-z\d+.-]*:\/\//i.exec(endpoint)?.[0];
  if (scheme === undefined) return;
  throw new CliError(
    'CLI_OPTION_INVALID',
    `${option}: expected host[:port], found a URL that starts with ${scheme}`,
    'It is stored with each key. For an endpoint of this machine alone leave the option out and set AWS_ENDPOINT_URL_KMS to the URL.',
  );
}

/** The master key document of an AWS key; the region is part of an ARN. `option` names the option of the key. */
export function awsMasterKey(provider: string, { keyArn, region, endpoint }: AwsKeyOptions, option: string): MasterKeyDocument {
  if (keyArn === undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      `the provider ${provider} needs ${option}`,
      'Give the ARN of the customer master key, as aws kms describe-key shows it.',
    );
  if (endpoint !== undefined) requireHost(endpoint, option.replace('key-arn', 'endpoint'));
  const ofArn = ARN_REGION.exec(keyArn)?.[1];
  // A variable of the shell that is not set arrives as an empty text.
  if (keyArn.trim() === '' || (ofArn === undefined && (region === undefined || keyArn.startsWith('arn:'))))
    throw new CliError(
      'CLI_OPTION_INVALID',
      `${option}: expected ${ARN_FORM}, found ${JSON.stringify(keyArn)}`,
      'Give the whole ARN, as aws kms describe-key shows it, or an id or alias/name with the region beside it.',
    );
  if (region !== undefined && ofArn !== undefined && region !== ofArn) {
    throw new CliError('CLI_OPTION_INVALID', `${option} is of the region ${ofArn}, not of ${region}`, 'Leave --region out: the ARN has it.');
  }
  return { provider, region: region ?? ofArn, key: keyArn, ...(endpoint === undefined ? {} : { endpoint }) };
}
