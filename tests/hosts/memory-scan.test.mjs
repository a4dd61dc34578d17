// Plants known keys and plaintexts, runs every operation, frees every handle and searches the whole WebAssembly memory.
// No form of a key and no plaintext may be left, whichever way an operation ended.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, before, describe, it } from 'node:test';
import * as bson from 'bson';
import { openBoundary } from './boundary.mjs';
import { scan } from './memory/scan.mjs';
import { formsOfKey, formsOfText } from './memory/secrets.mjs';
import { document, read, Session } from './memory/session.mjs';

const DETERMINISTIC = 'AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic';
const RANDOM = 'AEAD_AES_256_CBC_HMAC_SHA_512-Random';
const LOCAL = { provider: 'local' };
const AWS = { provider: 'aws', region: 'us-east-1', key: 'arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000' };

const STEP_NEED_KMS = 2;

describe('after everything was freed, the WebAssembly memory', { timeout: 60_000 }, () => {
  let boundary;
  let session;
  const masterKey = randomBytes(96);
  const otherMasterKey = randomBytes(96);
  const material = randomBytes(96);
  const awsMaterial = randomBytes(96);
  const words = Object.fromEntries(
    ['value', 'long', 'field', 'nested', 'refused', 'waiting'].map((name) => [name, `${name}-${randomBytes(24).toString('hex')}`]),
  );
  const long = words.long.repeat(2000);
  const forms = [
    ...formsOfKey('local master key', masterKey),
    ...formsOfKey('other local master key', otherMasterKey),
    ...formsOfKey('data key', material),
    ...formsOfKey('data key under aws', awsMaterial),
    ...Object.entries(words).flatMap(([name, text]) => formsOfText(name, text)),
  ];
  const leftovers = () => scan(boundary.memory.buffer, forms);
  const namesFound = () => leftovers().map(({ name }) => name);

  let engine;
  let localId;
  let awsId;

  before(async () => {
    boundary = await openBoundary();
    session = new Session(boundary);
  });

  afterEach(() => engine.free());

  function open() {
    // Copies: what the caller keeps is no business of the engine.
    engine = session.engine(Uint8Array.from(masterKey), Uint8Array.from(otherMasterKey));
  }

  async function createKeys() {
    const created = [];
    for (const [master, names, bytes] of [
      [LOCAL, ['by-name'], material],
      [AWS, [], awsMaterial],
    ]) {
      created.push(await session.run(engine.createDataKey(document(master), names, Uint8Array.from(bytes), Date.now())));
    }
    await session.store(created);
    [localId, awsId] = created.map((key) => read(key)._id);
  }

  const encryptValue = (value, options) => session.run(engine.encrypt(document({ v: value }), document(options)));

  async function encryptAndDecrypt() {
    for (const value of [words.value, long, { inner: words.nested }]) {
      for (const options of [
        { algorithm: RANDOM, keyId: localId },
        { algorithm: RANDOM, keyAltName: 'by-name' },
        { algorithm: RANDOM, keyId: awsId },
      ]) {
        await session.run(engine.decrypt(await encryptValue(value, options)));
      }
    }
    await session.run(engine.decrypt(await encryptValue(words.value, { algorithm: DETERMINISTIC, keyId: localId })));
  }

  async function documents() {
    const plain = Array.from({ length: 20 }, (_, at) =>
      document({ _id: at, field: words.field, list: [{ deep: words.nested }, { deep: words.nested }], text: long }),
    );
    const rules = document({
      field: { algorithm: DETERMINISTIC, keyId: localId },
      'list.deep': { algorithm: RANDOM, keyId: awsId },
      text: { algorithm: RANDOM, keyId: localId },
    });
    const sealed = await session.run(engine.encryptDocuments(Buffer.concat(plain), rules));
    const opened = await session.run(engine.decryptDocuments(sealed));
    assert.equal(Buffer.compare(Buffer.from(opened), Buffer.concat(plain)), 0);
    return sealed;
  }

  async function moves(sealed) {
    await session.run(engine.reencryptDocuments(sealed, document({ v: [{ from: localId, to: awsId }] })));
    await session.run(engine.leaveDocuments(sealed, document({ v: [] })));
    await session.run(engine.fingerprint(document({}), document({}), false));
    await session.run(engine.probe(document(AWS)));
    await session.run(engine.probe(document(LOCAL)));
    const targets = [AWS, { provider: 'local:other' }, LOCAL];
    for (const target of targets) {
      const { v } = read(await session.run(engine.rewrap(document({}), document(target), undefined, document({}))));
      const wrapped = (key) => v.find(({ _id }) => _id.equals(key._id));
      const keys = await session.keys();
      await session.store(keys.map((key) => document({ ...key, keyMaterial: wrapped(key).keyMaterial, masterKey: wrapped(key).masterKey })));
    }
  }

  async function failures(sealed) {
    const fails = (run, code) => assert.rejects(run, { code });
    const sealedValue = await encryptValue(words.value, { algorithm: RANDOM, keyId: localId });
    const damaged = Uint8Array.from(sealedValue);
    damaged[damaged.length - 4] ^= 1;
    await fails(async () => session.run(engine.decrypt(damaged)), 'CRYPTO_AUTHENTICATION_FAILED');
    // The last value of the last document: everything before it was opened already.
    const damagedDocuments = Uint8Array.from(sealed);
    damagedDocuments[damagedDocuments.length - 4] ^= 1;
    await fails(async () => session.run(engine.decryptDocuments(damagedDocuments)), 'CRYPTO_AUTHENTICATION_FAILED');
    await fails(async () => session.run(engine.createDataKey(document(LOCAL), [], material.subarray(0, 95), Date.now())), 'KEY_MATERIAL_LENGTH');
    await fails(async () => engine.addLocalProvider('local:third', masterKey.subarray(0, 95)), 'KEY_MATERIAL_LENGTH');
    await fails(async () => engine.addLocalProvider('LOCAL', Uint8Array.from(masterKey)), 'KMS_PROVIDER_UNRECOGNIZED');
    await fails(async () => encryptValue(words.refused, { algorithm: 'ROT13', keyId: localId }), 'ALGORITHM_UNSUPPORTED');
    await fails(async () => encryptValue({ inner: words.refused }, { algorithm: DETERMINISTIC, keyId: localId }), 'VALUE_TYPE_NOT_DETERMINISTIC');
    await fails(async () => encryptValue(words.refused, { algorithm: RANDOM, keyId: new bson.UUID() }), 'KEY_VAULT_KEY_NOT_FOUND');
    await refuseShortReply();
  }

  /** A KMS that returns a byte too few: what it did return is secret all the same. */
  async function refuseShortReply() {
    engine.clearCache();
    const machine = engine.encrypt(document({ v: words.waiting }), document({ algorithm: RANDOM, keyId: awsId }));
    assert.equal(await session.runUntilKms(machine), STEP_NEED_KMS);
    const [{ id }] = machine.kmsRequests();
    assert.throws(
      () => {
        machine.provideKms(id, awsMaterial.subarray(0, 95));
        machine.step(Date.now());
      },
      { code: 'KMS_REPLY_LENGTH' },
    );
    machine.free();
  }

  /** Machines that are freed in the middle, each holding a secret at that moment. */
  async function interruptions() {
    engine.clearCache();
    const waiting = engine.encrypt(document({ v: words.waiting }), document({ algorithm: RANDOM, keyId: localId }));
    waiting.step(Date.now());
    const creating = engine.createDataKey(document(AWS), [], Uint8Array.from(awsMaterial), Date.now());
    assert.equal(await session.runUntilKms(creating), STEP_NEED_KMS);
    const rewrapping = engine.rewrap(document({ _id: localId }), document(AWS), undefined, document({}));
    assert.equal(await session.runUntilKms(rewrapping), STEP_NEED_KMS);
    const finished = engine.decrypt(await encryptValue(words.value, { algorithm: RANDOM, keyId: localId }));
    finished.step(Date.now());
    for (const machine of [waiting, creating, rewrapping, finished]) machine.free();
  }

  /** The proof that the search works: while the secrets are needed they are found. */
  it('held the secrets while they were in use', async () => {
    open();
    await createKeys();
    await encryptAndDecrypt();
    const waiting = engine.encrypt(document({ v: words.waiting }), document({ algorithm: RANDOM, keyId: localId }));
    waiting.step(Date.now());
    const found = namesFound();
    waiting.free();
    for (const secret of ['local master key', 'data key', 'data key under aws', 'waiting']) {
      assert.ok(
        found.some((name) => name.startsWith(`${secret}: `)),
        `the search cannot see the ${secret} that is in use`,
      );
    }
    for (const form of ['MAC key, inner state', 'IV key, outer state', 'encryption key, first round key in 16-bit words']) {
      assert.ok(found.includes(`data key: ${form}`), `the search does not know this build's form: ${form}`);
    }
    engine.free();
  });

  it('holds no key and no plaintext after every operation succeeded', async () => {
    open();
    await createKeys();
    await encryptAndDecrypt();
    const sealed = await documents();
    await moves(sealed);
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after operations failed', async () => {
    open();
    await createKeys();
    await failures(await documents());
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after machines were freed half-way', async () => {
    open();
    await createKeys();
    await interruptions();
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds none of a machine that outlives its engine', async () => {
    open();
    await createKeys();
    engine.clearCache();
    const creating = engine.createDataKey(document(AWS), [], Uint8Array.from(awsMaterial), Date.now());
    assert.equal(await session.runUntilKms(creating), STEP_NEED_KMS);
    engine.free();
    assert.throws(() => creating.step(Date.now()), { code: 'MACHINE_OUT_OF_ORDER' });
    creating.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds no data key that was cached 60 seconds before, once any key is used', async () => {
    open();
    await createKeys();
    engine.clearCache();
    const start = Date.now();
    const use = (keyId, now) => session.run(engine.encrypt(document({ v: words.value }), document({ algorithm: RANDOM, keyId })), now);
    await use(localId, start);
    const cached = () => ['data key: ', 'data key under aws: '].map((name) => namesFound().some((found) => found.startsWith(name)));
    for (const [now, expected] of [
      [start + 59_000, [true, true]],
      [start + 60_001, [false, true]],
    ]) {
      await use(awsId, now);
      assert.deepEqual(cached(), expected, `${now - start} ms later`);
    }
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds no data key once the cache was cleared, although the engine lives', async () => {
    open();
    await createKeys();
    await encryptAndDecrypt();
    engine.clearCache();
    assert.deepEqual(
      namesFound().filter((name) => name.startsWith('data key')),
      [],
    );
    engine.free();
  });
});
