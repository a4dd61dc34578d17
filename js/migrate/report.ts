/** What a migration says about itself: frozen plain data, fit for JSON, without secrets. */

import type { ErrorCode } from '../error-codes.js';
import type { MasterKeyDocument } from '../key-vault.js';
import type { MigrationBackupResult } from './backup.js';
import type { MigrationMode } from './options.js';

/** One thing that was looked at before anything is written. */
export interface MigrationCheck {
  readonly name:
    | 'vault-readable'
    | 'vault-writable'
    | 'alt-name-index'
    | 'key-documents'
    | 'old-keys-unwrap'
    | 'keys-under-target'
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

/** What is to become of one data key. */
export interface PlannedKey {
  readonly id: string;
  readonly keyAltNames: readonly string[];
  readonly provider: string;
  /** `migrate`: to do. `done`: under the new master key already. `other`: not asked for. `malformed`: not a key document. */
  readonly disposition: 'migrate' | 'done' | 'other' | 'malformed';
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
  /** Keys that were to be migrated. */
  readonly planned: number;
  /** Wrapped anew (`rewrap`), or replaced by a new key that this run made (`reencrypt`). */
  readonly migrated: number;
  /** Found under the new master key, or with their replacement, when their turn came. */
  readonly alreadyDone: number;
  readonly failed: number;
  /** Alternate names that moved to the new keys (`reencrypt`). */
  readonly namesMoved: number;
  /** Old keys removed (`deleteOldKeys`). */
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
  /** Values that the last census still found under the old keys. 0 is the proof that none is left. */
  readonly valuesLeft: number;
}

/** What happened to one schema. */
export interface SchemaResults {
  readonly name: string;
  readonly changes: number;
  readonly written: boolean;
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
  readonly plan: MigrationPlan;
  readonly keys: KeyResults;
  readonly collections: readonly CollectionResults[];
  readonly schemas: readonly SchemaResults[];
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
