/** What a migration says about itself: frozen plain data, fit for JSON, without secrets. */

import type { ErrorCode } from '../error-codes.js';
import type { MasterKeyDocument } from '../key-vault.js';
import type { KeyOutcome } from './evidence/outcome.js';
import type { MigrationBackupResult } from './backup.js';
import type { MigrationMode } from './options.js';

/** One thing that was looked at before anything is written. */
export interface MigrationCheck {
  readonly name:
    | 'vault-readable'
    | 'vault-writable'
    | 'alt-name-index'
    | 'key-documents'
    | 'keys-chosen'
    | 'old-keys-unwrap'
    | 'keys-under-target'
    | 'keys-proven'
    | 'new-master-key'
    | 'collection-readable'
    | 'collection-writable'
    | 'documents-decryptable'
    | 'schema-rewritable'
    | 'plaintext-confirmed';
  readonly ok: boolean;
  /** Whether nothing is written while this is not ok. */
  readonly required: boolean;
  readonly detail: string;
  /** The collection or schema, for checks that are about one. */
  readonly subject?: string;
  /** Why it is not ok, as a stable code; absent where nothing failed and yet something is to be known. */
  readonly code?: ErrorCode;
}

/**
 * Why a key is dealt with as it is.
 *
 * - `under-source`, `under-target`, `not-under-source`: the mode `rewrap` goes by the master key that a key is under.
 * - `chosen`, `made-later`, `not-named`, `left-out`: the mode `reencrypt` goes by its choice of keys; `made-later` keys are
 *   not older than `createdBefore`, `left-out` ones were chosen, but not under `from` or not matched by `keyFilter`.
 * - `replacement`: a re-encryption made it in the place of another key.
 * - `used`, `not-used`: the mode `decrypt` goes by the values in its collections.
 * - `malformed`: its document cannot be used.
 */
export type KeyReason =
  | 'under-source'
  | 'under-target'
  | 'not-under-source'
  | 'chosen'
  | 'made-later'
  | 'not-named'
  | 'left-out'
  | 'replacement'
  | 'used'
  | 'not-used'
  | 'malformed';

/** The choice of keys of the mode `reencrypt`, as plain data. */
export type ReportedChoice = { readonly createdBefore: string } | { readonly keyIds: readonly string[] } | { readonly all: true };

/** What is to become of one data key. */
export interface PlannedKey {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  /**
   * `migrate`: to do. `done`: under the new master key already, or in the mode `reencrypt` made by a re-encryption. `other`:
   * not asked for. `malformed`: not a key document.
   */
  readonly disposition: 'migrate' | 'done' | 'other' | 'malformed';
  readonly reason: KeyReason;
  /** The data key that takes its place, in the mode `reencrypt`, once it exists. */
  readonly replacedBy?: string;
  readonly code?: ErrorCode;
  readonly message?: string;
}

/** What a collection holds, from the headers of its encrypted values alone. */
export interface PlannedCollection {
  readonly namespace: string;
  readonly documents: number;
  /** Encrypted values in all. */
  readonly values: number;
  /** Encrypted values that the migration replaces. */
  readonly valuesToMigrate: number;
  /** Values per data key. */
  readonly byKey: readonly { readonly keyId: string; readonly deterministic: number; readonly random: number }[];
  /** Where the values are, array indexes folded. */
  readonly paths: readonly { readonly path: string; readonly values: number }[];
  /** Values that this library leaves alone: of Queryable Encryption, or of no known kind. */
  readonly foreignValues: number;
  /** Documents that nest too deeply to be looked through: what they hold is not known. */
  readonly unreadable: number;
}

/** Encrypted values in the named collections that nobody asked to migrate, by their key. */
export interface ValuesNotChosen {
  readonly keyId: string;
  readonly values: number;
  /** Why their key was not chosen; absent where the key vault has no such key. */
  readonly reason?: KeyReason;
}

/** What a schema holds. */
export interface PlannedSchema {
  readonly name: string;
  /** Places that change: key ids, or `encrypt` entries in the mode `decrypt`. */
  readonly changes: number;
}

/** Everything that is known before anything is written. */
export interface MigrationPlan {
  /** Whether every required check passed. */
  readonly executable: boolean;
  readonly checks: readonly MigrationCheck[];
  readonly keys: readonly PlannedKey[];
  readonly counts: { readonly migrate: number; readonly done: number; readonly other: number; readonly malformed: number };
  readonly collections: readonly PlannedCollection[];
  /** What the collections hold under keys that are not migrated. */
  readonly notChosen: readonly ValuesNotChosen[];
  readonly schemas: readonly PlannedSchema[];
  /** KMS calls that executing makes, those of its own checks included; retries come on top. */
  readonly kmsCalls: number;
}

