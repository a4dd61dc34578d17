// Commands for automatic encryption, what the server tells of collections, and what an analyser makes of a command.
import { allowsDeterministic, damageDocument, randomDocument, randomValue } from '../../interop/generate.mjs';
import { concat, document, field, fields, LATIN1, RawValue, TYPE, value } from '../../interop/raw-bson.mjs';
import { toBase64 } from '../reference.mjs';
import { NAMES } from './world.mjs';

const COLLECTIONS = ['c', 'd', 'e', 'naïve'];
const damaged = (rng, bytes) => damageDocument(rng, bytes).bytes;
const object = (...parts) => value.object(document(parts));

function randomSchema(rng) {
  return object(
    ['bsonType', value.string('object')],
    ['properties', object([rng.name(), object(['encrypt', object(['keyId', value.array([value.uuid(rng.bytes(16))])])])])],
  );
}

const join = (rng, name) => {
  const coll = rng.pick(COLLECTIONS);
  const inner = rng.chance(0.2) ? [['pipeline', value.array([object(['$match', object()])])]] : [];
  if (name === '$lookup') return object([name, object(['from', value.string(coll)], ...inner, ['as', value.string('x')])]);
  return object([name, object(['coll', value.string(coll)], ...inner)]);
};
const ODD_STAGES = [
  value.int(1),
  object(),
  object(['$lookup', value.int(1)]),
  object(['$unionWith', value.string('d')]),
  object(['$facet', object(['a', value.int(1)])]),
  object(['$lookup', object(['from', value.int(1)])]),
  object(['$lookup', object(['from', object(['db', value.string('x')], ['coll', value.string('y')])])]),
  object(['$graphLookup', object(['from', value.string('d')])]),
  object(['$unionWith', object(['coll', value.bool(true)])]),
  object(['$lookup', object(['from', value.string('d')], ['pipeline', value.int(1)])]),
];

function pipelineOf(world) {
  const { rng } = world;
  const stages = Array.from({ length: rng.below(3) }, () => {
    if (rng.chance(world.oddness)) return rng.pick(ODD_STAGES);
    const kind = rng.below(4);
    if (kind === 0) return object(['$match', value.object(randomDocument(rng, 1))]);
    if (kind === 1) return object(['$facet', object(['one', value.array([join(rng, '$lookup')])])]);
    return join(rng, kind === 2 ? '$lookup' : '$unionWith');
  });
  return rng.chance(world.oddness / 2) ? value.int(1) : value.array(stages);
}

const PASSED = ['ping', 'getMore', 'isMaster', 'hello', 'drop', 'listCollections', 'buildInfo', 'dropIndexes', 'saslStart'];
const ODD_COMMANDS = ['x', 'mapReduce', 'findandmodify', 'validate', '', 'FIND', 'compactStructuredEncryptionData', 'explain'];

