// Conversations of automatic encryption: commands, schemas, analysis.
import { Binary, Int32 } from 'bson';
import { awsKeyDocument, bson, encrypted, keyDocument, keyId, marking, providers } from './samples.mjs';
import { garbage, keys, script } from './scripts.mjs';

const encrypt = (command, database = 'db') => ['make', { kind: 'encrypt', database, input: bson(command) }];
const schema = { bsonType: 'object', properties: { ssn: { encrypt: { keyId: [keyId(1)], bsonType: 'string', algorithm: 'x' } } } };
const collinfo = (name, more = {}) => bson({ name, type: 'collection', options: { validator: { $jsonSchema: schema } }, ...more });
const marked = (more = {}) => ({ v: 'test', a: new Int32(1), ki: keyId(1), ...more });
const analysis = (result, more = {}) => bson({ hasEncryptionPlaceholders: true, schemaRequiresEncryption: true, result, ok: 1, ...more });
const find = { find: 'c', filter: { ssn: 'test', old: encrypted(9) }, $db: 'db' };
const harmless = { find: 'c', filter: { name: 'x' }, $db: 'db' };
const result = (more = {}) => ({ find: 'c', filter: { ssn: marking(marked()), old: encrypted(9), ...more } });
const collections = (...documents) => [['operation'], ...documents.map((document) => ['feed', document]), ['finishOperation']];
const analysed = (...replies) => [['operation'], ...replies.map((reply) => ['feed', reply]), ['finishOperation']];
const whole = (command, ...more) => [encrypt(command), ...collections(collinfo('c')), ...more];

const commandNames = [
  'aggregate',
  'count',
  'distinct',
  'delete',
  'find',
  'findAndModify',
  'insert',
  'update',
  'create',
  'createIndexes',
  'collMod',
  'compactStructuredEncryptionData',
  'cleanupStructuredEncryptionData',
  'getMore',
  'authenticate',
  'getnonce',
  'logout',
  'isMaster',
  'ismaster',
  'ISMASTER',
  'hello',
  'Hello',
  'abortTransaction',
  'commitTransaction',
  'endSessions',
  'startSession',
  'drop',
  'dropDatabase',
  'dropIndexes',
  'killCursors',
  'listCollections',
  'listDatabases',
  'listIndexes',
  'renameCollection',
  'ping',
  'saslStart',
  'saslContinue',
  'killAllSessions',
  'killSessions',
  'killAllSessionsByPattern',
  'refreshSessions',
  'buildInfo',
  'buildinfo',
  'getCmdLineOpts',
  'getLog',
  'createSearchIndexes',
  'listSearchIndexes',
  'dropSearchIndex',
  'updateSearchIndex',
  'serverStatus',
  'mapreduce',
  'mapReduce',
  'findandmodify',
  'validate',
  'x',
  '',
];

function* commands() {
  for (const name of commandNames) {
    for (const value of ['c', 1, '', 'a.b', 'a\0b'])
      yield script(`command ${name}: ${JSON.stringify(value)}`, providers.local, [encrypt({ [name]: value }), ['operation'], ['finalize']]);
  }
  for (const database of ['', 'a.b', 'a b']) yield script(`database "${database}"`, providers.local, [encrypt(find, database), ['operation']]);
  yield script('empty command', providers.local, [encrypt({})]);
  yield script('garbage command', providers.local, [['make', { kind: 'encrypt', database: 'db', input: garbage }]]);
  for (const explain of [1, {}, { find: 'c' }, { find: 1 }, { find: '' }, { ping: 'x' }])
    yield script(`explain ${JSON.stringify(explain)}`, providers.local, [encrypt({ explain }), ['operation']]);
  for (const nsInfo of [undefined, [], [{ ns: 'db.c' }], [{ ns: 1 }], [{ ns: 'c' }], [{ ns: 'db.c' }, { ns: 'db.d' }], [{}], 1]) {
    yield script(`bulkWrite ${JSON.stringify(nsInfo)}`, providers.local, [encrypt({ bulkWrite: 1, ops: [], nsInfo }, 'admin'), ['operation']]);
    yield script(
      `bulkWrite ${JSON.stringify(nsInfo)}, local schema`,
      providers.local,
      [encrypt({ bulkWrite: 1, ops: [], nsInfo, z: 1 }, 'admin'), ['operation']],
      { schemaMap: bson({ 'db.c': schema }) },
    );
  }
}