/** One key, document, collection or schema that failed while the others went on. */
export interface MigrationFailure {
  readonly kind: 'key' | 'document' | 'collection' | 'schema' | 'check' | 'backup';
  /** The key id, the `_id` as extended JSON, the namespace, or the name of the schema or check. */
  readonly id: string;
  /** The collection of a document. */
  readonly namespace?: string;
  readonly keyAltNames?: readonly string[];
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
}

/** What happened to the keys. */
export interface KeyResults {
  /** Keys that were asked for, those that an earlier run had done included. */
  readonly planned: number;
  /** Wrapped anew (`rewrap`), or replaced by a new key that this run made (`reencrypt`). */
  readonly migrated: number;
  /** Under the new master key (`rewrap`), or with their replacement (`reencrypt`), before this run came to them. */
  readonly alreadyDone: number;
  readonly failed: number;
  /** Alternate names that moved to the new keys (`reencrypt`). */
  readonly namesMoved: number;
  /** Old keys moved to the retired keys (`deleteOldKeys`). */
  readonly deleted: number;
  /** Keys whose material was unwrapped from the new wrapping at the end and found to be the material of the start. */
  readonly verified: number;
}

/** What happened to one collection. */
export interface CollectionResults {
  readonly namespace: string;
  /** Walks over the whole collection. */
  readonly passes: number;
  readonly documentsRewritten: number;
  readonly valuesRewritten: number;
  readonly documentsFailed: number;
  /**
   * Values under the keys asked for that a census after the last change found, also under keys that failed. 0 is the proof
   * that none is left; null says that no census tells: it failed, was interrupted, or is older than the last change.
   */
  readonly valuesLeft: number | null;
}

/** What happened to one schema. */
export interface SchemaResults {
  readonly name: string;
  readonly changes: number;
  readonly written: boolean;
}

/**
 * What was asked for and is not done, from a last look at the vault, the collections and the schemas. The run is `ok` only
 * when all of it is empty or 0; `notChosen` alone says what nobody asked for.
 */
export interface MigrationRemaining {
  /** Keys asked for that are not wrapped anew or not replaced, or that the vault does not have. */
  readonly keys: readonly { readonly keyId: string; readonly reason: 'not-done' | 'not-in-vault' }[];
  /** Values under the keys asked for in the named collections; null where no census tells. */
  readonly values: readonly { readonly namespace: string; readonly values: number | null }[];
  /** Values under the keys asked for in other collections; null where no other collection was looked at. */
  readonly elsewhere: readonly { readonly namespace: string; readonly values: number | null }[] | null;
  /** What the censuses of the named collections cannot judge: documents too deep, values that tell no key. */
  readonly unproven: readonly { readonly namespace: string; readonly documents: number; readonly values: number }[];
  /** Alternate names that are still to move to a new key. */
  readonly keyAltNames: number;
  /** Schemas that still have old key ids or encryption, or that could not be read. */
  readonly schemas: readonly string[];
  /** Values that stay under keys that were not chosen. */
  readonly notChosen: readonly ValuesNotChosen[];
}

/** The result of `migrate()`. */
export interface MigrationReport {
  readonly mode: MigrationMode;
  /** Whether this run got as far as writing: it was asked to, and every required check passed. */
  readonly executed: boolean;
  /** Whether everything that was asked for is done and verified; for a plan, whether it can be executed. */
  readonly ok: boolean;
  readonly interrupted: boolean;
  readonly from: MasterKeyDocument | null;
  readonly to: MasterKeyDocument | null;
  /** Which keys a re-encryption was asked to replace; null in the other modes. */
  readonly choice: ReportedChoice | null;
  readonly plan: MigrationPlan;
  readonly keys: KeyResults;
  readonly collections: readonly CollectionResults[];
  readonly schemas: readonly SchemaResults[];
  /** What became of each old key (`deleteOldKeys`), and why those that stayed did. */
  readonly oldKeys: readonly KeyOutcome[];
  /** What is left of what was asked for; null when nothing was executed, or when the last look failed or was interrupted. */
  readonly remaining: MigrationRemaining | null;
  readonly failures: readonly MigrationFailure[];
  /** The sealed backup that was taken, or kept from an earlier run, before the first write. */
  readonly backup: MigrationBackupResult | null;
  /** KMS calls of this run by kind. */
  readonly kmsCalls: { readonly wrap: number; readonly unwrap: number };
  readonly startedAt: string;
  readonly durationMs: number;
}

/** Freezes plain data all the way down. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