/** The database and the command of an `encrypt` context. */
export function commandOf(world) {
  const { rng } = world;
  const database = rng.chance(world.oddness / 3) ? rng.pick(['', 'a.b', 'a b', 'admin']) : 'db';
  const coll = rng.chance(world.oddness / 2)
    ? rng.pick([value.int(1), value.string(''), value.string('a.b'), value.string('a\0b')])
    : value.string(rng.pick(COLLECTIONS));
  const old = rng.chance(0.2) ? [['old', value.encrypted(world.payload())]] : [];
  const filter = ['filter', value.object(document([...fields(randomDocument(rng, 2), LATIN1), ...old], LATIN1))];
  const schema = rng.chance(0.5) ? [['validator', object(['$jsonSchema', rng.chance(world.oddness) ? value.int(1) : randomSchema(rng)])]] : [];
  const parts = rng.pick([
    () => [['find', coll], filter],
    () => [['find', coll], filter],
    () => [
      ['insert', coll],
      ['documents', value.array([value.object(randomDocument(rng, 2))])],
    ],
    () => [
      ['update', coll],
      ['updates', value.array([object(['q', object()], ['u', value.object(randomDocument(rng, 1))])])],
    ],
    () => [
      ['count', coll],
      ['query', value.object(randomDocument(rng, 1))],
    ],
    () => [
      ['aggregate', coll],
      ['pipeline', pipelineOf(world)],
      ['cursor', object()],
    ],
    () => [
      ['aggregate', coll],
      ['pipeline', pipelineOf(world)],
    ],
    () => [['create', coll], ...schema],
    () => [['collMod', coll], ...schema],
    () => [
      ['createIndexes', coll],
      ['indexes', value.array([])],
    ],
    () => [['explain', object([rng.pick(['find', 'aggregate', 'ping']), coll], filter)]],
    () => [[rng.pick(PASSED), rng.pick([coll, value.int(1)])]],
    () => [
      [rng.chance(world.oddness * 3) ? rng.pick(ODD_COMMANDS) : 'distinct', coll],
      ['key', value.string('a')],
    ],
    () => [
      ['bulkWrite', value.int(1)],
      ['ops', value.array([])],
      [
        'nsInfo',
        rng.pick([value.array([object(['ns', value.string('db.c')])]), value.array([]), value.int(1), value.array([object(['ns', value.string('c')])])]),
      ],
    ],
  ])();
  const command = document([...parts, ...(rng.chance(0.6) ? [['$db', value.string('db')]] : [])]);
  return { database, input: toBase64(rng.chance(world.oddness / 2) ? damaged(rng, command) : command) };
}

/** The `schemaMap` option, or undefined. */
export function schemaMapOf({ rng, oddness }) {
  if (!rng.chance(0.25)) return undefined;
  const map = document(COLLECTIONS.filter(() => rng.chance(0.4)).map((name) => [`db.${name}`, rng.chance(oddness) ? value.int(1) : randomSchema(rng)]));
  return rng.chance(oddness / 4) ? damaged(rng, map) : map;
}

/** What listCollections gives for the filter that was asked. */
export function collectionInfos(world, filter) {
  const { rng } = world;
  const name = field(filter, 'name');
  const wanted = name.type === TYPE.string ? [name] : fields(field(name.bytes, '$in').bytes).map(([, item]) => item);
  const infos = wanted.filter(() => rng.chance(0.75)).map((item) => collectionInfo(world, item));
  if (rng.chance(world.oddness)) infos.push(collectionInfo(world, value.string(rng.pick(COLLECTIONS))));
  return infos.map((info) => (rng.chance(world.oddness / 2) ? damaged(rng, info) : info));
}

function collectionInfo({ rng, oddness }, name) {
  const jsonSchema = ['$jsonSchema', rng.chance(oddness) ? value.int(1) : randomSchema(rng)];
  const validators = rng.pick([
    [jsonSchema],
    [jsonSchema],
    [],
    [['$or', value.array([])], jsonSchema],
    rng.chance(oddness) ? [jsonSchema, jsonSchema] : [jsonSchema],
  ]);
  const options = rng.pick([
    object(['validator', object(...validators)]),
    object(['validator', object(...validators)]),
    object(),
    rng.chance(oddness) ? object(['validator', value.int(1)]) : object(),
  ]);
  const parts = [
    ['name', rng.chance(oddness / 2) ? value.int(1) : name],
    ['type', value.string(rng.chance(oddness) ? 'view' : 'collection')],
    ['options', options],
  ];
  return document(rng.chance(oddness / 2) ? parts.slice(1) : parts);
}

