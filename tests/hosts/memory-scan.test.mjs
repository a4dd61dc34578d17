// Plants known keys and plaintexts, runs every operation, frees every handle and searches the whole WebAssembly memory.
// No form of a key and no plaintext may be left, whichever way an operation ended.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, describe, it } from 'node:test';
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
  const words = Object.fromEntries(['value', 'long', 'field', 'nested', 'refused', 'waiting'].map((name) => [name, `${name}-${randomBytes(24).toString('hex')}`]));
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

  function open() {
    // Copies: what the caller keeps is no business of the engine.
    engine = session.engine(Uint8Array.from(masterKey), Uint8Array.from(otherMasterKey));
  }

  function createKeys() {
    session.vault = [];
    for (const [master, names, bytes] of [[LOCAL, ['by-name'], material], [AWS, [], awsMaterial]]) {
      session.vault.push(session.run(engine.createDataKey(document(master), names, Uint8Array.from(bytes), Date.now())));
    }
    [localId, awsId] = session.vault.map((key) => read(key)._id);
  }

  const encryptValue = (value, options) => session.run(engine.encrypt(document({ v: value }), document(options)));

  function encryptAndDecrypt() {
    for (const value of [words.value, long, { inner: words.nested }]) {
      for (const options of [{ algorithm: RANDOM, keyId: localId }, { algorithm: RANDOM, keyAltName: 'by-name' }, { algorithm: RANDOM, keyId: awsId }]) {
        session.run(engine.decrypt(encryptValue(value, options)));
      }
    }
    session.run(engine.decrypt(encryptValue(words.value, { algorithm: DETERMINISTIC, keyId: localId })));
  }

  function documents() {
    const plain = Array.from({ length: 20 }, (_, at) => document({ _id: at, field: words.field, list: [{ deep: words.nested }, { deep: words.nested }], text: long }));
    const rules = document({
      field: { algorithm: DETERMINISTIC, keyId: localId },
      'list.deep': { algorithm: RANDOM, keyId: awsId },
      text: { algorithm: RANDOM, keyId: localId },
    });
    const sealed = session.run(engine.encryptDocuments(Buffer.concat(plain), rules));
    const opened = session.run(engine.decryptDocuments(sealed));
    assert.equal(Buffer.compare(Buffer.from(opened), Buffer.concat(plain)), 0);
    return sealed;
  }

  function moves(sealed) {
    session.run(engine.reencryptDocuments(sealed, document({ v: [{ from: localId, to: awsId }] })));
    session.run(engine.leaveDocuments(sealed, document({ v: [] })));
    session.run(engine.fingerprint(document({})));
    session.run(engine.probe(document(AWS)));
    session.run(engine.probe(document(LOCAL)));
    const targets = [AWS, { provider: 'local:other' }, LOCAL];
    for (const target of targets) {
      const { v } = read(session.run(engine.rewrap(document({}), document(target), true)));
      session.vault = session.vault.map((key, at) => document({ ...read(key), keyMaterial: v[at].keyMaterial, masterKey: v[at].masterKey }));
    }
  }

  function failures(sealed) {
    const fails = (run, code) => assert.throws(run, (error) => error.code === code);
    const sealedValue = encryptValue(words.value, { algorithm: RANDOM, keyId: localId });
    const damaged = Uint8Array.from(sealedValue);
    damaged[damaged.length - 4] ^= 1;
    fails(() => session.run(engine.decrypt(damaged)), 'CRYPTO_AUTHENTICATION_FAILED');
    // The last value of the last document: everything before it was opened already.
    const damagedDocuments = Uint8Array.from(sealed);
    damagedDocuments[damagedDocuments.length - 4] ^= 1;
    fails(() => session.run(engine.decryptDocuments(damagedDocuments)), 'CRYPTO_AUTHENTICATION_FAILED');
    fails(() => session.run(engine.createDataKey(document(LOCAL), [], material.subarray(0, 95), Date.now())), 'KEY_MATERIAL_LENGTH');
    fails(() => engine.addLocalProvider('local:third', masterKey.subarray(0, 95)), 'KEY_MATERIAL_LENGTH');
    fails(() => engine.addLocalProvider('LOCAL', Uint8Array.from(masterKey)), 'KMS_PROVIDER_UNRECOGNIZED');
    fails(() => encryptValue(words.refused, { algorithm: 'ROT13', keyId: localId }), 'ALGORITHM_UNSUPPORTED');
    fails(() => encryptValue({ inner: words.refused }, { algorithm: DETERMINISTIC, keyId: localId }), 'VALUE_TYPE_NOT_DETERMINISTIC');
    fails(() => encryptValue(words.refused, { algorithm: RANDOM, keyId: new bson.UUID() }), 'KEY_VAULT_KEY_NOT_FOUND');
  }

  /** Machines that are freed in the middle, each holding a secret at that moment. */
  function interruptions() {
    engine.clearCache();
    const waiting = engine.encrypt(document({ v: words.waiting }), document({ algorithm: RANDOM, keyId: localId }));
    waiting.step(Date.now());
    const creating = engine.createDataKey(document(AWS), [], Uint8Array.from(awsMaterial), Date.now());
    assert.equal(session.runUntilKms(creating), STEP_NEED_KMS);
    const rewrapping = engine.rewrap(document({ _id: localId }), document(AWS), true);
    assert.equal(session.runUntilKms(rewrapping), STEP_NEED_KMS);
    const finished = engine.decrypt(encryptValue(words.value, { algorithm: RANDOM, keyId: localId }));
    finished.step(Date.now());
    for (const machine of [waiting, creating, rewrapping, finished]) machine.free();
  }

  /** The proof that the search works: while the secrets are needed they are found. */
  it('held the secrets while they were in use', () => {
    open();
    createKeys();
    encryptAndDecrypt();
    const waiting = engine.encrypt(document({ v: words.waiting }), document({ algorithm: RANDOM, keyId: localId }));
    waiting.step(Date.now());
    const found = namesFound();
    waiting.free();
    for (const secret of ['local master key', 'data key', 'data key under aws', 'waiting']) {
      assert.ok(found.some((name) => name.startsWith(`${secret}: `)), `the search cannot see the ${secret} that is in use`);
    }
    for (const form of ['MAC key, inner state', 'IV key, outer state', 'encryption key, first round key in 16-bit words']) {
      assert.ok(found.includes(`data key: ${form}`), `the search does not know this build's form: ${form}`);
    }
    engine.free();
  });

  it('holds no key and no plaintext after every operation succeeded', () => {
    open();
    createKeys();
    encryptAndDecrypt();
    const sealed = documents();
    moves(sealed);
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after operations failed', () => {
    open();
    createKeys();
    failures(documents());
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds none after machines were freed half-way', () => {
    open();
    createKeys();
    interruptions();
    engine.free();
    assert.deepEqual(leftovers(), []);
  });

  it('holds no data key once the cache was cleared, although the engine lives', () => {
    open();
    createKeys();
    encryptAndDecrypt();
    engine.clearCache();
    assert.deepEqual(namesFound().filter((name) => name.startsWith('data key')), []);
    engine.free();
  });
});
