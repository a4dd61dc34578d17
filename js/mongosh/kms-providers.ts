/** kmsProviders as the shell takes them: what the library takes, key files, and the drivers' form of `aws`. */

import { CsfleError, type KmsCallbacks, type KmsProviders, type LocalKmsProvider } from '../index.js';
import { type AwsCredentials, awsKms } from './aws-kms.js';
import { LocalKeyFile } from './local-key-file.js';
import { printWarning, type ShellInstanceState } from './shell.js';
import { inShell } from './words.js';

/** A local master key: a file, or bytes, a BSON binary or base64 text as the drivers take it. */
export type ShellLocalProvider = LocalKeyFile | { readonly key: LocalKeyFile | LocalKmsProvider['key'] };

/** A KMS: callbacks, or for `aws` what the drivers take: credentials, or `{}` for the chain of the AWS SDK. */
export type ShellRemoteProvider = KmsCallbacks | AwsCredentials | Readonly<Record<string, never>>;

/** The providers by the identifier that key documents carry: `local`, `aws`, `aws:eu` ... */
export type ShellKmsProviders = Readonly<Record<string, ShellLocalProvider | ShellRemoteProvider | undefined>>;

/** Providers that the library takes, with key bytes that were read for it. */
export interface ResolvedProviders {
  readonly kmsProviders: KmsProviders;
  /** Overwrites the key bytes that were read from files. Call it when the library has taken its copy. */
  wipe(): void;
}

const CREDENTIAL_NAMES: readonly string[] = ['accessKeyId', 'secretAccessKey', 'sessionToken'];

/**
 * Turns the shell's providers into the library's.
 * Errors: `ARGUMENT_INVALID` for a key file that must not be used, and when the AWS SDK is needed and not installed.
 */
export function resolveKmsProviders(given: ShellKmsProviders | undefined, state: ShellInstanceState | undefined): ResolvedProviders {
  if (typeof given !== 'object' || given === null) {
    throw new CsfleError('ARGUMENT_INVALID', 'kmsProviders is missing; for example { local: csfle.localKeyFile("master-key.bin") }', {
      details: { argument: 'kmsProviders' },
    });
  }
  const read: Uint8Array[] = [];
  const wipe = (): void => {
    for (const key of read) key.fill(0);
  };
  const resolved: Record<string, unknown> = {};
  try {
    for (const [id, provider] of Object.entries(given)) resolved[id] = resolveProvider(id, provider, read, state);
  } catch (error) {
    wipe();
    throw error;
  }
  return { kmsProviders: resolved as KmsProviders, wipe };
}

function resolveProvider(id: string, provider: unknown, read: Uint8Array[], state: ShellInstanceState | undefined): unknown {
  const [type] = id.split(':', 1);
  if (type === 'local') {
    const key = provider instanceof LocalKeyFile ? provider : (provider as { key?: unknown } | null | undefined)?.key;
    if (key instanceof LocalKeyFile) {
      const bytes = key.read();
      read.push(bytes);
      inShell.localKeys.set(id, key.file);
      return { key: bytes };
    }
    inShell.localKeys.delete(id);
    if (key !== undefined) warnOfHistory(state);
    return provider;
  }
  if (type === 'aws' && isCredentials(provider)) {
    return awsKms(Object.keys(provider).length === 0 ? {} : { credentials: provider as AwsCredentials });
  }
  return provider;
}

function isCredentials(provider: unknown): provider is AwsCredentials | Readonly<Record<string, never>> {
  return typeof provider === 'object' && provider !== null && Object.keys(provider).every((name) => CREDENTIAL_NAMES.includes(name));
}

// The shell shows each warning once.
function warnOfHistory(state: ShellInstanceState | undefined): void {
  if (state?.isInteractive !== true) return;
  void printWarning(state, 'A master key that was typed stays in the history of the shell. Keep it in a file: csfle.localKeyFile("master-key.bin")');
}
