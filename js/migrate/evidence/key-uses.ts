/** What was found out about the use of data keys, key by key. */

import type { CensusReport } from '../../wasm.js';
import type { Unreadable } from './namespaces.js';
import type { SchemaKeys } from './schema-keys.js';

/** One reason to keep a data key. */
export interface KeyUse {
  /** The namespace, or the name of a schema. */
  readonly namespace: string;
  /**
   * `value`: encrypted under this key. `reference`: names this key, such as a value of Queryable Encryption.
   * `nested`: one of both inside the plaintext of an encrypted document or array. `schema`: named by a validator,
   * `encryptedFields` or a schema file. What may need any key: `unattributed`, a value or schema that does not tell its
   * key; `unopened`, an encrypted document or array that cannot be looked into; `unreadable`, a namespace that cannot be
   * searched.
   */
  readonly kind: 'value' | 'reference' | 'nested' | 'schema' | 'unattributed' | 'unopened' | 'unreadable';
  /** How many values or places; 0 for a namespace that cannot be searched. */
  readonly count: number;
  /** Why a namespace cannot be searched. */
  readonly reason?: string;
}

/** How the keys to judge are named. */
export interface JudgedKey {
  readonly id: string;
  readonly keyAltNames: readonly string[];
}

/** The evidence of one search. */
export class KeyUses {
  /** Namespaces and schemas that were searched. */
  readonly searched: string[] = [];
  /** Parts of the deployment that the caller said need no search. */
  readonly skipped: readonly string[];
  /** Documents that were looked at. */
  documents = 0;
  readonly #ofKey = new Map<string, KeyUse[]>();
  readonly #ofName = new Map<string, KeyUse[]>();
  readonly #ofAnyKey: KeyUse[] = [];
  readonly #views = new Set<string>();

  constructor(skipped: readonly string[]) {
    this.skipped = skipped;
  }

  /** Adds what a census found. `nested` says that the values were inside an encrypted document or array. */
  addCensus(namespace: string, report: CensusReport, nested = false): void {
    for (const { keyId, deterministic, random } of report.byKey)
      this.#add(this.#ofKey, keyId, { namespace, kind: nested ? 'nested' : 'value', count: deterministic + random });
    for (const { keyId, values } of report.referenced) this.#add(this.#ofKey, keyId, { namespace, kind: nested ? 'nested' : 'reference', count: values });
    this.addUnattributed(namespace, report.unattributed);
  }

  /** Adds what a schema names. */
  addSchema(namespace: string, { keyIds, keyAltNames, anyKey }: SchemaKeys): void {
    for (const keyId of keyIds) this.#add(this.#ofKey, keyId, { namespace, kind: 'schema', count: 1 });
    for (const name of keyAltNames) this.#add(this.#ofName, name, { namespace, kind: 'schema', count: 1 });
    if (anyKey) this.addUnattributed(namespace, 1);
  }

  /** Adds values or schemas that do not tell their key. */
  addUnattributed(namespace: string, count: number): void {
    if (count > 0) merge(this.#ofAnyKey, { namespace, kind: 'unattributed', count });
  }

  /** Adds encrypted documents and arrays that cannot be opened. */
  addUnopened(namespace: string, count: number): void {
    if (count > 0) merge(this.#ofAnyKey, { namespace, kind: 'unopened', count });
  }

  addUnreadable({ namespace, reason, isView = false }: Unreadable): void {
    if (isView) this.#views.add(namespace);
    merge(this.#ofAnyKey, { namespace, kind: 'unreadable', count: 0, reason });
  }

  /** Every reason to keep a key. None is the proof that it is not in use. */
  of({ id, keyAltNames }: JudgedKey): readonly KeyUse[] {
    const ofNames = keyAltNames.flatMap((name) => this.#ofName.get(name) ?? []);
    return [...(this.#ofKey.get(id) ?? []), ...ofNames, ...this.#ofAnyKey];
  }

  /** Values under exactly this key, and namespaces that may hold some: what queries by its alternate names would miss. */
  valuesOf(id: string): readonly KeyUse[] {
    const values = (this.#ofKey.get(id) ?? []).filter(({ kind }) => kind === 'value');
    const unread = this.#ofAnyKey.filter(({ kind, namespace }) => kind === 'unreadable' && !this.#views.has(namespace));
    return [...values, ...unread];
  }

  /** Values under the keys that `isWanted` says, by namespace; null for a namespace that may hold some and cannot be read. */
  valuesByNamespace(isWanted: (keyId: string) => boolean): readonly { readonly namespace: string; readonly values: number | null }[] {
    const found = new Map<string, number | null>();
    for (const [keyId, uses] of this.#ofKey) {
      if (!isWanted(keyId)) continue;
      for (const { namespace, kind, count } of uses) if (kind === 'value') found.set(namespace, (found.get(namespace) ?? 0) + count);
    }
    for (const { namespace, kind } of this.#ofAnyKey) if (kind === 'unreadable' && !this.#views.has(namespace)) found.set(namespace, null);
    return [...found].map(([namespace, values]) => ({ namespace, values }));
  }

  /** Values inside encrypted documents and arrays of a namespace, and such documents and arrays that cannot be opened. */
  nestedIn(namespace: string, isWanted: (keyId: string) => boolean): number {
    const ofWanted = [...this.#ofKey].flatMap(([keyId, uses]) => (isWanted(keyId) ? uses.filter(({ kind }) => kind === 'nested') : []));
    const unopened = this.#ofAnyKey.filter(({ kind }) => kind === 'unopened');
    return [...ofWanted, ...unopened].filter((use) => use.namespace === namespace).reduce((sum, { count }) => sum + count, 0);
  }

  #add(uses: Map<string, KeyUse[]>, key: string, use: KeyUse): void {
    const known = uses.get(key);
    if (known === undefined) uses.set(key, [use]);
    else merge(known, use);
  }
}

/** Uses as one sentence for a message: the first few, with their counts. */
export function usesText(uses: readonly KeyUse[]): string {
  const texts = uses.slice(0, 3).map(({ namespace, kind, count, reason }) => {
    switch (kind) {
      case 'value':
        return `${namespace} holds ${count} under it`;
      case 'reference':
        return `${namespace} holds ${count} that name it`;
      case 'nested':
        return `${namespace} holds ${count} inside encrypted documents or arrays`;
      case 'schema':
        return `a schema of ${namespace} names it`;
      case 'unattributed':
        return `${namespace} holds ${count} that may need any key`;
      case 'unopened':
        return `${namespace} holds ${count} encrypted documents or arrays that cannot be opened`;
      case 'unreadable':
        return `${namespace} cannot be searched: ${reason ?? 'unknown reason'}`;
    }
  });
  const more = uses.length > texts.length ? `; ${uses.length - texts.length} more` : '';
  return `${texts.join('; ')}${more}`;
}

function merge(uses: KeyUse[], use: KeyUse): void {
  const at = uses.findIndex(({ namespace, kind, reason }) => namespace === use.namespace && kind === use.kind && reason === use.reason);
  const known = uses[at];
  if (known === undefined) uses.push(use);
  else uses[at] = { ...known, count: known.count + use.count };
}
