// What is lost and what leaked, from what the independent reader found.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as bson from 'bson';
import { readBackup } from 'csfle-wasm';
import { AWS_SECRET, BACKUP_PASSPHRASE, filesOf, isUnderKms, oldKeyIds } from './jobs.mjs';
import { COLLECTIONS, idText } from './world.mjs';

const canonical = (document) => bson.EJSON.stringify(document, { relaxed: false });
const hexOf = (id) => Buffer.from(id.buffer).toString('hex');

/** What must be found nowhere, in every spelling. `but` are collections where it may be, and then commands may hold it too. */
export function needlesOf(world, job) {
  const clear = job.mode === 'decrypt' ? COLLECTIONS : [];
  const needles = world.secretTokens.map((token) => ({ name: 'plaintext', data: Buffer.from(token), but: clear, inRequests: true }));
  for (const [index, bytes] of world.keySecrets().entries()) {
    const name = index === 0 ? 'local master key' : 'key material';
    const inRequests = index === 0;
    needles.push({ name, data: bytes, but: [], inRequests });
    needles.push({ name: `${name} in base64`, data: Buffer.from(bytes.toString('base64')), but: [], inRequests });
    needles.push({ name: `${name} in hex`, data: Buffer.from(bytes.toString('hex')), but: [], inRequests });
  }
  needles.push({ name: 'AWS secret access key', data: Buffer.from(AWS_SECRET), but: [], inRequests: true });
  return needles;
}

/** Has the reader look at the world. */
export function readWorld(reader, world, job, serverUri) {
  return reader.look({
    uri: serverUri,
    database: world.database,
    vault: '__keyVault',
    masterKey: world.masterKey.toString('base64'),
    kms: ['127.0.0.1', world.kms.port],
    known: Object.values(world.keys).map(({ id }) => hexOf(id)),
    witnesses: Object.fromEntries(Object.entries(world.keys).map(([key, { witness }]) => [key, witness.payload])),
    needles: needlesOf(world, job).map(({ name, data, but }) => ({ name, bytes: data.toString('base64'), but })),
  });
}

/**
 * Compares. `claims` says what the product said: `ok`, that the job is done, and `asked`, whether nothing that others did takes
 * that back. Returns `{ losses, leaks }`, lists of `{ what, detail }`.
 */
export async function judge({ world, job, found, claims, outputs, disk = world.folder }) {
  const losses = [...lostDocuments(world, found), ...lostKeys(world, found)];
  const lose = (what, detail) => losses.push({ what, detail });
  if (claims.ok) {
    if (claims.asked) for (const detail of undoneWork(world, job, found)) lose('reported done, but is not', detail);
    for (const { id, opens } of found.keys) if (opens === false) lose('reported done, but is not', `the new key ${id} does not open`);
    for (const [key, { names }] of Object.entries(world.keys)) {
      for (const name of names) {
        if (!found.keys.some((document) => document.collection === '__keyVault' && document.names.includes(name)))
          lose('alternate name gone', `${name} of ${key}`);
      }
    }
  }
  if (job.schemas) losses.push(...(await lostSchema(world, job, found, claims, disk)));
  if (job.mode !== 'restore') losses.push(...(await lostBackup(world, job, disk)));
  const leaks = found.hits.map(({ needle, where }) => ({ what: needle, detail: where }));
  leaks.push(...(await leaksOutside(world, job, outputs, disk)));
  return { losses, leaks };
}

function lostDocuments(world, found) {
  const losses = [];
  for (const collection of COLLECTIONS) {
    const entries = new Map((found.collections[collection] ?? []).map((entry) => [idText(bson.deserialize(Buffer.from(entry.id, 'base64')).id), entry]));
    for (const [id, plain] of world.ledger[collection]) {
      const entry = entries.get(id);
      entries.delete(id);
      if (entry === undefined) losses.push({ what: 'document gone', detail: `${collection} ${id}` });
      else if (entry.error !== undefined) losses.push({ what: 'value unreadable', detail: `${collection} ${id}: ${entry.error}` });
      else {
        const read = bson.deserialize(Buffer.from(entry.plain, 'base64'), { promoteValues: false });
        if (canonical(read) !== canonical(plain))
          losses.push({
            what: 'value changed',
            detail: `${collection} ${id}: ${firstDifference(JSON.parse(canonical(plain)), JSON.parse(canonical(read)), '')}`,
          });
      }
    }
    for (const id of entries.keys()) losses.push({ what: 'document back', detail: `${collection} ${id} was removed by its owner` });
  }
  return losses;
}

/** Where two documents part, without their values. */
function firstDifference(wanted, read, path) {
  const isObject = (value) => typeof value === 'object' && value !== null;
  if (!isObject(wanted) || !isObject(read)) return `${path || 'the document'} is another value`;
  const [names, others] = [Object.keys(wanted), Object.keys(read)];
  for (const name of names) {
    if (!Object.hasOwn(read, name)) return `${path}${name} is missing`;
    if (JSON.stringify(wanted[name]) !== JSON.stringify(read[name])) return firstDifference(wanted[name], read[name], `${path}${name}.`);
  }
  const more = others.find((name) => !Object.hasOwn(wanted, name));
  return more === undefined ? `${path || 'the document'}: fields in another order` : `${path}${more} is more than was written`;
}

