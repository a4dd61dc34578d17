// Queryable Encryption at every entry: one error each, by code and text, and never a command that goes out as it is.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MongoCrypt } from 'csfle-wasm';
import { Binary, Int32, Long, serialize } from 'bson';

const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const keyId = Buffer.alloc(16, 1);
const fields = [{ path: 'a', bsonType: 'string', keyId: new Binary(keyId, 4) }];
const open = (more = {}) => new MongoCrypt({ kmsProviders: serialize({ local: { key: Buffer.alloc(96) } }), errorWrapper: (error) => error, ...more });
const refusal = (make) => {
  try {
    make();
  } catch (error) {
    return [error.name, error.code, error.message];
  }
  return undefined;
};

describe('explicit encryption', () => {
  const encrypt = (options) => open().makeExplicitEncryptionContext(serialize({ v: 'x' }), { keyId, expressionMode: false, algorithm: RANDOM, ...options });
  const belongs = (name) => `algorithm "${name}" belongs to Queryable Encryption; expected "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic" or "${RANDOM}"`;
  const byName = { keyId: undefined, keyAltName: serialize({ keyAltName: 'a' }) };
  const cases = [
    ...['Indexed', 'indexed', 'Unindexed', 'String'].map((algorithm) => [{ algorithm }, 'ALGORITHM_QUERYABLE', belongs(algorithm)]),
    [{ algorithm: 'Indexed', contentionFactor: 0, queryType: 'equality' }, 'ALGORITHM_QUERYABLE', belongs('Indexed')],
    ...['Range', 'rAnGe'].map((algorithm) => [
      { algorithm, rangeOptions: serialize({ sparsity: Long.fromNumber(1) }), contentionFactor: 1n },
      'ALGORITHM_QUERYABLE',
      belongs(algorithm),
    ]),
    [
      { algorithm: 'String', textOptions: serialize({ caseSensitive: true, diacriticSensitive: true }), contentionFactor: 1 },
      'ALGORITHM_QUERYABLE',
      belongs('String'),
    ],
    [{ algorithm: 'RangePreview' }, 'ALGORITHM_QUERYABLE', "Algorithm 'rangePreview' is deprecated, please use 'range'"],
    [{ algorithm: 'TextPreview' }, 'ALGORITHM_QUERYABLE', "Algorithm 'textPreview' is deprecated, please use 'string'"],
    [{ algorithm: 'substringPreview' }, 'ALGORITHM_UNSUPPORTED', 'unsupported algorithm string "substringPreview"'],
    [{ contentionFactor: 0 }, 'OPTION_INVALID', 'cannot set both algorithm and contention factor'],
    [{ contentionFactor: -1n }, 'OPTION_INVALID', 'cannot set both algorithm and contention factor'],
    [{ queryType: 'equality' }, 'OPTION_INVALID', 'cannot set both algorithm and query type'],
    [{ queryType: 'substringPreview' }, 'OPTION_INVALID', 'cannot set both algorithm and query type'],
    [{ queryType: 'x' }, 'OPTION_INVALID', 'Unsupported query_type "x"'],
    [{ queryType: undefined }, 'OPTION_INVALID', 'Unsupported query_type "undefined"'],
    [{ ...byName, contentionFactor: 0 }, 'OPTION_INVALID', 'cannot set both key alt name and contention factor'],
    [{ ...byName, queryType: 'range' }, 'OPTION_INVALID', 'cannot set both key alt name and query type'],
    [{ textOptions: serialize({}) }, 'OPTION_INVALID', 'cannot set both algorithm and text options'],
    [{ ...byName, textOptions: serialize({}) }, 'OPTION_INVALID', 'cannot set both algorithm and text options'],
    [{ textOptions: 'x' }, undefined, 'Parameter `textOptions` must be a Uint8Array.'],
    [{ textOptions: undefined }, undefined, 'Parameter `textOptions` must be a Uint8Array.'],
    [{ expressionMode: true }, 'ALGORITHM_QUERYABLE', 'EncryptExpression may only be used for range queries.'],
    [{ expressionMode: true, algorithm: 'Range', rangeOptions: serialize({}) }, 'ALGORITHM_QUERYABLE', belongs('Range')],
  ];
  for (const [options, code, message] of cases) {
    test(message, () =>
      assert.deepEqual(
        refusal(() => encrypt(options)),
        ['TypeError', code, message],
      ),
    );
  }

  test('passes over range options where the binding does', () => {
    assert.equal(encrypt({ rangeOptions: 'x' }).state, 3);
  });
});

