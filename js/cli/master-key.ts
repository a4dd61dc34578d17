/** Master keys on the command line: which options name one, for each type of provider. */

import type { MasterKeyDocument } from '../index.js';
import { CliError } from './failure.js';

/** The fields that make a master key whole, by the type of its provider. One that is local has no more than its provider. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  local: [],
  aws: ['key'],
  azure: ['keyVaultEndpoint', 'keyName'],
  gcp: ['projectId', 'location', 'keyRing', 'keyName'],
  kmip: ['keyId'],
};

/** The type of a provider identifier: `aws` of `aws:eu`. */
export function providerType(id: string): string {
  return id.split(':', 1)[0] as string;
}

/** Whether a master key names one key, so that something can be wrapped under it and unwrapped later. */
export function isWhole(masterKey: MasterKeyDocument): boolean {
  return (FIELDS[providerType(masterKey.provider)] ?? []).every((field) => masterKey[field] !== undefined);
}

/** Options that name the master key to wrap under. */
export interface NewMasterKeyOptions extends AwsKeyOptions {
  readonly toMasterKey?: string | undefined;
}

/** The master key of `--to`. */
export function newMasterKey(provider: string, options: NewMasterKeyOptions): MasterKeyDocument {
  requireType(provider, '--to');
  if (providerType(provider) === 'aws') {
    refuseFields(provider, options.toMasterKey, '--to-master-key');
    return awsMasterKey(provider, options, '--key-arn');
  }
  refuseAwsKeyOptions(options, '--', 'It goes with --to aws.');
  if (providerType(provider) === 'local') {
    refuseFields(provider, options.toMasterKey, '--to-master-key');
    return { provider };
  }
  if (options.toMasterKey !== undefined) return { provider, ...masterKeyFields(options.toMasterKey, '--to-master-key') };
  throw new CliError('CLI_OPTION_INVALID', `the provider ${provider} needs --to-master-key`, `Give its fields as JSON: ${exampleOf(provider)}`);
}

/** The master key of `--from`: its provider alone, or as much of it as the options say. */
export function oldMasterKey(
  provider: string | undefined,
  options: AwsKeyOptions & { readonly fromMasterKey?: string | undefined },
): MasterKeyDocument | undefined {
  if (provider !== undefined) requireType(provider, '--from');
  const type = provider === undefined ? undefined : providerType(provider);
  if (provider !== undefined && type === 'aws' && options.keyArn !== undefined) return awsMasterKey(provider, options, '--from-key-arn');
  refuseAwsKeyOptions(options, '--from-', 'It goes with --from aws and --from-key-arn.');
  if (type === undefined || type === 'aws' || type === 'local') refuseFields(provider, options.fromMasterKey, '--from-master-key');
  if (provider === undefined) return undefined;
  return { provider, ...(options.fromMasterKey === undefined ? {} : masterKeyFields(options.fromMasterKey, '--from-master-key')) };
}

function requireType(provider: string, option: string): void {
  const type = providerType(provider);
  if (Object.hasOwn(FIELDS, type)) return;
  const meant = Object.keys(FIELDS).find((known) => known === type.toLowerCase());
  throw new CliError(
    'CLI_OPTION_INVALID',
    `${option}: there is no provider ${JSON.stringify(provider)}`,
    meant === undefined ? `There are ${Object.keys(FIELDS).join(', ')}, each with an optional name such as aws:eu.` : `Did you mean ${meant}?`,
  );
}

function refuseFields(provider: string | undefined, given: string | undefined, option: string): void {
  if (given === undefined) return;
  const other = provider === undefined ? 'It goes with a provider.' : `Master keys of ${providerType(provider)} have options of their own, such as --key-arn.`;
  throw new CliError('CLI_OPTION_INVALID', `${option} is for master keys of azure, gcp and kmip`, other);
}

/** The fields of a master key as JSON. They are stored with each key; which ones a provider needs, the library checks. */
function masterKeyFields(text: string, option: string): Readonly<Record<string, unknown>> {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    fields = undefined;
  }
  if (Object.prototype.toString.call(fields) === '[object Object]' && !Object.hasOwn(fields as object, 'provider'))
    return fields as Readonly<Record<string, unknown>>;
  throw new CliError(
    'CLI_OPTION_INVALID',
    `${option}: expected a JSON object with the fields of the master key, without its provider`,
    `For example: ${exampleOf('azure')}`,
  );
}

function exampleOf(provider: string): string {
  const fields = Object.fromEntries((FIELDS[providerType(provider)] ?? []).map((field) => [field, '...']));
  return `'${JSON.stringify(fields)}'`;
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