/** An analyser's reply to what `nextMongoOperation` gave. */
export function analysis(world, asked) {
  const { rng } = world;
  // Damaged names need not be UTF-8.
  const given = fields(asked, LATIN1);
  if (given[0][0] === 'isMaster' && given.length === 1) {
    const version = rng.chance(world.oddness) ? rng.pick([value.string('17'), value.long(26n), undefined]) : value.int(rng.pick([26, 27, 26, 17, 16, 21]));
    return document([['ok', value.double(1)], ...(version ? [['maxWireVersion', version]] : [])]);
  }
  const flags = rng.pick([
    [],
    [['schemaRequiresEncryption', value.bool(true)]],
    [
      ['hasEncryptedPlaceholders', value.bool(true)],
      ['schemaRequiresEncryption', value.bool(true)],
    ],
    [['hasEncryptionPlaceholders', value.bool(false)]],
  ]);
  const nothing = rng.chance(0.1)
    ? [[rng.pick(['schemaRequiresEncryption', 'hasEncryptedPlaceholders']), rng.pick([value.bool(false), value.int(0), value.double(0), value.null()])]]
    : [];
  const command = given.filter(([name]) => !['jsonSchema', 'isRemoteSchema', 'csfleEncryptionSchemas', 'encryptionInformation'].includes(name));
  const left = { markings: rng.below(4) };
  const marked = command.map(([name, item]) => [name, WITH_VALUES.has(name) ? withMarkings(world, item, left, name === 'documents') : item]);
  // An analyser that writes another command.
  const more = rng.chance(0.1)
    ? [['m', rng.pick([() => marking(world, randomValue(rng, 1)), () => randomValue(rng, 1), () => value.encrypted(world.payload())])()]]
    : [];
  const result = value.object(document([...marked, ...more], LATIN1));
  const parts = [...flags, ...nothing, ['result', rng.chance(world.oddness / 2) ? value.int(1) : result]];
  const reply = document(rng.chance(world.oddness / 2) ? parts.slice(0, -1) : parts);
  return rng.chance(world.oddness / 2) ? damaged(rng, reply) : reply;
}

const WITH_VALUES = new Set(['filter', 'documents', 'updates', 'query', 'pipeline', 'explain']);
const isEncryptable = ({ type, bytes }) => !(type in NEVER_TYPES) && !(type === TYPE.binData && bytes[4] === 6);

/** A document or an array in which some values are marked; also whole documents, where they are to be stored. */
function withMarkings(world, item, left, isStored) {
  const { rng } = world;
  if (item.type !== TYPE.object && item.type !== TYPE.array) return item;
  const marked = fields(item.bytes, LATIN1).map(([name, inner]) => {
    const isMarked =
      left.markings > 0 &&
      rng.chance(0.4) &&
      (isStored || (inner.type !== TYPE.object && inner.type !== TYPE.array)) &&
      (isEncryptable(inner) || rng.chance(world.oddness / 2));
    if (!isMarked) return [name, withMarkings(world, inner, left, isStored)];
    left.markings -= 1;
    return [name, marking(world, inner)];
  });
  return new RawValue(item.type, document(marked, LATIN1));
}

function marking(world, item) {
  const { rng } = world;
  const key = rng.pick(world.keys);
  const algorithm = allowsDeterministic(item.type in NEVER_TYPES ? value.string('') : item) && rng.chance(0.5) ? 1 : 2;
  const reference = key.names.length > 0 && rng.chance(0.4) ? ['ka', value.string(rng.pick(key.names))] : ['ki', value.uuid(key.id)];
  let parts = [['v', item], ['a', value.int(rng.chance(world.oddness / 2) ? 3 - algorithm : algorithm)], reference];
  if (rng.chance(world.oddness)) {
    parts = rng.pick([
      () => parts.slice(1),
      () => [parts[0], parts[2]],
      () => parts.slice(0, 2),
      () => [...parts, ['ka', value.string(rng.pick(NAMES))], ['ki', value.uuid(key.id)]],
      () => [...parts, ['z', value.int(1)]],
      () => [parts[0], ['a', rng.pick([value.int(3), value.string('1'), value.long(1n)])], parts[2]],
      () => [parts[0], parts[1], ['ki', value.string('x')]],
      () => [parts[0], parts[1], ['ka', value.int(1)]],
      () => [parts[0], parts[1], ['ki', value.binData(key.id)]],
      () => [parts[0], parts[1], ['ki', value.uuid(rng.bytes(15))]],
    ])();
  }
  const whole = concat([0], document(parts));
  return value.encrypted(rng.chance(world.oddness / 3) ? concat([0], damaged(rng, document(parts))) : whole);
}

const NEVER_TYPES = Object.fromEntries([TYPE.undefined, TYPE.null, TYPE.minKey, TYPE.maxKey].map((type) => [type, true]));
