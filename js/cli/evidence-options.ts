import type { MongoClient } from 'mongodb';
import type { SkippedEvidence } from '../index.js';
import { connect, warnOfPassword } from './connection.js';
import { CliError } from './failure.js';
import type { Output } from './output.js';

/** What a command takes that removes keys: where to search for uses of a key, and where not. */
export interface EvidenceFlags {
  /** Connection strings of further deployments. */
  readonly dataUri: readonly string[];
  readonly skipNamespace: readonly string[];
  readonly skipReason?: string;
}

/**
 * The namespaces that need no search.
 * Errors: `CLI_OPTION_INVALID` for namespaces without a reason, or a reason without namespaces.
 */
export function skippedEvidence({ skipNamespace, skipReason }: EvidenceFlags): SkippedEvidence | undefined {
  if (skipNamespace.length === 0 && skipReason === undefined) return undefined;
  if (skipNamespace.length === 0 || skipReason === undefined)
    throw new CliError(
      'CLI_OPTION_INVALID',
      '--skip-namespace and --skip-reason go together',
      'Say which namespaces are not searched, and why no value in them needs the keys.',
    );
  return { skipNamespaces: skipNamespace, reason: skipReason };
}

/** Clients of further deployments. */
export class DataClients {
  readonly #clients: MongoClient[] = [];

  /** Connects to each of the options, or else of the environment. Passwords in them are never printed. */
  async connect(given: readonly string[], output: Output): Promise<readonly MongoClient[]> {
    const uris = given.length > 0 ? given : (process.env['CSFLE_DATA_URIS'] ?? '').split(/\s+/).filter((uri) => uri !== '');
    for (const uri of uris) {
      output.redactor.addUri(uri);
      if (given.length > 0) warnOfPassword(uri, '--data-uri', 'CSFLE_DATA_URIS', output);
      this.#clients.push((await connect(uri, output)).client);
    }
    return this.#clients;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
  }
}