describe('commands', () => {
  const names = [
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
  ];
  const commands = [...names.map((name) => ({ [name]: 'c', ...(name === 'aggregate' && { pipeline: [] }) })), { explain: { find: 'c' } }];
  const refused = new RegExp(
    '^collection db\\.c uses Queryable Encryption \\(encryptedFields\\), which is not supported: ' + 'commands on it are refused rather than sent unencrypted$',
  );
  const collinfo = (options, more = {}) => serialize({ name: 'c', type: 'collection', options, ...more });
  const ended = (context) => [context.state, refused.test(context.status.message), context.nextMongoOperation().length, context.finalize().length];
  const NOTHING_GOES_OUT = [0, true, 0, 0];

  /** Goes on while the analyser's version is asked for. */
  function past(context) {
    if (context.state === 2) {
      context.addMongoOperationResponse(serialize({ maxWireVersion: new Int32(27) }));
      context.finishMongoOperation();
    }
    return context;
  }

  for (const bypassQueryAnalysis of [false, true]) {
    const mode = bypassQueryAnalysis ? ', though analysis is bypassed' : '';
    test(`on a collection of encryptedFieldsMap are refused when the context is made${mode}`, () => {
      const crypt = open({ bypassQueryAnalysis, encryptedFieldsMap: serialize({ 'db.c': { fields } }) });
      for (const command of commands) {
        let found;
        try {
          found = ended(past(crypt.makeEncryptionContext('db', serialize(command))));
        } catch ({ name, code, message }) {
          found = [name, code, refused.test(message)];
        }
        const asksFirst = !bypassQueryAnalysis && ('create' in command || 'createIndexes' in command);
        assert.deepEqual(found, asksFirst ? NOTHING_GOES_OUT : ['TypeError', 'AUTO_ENCRYPTION_QUERYABLE', true], JSON.stringify(command));
      }
    });

    test(`on a collection that the server describes so are refused when that is fed${mode}`, () => {
      for (const encryptedFields of [{ fields }, { fields: [] }, {}, null]) {
        for (const command of commands.filter((one) => !('create' in one))) {
          const context = past(open({ bypassQueryAnalysis }).makeEncryptionContext('db', serialize(command)));
          assert.equal(context.state, 1, JSON.stringify(command));
          context.addMongoOperationResponse(collinfo({ encryptedFields }));
          assert.deepEqual(ended(context), NOTHING_GOES_OUT, JSON.stringify(command));
        }
      }
    });

    test(`are refused from the cache too${mode}`, () => {
      const crypt = open({ bypassQueryAnalysis });
      crypt.makeEncryptionContext('db', serialize({ find: 'c' })).addMongoOperationResponse(collinfo({ encryptedFields: { fields } }));
      const [, code, message] = refusal(() => crypt.makeEncryptionContext('db', serialize({ find: 'c' })));
      assert.deepEqual([code, refused.test(message)], ['AUTO_ENCRYPTION_QUERYABLE', true]);
    });

    test(`create and collMod with encryptedFields are refused, whatever the maps say${mode}`, () => {
      const maps = [{}, { schemaMap: serialize({ 'db.c': { bsonType: 'object' } }) }, { encryptedFieldsMap: serialize({ 'db.c': { fields: [] } }) }];
      for (const name of ['create', 'collMod']) {
        for (const map of maps) {
          const crypt = open({ bypassQueryAnalysis, ...map });
          const command = serialize({ [name]: 'c', validator: { $jsonSchema: {} }, encryptedFields: { fields } });
          let found;
          try {
            found = ended(past(crypt.makeEncryptionContext('db', command)));
          } catch ({ code, message }) {
            found = [code, refused.test(message)];
          }
          assert.deepEqual(
            found,
            name === 'create' && !bypassQueryAnalysis ? NOTHING_GOES_OUT : ['AUTO_ENCRYPTION_QUERYABLE', true],
            `${name} ${Object.keys(map)}`,
          );
        }
      }
    });
  }

  test('that join such a collection are refused', () => {
    const pipelines = [
      [{ $lookup: { from: 'c' } }],
      [{ $unionWith: { coll: 'c' } }],
      [{ $facet: { x: [{ $lookup: { from: 'd', pipeline: [{ $lookup: { from: 'c' } }] } }] } }],
    ];
    for (const pipeline of pipelines) {
      const context = past(open({ encryptedFieldsMap: serialize({}) }).makeEncryptionContext('db', serialize({ aggregate: 'plain', pipeline })));
      context.addMongoOperationResponse(serialize({ name: 'plain', type: 'collection', options: {} }));
      context.addMongoOperationResponse(collinfo({ encryptedFields: { fields } }));
      assert.deepEqual(ended(context), NOTHING_GOES_OUT);
    }
  });

  test('of the bulk kind are refused', () => {
    const crypt = open({ encryptedFieldsMap: serialize({ 'db.c': { fields } }) });
    const command = serialize({ bulkWrite: 1, ops: [{ insert: 0, document: { a: 'x' } }], nsInfo: [{ ns: 'db.c' }] });
    assert.equal(refusal(() => crypt.makeEncryptionContext('admin', command))[1], 'AUTO_ENCRYPTION_QUERYABLE');
  });

  test('with payloads of Queryable Encryption from the analyser are handed on as they are: no value in them is plain', () => {
    const crypt = open({ schemaMap: serialize({ 'db.c': {} }) });
    const context = crypt.makeEncryptionContext('db', serialize({ insert: 'c', documents: [{ a: 1 }] }));
    const placeholder = new Binary(Buffer.concat([Buffer.from([3]), serialize({ v: 'x' })]), 6);
    context.addMongoOperationResponse(serialize({ hasEncryptedPlaceholders: true, result: { insert: 'c', documents: [{ a: placeholder }] } }));
    context.finishMongoOperation();
    // As the reference: what is no marking of this kind is no key's business.
    assert.equal(context.state, 5);
  });
});

