/** What a restore finds out about the wrappings of a backup before it writes them. */

import { type BsonLibrary, binaryBytes, type Document, deserialize, isBinary, serialize } from '../bson.js';
import { hexText } from '../bytes.js';
import { CsfleError } from '../errors.js';
import type { KeyVaultStore } from '../key-vault.js';
import { idText } from '../migrate/engine.js';
import { isRemoteKey } from '../migrate/proof.js';
import { isAbort } from '../migrate/run-state.js';
import { Session, type SessionOptions } from '../session.js';

/** A wrapping that was opened, as a fingerprint of its key material, or why it could not be. */
export type Opened = { readonly fingerprint: string } | { readonly closed: CsfleError };

/** The caller trusts no such master key, or no such endpoint: nothing was sent. */
const NOT_TRUSTED: ReadonlySet<string> = new Set(['KEY_VAULT_MASTER_KEY_NOT_TRUSTED', 'KMS_ENDPOINT_NOT_ALLOWED']);
/** Errors after which the same master key is not asked again: a KMS that is out of reach takes its time for every key. */
const OUT_OF_REACH: ReadonlySet<string> = new Set(['KMS_UNREACHABLE', 'KMS_TIMED_OUT', 'KMS_CREDENTIALS_UNAVAILABLE', 'KMS_CREDENTIALS_REFUSED']);
/** Errors that say nothing about a wrapping: there is no provider for it, or its KMS did not come to look at it. */
const NOT_TRIED: ReadonlySet<string> = new Set([
  ...OUT_OF_REACH,
  'KMS_PROVIDER_NOT_CONFIGURED',
  'KMS_ACCESS_DENIED',
  'KMS_THROTTLED',
  'KMS_KEY_NOT_FOUND',
  'KMS_KEY_UNAVAILABLE',
  'KMS_REGION_MISMATCH',
  'KMS_REQUEST_REFUSED',
  'KMS_FAILED',
]);
const REFUSED: ReadonlySet<string> = new Set([
  'CRYPTO_AUTHENTICATION_FAILED',
  'KMS_CIPHERTEXT_REFUSED',
  'KMS_REPLY_INVALID',
  'KMS_REPLY_LENGTH',
  'KMS_REPLY_MISMATCH',
]);

/** Opens wrappings with the providers at hand, each anew, and each of a KMS twice. Fingerprints are of one engine. */
export class MaterialProof {
  readonly #session: Session;
  /** Knows no provider: it tells whether a document is admitted, and sends nothing. */
  readonly #admission: Session;
  readonly #outOfReach = new Map<string, CsfleError>();
  #document: Document = {};

  constructor(options: SessionOptions) {
    const store = { find: async (): Promise<readonly Document[]> => [this.#document] } as unknown as KeyVaultStore;
    this.#session = new Session(options, () => store);
    try {
      this.#admission = new Session({ ...options, kmsProviders: {} }, () => store);
    } catch (error) {
      this.#session.close();
      throw error;
    }
  }

  /**
   * Opens a wrapping of a backup. Without a provider that can be reached it stays closed, which shows nothing.
   * Errors: `KEY_VAULT_MASTER_KEY_NOT_TRUSTED`, `KMS_ENDPOINT_NOT_ALLOWED`; `BACKUP_RESTORE_UNPROVEN` for one that its own
   * provider does not open, and for what is no key document.
   */
  async ofBackup(document: Document, signal: AbortSignal | undefined): Promise<Opened> {
    const opened = await this.ofPresent(document, signal);
    if ('fingerprint' in opened) return opened;
    const { closed } = opened;
    if (NOT_TRUSTED.has(closed.code)) throw closed;
    if (NOT_TRIED.has(closed.code)) return opened;
    const keyId = idText(document._id);
    throw new CsfleError('BACKUP_RESTORE_UNPROVEN', `key ${keyId}: the backup's wrapping does not open`, { cause: closed, details: { keyId } });
  }

  /** Opens a present wrapping. Whatever keeps it closed may be what the restore is for. */
  async ofPresent(document: Document, signal: AbortSignal | undefined): Promise<Opened> {
    const masterKey = hexText(serialize(this.#session.bson, { of: document.masterKey }, 'a master key'));
    const before = this.#outOfReach.get(masterKey);
    try {
      const session = before === undefined ? this.#session : this.#admission;
      const fingerprint = await this.#fingerprint(session, document, signal);
      if (isRemoteKey(document) && (await this.#fingerprint(session, document, signal)) !== fingerprint) throw unsteady(document);
      return { fingerprint };
    } catch (error) {
      if (!CsfleError.is(error) || isAbort(error)) throw error;
      if (before !== undefined && error.code === 'KMS_PROVIDER_NOT_CONFIGURED') return { closed: before };
      if (OUT_OF_REACH.has(error.code)) this.#outOfReach.set(masterKey, error);
      return { closed: error };
    }
  }

  async #fingerprint(session: Session, document: Document, signal: AbortSignal | undefined): Promise<string> {
    this.#document = document;
    const { bson } = session;
    const filter = serialize(bson, { _id: document._id }, 'a filter');
    const noValues = serialize(bson, {}, 'values');
    return fingerprintIn(bson, await session.run((engine) => engine.fingerprint(filter, noValues, false), signal));
  }

  close(): void {
    this.#session.close();
    this.#admission.close();
  }
}

function fingerprintIn(bson: BsonLibrary, output: Uint8Array): string {
  const { fingerprint } = (deserialize(bson, output).v as Document[])[0] ?? {};
  if (!isBinary(fingerprint)) throw new CsfleError('INTERNAL', 'the core returned no fingerprint');
  return hexText(binaryBytes(fingerprint));
}

function unsteady(document: Document): CsfleError {
  const keyId = idText(document._id);
  return new CsfleError('KMS_REPLY_MISMATCH', `key ${keyId}: two calls unwrapped it to different key material`, { details: { keyId } });
}

/** Whether what was to be opened is no well-formed key document, and not a wrapping that its provider refused. */
export function isMalformed({ code, cause }: CsfleError): boolean {
  return code === 'BACKUP_RESTORE_UNPROVEN' && CsfleError.is(cause) && !REFUSED.has(cause.code);
}
