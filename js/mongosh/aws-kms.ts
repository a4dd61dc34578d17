/** AWS KMS through the user's own AWS SDK, found from the working folder, with the credentials of the SDK's own chain. */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type AwsKmsClient, type AwsKmsCommands, awsKms as libraryAwsKms, CsfleError, type KmsCallbacks } from '../index.js';
import { requireOptions } from './arguments.js';
import { AS_PRINTABLE } from './help.js';

const SDK = '@aws-sdk/client-kms';

/** Credentials as `kmsProviders.aws` of the drivers has them. Prefer the SDK's chain: what is typed stays in the history. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Options of `csfle.awsKms()`. */
export interface AwsKmsOptions {
  /** The region of every call. Default: the region of each master key. */
  readonly region?: string;
  /** An endpoint of your own, `https://host[:port]`. Default: the endpoint of each master key, or that of the region. */
  readonly endpoint?: string;
  /** A profile of the AWS configuration files. Default: what the SDK's chain finds. */
  readonly profile?: string;
  /** Explicit credentials. Default: the SDK's chain (environment, files, roles, single sign-on). */
  readonly credentials?: AwsCredentials;
}

/** What of the SDK's module is used. */
interface AwsSdk extends AwsKmsCommands {
  readonly KMSClient: new (configuration: Readonly<Record<string, unknown>>) => AwsKmsClient;
}

/**
 * Makes the callbacks of an `aws` provider.
 * Errors: `ARGUMENT_INVALID` when the SDK is not installed where the shell was started; the message has the command.
 */
export function awsKms(options: AwsKmsOptions = {}): KmsCallbacks {
  requireOptions('csfle.awsKms', options, ['region', 'endpoint', 'profile', 'credentials']);
  const load = findSdk();
  let callbacks: KmsCallbacks | undefined;
  // The SDK takes a moment to load: not before the first key is wrapped or unwrapped.
  const ready = (): KmsCallbacks => {
    callbacks ??= connect(load(), options);
    return callbacks;
  };
  const provider: KmsCallbacks = { encrypt: (call) => ready().encrypt(call), decrypt: (call) => ready().decrypt(call) };
  const print = (): string => `AWS KMS, ${options.region ?? 'in the region of each master key'}`;
  return Object.defineProperty(provider, AS_PRINTABLE, { value: print });
}

function connect(sdk: AwsSdk, { region, endpoint, profile, credentials }: AwsKmsOptions): KmsCallbacks {
  const chosen = {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile === undefined ? {} : { profile }),
    ...(credentials === undefined ? {} : { credentials }),
  };
  // With a region of its own the client is fixed, and the library refuses master keys of other regions.
  if (region !== undefined) return libraryAwsKms(new sdk.KMSClient({ region, ...chosen }), sdk);
  return libraryAwsKms((target) => new sdk.KMSClient({ ...target, ...chosen }), sdk);
}

// The SDK is the user's: first the folder that the shell was started in, then this package's own neighbours.
function findSdk(): () => AwsSdk {
  for (const origin of [join(process.cwd(), 'index.js'), __filename]) {
    const requireFrom = createRequire(origin);
    try {
      requireFrom.resolve(SDK);
    } catch {
      continue;
    }
    return () => requireFrom(SDK) as AwsSdk;
  }
  throw new CsfleError('ARGUMENT_INVALID', `${SDK} is not installed in ${process.cwd()} or above; run there: npm install ${SDK}`, {
    details: { package: SDK, folder: process.cwd() },
  });
}