function* schemas() {
  yield script('schema of the server, then cached', providers.local, [...whole(find), ['operation'], ['operation'], encrypt(find), ['operation']]);
  yield script('no collection, then cached', providers.local, [encrypt(find), ...collections(), ['operation'], encrypt(find), ['operation']]);
  yield script('local schema', providers.local, [encrypt(find), ['operation']], { schemaMap: bson({ 'db.c': schema }) });
  yield script('local schema of another collection', providers.local, [encrypt(find), ['operation']], { schemaMap: bson({ 'db.d': schema }) });
  yield script('local schema that is none', providers.local, [encrypt(find)], { schemaMap: bson({ 'db.c': 1 }) });
  for (const fields of [{}, { escCollection: 'x' }, { fields: 1 }, { fields: {} }, { fields: null }, 1]) {
    yield script(`encryptedFieldsMap ${JSON.stringify(fields)}`, providers.local, [encrypt(find), encrypt({ insert: 'c', documents: [{ ssn: 'test' }] })], {
      encryptedFieldsMap: bson({ 'db.c': fields }),
    });
  }
  const infos = {
    view: collinfo('c', { type: 'view' }),
    unnamed: bson({ type: 'collection' }),
    'another one': collinfo('d'),
    garbage,
    'without options': bson({ name: 'c' }),
    'other validators': collinfo('c', { options: { validator: { $or: [], $jsonSchema: schema } } }),
    'no schema': collinfo('c', { options: {} }),
    'schema that is none': collinfo('c', { options: { validator: { $jsonSchema: 1 } } }),
    'validator that is none': collinfo('c', { options: { validator: 1 } }),
  };
  for (const [name, info] of Object.entries(infos))
    yield script(`collinfo: ${name}`, providers.local, [encrypt(find), ...collections(info), ['operation'], encrypt(find), ['operation']]);
  yield script('collinfo twice', providers.local, [encrypt(find), ...collections(collinfo('c'), collinfo('c'))]);
  for (const command of ['create', 'collMod']) {
    for (const validator of [undefined, { $jsonSchema: schema }, { x: 1 }, { $jsonSchema: 1 }]) {
      for (const schemaMap of [undefined, bson({ 'db.c': {} })]) {
        yield script(
          `${command} ${JSON.stringify(validator)} ${schemaMap}`,
          providers.local,
          [
            encrypt({ [command]: 'c', validator }),
            ['operation'],
            ['feed', bson({ maxWireVersion: new Int32(21) })],
            ['finishOperation'],
            ['operation'],
            encrypt({ find: 'c' }),
            ['operation'],
          ],
          schemaMap && { schemaMap },
        );
      }
    }
  }
  for (const hello of [{ maxWireVersion: new Int32(16) }, { maxWireVersion: new Int32(17) }, {}, { maxWireVersion: '17' }]) {
    yield script(`create with analyser ${JSON.stringify(hello)}`, providers.local, [
      encrypt({ create: 'c' }),
      ['operation'],
      ['feed', bson(hello)],
      ['finishOperation'],
      ['operation'],
      ['finalize'],
    ]);
    yield script(`createIndexes with analyser ${JSON.stringify(hello)}`, providers.local, [
      encrypt({ createIndexes: 'c' }),
      ['operation'],
      ['feed', bson(hello)],
      ['finishOperation'],
      ['operation'],
    ]);
  }
}

function* pipelines() {
  const version = (number) => [['operation'], ['feed', bson({ maxWireVersion: new Int32(number) })], ['finishOperation'], ['operation']];
  const stages = {
    lookup: [
      {
        $lookup: { from: 'd', as: 'x' },
      },
    ],
    nested: [{ $lookup: { from: 'd', pipeline: [{ $unionWith: { coll: 'e', pipeline: [{ $lookup: { from: 'f' } }] } }] } }],
    facet: [{ $facet: { one: [{ $lookup: { from: 'd' } }], two: [] } }],
    graph: [{ $graphLookup: { from: 'd' } }],
    self: [{ $lookup: { from: 'c' } }],
    'union as text': [{ $unionWith: 'd' }],
    'from document': [{ $lookup: { from: { db: 'x', coll: 'y' } } }],
    'coll number': [{ $unionWith: { coll: 1 } }],
    'stage number': [1],
    'stage empty': [{}],
    'lookup number': [{ $lookup: 1 }],
    'facet number': [{ $facet: 1 }],
    'facet of numbers': [{ $facet: { a: 1 } }],
    'pipeline number': [{ $lookup: { from: 'd', pipeline: 1 } }],
  };
  for (const [name, pipeline] of Object.entries(stages)) {
    yield script(`pipeline ${name}`, providers.local, [
      encrypt({ aggregate: 'c', pipeline }),
      ...version(26),
      ...collections(collinfo('c'), collinfo('d')),
      ['operation'],
    ]);
  }
  yield script('pipeline that is none', providers.local, [encrypt({ aggregate: 'c', pipeline: 1 })]);
  yield script('old analyser', providers.local, [encrypt({ aggregate: 'c', pipeline: stages.lookup }), ...version(21)]);
  yield script(
    'local schema for one',
    providers.local,
    [encrypt({ aggregate: 'c', pipeline: stages.nested }), ...version(26), ['feed', collinfo('d')], ['finishOperation'], ['operation']],
    { schemaMap: bson({ 'db.c': schema }) },
  );
}