describe('stored values', () => {
  const stored = (kind, length = 90) => new Binary(Buffer.alloc(length, kind), 6);
  const decryptable = [4, 6, 7, 9, 11, 14, 15, 16, 17];
  const passing = [0, 3, 5, 8, 10, 12, 13, 18, 19, 255];

  test('are refused by name where the reference would decrypt them', () => {
    for (const kind of decryptable) {
      for (const length of [1, 17, 90]) {
        const whole = refusal(() => open().makeDecryptionContext(serialize({ cursor: { firstBatch: [{ b: [stored(kind, length)] }] } })));
        assert.equal(whole[1], 'PAYLOAD_IS_QUERYABLE', `${kind}`);
        assert.match(whole[2], /Queryable Encryption/);
      }
    }
  });

  test('pass where the reference leaves them, and only there', () => {
    for (const kind of passing) {
      const reply = serialize({ a: stored(kind), b: [{ c: stored(kind, 1) }], d: new Binary(Buffer.alloc(0), 6) });
      assert.deepEqual(open().makeDecryptionContext(reply).finalize(), Buffer.from(reply), `${kind}`);
    }
  });

  test('one by one are all refused, with the number of their kind', () => {
    for (const kind of [...decryptable, ...passing]) {
      const [, code, message] = refusal(() => open().makeExplicitDecryptionContext(serialize({ v: stored(kind) })));
      assert.match(code, /^PAYLOAD_/);
      assert.ok(message.includes(`${kind}`), message);
    }
    assert.match(
      refusal(() => open().makeExplicitDecryptionContext(serialize({ v: new Binary(Buffer.alloc(0), 6) })))[2],
      /^unsupported FLE blob subtype: expected non-empty payload/,
    );
  });
});
