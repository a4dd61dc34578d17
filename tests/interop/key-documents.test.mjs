// Data key documents, field for field: same fields, order, types and bytes, and each side opens the other's keys.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { codesFor } from './outcomes.mjs';
import { accept, HEX, keyIdOf, MASTER_KEYS, Pair } from './pair.mjs';
import { binary, document, field, fields, value } from './raw-bson.mjs';
import { ALGORITHM } from './samples.mjs';
import { unwrapKey } from './reference.mjs';

let pair;

before(async () => {
  pair = await Pair.start();
});
after(() => pair?.stop());

const shape = (bytes) => fields(bytes).map(([name, item]) => `${name}:${item.type}`);
const DATES = ['creationDate', 'updateDate'];
const undated = (bytes) => HEX(document(fields(bytes).filter(([name]) => !DATES.includes(name))));

/** The random bytes libmongocrypt draws for this key, in its order, so that it arrives at our document. */
function draws(ours, type, masterKey) {
  const id = keyIdOf(ours);
  const iv = binary(field(ours, 'keyMaterial')).content.slice(0, 16);
  const delegated = masterKey.some(([name, item]) => name === 'delegated' && item.bytes[0] === 1);
  // It wraps by itself under local keys and under KMIP secrets it fetched, and draws the id last.
  return type === 'local' || (type === 'kmip' && !delegated) ? [iv, id] : [id];
}

const VARIANTS = [
  ...Object.entries(MASTER_KEYS),
  [
    'aws',
    [
      ['key', 'alias/first'],
      ['region', 'eu-west-1'],
    ],
  ],
  [
    'aws',
    [
      ['endpoint', 'https://KMS.example.com:443/path?query'],
      ['region', 'r'],
      ['key', 'k'],
    ],
  ],
  [
    'azure',
    [
      ['keyVersion', '00'],
      ['keyName', 'n'],
      ['keyVaultEndpoint', 'https://v.vault.azure.net/'],
    ],
  ],
  [
    'gcp',
    [
      ['endpoint', 'kms.googleapis.test:1234'],
      ['keyName', 'n'],
      ['keyVersion', '7'],
      ['keyRing', 'r'],
      ['location', 'l'],
      ['projectId', 'p'],
    ],
  ],
  [
    'kmip',
    [
      ['delegated', value.bool(true)],
      ['keyId', '7'],
      ['endpoint', 'kmip.test:5698'],
    ],
  ],
  [
    'kmip',
    [
      ['delegated', value.bool(false)],
      ['keyId', '8'],
    ],
  ],
];

for (const [provider, masterKey] of VARIANTS) {
  const type = provider.split(':')[0];
  const names = masterKey.map(([name]) => name).join(', ') || 'nothing more';
  describe(`${provider} with ${names}`, () => {
    test("the key document is libmongocrypt's, byte for byte", async () => {
      const keyAltNames = ['first', 'second', '', 'Zoë 🗝'];
      const keyMaterial = new Uint8Array(randomBytes(96));
      const before = Date.now();
      const ours = accept(await pair.ours.createDataKey(provider, { masterKey, keyAltNames, keyMaterial }), 'createDataKey');
      const key = ours.output;
      const theirs = accept(await pair.theirs.createDataKey(provider, { masterKey, keyAltNames, keyMaterial, random: draws(key, type, masterKey) }));
      assert.deepEqual(shape(key), ['_id:5', 'keyAltNames:4', 'keyMaterial:5', 'creationDate:9', 'updateDate:9', 'status:16', 'masterKey:3']);
      assert.deepEqual(shape(key), shape(theirs.output));
      assert.equal(undated(key), undated(theirs.output));
      const [created, updated] = DATES.map((name) => new DataView(field(key, name).bytes.slice().buffer).getBigInt64(0, true));
      assert.equal(created, updated);
      assert.ok(created >= before && created <= Date.now());
      assert.equal(HEX(ours.id), HEX(keyIdOf(key)));
    });

    test('a key that one side made is used by the other', async () => {
      for (const [maker, user] of [
        ['ours', 'theirs'],
        ['theirs', 'ours'],
      ]) {
        const key = accept(await pair[maker].createDataKey(provider, { masterKey })).output;
        assert.deepEqual(shape(key), ['_id:5', 'keyMaterial:5', 'creationDate:9', 'updateDate:9', 'status:16', 'masterKey:3']);
        pair.setVault([key]);
        const item = value.string(`made by ${maker}`);
        const { payload } = accept(await pair[user].encrypt(item, { algorithm: ALGORITHM.random, keyId: keyIdOf(key) }), `${user} with a key of ${maker}`);
        assert.ok(accept(await pair[maker].decrypt(payload)).value.equals(item));
      }
    });
  });
}