function* analyses() {
  yield script('whole way', providers.local, [...whole(find), ...analysed(analysis(result())), ...keys(keyDocument(1)), ['finalize'], ['finalize']]);
  yield script('whole way without $db', providers.local, [
    ...whole({ ...find, $db: undefined }),
    ...analysed(analysis(result())),
    ...keys(keyDocument(1)),
    ['finalize'],
  ]);
  yield script('key by name', providers.local, [
    ...whole({ ...find, filter: { ...find.filter, b: 1 } }),
    ...analysed(analysis(result({ b: marking({ v: 1, a: new Int32(1), ka: 'n' }) }))),
    ...keys(keyDocument(1), keyDocument(2, { keyAltNames: ['n'] })),
    ['finalize'],
  ]);
  yield script('key at a KMS', providers.both, [...whole(find), ...analysed(analysis(result())), ...keys(awsKeyDocument(1)), ['nextRequest']]);
  yield script('credentials', providers.onDemand, [
    ...whole(find),
    ...analysed(analysis(result())),
    ['provide', bson(providers.aws)],
    ...keys(keyDocument(1)),
    ['finalize'],
  ]);
  const replies = {
    'nothing required': {
      schemaRequiresEncryption: false,
      result: { find: 'x' },
    },
    'no placeholders': { hasEncryptedPlaceholders: false, result: { find: 'x' } },
    'result without markings': {
      result: { find: 'x' },
    },
    'no result': {},
    'result number': { result: 1 },
    'flag as number': { schemaRequiresEncryption: new Int32(0) },
    'flag as text': { schemaRequiresEncryption: '', result: { find: 'x' } },
  };
  for (const [name, reply] of Object.entries(replies)) {
    yield script(`analysis: ${name}`, providers.local, [...whole(harmless), ...analysed(bson(reply)), ['finalize']]);
    yield script(`analysis that lies: ${name}`, providers.local, [...whole(find), ...analysed(bson(reply)), ['finalize']]);
  }
  const queryable = new Binary(Buffer.concat([Buffer.from([4]), Buffer.from(bson({ v: 'test' }), 'base64')]), 6);
  const lies = {
    'a value of Queryable Encryption': result({ ssn: queryable }),
    'one beside a marking': result({ also: queryable }),
    'another value': result({ ssn: marking(marked({ v: 'other' })) }),
    'a field more': { ...result(), comment: 'test' },
  };
  for (const [name, lie] of Object.entries(lies))
    yield script(`analysis that lies: ${name}`, providers.local, [...whole(find), ...analysed(analysis(lie)), ...keys(keyDocument(1)), ['finalize']]);
  yield script('analysis: garbage', providers.local, [...whole(find), ...analysed(garbage)]);
  const markings = {
    'no v': marking({
      a: new Int32(1),
      ki: keyId(1),
    }),
    'no a': marking({ v: 1, ki: keyId(1) }),
    'no key': marking({ v: 1, a: new Int32(1) }),
    'both keys': marking(marked({ ka: 'n' })),
    'algorithm 3': marking(marked({ a: new Int32(3) })),
    'algorithm text': marking(marked({ a: '1' })),
    'id text': marking(marked({ ki: 'x' })),
    'name number': marking({ v: 1, a: new Int32(1), ka: 1 }),
    'more fields': marking(marked({ z: 1 })),
    short: new Binary(Buffer.from([0, 5, 0, 0, 0]), 6),
    garbage: new Binary(Buffer.from([0, 9, 0, 0, 0, 0]), 6),
  };
  for (const [name, value] of Object.entries(markings))
    yield script(`marking: ${name}`, providers.local, [...whole(find), ...analysed(analysis({ find: 'c', a: value }))]);
  yield script('nested explain', providers.local, [
    encrypt({ explain: { find: 'c', a: 'test' }, $db: 'db' }),
    ...collections(collinfo('c')),
    ['operation'],
    ...analysed(analysis({ explain: { find: 'c', a: marking(marked()) } })),
    ...keys(keyDocument(1)),
    ['finalize'],
  ]);
}

function* bypassed() {
  const bypass = { bypassQueryAnalysis: true };
  yield script('bypass', providers.local, [...whole(find), ['finalize']], bypass);
  yield script('bypass, no collection', providers.local, [encrypt(find), ...collections(), ['finalize']], bypass);
  yield script('bypass, create', providers.local, [encrypt({ create: 'c' }), ['finalize']], bypass);
  yield script('bypass, createIndexes', providers.local, [encrypt({ createIndexes: 'c' }), ['operation']], bypass);
  yield script('bypass, several', providers.local, [encrypt({ aggregate: 'c', pipeline: [{ $lookup: { from: 'd' } }] }), ['operation']], bypass);
  yield script('bypass, local schema', providers.local, [encrypt(find), ['finalize']], { ...bypass, schemaMap: bson({ 'db.c': schema }) });
}

export const autoEncryption = [...commands(), ...schemas(), ...pipelines(), ...analyses(), ...bypassed()];
export { analysis, collinfo, encrypt, find, result };
