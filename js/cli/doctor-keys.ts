/** The part of `csfle doctor` that tries keys on values, and looks for the key of every value. */

import { type KeyDocument, type KeyProof, type KeyProofReport, proveKeys, retiredKeys } from '../index.js';
import type { Connection } from './connection.js';
import { counted } from './counted.js';
import { MISSING_REMEDY, missingCollections, type NamedCollection, readableCollections } from './discovery.js';
import type { DoctorFlags } from './doctor-command.js';
import { type AddFinding, failed, type Finding } from './finding.js';
import { idOf } from './keys-command.js';
import type { Output } from './output.js';
import { providersAtHand } from './providers.js';
import { stoppedMigration } from './stopped-migration.js';
import { trustOf } from './trust-options.js';
import { vaultOption } from './vault-option.js';
import { inCommand } from './words.js';

/** Codes that say that nothing was sent for a key. */
const REFUSED_BEFORE: ReadonlySet<string> = new Set(['KEY_VAULT_MASTER_KEY_NOT_TRUSTED', 'KMS_ENDPOINT_NOT_ALLOWED']);
/** Documents of one collection that `proveKeys()` looks at. */
const LOOKED_AT = 2_000;

/** Unwraps each key, tries it on values under it, and looks for the key of every value; nothing is stored. */
export async function proveEach(keys: readonly KeyDocument[], flags: DoctorFlags, connection: Connection, output: Output, add: AddFinding): Promise<void> {
  const { client, bson } = connection;
  const ids = keys.map((key) => String(key.masterKey?.provider));
  let providers: Awaited<ReturnType<typeof providersAtHand>>;
  try {
    providers = await providersAtHand(ids, flags, output);
  } catch (error) {
    add(failed('master keys', error));
    return;
  }
  try {
    const {
      keys: proofs,
      found,
      unread,
    } = await proveKeys({
      keyVault: { client, namespace: flags.keyVault },
      kmsProviders: providers.kmsProviders,
      collections: await collectionsOf(flags, connection, add),
      ...trustOf(flags),
      bson,
    });
    for (const namespace of unread) add({ state: 'warn', name: 'collection', detail: `${namespace} cannot be read`, remedy: 'Allow find on it to this user.' });
    for (const finding of closedKeys(proofs)) add(finding);
    for (const proof of proofs) add(findingOf(inCommand.report(proof)));
    await checkKeysOfValues(keys, found, flags, connection, add);
  } catch (error) {
    add(failed('data key', error));
  } finally {
    providers.wipe();
  }
}

/** Where values are looked for: in the collections that were named, or else in every one that this user may see. */
async function collectionsOf(flags: DoctorFlags, { client }: Connection, add: AddFinding): Promise<readonly NamedCollection[]> {
  if (flags.collection.length > 0) {
    const missing = await missingCollections({ client }, flags.collection);
    for (const namespace of missing)
      add({ state: 'fail', name: 'collection', detail: `there is no collection ${namespace}`, remedy: MISSING_REMEDY, code: 'CLI_OPTION_INVALID' });
    return flags.collection.filter((namespace) => !missing.includes(namespace)).map((namespace) => ({ client, namespace }));
  }
  try {
    return await readableCollections({ client }, [flags.keyVault]);
  } catch (error) {
    add({ ...failed('collections', error), state: 'warn', remedy: 'Name the collections with --collection.' });
    return [];
  }
}

/** How many keys of each provider do not open, before each is named. */
function closedKeys(proofs: readonly KeyProof[]): readonly Finding[] {
  return [...new Set(proofs.map(({ provider }) => provider))].flatMap((provider): Finding[] => {
    const under = proofs.filter(
      (proof) => proof.provider === provider && proof.code !== 'KMS_PROVIDER_NOT_CONFIGURED' && !REFUSED_BEFORE.has(proof.code ?? ''),
    );
    const closed = under.filter(({ unwraps }) => !unwraps);
    const [first] = closed;
    if (first?.code === undefined) return [];
    const detail = `${closed.length} of ${counted(under.length, 'key')} under ${provider} ${closed.length === 1 ? 'does' : 'do'} not open under this master key`;
    const remedy = first.code === 'CRYPTO_AUTHENTICATION_FAILED' ? 'Another master key wrapped them: check --local-key-file.' : (first.remedy ?? '');
    return [{ state: 'fail', name: 'master key', detail, remedy, code: first.code }];
  });
}