function lostKeys(world, found) {
  return Object.entries(world.keys).flatMap(([key, { id, witness }]) => {
    const { value, same, error } = found.witnesses[key];
    if (value === witness.plain)
      return same ? [] : [{ what: 'key encrypts deterministically to other bytes', detail: `${key}: queries by equality find nothing any more` }];
    const there = found.keys.filter((document) => document.id === hexOf(id));
    if (there.length === 0) return [{ what: 'key document gone', detail: key }];
    return [{ what: 'key does not open what was encrypted under it', detail: `${key} under ${there[0].provider}: ${error ?? 'another value'}` }];
  });
}

/** What was asked for and is not so. */
export function undoneWork(world, job, found) {
  const inVault = found.keys.filter(({ collection }) => collection === '__keyVault');
  const isAt = (document, to) => (to === 'local' ? document.provider === 'local' : document.provider === 'aws' && document.arn === world.arns[to]);
  const mine = Object.values(world.keys).map(({ id }) => hexOf(id));
  switch (job.mode) {
    case 'rewrap':
      // Undoing goes back from one master key, which it names: what another administrator took elsewhere meanwhile is not asked for.
      return inVault
        .filter(
          (document) =>
            mine.includes(document.id) && document.provider === job.from && !(job.undo === true && document.arn !== world.arns.a) && !isAt(document, job.to),
        )
        .map(({ id }) => `key ${id} is not under the new master key`);
    case 'keys-rewrap':
      return inVault.filter((document) => !isAt(document, job.to)).map(({ id }) => `key ${id} is not under the new master key`);
    case 'restore':
      return Object.entries(world.keys)
        .filter(([, { id }]) => !inVault.some((document) => document.id === hexOf(id) && document.provider === 'local'))
        .map(([key]) => `key ${key} is not as in the backup`);
    case 'create':
      return inVault.some((document) => document.names.includes('made') && isAt(document, job.to)) ? [] : ['there is no new key'];
    case 'reencrypt': {
      const old = new Set(oldKeyIds(job, world.keys).map((id) => id.replaceAll('-', '')));
      return job.collections.flatMap((collection) =>
        (found.collections[collection] ?? [])
          .filter(({ keyIds }) => keyIds.some((id) => old.has(id)))
          .map(() => `a document of ${collection} has a value under an old key`),
      );
    }
    default:
      return job.collections.flatMap((collection) =>
        (found.collections[collection] ?? []).filter(({ encrypted }) => encrypted).map(() => `a document of ${collection} has an encrypted value`),
      );
  }
}

/** A sealed backup that is there under its name opens and has every key that the world began with. */
async function lostBackup({ keys, kmsProviders }, job, disk) {
  const bytes = await readFile(filesOf(disk).backup).catch(() => undefined);
  if (bytes === undefined) return [];
  try {
    const { keyDocuments } = await readBackup(new Uint8Array(bytes), isUnderKms(job) ? { kmsProviders } : { passphrase: BACKUP_PASSPHRASE });
    const kept = keyDocuments.map((document) => hexOf(bson.deserialize(document)._id));
    return Object.entries(keys)
      .filter(([, { id, later }]) => !later && !kept.includes(hexOf(id)))
      .map(([key]) => ({ what: 'backup without a key', detail: key }));
  } catch (error) {
    return [{ what: 'backup does not open', detail: `${error.code}: ${error.message}` }];
  }
}

async function lostSchema(world, job, found, claims, disk) {
  const { schema } = filesOf(disk);
  const text = await readFile(schema, 'utf8').catch(() => undefined);
  const kept = await readFile(`${schema}.before-migration`, 'utf8').catch(() => undefined);
  const original = canonical(bson.EJSON.parse(world.schemaText, { relaxed: false }));
  const isOriginal = (content) => {
    try {
      return canonical(bson.EJSON.parse(content, { relaxed: false })) === original;
    } catch {
      return false;
    }
  };
  const losses = [];
  if (!isOriginal(text ?? '') && !isOriginal(kept ?? ''))
    losses.push({ what: 'schema file lost', detail: 'neither the file nor what is kept beside it is the original' });
  try {
    bson.EJSON.parse(text ?? '');
  } catch {
    losses.push({ what: 'schema file damaged', detail: text === undefined ? 'it is gone' : 'it is no JSON' });
  }
  if (claims.ok && claims.asked && text !== undefined) {
    const old = oldKeyIds(job, world.keys);
    const bytes = old.map((id) => Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64'));
    const names = job.mode === 'decrypt' ? text.includes('"encrypt"') : [...old, ...bytes].some((id) => text.includes(id));
    if (names) losses.push({ what: 'reported done, but is not', detail: 'the schema file is as before' });
  }
  return losses;
}

async function leaksOutside(world, job, outputs, disk) {
  const needles = needlesOf(world, job);
  const places = outputs.map((text, index) => ({ where: `output of run ${index + 1}`, data: Buffer.from(text) }));
  for (const folder of new Set([world.folder, disk])) {
    for (const name of await readdir(folder)) {
      if (name !== 'master-key.bin' && name !== 'filler') places.push({ where: `file ${name}`, data: await readFile(join(folder, name)) });
    }
  }
  for (const { operation, text } of world.kms.requestsOf(world.database)) {
    const { Plaintext = '' } = JSON.parse(text);
    places.push({ where: `${operation} request to the KMS`, data: Buffer.concat([Buffer.from(text), Buffer.from(Plaintext, 'base64')]), isRequest: true });
  }
  return places.flatMap(({ where, data, isRequest }) =>
    needles.filter((needle) => (!isRequest || needle.inRequests) && data.includes(needle.data)).map(({ name }) => ({ what: name, detail: where })),
  );
}
