// A KMS that lies, in every place of a run and in every way that its interface allows. After each run an honest KMS must
// open every key to its first material and every document must decrypt, whatever the report says.
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import * as bson from 'bson';
import { ClientEncryption, MemoryKeyVaultStore, migrate, proveKeys } from 'csfle-wasm';

const algorithm = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const cmk = (name) => ({ provider: 'aws', region: 'eu-central-1', key: `arn:aws:kms:eu-central-1:111122223333:key/${name}` });
const KEYS = 4;
// No client could list further namespaces.
const IN_MEMORY = { skipNamespaces: ['*'], reason: 'everything is in memory' };

// A KMS with a key of its own for each CMK.
function honestKms() {
  const secrets = new Map();
  const secretOf = ({ key }) => {
    if (!secrets.has(key)) secrets.set(key, randomBytes(32));
    return secrets.get(key);
  };
  return {
    async encrypt({ plaintext, masterKey }) {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', secretOf(masterKey), iv);
      const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return Uint8Array.from(Buffer.concat([iv, cipher.getAuthTag(), sealed]));
    },
    async decrypt({ ciphertext, masterKey }) {
      const bytes = Buffer.from(ciphertext);
      const decipher = createDecipheriv('aes-256-gcm', secretOf(masterKey), bytes.subarray(0, 12)).setAuthTag(bytes.subarray(12, 28));
      return Uint8Array.from(Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]));
    },
  };
}

// What a lying KMS makes of a right answer. `others` are right answers it gave before, for other keys.
const lies = {
  'flipped bit': (bytes) => {
    const wrong = bytes.slice();
    wrong[17] ^= 4;
    return wrong;
  },
  "another key's bytes": (bytes, others) => others.find((other) => !Buffer.from(other).equals(Buffer.from(bytes))) ?? randomBytes(96),
  'other bytes': () => Uint8Array.from(randomBytes(96)),
  // Values still authenticate; only deterministic encryption gives other bytes.
  'flipped bit of the last third': (bytes) => {
    const wrong = bytes.slice();
    wrong[bytes.length - 1] ^= 4;
    return wrong;
  },
};
const OF_QUERIES = 'flipped bit of the last third';

// `when(index, call)` says whether the answer to this call is a lie; calls of one operation are counted. Lies to one wrapped
// key are the same each time when `consistent`.
function lyingKms(honest, { operation, lie, when, consistent = false }) {
  const others = [];
  const told = new Map();
  let count = -1;
  const state = { lies: 0, calls: () => count + 1 };
  const kms = {
    async encrypt(call) {
      if (operation !== 'encrypt') return honest.encrypt(call);
      count += 1;
      if (!when(count, call)) return honest.encrypt(call);
      state.lies += 1;
      return honest.encrypt({ ...call, plaintext: lies[lie](call.plaintext, others) });
    },
    async decrypt(call) {
      const right = await honest.decrypt(call);
      others.push(right.slice());
      if (operation !== 'decrypt') return right;
      count += 1;
      if (!when(count, call)) return right;
      state.lies += 1;
      const name = Buffer.from(right).toString('hex');
      if (!consistent) return lies[lie](right, others);
      if (!told.has(name)) told.set(name, lies[lie](right, others));
      return told.get(name).slice();
    },
  };
  return { kms, state };
}

function memoryCollection(documents) {
  const rows = new Map(documents.map((bytes) => [bson.deserialize(bytes)._id, bytes]));
  return {
    namespace: 'memory.rows',
    rows,
    estimatedCount: async () => rows.size,
    async *scan() {
      yield [...rows.values()];
    },
    read: async (ids) => ids.map((id) => rows.get(Number(id))),
    async write(changes) {
      for (const { filter, before, after } of changes) {
        const id = Number(filter.get('_id'));
        if (Buffer.from(rows.get(id)).equals(Buffer.from(before))) rows.set(id, after);
      }
      return { refused: [] };
    },
  };
}

