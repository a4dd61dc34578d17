// The marking of commands where there is nothing to decide: encrypted fields in documents to be stored, and those at the top
// level in equality and $in filters and in $set. What asks for more is declined by name; this is no query analyser.
// What is marked looks as the drivers' specification expects it (client-side-encryption, tests).
import { Binary, Int32, serialize } from 'bson';

export class NeedsAnalysis extends Error {
  constructor(what) {
    super(`needs query analysis: ${what}`);
  }
}

const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const KIND = { 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic': 1, [RANDOM]: 2 };
const LOCAL_KEYWORDS = new Set(['bsonType', 'type', 'properties', 'title', 'description']);
/** Fields of commands in which values may hide. */
const CAREFUL = ['projection', 'fields', 'min', 'max', 'let', 'collation', 'arrayFilters'];

/** The reply for a command that libmongocrypt sends for analysis. Throws `NeedsAnalysis`. */
export function analyse({ jsonSchema, isRemoteSchema, csfleEncryptionSchemas, lsid, $db, $readPreference, ...command }) {
  if (csfleEncryptionSchemas) throw new NeedsAnalysis('several collections in one command');
  if (jsonSchema === undefined || isRemoteSchema === undefined) throw new Error('jsonSchema and isRemoteSchema are required');
  const rules = rulesOf(jsonSchema, isRemoteSchema.valueOf());
  const marker = new Marker(rules);
  const result = rules.size === 0 ? command : marker.command(command);
  return { hasEncryptionPlaceholders: marker.count > 0, schemaRequiresEncryption: rules.size > 0, result };
}

const isDocument = (item) =>
  typeof item === 'object' && item !== null && !Array.isArray(item) && item._bsontype === undefined && !(item instanceof Date) && !(item instanceof RegExp);
const hasLeaf = (schema) =>
  isDocument(schema) &&
  ('encrypt' in schema || 'encryptMetadata' in schema || Object.values(schema).some((item) => (Array.isArray(item) ? item.some(hasLeaf) : hasLeaf(item))));

/**
 * The rules of the encrypted fields of a schema that consists of objects, their properties and `encrypt` alone: a map of names to
 * rules, and to further maps.
 */
function rulesOf(schema, isRemote) {
  if (!hasLeaf(schema)) {
    const validating = isRemote ? undefined : Object.keys(schema).find((keyword) => !LOCAL_KEYWORDS.has(keyword));
    if (validating) throw new NeedsAnalysis(`the keyword ${validating} in a local schema`);
    return new Map();
  }
  if (schema.bsonType !== 'object' || Object.keys(schema).some((keyword) => keyword !== 'bsonType' && keyword !== 'properties'))
    throw new NeedsAnalysis('a schema of more than objects and their properties');
  return new Map(
    Object.entries(schema.properties)
      .filter(([, property]) => hasLeaf(property))
      .map(([name, property]) => {
        const { encrypt, ...siblings } = property;
        if (encrypt === undefined) return [name, rulesOf(property, isRemote)];
        const { algorithm, keyId, bsonType, ...unknown } = encrypt;
        if (Object.keys({ ...siblings, ...unknown }).length > 0 || name === '_id' || !(algorithm in KIND) || (Array.isArray(keyId) && keyId.length !== 1))
          throw new NeedsAnalysis(`the schema of ${name}`);
        return [name, { algorithm, keyId, bsonType }];
      }),
  );
}

class Marker {
  constructor(rules) {
    this.rules = rules;
    this.count = 0;
  }

  command(command) {
    const [name] = Object.keys(command);
    for (const field of CAREFUL) if (field in command) throw new NeedsAnalysis(`${field} of ${name}`);
    const { filter, query, update, documents, updates, deletes, validator, indexes } = command;
    switch (name) {
      case 'find':
        return { ...command, ...(filter && { filter: this.filter(filter) }) };
      case 'count':
      case 'distinct':
        if (name === 'distinct' && typeof this.rules.get(command.key)?.keyId === 'string') throw new NeedsAnalysis('distinct of a field with a key by pointer');
        return { ...command, ...(query && { query: this.filter(query) }) };
      case 'insert':
        return { ...command, documents: documents.map((document) => this.document(document)) };
      case 'delete':
        return { ...command, deletes: deletes.map((one) => ({ ...one, q: this.filter(one.q) })) };
      case 'update':
        return { ...command, updates: updates.map((one) => this.statement(one)) };
      case 'findAndModify':
        return { ...command, ...(query && { query: this.filter(query) }), ...(update && { update: this.update(update) }) };
      case 'explain':
        return this.explain(command);
      case 'create':
      case 'collMod':
        if (validator) this.untouched(validator, 'a validator');
        if (command.viewOn) throw new NeedsAnalysis('a view');
        return command;
      case 'createIndexes':
        for (const index of indexes) if (index.partialFilterExpression) this.untouched(index.partialFilterExpression, 'a partial filter');
        return command;
      default:
        throw new NeedsAnalysis(name);
    }
  }

  explain(command) {
    const explain = this.command(command.explain);
    return { ...command, explain, ...(this.count > 0 && command.verbosity === undefined && { verbosity: 'allPlansExecution' }) };
  }

  /** Nothing may be marked here, and nothing encrypted compared with. */
  untouched(filter, where) {
    for (const path of Object.keys(filter)) if (path.startsWith('$') || this.touches(path)) throw new NeedsAnalysis(`${where} on an encrypted field`);
  }

  touches(path) {
    return this.rules.has(path.split('.')[0]);
  }

  /** A value in the place of which a marking stands; `owner` is the document in which a key's name may be. */
  placeholder({ algorithm, keyId, bsonType }, value, owner) {
    if (aliasOf(value) === undefined) throw new NeedsAnalysis('a value that may not be encrypted');
    if (bsonType !== undefined && aliasOf(value) !== bsonType) throw new NeedsAnalysis(`${aliasOf(value)} for a field of type ${bsonType}`);
    if (algorithm !== RANDOM && NOT_DETERMINISTIC.has(bsonType)) throw new NeedsAnalysis(`deterministic encryption of type ${bsonType}`);
    let key = { ki: keyId?.[0] };
    if (typeof keyId === 'string') {
      const name = owner?.[keyId.slice(1)];
      if (typeof name !== 'string') throw new NeedsAnalysis('a key by pointer');
      key = { ka: name };
    }
    this.count += 1;
    return new Binary(Buffer.concat([Buffer.from([0]), serialize({ a: new Int32(KIND[algorithm]), ...key, v: value })]), 6);
  }

  document(document, rules = this.rules, owner = document) {
    return Object.fromEntries(
      Object.entries(document).map(([name, value]) => {
        if (name.includes('.')) throw new NeedsAnalysis('a dotted field name');
        const rule = rules.get(name);
        if (rule === undefined) return [name, value];
        if (!(rule instanceof Map)) return [name, this.placeholder(rule, value, owner)];
        if (Array.isArray(value)) throw new NeedsAnalysis('an array in the place of a document with encrypted fields');
        return [name, isDocument(value) ? this.document(value, rule, owner) : value];
      }),
    );
  }

  /** The rule of a field that is encrypted as a whole, and at the top level. */
  rule(path) {
    const rule = this.rules.get(path);
    if (rule === undefined || rule instanceof Map) throw new NeedsAnalysis('a path above or below an encrypted field');
    return rule;
  }

  statement({ q, u, ...rest }) {
    for (const field of CAREFUL) if (field in rest) throw new NeedsAnalysis(`${field} of an update`);
    return { ...rest, q: this.filter(q), u: this.update(u) };
  }

  update(update) {
    if (Array.isArray(update)) throw new NeedsAnalysis('an update by pipeline');
    const [first] = Object.keys(update);
    if (!first?.startsWith('$')) return this.fields(update);
    return Object.fromEntries(
      Object.entries(update).map(([operator, fields]) => {
        if (operator === '$set') return [operator, this.fields(fields)];
        if (operator !== '$unset' && (operator === '$rename' || Object.keys(fields).some((path) => this.touches(path))))
          throw new NeedsAnalysis(`${operator} on an encrypted field`);
        return [operator, fields];
      }),
    );
  }

  /** Values that an update stores: their keys are named by id alone. */
  fields(fields) {
    return Object.fromEntries(
      Object.entries(fields).map(([path, value]) => {
        return [path, this.touches(path) ? this.placeholder(this.rule(path), value) : value];
      }),
    );
  }

  /** A filter as it is, or in its explicit form when something in it was marked. */
  filter(filter) {
    const before = this.count;
    const predicates = Object.entries(filter).map(([path, value]) => ({ [path]: this.predicate(path, value) }));
    if (this.count === before) return filter;
    return predicates.length === 1 ? predicates[0] : { $and: predicates };
  }

  predicate(path, value) {
    if (path === '$and') return value.map((inner) => this.explicit(inner));
    if (path.startsWith('$')) throw new NeedsAnalysis(`the operator ${path}`);
    const operators = isDocument(value) && Object.keys(value)[0]?.startsWith('$') ? value : { $eq: value };
    if (!this.touches(path)) return operators;
    const rule = this.rule(path);
    if (rule.algorithm === RANDOM) throw new NeedsAnalysis('a query on a randomly encrypted field');
    return Object.fromEntries(
      Object.entries(operators).map(([operator, operand]) => {
        if (operator === '$eq') return [operator, this.placeholder(rule, operand)];
        if (operator === '$in') return [operator, operand.map((item) => this.placeholder(rule, item))];
        throw new NeedsAnalysis(`the operator ${operator} on an encrypted field`);
      }),
    );
  }

  explicit(filter) {
    const predicates = Object.entries(filter).map(([path, value]) => ({ [path]: this.predicate(path, value) }));
    return predicates.length === 1 ? predicates[0] : { $and: predicates };
  }
}

const NOT_DETERMINISTIC = new Set(['double', 'decimal', 'bool', 'object', 'array', 'javascriptWithScope', undefined]);
const ALIAS = {
  Int32: 'int',
  Long: 'long',
  Double: 'double',
  Decimal128: 'decimal',
  ObjectId: 'objectId',
  Timestamp: 'timestamp',
  BSONSymbol: 'symbol',
  Symbol: 'symbol',
  BSONRegExp: 'regex',
  DBRef: 'object',
};

/** The name of a value's type; undefined for values that are never encrypted. */
function aliasOf(value) {
  if (value === null || value === undefined) return undefined;
  switch (value._bsontype) {
    case undefined:
      break;
    case 'Binary':
      return value.sub_type === 6 ? undefined : 'binData';
    case 'Code':
      return value.scope ? 'javascriptWithScope' : 'javascript';
    case 'Timestamp':
      return value.isZero() ? undefined : 'timestamp';
    case 'MinKey':
    case 'MaxKey':
      return undefined;
    default:
      return ALIAS[value._bsontype];
  }
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  if (value instanceof Date) return 'date';
  if (value instanceof RegExp) return 'regex';
  return Array.isArray(value) ? 'array' : 'object';
}