/** Whether the key vault has the key of every value that was seen, and what a re-encryption left. */
async function checkKeysOfValues(
  keys: readonly KeyDocument[],
  found: KeyProofReport['found'],
  flags: DoctorFlags,
  connection: Connection,
  add: AddFinding,
): Promise<void> {
  const known = new Set(keys.map(idOf));
  const missing = found.flatMap(({ byKey, ...place }) => byKey.filter(({ keyId }) => !known.has(keyId)).map((one) => ({ ...place, ...one })));
  const remedies = await remediesOf(new Set(missing.map(({ keyId }) => keyId)), flags, connection);
  for (const { namespace, documents, keyId, values } of missing)
    add({
      // A deployment may have several key vaults; one without a key is most likely misspelt.
      state: remedies.get(keyId)?.isElsewhere === true && keys.length > 0 ? 'warn' : 'fail',
      name: 'values',
      detail: `${namespace}: ${counted(values, 'value')} under key ${keyId}, which ${flags.keyVault} does not have (${lookedAt(documents)})`,
      remedy: remedies.get(keyId)?.text ?? '',
      code: 'KEY_VAULT_KEY_NOT_FOUND',
    });
  if (missing.length === 0) {
    const values = sumOf(found.flatMap(({ byKey }) => byKey.map((one) => one.values)));
    const documents = sumOf(found.map((one) => one.documents));
    const result = values === 0 ? 'no encrypted value was found' : `the key of each of ${counted(values, 'value')} is there`;
    const looked = `looked at ${counted(documents, 'document')}, the first 2,000 of each of ${counted(found.length, 'collection')}`;
    add({ state: 'ok', name: 'values', detail: `${result}: ${looked}` });
  }
  const stopped = stoppedMigration(keys, found, flags);
  if (stopped !== undefined) add(stopped);
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, one) => sum + one, 0);
}

function lookedAt(documents: number): string {
  return documents < LOOKED_AT ? `looked at all of its ${counted(documents, 'document')}` : `looked at its first ${counted(documents, 'document')}`;
}

/** What brings back keys that the key vault does not have, by their id. */
async function remediesOf(
  ids: ReadonlySet<string>,
  flags: DoctorFlags,
  connection: Connection,
): Promise<ReadonlyMap<string, { readonly text: string; readonly isElsewhere?: boolean }>> {
  if (ids.size === 0) return new Map();
  const option = vaultOption(flags.keyVault);
  const retired = await retiredKeys({ keyVault: { client: connection.client, namespace: flags.keyVault } }).catch(() => []);
  const restorable = new Set(retired.map(({ document }) => idOf(document as never)));
  const elsewhere = await keysElsewhere(ids, flags.keyVault, connection).catch(() => new Map<string, string>());
  return new Map(
    [...ids].map((id) => {
      const other = elsewhere.get(id);
      if (restorable.has(id)) return [id, { text: `The key is retired. Run: csfle keys restore ${id}${option}` }];
      if (other !== undefined)
        return [id, { text: `${other} has this key: check --key-vault, or name the collections of ${flags.keyVault} with --collection.`, isElsewhere: true }];
      return [id, { text: `Put the key back from a sealed backup: csfle backup restore <file>${option} --execute` }];
    }),
  );
}

/** Which other collection of the deployment has a key document of these ids: it is the key vault that the values belong to. */
async function keysElsewhere(ids: ReadonlySet<string>, keyVault: string, connection: Connection): Promise<ReadonlyMap<string, string>> {
  const { client, bson } = connection;
  const places = new Map<string, string>();
  const filter = { _id: { $in: [...ids].map((id) => new bson.UUID(id)) }, keyMaterial: { $exists: true } };
  for (const { namespace } of await readableCollections({ client }, [keyVault, `${keyVault}.retired`])) {
    const dot = namespace.indexOf('.');
    const collection = client.db(namespace.slice(0, dot)).collection(namespace.slice(dot + 1));
    const there = await collection
      .find(filter as never, { projection: { _id: 1 }, promoteBuffers: false })
      .toArray()
      .catch(() => []);
    for (const key of there) places.set(idOf(key as never), namespace);
  }
  return places;
}

function findingOf({ id, keyAltNames, provider, unwraps, tried, opened, code, message, remedy }: KeyProof): Finding {
  const name = 'data key';
  const what = `${provider}  ${id}${keyAltNames.length === 0 ? '' : ` (${keyAltNames.join(', ')})`}`;
  if (code === 'KMS_PROVIDER_NOT_CONFIGURED')
    return {
      state: 'warn',
      name,
      detail: `${what}: not tried`,
      remedy: 'Pass --local-key-file to try keys under the local master key; --kms-module for keys under azure, gcp and kmip.',
    };
  if (!unwraps)
    return {
      state: 'fail',
      name,
      detail: `${what}: ${code !== undefined && REFUSED_BEFORE.has(code) ? 'not tried, ' : ''}${message ?? ''}`,
      ...(remedy === undefined ? {} : { remedy }),
      ...(code === undefined ? {} : { code }),
    };
  if (tried === 0) return { state: 'ok', name, detail: `${what}: unwraps; not proven, no value under it in the first 2,000 documents of each collection` };
  const detail = `${what}: opens ${opened} of ${counted(tried, 'sampled value')}`;
  if (opened === tried) return { state: 'ok', name, detail };
  return {
    // One that opens some values is the right key.
    state: opened === 0 ? 'fail' : 'warn',
    name,
    detail,
    remedy:
      opened === 0
        ? 'What its master key unwraps is not the key of these values: check the KMS and the key document against a backup.'
        : 'Some values are damaged: restore their documents from a backup.',
    code: 'CRYPTO_AUTHENTICATION_FAILED',
  };
}
