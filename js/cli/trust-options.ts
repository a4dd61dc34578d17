import type { Command } from 'commander';
import type { TrustedMasterKey, TrustOptions } from '../index.js';
import { CliError } from './failure.js';

/** What the command line says about which master keys and endpoints are used. */
export interface TrustFlags {
  readonly trustedMasterKey?: readonly string[];
  readonly allowEndpoint?: readonly string[];
}

/** Collects the values of an option that is repeated. */
export const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Adds the options to a command that uses master keys. */
export function withTrust(command: Command): Command {
  return command
    .option(
      '--trusted-master-key <pattern>',
      'use these master keys only, such as arn:aws:kms:us-east-1:111122223333:key/*, local, or JSON; repeat for more. CSFLE_TRUSTED_MASTER_KEYS (a JSON array) applies too: a key has to match both',
      collect,
      [],
    )
    .option(
      '--allow-endpoint <host>',
      'host[:port] that key documents may name although no cloud runs it; repeat for more. endpoints in CSFLE_ALLOWED_ENDPOINTS (comma-separated) are allowed too',
      collect,
      [],
    );
}

/**
 * The library's options for these flags and the environment. `named` are endpoints that this command line names itself: they
 * are the caller's own word. The library reads CSFLE_TRUSTED_MASTER_KEYS.
 * Errors: `CLI_OPTION_INVALID` for a pattern that starts with `{` but is not valid JSON.
 */
export function trustOf({ trustedMasterKey = [], allowEndpoint = [] }: TrustFlags, ...named: readonly (string | undefined)[]): TrustOptions {
  const fromEnvironment = (process.env.CSFLE_ALLOWED_ENDPOINTS ?? '').split(',').map((one) => one.trim());
  const allowedEndpoints = [...allowEndpoint, ...fromEnvironment, ...named].filter((one) => one !== undefined && one !== '') as string[];
  // No flag is no list. An empty list, which trusts nothing, can be said by the variable.
  return { allowedEndpoints, ...(trustedMasterKey.length === 0 ? {} : { trustedMasterKeys: trustedMasterKey.map(patternOf) }) };
}

function patternOf(text: string): TrustedMasterKey {
  if (!text.trimStart().startsWith('{')) return text;
  try {
    return JSON.parse(text) as TrustedMasterKey;
  } catch (cause) {
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--trusted-master-key starts with "{" but is not valid JSON',
      'For example: --trusted-master-key \'{"provider": "aws", "key": "arn:aws:kms:..."}\'',
      undefined,
      { cause },
    );
  }
}