async function ward(from) {
  const honest = honestKms();
  const local = { key: randomBytes(96) };
  const store = new MemoryKeyVaultStore();
  const providers = { local, aws: honest };
  const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: providers });
  const masterKey = from === 'aws' ? cmk('old') : undefined;
  const ids = [];
  for (let n = 0; n < KEYS; n += 1)
    ids.push(await encryption.createDataKey(from, { keyAltNames: [`k${n}`], ...(masterKey === undefined ? {} : { masterKey }) }));
  const probes = await Promise.all(ids.map((keyId, n) => encryption.encrypt(`probe ${n}`, { algorithm: DETERMINISTIC, keyId })));
  const documents = [];
  for (let n = 0; n < 2 * KEYS; n += 1)
    documents.push(
      await encryption.encryptDocument(bson.serialize({ _id: n, v: `value ${n}` }), {
        fields: { v: { algorithm: n < KEYS ? algorithm : DETERMINISTIC, keyId: ids[n % KEYS] } },
      }),
    );
  encryption.close();
  const collection = memoryCollection(documents);
  return {
    honest,
    local,
    store,
    collection,
    providers,
    ids,
    // With an honest KMS and nothing cached.
    async loses() {
      const reader = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: providers });
      const lost = [];
      for (const [n, value] of probes.entries()) {
        if ((await reader.decrypt(value).catch(() => undefined)) !== `probe ${n}`) lost.push(`key ${n}`);
        else if (!(await reader.encrypt(`probe ${n}`, { algorithm: DETERMINISTIC, keyId: ids[n] })).buffer.equals(value.buffer))
          lost.push(`queries under key ${n}`);
      }
      for (const [n, bytes] of collection.rows) {
        const plain = await reader.decryptDocument(bytes).then(
          (document) => bson.deserialize(document).v,
          () => undefined,
        );
        if (plain !== `value ${n}`) lost.push(`document ${n}`);
      }
      reader.close();
      return lost;
    },
  };
}

const runs = {
  'rewrap from a KMS': { from: 'aws', run: { mode: 'rewrap', from: { provider: 'aws' }, to: { provider: 'local' } } },
  'rewrap from a KMS, values at hand': { from: 'aws', witnessed: true, run: { mode: 'rewrap', from: { provider: 'aws' }, to: { provider: 'local' } } },
  'rewrap from one CMK to another': { from: 'aws', witnessed: true, run: { mode: 'rewrap', from: cmk('old'), to: cmk('new') } },
  'rewrap to a KMS': { from: 'local', run: { mode: 'rewrap', from: { provider: 'local' }, to: cmk('new') } },
  're-encryption to a KMS': { from: 'local', run: { mode: 'reencrypt', from: { provider: 'local' }, to: cmk('new') } },
  're-encryption from one CMK to another': { from: 'aws', run: { mode: 'reencrypt', from: cmk('old'), to: cmk('new') } },
  'decryption from a KMS': { from: 'aws', run: { mode: 'decrypt', confirmPlaintext: true } },
};
const isRewrap = ({ run }) => run.mode === 'rewrap';

// One ward per case; returns whether the KMS lied at all, and the report.
async function perform({ from, run, witnessed }, behaviour) {
  const place = await ward(from);
  const { kms, state } = lyingKms(place.honest, behaviour);
  const chosen = run.mode === 'reencrypt' ? { keyIds: place.ids, evidence: IN_MEMORY } : {};
  const reading = run.mode === 'rewrap' ? (witnessed ? { otherCollections: [place.collection] } : {}) : { collections: [place.collection] };
  const report = await migrate({
    keyVault: place.store,
    kmsProviders: { local: place.local, aws: kms },
    kmsRetries: 0,
    kmsConcurrency: 1,
    execute: true,
    ...chosen,
    ...reading,
    ...run,
  });
  assert.deepEqual(await place.loses(), [], JSON.stringify(report.failures));
  return { place, report, state };
}