test("key material of one's own is what the wrapping holds, and random material differs each time", async () => {
  const keyMaterial = new Uint8Array(randomBytes(96));
  for (const side of ['ours', 'theirs']) {
    const key = accept(await pair[side].createDataKey('local', { keyMaterial })).output;
    assert.equal(HEX(unwrapKey(pair.providers.local, binary(field(key, 'keyMaterial')).content)), HEX(keyMaterial));
  }
  const materials = new Set();
  for (let round = 0; round < 3; round += 1) {
    const key = accept(await pair.ours.createDataKey('local')).output;
    materials.add(HEX(unwrapKey(pair.providers.local, binary(field(key, 'keyMaterial')).content)));
  }
  assert.equal(materials.size, 3);
});

// What a caller may get wrong when creating a key. libmongocrypt is the measure of what is refused.
const REFUSED = [
  ['aws without region', 'aws', { masterKey: [['key', 'k']] }],
  ['aws without key', 'aws', { masterKey: [['region', 'r']] }],
  [
    'aws with a numeric key',
    'aws',
    {
      masterKey: [
        ['region', 'r'],
        ['key', value.int(1)],
      ],
    },
  ],
  [
    'aws with an unknown field',
    'aws',
    {
      masterKey: [
        ['region', 'r'],
        ['key', 'k'],
        ['x', '1'],
      ],
    },
  ],
  [
    'aws with an endpoint that is no string',
    'aws',
    {
      masterKey: [
        ['region', 'r'],
        ['key', 'k'],
        ['endpoint', value.int(1)],
      ],
    },
  ],
  ['azure without keyName', 'azure', { masterKey: [['keyVaultEndpoint', 'a.b']] }],
  ['azure without keyVaultEndpoint', 'azure', { masterKey: [['keyName', 'n']] }],
  [
    'azure with a numeric keyVaultEndpoint',
    'azure',
    {
      masterKey: [
        ['keyName', 'n'],
        ['keyVaultEndpoint', value.int(1)],
      ],
    },
  ],
  [
    'gcp without keyRing',
    'gcp',
    {
      masterKey: [
        ['projectId', 'p'],
        ['location', 'l'],
        ['keyName', 'n'],
      ],
    },
  ],
  [
    'gcp without projectId',
    'gcp',
    {
      masterKey: [
        ['keyRing', 'p'],
        ['location', 'l'],
        ['keyName', 'n'],
      ],
    },
  ],
  ['kmip with a delegated that is no bool', 'kmip', { masterKey: [['delegated', 'true']] }],
  ['local with a field', 'local', { masterKey: [['key', 'k']] }],
  ['a provider of no known type', 'vault', {}],
  ['a provider with an empty name', 'aws:', { masterKey: MASTER_KEYS.aws }],
  ['a provider with a bad character in its name', 'aws:a-b', { masterKey: MASTER_KEYS.aws }],
  ['a provider that is not configured', 'aws:us', { masterKey: MASTER_KEYS.aws }],
  ['the same alternate name twice', 'local', { keyAltNames: ['a', 'b', 'a'] }],
  ['key material of 95 bytes', 'local', { keyMaterial: new Uint8Array(95) }],
  ['key material of 97 bytes', 'local', { keyMaterial: new Uint8Array(97) }],
  ['no key material at all in it', 'local', { keyMaterial: new Uint8Array(0) }],
  ...['nodots', 'a.b:', 'a b.c', 'a.b\r\nX: y', '[::1]:443', 'a.b:x', '', 'http://', 'a.b%zz', 'é.b'].map((endpoint) => [
    `the endpoint ${JSON.stringify(endpoint)}`,
    'aws',
    {
      masterKey: [
        ['region', 'r'],
        ['key', 'k'],
        ['endpoint', endpoint],
      ],
    },
  ]),
];

describe('creating a key is refused by both sides for', () => {
  for (const [what, provider, options] of REFUSED) {
    test(what, async () => {
      const theirs = await pair.theirs.createDataKey(provider, options);
      const ours = await pair.ours.createDataKey(provider, options);
      assert.equal(theirs.ok, false, 'libmongocrypt accepts it');
      assert.equal(ours.ok, false, 'the package accepts it');
      assert.ok(codesFor(theirs.message).includes(ours.code), `${ours.code} (${ours.message}) for ${theirs.message}`);
    });
  }
});

// Accepted spellings and what is stored of them (csfle-format.md 1.5).
const ENDPOINTS = ['a.b', 'a.b:443', 'https://a.b', 'https://A.b:1/', 'a.b/', 'a.b/path/', 'a.b?x=1', 'a.b/p:1', 'a.b:99999', 'x://a.b', '1.2.3.4:5'];

test('endpoints are stored the same way', async () => {
  for (const endpoint of ENDPOINTS) {
    const options = {
      masterKey: [
        ['region', 'r'],
        ['key', 'k'],
        ['endpoint', endpoint],
      ],
    };
    const theirs = accept(await pair.theirs.createDataKey('aws', options), `libmongocrypt, ${endpoint}`);
    const ours = accept(await pair.ours.createDataKey('aws', options), `the package, ${endpoint}`);
    assert.equal(HEX(field(ours.output, 'masterKey').bytes), HEX(field(theirs.output, 'masterKey').bytes), endpoint);
  }
});
