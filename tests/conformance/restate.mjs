// Published test files as they can be run here: databases get names of their own, and values whose keys live in closed KMS
// accounts are encrypted anew under the material that stands in for those keys.
import { fromBase64 } from '../interop/raw-bson.mjs';
import { encryptValue, payloadLength, readHeader } from '../interop/reference.mjs';
import { toValue } from './extended-json.mjs';

/** A copy of a JSON tree in which `replace(node, key, parent)` may answer for any node; undefined leaves it. */
function mapped(node, replace, key, parent) {
  const replaced = replace(node, key, parent);
  if (replaced !== undefined) return replaced;
  if (Array.isArray(node)) return node.map((item) => mapped(item, replace, undefined, node));
  if (node === null || typeof node !== 'object') return node;
  return Object.fromEntries(Object.entries(node).map(([name, item]) => [name, mapped(item, replace, name, node)]));
}

/** The file with every database name prefixed: someone's server may have databases of those fixed names. */
export function withDatabases(file, prefix) {
  return mapped(file, (node, key, parent) => {
    if (typeof node === 'string') {
      if (['databaseName', 'database_name', '$db', 'keyVaultNamespace'].includes(key)) return prefix + node;
      // An argument of the assertions of the older format; in the unified format "database" names an entity.
      if (key === 'database' && typeof parent.collection === 'string') return prefix + node;
    }
    if (key === 'schemaMap') return Object.fromEntries(Object.entries(node).map(([namespace, schema]) => [prefix + namespace, schema]));
    return undefined;
  });
}

const isCiphertext = (node) => node?.$binary?.subType === '06' && fromBase64(node.$binary.base64).length >= payloadLength(0);
const isDocument = (node) => node !== null && typeof node === 'object' && !Array.isArray(node);

function found(node, is) {
  if (node === null || typeof node !== 'object') return [];
  return [...(is(node) ? [node] : []), ...Object.values(node).flatMap((inner) => found(inner, is))];
}

/**
 * What the published ciphertexts are encryptions of, by their base64. The tests say it themselves: documents that are
 * inserted stand beside the commands that reach the server, documents that are stored beside those that are found.
 */
export function plaintextsOf(files) {
  const plaintexts = new Map();
  const pair = (plain, stored) => {
    for (const [name, value] of Object.entries(stored)) {
      if (!isCiphertext(value) || !(name in plain) || isCiphertext(plain[name])) continue;
      const known = plaintexts.get(value.$binary.base64);
      if (known && JSON.stringify(known) !== JSON.stringify(plain[name]))
        throw new Error(`a published value is said to be two: ${JSON.stringify(known)}, ${JSON.stringify(plain[name])}`);
      plaintexts.set(value.$binary.base64, plain[name]);
    }
  };
  const pairAll = (plain, stored) => {
    for (const one of plain) for (const other of stored) if (one._id === other._id) pair(one, other);
  };
  for (const file of files) {
    const initial = found([file.data, file.initialData], (node) => '_id' in node);
    for (const test of file.tests) {
      const operations = test.operations;
      const inserted = operations.filter(({ name }) => name.startsWith('insert')).flatMap(({ arguments: { document, documents } }) => documents ?? [document]);
      const sent = found(test.expectations ?? test.expectEvents, (node) => Array.isArray(node.documents)).flatMap(({ documents }) => documents);
      const outcome = operations.every(({ name }) => name.startsWith('insert')) ? found(test.outcome, (node) => '_id' in node) : [];
      pairAll(inserted, [...sent, ...outcome]);
      const results = operations.filter(({ name }) => name.startsWith('find')).flatMap(({ result, expectResult }) => result ?? expectResult ?? []);
      pairAll(
        results.filter((item) => isDocument(item)),
        initial,
      );
    }
  }
  return plaintexts;
}

/** Ids (base64) of the keys of a file whose material nobody outside their KMS account knows. */
function closedKeys(file) {
  const keys = found(file, (node) => node.keyMaterial?.$binary && typeof node.masterKey?.provider === 'string' && (node._id?.$binary || node._id?.$uuid));
  return new Set(
    keys
      .filter(({ masterKey: { provider, delegated } }) => !/^(local|kmip)/.test(provider) || delegated)
      .map(({ _id }) => Buffer.from(toValue(_id).bytes.subarray(5)).toString('base64')),
  );
}

/** The file with the values of closed keys encrypted anew, under `material`. */
export function withMaterial(file, plaintexts, material) {
  const closed = closedKeys(file);
  const anew = new Map();
  return mapped(file, (node) => {
    if (!isCiphertext(node)) return undefined;
    const { base64 } = node.$binary;
    const { kind, keyId } = readHeader(fromBase64(base64));
    if (!closed.has(Buffer.from(keyId).toString('base64'))) return undefined;
    if (!plaintexts.has(base64)) throw new Error(`no test says what ${base64} is`);
    if (!anew.has(base64)) anew.set(base64, Buffer.from(encryptValue(toValue(plaintexts.get(base64)), { kind, keyId, material })).toString('base64'));
    return { $binary: { base64: anew.get(base64), subType: '06' } };
  });
}

/** Every database that a file names. */
export const databasesOf = (file) =>
  new Set(found(file, (node) => typeof (node.databaseName ?? node.database_name) === 'string').map((node) => node.databaseName ?? node.database_name));