describe('a KMS that lies', { timeout: 600_000 }, () => {
  for (const [name, given] of Object.entries(runs)) {
    for (const operation of ['decrypt', 'encrypt']) {
      it(`loses nothing in a ${name}: ${operation}, one lie or lies from some call on`, async () => {
        let lied = 0;
        for (const lie of Object.keys(lies)) {
          for (const lasting of [false, true]) {
            // A KMS that lies about a key from the very first call, and always the same, can only be told by data.
            if (lasting && lie !== 'other bytes' && isRewrap(given) && given.witnessed === undefined && given.from === 'aws') continue;
            for (let at = 0; ; at += 1) {
              const { state } = await perform(given, { operation, lie, when: (index) => (lasting ? index >= at : index === at) });
              lied += state.lies;
              if (state.lies === 0) break;
            }
          }
        }
        if (operation === 'decrypt') assert.ok(lied > 0);
      });
    }

    if (isRewrap(given) && !given.witnessed) continue;
    it(`loses nothing in a ${name}: the same lie about one key each time`, async () => {
      for (const lie of Object.keys(lies)) {
        let victim;
        const when = (_, { ciphertext }) => {
          victim ??= Buffer.from(ciphertext).toString('hex');
          return Buffer.from(ciphertext).toString('hex') === victim;
        };
        const { report, state } = await perform(given, { operation: 'decrypt', lie, when, consistent: true });
        assert.ok(state.lies > 0);
        // What replaces a key is made here; the old one only has to open its values.
        assert.equal(report.ok, lie === OF_QUERIES && given.from === 'aws' && !isRewrap(given), JSON.stringify(report.failures));
      }
    });
  }

  it('a rewrap names the key whose material opens none of its values, and does the others', async () => {
    let victim;
    const when = (_, { dataKeyId }) => {
      victim ??= dataKeyId;
      return dataKeyId === victim;
    };
    const { report, place } = await perform(runs['rewrap from a KMS, values at hand'], { operation: 'decrypt', lie: 'other bytes', when, consistent: true });
    assert.deepEqual(
      report.failures.map(({ kind, code }) => [kind, code]),
      [['key', 'CRYPTO_AUTHENTICATION_FAILED']],
    );
    assert.equal(report.keys.migrated, KEYS - 1);
    const left = (await place.store.find({})).filter(({ masterKey }) => masterKey.provider === 'aws');
    assert.equal(left.length, 1);
  });

  for (const [operation, calls] of [
    ['encrypt', 1],
    ['decrypt', 1],
  ]) {
    it(`createDataKey stores nothing when the KMS lies at ${operation}`, async () => {
      for (const lie of Object.keys(lies)) {
        const { kms, state } = lyingKms(honestKms(), { operation, lie, when: () => true });
        const store = new MemoryKeyVaultStore();
        const encryption = new ClientEncryption(null, { keyVaultStore: store, kmsProviders: { aws: kms } });
        await assert.rejects(encryption.createDataKey('aws', { masterKey: cmk('a') }), { code: 'KMS_REPLY_MISMATCH' });
        assert.equal(state.calls(), calls);
        assert.deepEqual(await store.find({}), []);
        encryption.close();
      }
    });
  }

  it('rewrapManyDataKey writes nothing after any lie', async () => {
    for (const masterKey of [undefined, cmk('new')]) {
      for (const operation of ['encrypt', 'decrypt']) {
        for (let at = 0; ; at += 1) {
          const place = await ward('aws');
          const { kms, state } = lyingKms(place.honest, { operation, lie: 'flipped bit', when: (index) => index === at });
          const before = bson.EJSON.stringify(await place.store.find({}));
          const encryption = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders: { aws: kms }, kmsConcurrency: 1 });
          const work = encryption.rewrapManyDataKey({}, masterKey === undefined ? {} : { provider: 'aws', masterKey });
          if (state.calls() === 0) await work.catch(() => undefined);
          if (state.lies === 0) break;
          await assert.rejects(work, { code: 'KMS_REPLY_MISMATCH' });
          assert.equal(bson.EJSON.stringify(await place.store.find({})), before);
          encryption.close();
        }
      }
    }
    const encryption = new ClientEncryption(null, { keyVaultStore: new MemoryKeyVaultStore(), kmsProviders: { aws: honestKms() } });
    await assert.rejects(encryption.rewrapManyDataKey({}, { verify: false }), { code: 'OPTION_INVALID' });
    encryption.close();
  });

  it('rewrapManyDataKey notices a KMS that answers wrongly for one key every time', async () => {
    for (const lie of Object.keys(lies)) {
      for (const options of [{}, { provider: 'local' }, { provider: 'aws', masterKey: cmk('new') }]) {
        const place = await ward('aws');
        const [victim] = await place.store.find({ _id: place.ids[2] });
        const when = (_, { ciphertext }) => Buffer.from(ciphertext).equals(Buffer.from(victim.keyMaterial.buffer));
        const { kms } = lyingKms(place.honest, { operation: 'decrypt', lie, when, consistent: true });
        const before = bson.EJSON.stringify(await place.store.find({}));
        const rewrap = (proof, aws, filter = {}) => {
          const encryption = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders: { local: place.local, aws } });
          return encryption.rewrapManyDataKey(filter, { ...options, proof }).finally(() => encryption.close());
        };
        const proof = { collections: [place.collection] };
        await assert.rejects(rewrap(proof, kms), { code: 'CRYPTO_AUTHENTICATION_FAILED' });
        assert.equal(bson.EJSON.stringify(await place.store.find({})), before, 'not one key was written');
        assert.equal((await rewrap(proof, kms, { _id: { $in: place.ids.filter((_, n) => n !== 2) } })).bulkWriteResult.modifiedCount, KEYS - 1);
        assert.equal((await rewrap(proof, place.honest, { _id: place.ids[2] })).bulkWriteResult.modifiedCount, 1);
        assert.deepEqual(await place.loses(), []);
      }
    }
  });

  it('the proof of rewrapManyDataKey is collections or none', async () => {
    const place = await ward('aws');
    const encryption = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders: place.providers });
    const code = (proof) =>
      encryption.rewrapManyDataKey({}, { proof }).then(
        () => 'done',
        (error) => error.code,
      );
    for (const proof of [true, null, 5, {}, { collections: place.collection }, { collections: [place.collection], more: 1 }])
      assert.equal(await code(proof), 'OPTION_INVALID');
    for (const proof of [{ collections: [] }, { collections: ['a.b'] }]) assert.equal(await code(proof), 'ARGUMENT_INVALID');
    const broken = {
      ...place.collection,
      namespace: 'a.b',
      scan() {
        throw new Error('no');
      },
    };
    assert.equal(await code({ collections: [broken] }), 'MIGRATION_COLLECTION_FAILED');
    assert.equal(await code(false), 'done');
    assert.equal(await code(undefined), 'done');
    encryption.close();
  });

  it('the search for deterministic values continues after random ones were found', async () => {
    const place = await ward('aws');
    const { rows } = place.collection;
    const [first, last] = [rows.get(2), rows.get(2 + KEYS)];
    rows.clear();
    // Many random values of one key, and a deterministic one after all of them.
    for (let n = 0; n < 20; n += 1) rows.set(n, first);
    rows.set(20, last);
    const when = (_, { dataKeyId }) => dataKeyId === place.ids[2].toHexString(true);
    const { kms, state } = lyingKms(place.honest, { operation: 'decrypt', lie: OF_QUERIES, when, consistent: true });
    const report = await migrate({
      keyVault: place.store,
      kmsProviders: { local: place.local, aws: kms },
      otherCollections: [place.collection],
      from: { provider: 'aws' },
      to: { provider: 'local' },
      batchSize: 2,
      execute: true,
    });
    assert.ok(state.lies > 0);
    assert.deepEqual(
      report.failures.map(({ code }) => code),
      ['CRYPTO_AUTHENTICATION_FAILED'],
    );
    const { keys } = await proveKeys({ keyVault: place.store, kmsProviders: { local: place.local, aws: kms }, collections: [place.collection] });
    assert.deepEqual(
      keys.filter(({ tried }) => tried > 0).map(({ tried, opened }) => [tried, opened]),
      [[1, 0]],
    );
  });

  const onlyValueAt = {
    'after thousands of documents, in the scope of code': (_id, v) => ({ _id, run: new bson.Code('run()', { v }) }),
    'inside an encrypted document, inside an encrypted array': (_id, v, seal) => seal({ _id, outer: { list: [1, { v }] } }),
  };
  for (const [where, at] of Object.entries(onlyValueAt)) {
    for (const way of ['migrate', 'rewrapManyDataKey']) {
      it(`${way} proves a key by its only value: ${where}`, async () => {
        const place = await ward('aws');
        const { rows } = place.collection;
        const [first, { v: only }] = [rows.get(0), bson.deserialize(rows.get(2))];
        const maker = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders: { aws: place.honest } });
        const seal = async (document) => {
          const inner = await maker.encryptDocument(document, { fields: { 'outer.list': { algorithm, keyId: place.ids[1] } } });
          return maker.encryptDocument(inner, { fields: { outer: { algorithm, keyId: place.ids[0] } } });
        };
        rows.clear();
        for (let n = 0; n < 2_500; n += 1) rows.set(n, first);
        rows.set(2_500, bson.serialize(await at(2_500, only, seal)));
        maker.close();
        const scan = async function* () {
          const all = [...rows.values()];
          for (let at = 0; at < all.length; at += 500) yield all.slice(at, at + 500);
        };
        const collection = { ...place.collection, scan };
        const when = (_, { dataKeyId }) => dataKeyId === place.ids[2].toHexString(true);
        const { kms, state } = lyingKms(place.honest, { operation: 'decrypt', lie: 'other bytes', when, consistent: true });
        const kmsProviders = { local: place.local, aws: kms };
        const stored = async () => bson.serialize((await place.store.find({ _id: place.ids[2] }))[0]);
        const before = await stored();
        if (way === 'migrate') {
          const phases = new Set();
          const report = await migrate({
            keyVault: place.store,
            kmsProviders,
            otherCollections: [collection],
            from: { provider: 'aws' },
            to: { provider: 'local' },
            execute: true,
            onProgress: ({ phase }) => phases.add(phase),
          });
          assert.deepEqual(
            report.failures.map(({ code }) => code),
            ['CRYPTO_AUTHENTICATION_FAILED'],
          );
          assert.ok(phases.has('prove-keys'));
        } else {
          const encryption = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders });
          await assert.rejects(encryption.rewrapManyDataKey({}, { provider: 'local', proof: { collections: [collection] } }), {
            code: 'CRYPTO_AUTHENTICATION_FAILED',
          });
          encryption.close();
        }
        assert.ok(state.lies > 0);
        assert.deepEqual(await stored(), before);
      });
    }
  }

  it('a replacement that no KMS opens any more is replaced, unless values are under it', async () => {
    const place = await ward('local');
    const options = {
      keyVault: place.store,
      mode: 'reencrypt',
      keyIds: place.ids,
      evidence: IN_MEMORY,
      to: cmk('new'),
      collections: [place.collection],
      execute: true,
    };
    const marker = `csfle-migrate:${place.ids[0].toHexString(true)}`;
    // As an earlier version left it: stored, and opened by nobody.
    const maker = new ClientEncryption(null, { keyVaultStore: place.store, kmsProviders: { aws: place.honest } });
    const dead = await maker.createDataKey('aws', { masterKey: cmk('new'), keyAltNames: [marker, 'csfle-migrate:name:k0'] });
    const value = await maker.encrypt('x', { algorithm, keyId: dead });
    maker.close();
    const refusing = {
      encrypt: place.honest.encrypt,
      async decrypt(call) {
        if (Buffer.from(call.dataKeyId ?? []).equals(Buffer.from(dead.buffer)) || call.dataKeyId === dead.toHexString(true))
          throw Object.assign(new Error('refused'), { name: 'InvalidCiphertextException' });
        return place.honest.decrypt(call);
      },
    };
    const kmsProviders = { local: place.local, aws: refusing };
    place.collection.rows.set(99, bson.serialize({ _id: 99, value }));
    const blocked = await migrate({ ...options, kmsProviders });
    assert.equal(blocked.ok, false);
    assert.deepEqual(
      blocked.failures.filter(({ kind }) => kind === 'key').map(({ code }) => code),
      ['KMS_CIPHERTEXT_REFUSED'],
    );
    place.collection.rows.delete(99);
    const report = await migrate({ ...options, kmsProviders });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(await place.loses(), []);
    const [left] = await place.store.find({ _id: dead });
    assert.equal(left.keyAltNames, undefined, 'the key document stays, without the marks');
    const [named] = await place.store.find({ keyAltNames: 'k0' });
    assert.notEqual(named._id.toHexString(), place.ids[0].toHexString());
  });

  it('proveKeys tells a key that opens its values from one that only unwraps', async () => {
    const place = await ward('aws');
    let victim;
    const when = (_, { ciphertext }) => {
      const name = Buffer.from(ciphertext).toString('hex');
      victim ??= name;
      return name === victim;
    };
    const { kms } = lyingKms(place.honest, { operation: 'decrypt', lie: 'other bytes', when, consistent: true });
    const prove = async (aws, collections) =>
      (await proveKeys({ keyVault: place.store, kmsProviders: { aws }, collections, kmsConcurrency: 1 })).keys.map(({ unwraps, tried, opened }) => [
        unwraps,
        tried,
        opened,
      ]);
    assert.deepEqual(await prove(place.honest, [place.collection]), Array(KEYS).fill([true, 1, 1]));
    assert.deepEqual(await prove(place.honest, []), Array(KEYS).fill([true, 0, 0]));
    const told = await prove(kms, [place.collection]);
    assert.equal(told.filter(([unwraps, tried, opened]) => unwraps && tried === 1 && opened === 0).length, 1);
    const broken = {
      ...place.collection,
      namespace: 'a.b',
      scan() {
        throw new Error('no');
      },
    };
    const { found, unread } = await proveKeys({ keyVault: place.store, kmsProviders: {}, collections: [broken] });
    assert.deepEqual([found, unread], [[], ['a.b']]);
    assert.deepEqual(
      (await proveKeys({ keyVault: place.store, kmsProviders: {}, collections: [] })).keys.map(({ code }) => code),
      Array(KEYS).fill('KMS_PROVIDER_NOT_CONFIGURED'),
    );
  });
});
