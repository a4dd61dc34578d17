import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import * as bson from 'bson';
import { ClientEncryption, CsfleError } from 'csfle-wasm';
import { countingStore, failedChecks, failuresOf, hospital, mortalStore, openLab } from './fixtures.mjs';

describe('rewrap', { timeout: 240_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  it('a plan writes nothing and says what executing would do', async () => {
    const place = await hospital(lab);
    const before = await place.dump();
    const report = await place.migrate();
    assert.deepEqual(await place.dump(), before);
    assert.equal(report.executed, false);
    assert.equal(report.ok, true);
    assert.equal(report.plan.executable, true);
    assert.deepEqual(report.plan.counts, { migrate: 3, done: 0, other: 0, malformed: 0 });
    assert.deepEqual(failedChecks(report), []);
    assert.deepEqual(
      report.plan.checks.map(({ name }) => name),
      ['vault-readable', 'vault-writable', 'alt-name-index', 'key-documents', 'old-keys-unwrap', 'new-master-key'],
    );
    assert.deepEqual(report.plan.keys.flatMap(({ keyAltNames }) => keyAltNames).sort(), ['notes', 'patients.ssn', 'ssn']);
  });

  it('moves every key, changes nothing else, and every document still reads', async () => {
    const place = await hospital(lab);
    const vaultBefore = await place.lookAt.vault();
    const patientsBefore = await place.lookAt.patients();
    const report = await place.migrate({ execute: true });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.deepEqual(report.keys, { planned: 3, migrated: 3, alreadyDone: 0, failed: 0, namesMoved: 0, deleted: 0, verified: 3 });
    const vaultAfter = await place.lookAt.vault();
    const untouched = ({ keyMaterial, masterKey, updateDate, ...rest }) => rest;
    assert.deepEqual(vaultAfter.map(untouched), vaultBefore.map(untouched));
    for (const [index, key] of vaultAfter.entries()) {
      assert.deepEqual(key.masterKey, lab.to);
      assert.notDeepEqual(key.keyMaterial.buffer, vaultBefore[index].keyMaterial.buffer);
      assert.ok(key.updateDate >= vaultBefore[index].updateDate);
    }
    assert.deepEqual(await place.lookAt.patients(), patientsBefore);
    await place.readsAs({ aws: lab.aws });
  });

  it('costs exactly the KMS calls that the plan says', async () => {
    const place = await hospital(lab, { documents: 0 });
    const { plan, kmsCalls } = await place.migrate({ execute: true });
    assert.equal(kmsCalls.wrap + kmsCalls.unwrap, plan.kmsCalls);
    const back = await place.migrate({ execute: true, from: lab.to, to: { provider: 'local' } });
    assert.equal(back.ok, true);
    assert.equal(back.kmsCalls.wrap + back.kmsCalls.unwrap, back.plan.kmsCalls);
  });

  it('the old master key alone opens nothing any more', async () => {
    const place = await hospital(lab);
    await place.migrate({ execute: true });
    const onlyLocal = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: { local: place.local } });
    await assert.rejects(onlyLocal.decryptDocument(await place.patients.findOne({ _id: 1 })), { code: 'KMS_PROVIDER_NOT_CONFIGURED' });
    onlyLocal.close();
  });

  it('running twice changes nothing', async () => {
    const place = await hospital(lab, { documents: 0 });
    await place.migrate({ execute: true });
    const between = await place.dump();
    const store = countingStore(place.store);
    const again = await place.migrate({ execute: true, keyVault: store });
    assert.equal(again.ok, true);
    assert.deepEqual(again.plan.counts, { migrate: 0, done: 3, other: 0, malformed: 0 });
    assert.equal(store.writes, 0);
    assert.deepEqual(await place.dump(), between);
  });

  it('a stop after any write leaves a vault that opens, and the next run goes on', async () => {
    for (const writes of [1, 2, 3]) {
      const place = await hospital(lab, { documents: 3 });
      const store = mortalStore(place.store, writes);
      const report = await place.migrate({ execute: true, keyVault: store, kmsConcurrency: 1 });
      assert.equal(report.ok, false);
      await place.readsAs(place.kmsProviders);
      const providers = (await place.lookAt.vault()).map(({ masterKey }) => masterKey.provider);
      assert.equal(providers.filter((provider) => provider === 'aws').length, writes);
      const next = await place.migrate({ execute: true });
      assert.equal(next.ok, true, JSON.stringify(next.failures));
      assert.equal(next.keys.migrated, 3 - writes);
      await place.readsAs({ aws: lab.aws });
    }
  });

  it('is undone by exchanging source and target', async () => {
    const place = await hospital(lab);
    await place.migrate({ execute: true });
    const report = await place.migrate({ execute: true, from: lab.to, to: { provider: 'local' } });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    assert.equal(report.keys.migrated, 3);
    assert.deepEqual(
      (await place.lookAt.vault()).map(({ masterKey }) => masterKey),
      Array(3).fill({ provider: 'local' }),
    );
    await place.readsAs({ local: place.local });
  });

  it('refuses a source key that opens nothing, before anything is written', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const report = await place.migrate({ execute: true, kmsProviders: { local: { key: randomBytes(96) }, aws: lab.aws } });
    assert.equal(report.ok, false);
    assert.equal(report.executed, false);
    assert.deepEqual(failedChecks(report), [{ name: 'old-keys-unwrap', code: 'CRYPTO_AUTHENTICATION_FAILED', required: true }]);
    assert.deepEqual(failuresOf(report), [{ kind: 'check', id: 'old-keys-unwrap', code: 'CRYPTO_AUTHENTICATION_FAILED' }]);
    assert.deepEqual(await place.dump(), before);
  });

  it('names the one key that does not open, and moves the others', async () => {
    const place = await hospital(lab, { documents: 0 });
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.notes });
    keyMaterial.buffer[40] ^= 1;
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { keyMaterial } });
    const report = await place.migrate({ execute: true });
    assert.equal(report.ok, false);
    assert.equal(report.executed, true);
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.notes.toHexString(true), code: 'CRYPTO_AUTHENTICATION_FAILED' }]);
    assert.deepEqual(report.failures[0].keyAltNames, ['notes']);
    assert.equal(report.keys.migrated, 2);
    assert.equal((await place.vault.findOne({ _id: place.keys.notes })).masterKey.provider, 'local');
  });

  it('names malformed key documents and leaves them alone', async () => {
    const place = await hospital(lab, { documents: 0 });
    await place.vault.updateOne({ _id: place.keys.plain }, { $set: { note: 'ours' } });
    const report = await place.migrate({ execute: true });
    assert.deepEqual(report.plan.counts, { migrate: 2, done: 0, other: 0, malformed: 1 });
    assert.deepEqual(failedChecks(report), [{ name: 'key-documents', code: 'KEY_VAULT_FIELD_UNKNOWN', required: false }]);
    assert.equal(report.keys.migrated, 2);
    assert.equal((await place.vault.findOne({ _id: place.keys.plain })).masterKey.provider, 'local');
    // It stays under the old master key, so the run is no success; a malformed key of another provider was not asked for.
    assert.deepEqual(
      [report.ok, report.failures.map(({ kind, id, code }) => [kind, id, code])],
      [false, [['key', String(place.keys.plain), 'KEY_VAULT_FIELD_UNKNOWN']]],
    );
    await place.vault.updateOne({ _id: place.keys.plain }, { $set: { 'masterKey.provider': 'azure' } });
    const again = await place.migrate({ execute: true });
    assert.deepEqual([again.ok, again.plan.counts.malformed], [true, 1]);
  });

  it('from a KMS, values beside the key vault prove its answers, and a key that opens none of them stays as it is', async () => {
    const place = await hospital(lab, { documents: 4 });
    assert.equal((await place.migrate({ execute: true })).ok, true);
    const back = { from: { provider: 'aws' }, to: { provider: 'local' } };
    const proven = ({ plan }) => plan.checks.find(({ name }) => name === 'keys-proven')?.detail;
    assert.match(proven(await place.migrate(back)), /^3 of 3 keys open values/);
    assert.equal(proven(await place.migrate({ ...back, otherCollections: [] })), undefined);
    const before = await place.dump();
    const other = new Uint8Array(randomBytes(96));
    const decrypt = async (call) =>
      call.dataKeyId === place.keys.ssn.toHexString(true) || Buffer.from(call.dataKeyId ?? []).equals(Buffer.from(place.keys.ssn.buffer))
        ? other.slice()
        : lab.aws.decrypt(call);
    const lying = { local: place.local, aws: { encrypt: (call) => lab.aws.encrypt(call), decrypt } };
    const report = await place.migrate({ ...back, kmsProviders: lying, execute: true, keyFilter: { _id: place.keys.ssn } });
    assert.equal(report.ok, false);
    assert.deepEqual(await place.dump(), before);
    const rest = await place.migrate({ ...back, kmsProviders: lying, execute: true });
    assert.deepEqual(failuresOf(rest), [{ kind: 'key', id: place.keys.ssn.toHexString(true), code: 'CRYPTO_AUTHENTICATION_FAILED' }]);
    assert.equal(rest.keys.migrated, 2);
    await place.readsAs(place.kmsProviders);
  });

  it('a wrapping inside an array is not the wrapping that was read, and other fields may change meanwhile', async () => {
    const place = await hospital(lab, { documents: 0 });
    const [key] = await place.vault.find({ _id: place.keys.ssn }, { promoteBuffers: false }).toArray();
    const read = { keyMaterial: key.keyMaterial, masterKey: key.masterKey };
    for (const change of [{ masterKey: [key.masterKey] }, { keyMaterial: [key.keyMaterial, 1] }, { masterKey: { ...key.masterKey, endpoint: 'x' } }]) {
      await place.vault.updateOne({ _id: key._id }, { $set: change });
      const before = await place.dump();
      assert.equal(await place.store.rewrapIf(key._id, read, read), false);
      assert.deepEqual(await place.dump(), before);
      await place.vault.updateOne({ _id: key._id }, { $set: read });
    }
    await place.vault.updateOne({ _id: key._id }, { $push: { keyAltNames: 'meanwhile' } });
    assert.equal(await place.store.rewrapIf(key._id, read, read), true);
    assert.ok((await place.vault.findOne({ _id: key._id })).keyAltNames.includes('meanwhile'));
  });

  it('a CMK that denies access is found by the probe', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const denied = async () => {
      throw new CsfleError('KMS_ACCESS_DENIED', 'not for you');
    };
    const report = await place.migrate({ execute: true, kmsProviders: { local: place.local, aws: { encrypt: denied, decrypt: denied } } });
    assert.deepEqual(failedChecks(report), [{ name: 'new-master-key', code: 'KMS_ACCESS_DENIED', required: true }]);
    assert.equal(report.executed, false);
    assert.deepEqual(await place.dump(), before);
  });

  it('a CMK that may wrap but not unwrap is found by the probe', async () => {
    const place = await hospital(lab, { documents: 0 });
    const decrypt = async () => {
      throw new CsfleError('KMS_ACCESS_DENIED', 'not for you');
    };
    const report = await place.migrate({ execute: true, kmsProviders: { local: place.local, aws: { encrypt: (call) => lab.aws.encrypt(call), decrypt } } });
    assert.deepEqual(failedChecks(report), [{ name: 'new-master-key', code: 'KMS_ACCESS_DENIED', required: true }]);
  });

  it('a KMS that returns other bytes than it was given changes no key', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    let calls = 0;
    const decrypt = async (call) => {
      const bytes = await lab.aws.decrypt(call);
      calls += 1;
      if (calls > 1) bytes[0] ^= 1;
      return bytes;
    };
    const report = await place.migrate({ execute: true, kmsProviders: { local: place.local, aws: { encrypt: (call) => lab.aws.encrypt(call), decrypt } } });
    assert.equal(report.ok, false);
    assert.deepEqual(
      report.failures.map(({ code }) => code),
      Array(3).fill('KMS_REPLY_MISMATCH'),
    );
    assert.deepEqual(await place.dump(), before);
  });

  it('a vault that may not be written is found without writing', async () => {
    const place = await hospital(lab, { documents: 0 });
    const store = { ...countingStore(place.store), capabilities: async () => ({ writable: false, uniqueIndex: true, reason: 'read only' }) };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual(failedChecks(report), [{ name: 'vault-writable', code: 'KEY_VAULT_NOT_WRITABLE', required: true }]);
    assert.equal(report.executed, false);
  });

  it('a vault that cannot be read is a failed check', async () => {
    const place = await hospital(lab, { documents: 0 });
    const store = {
      ...countingStore(place.store),
      find: async () => {
        throw new CsfleError('KEY_VAULT_NOT_READABLE', 'no');
      },
    };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual(failedChecks(report), [{ name: 'vault-readable', code: 'KEY_VAULT_NOT_READABLE', required: true }]);
  });

  it('a missing index is a warning only', async () => {
    const place = await hospital(lab, { documents: 0, index: false });
    const report = await place.migrate({ execute: true });
    assert.deepEqual(failedChecks(report), [{ name: 'alt-name-index', code: 'MIGRATION_INDEX_MISSING', required: false }]);
    assert.equal(report.ok, true);
  });

  // Under another CMK, it is neither under the source nor under the target: it is refused unless that CMK is trusted.
  for (const isTrusted of [true, false])
    it(`a key that another process wraps meanwhile is not overwritten, its CMK ${isTrusted ? 'being' : 'not being'} trusted`, async () => {
      const place = await hospital(lab, { documents: 0 });
      const { KeyMetadata } = await new KMSClient({ region: lab.region, endpoint: lab.kmsEndpoint }).send(new CreateKeyCommand({}));
      const theirs = { provider: 'aws', region: lab.region, key: KeyMetadata.Arn };
      const store = countingStore(place.store);
      let interfered = false;
      const rewrapIf = store.rewrapIf;
      store.rewrapIf = async (id, expected, next) => {
        if (!interfered && id.toString('hex') === place.keys.ssn.toString('hex')) {
          interfered = true;
          const other = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: place.kmsProviders });
          await other.rewrapManyDataKey({ _id: place.keys.ssn }, { provider: 'aws', masterKey: { region: theirs.region, key: theirs.key } });
          other.close();
        }
        return rewrapIf(id, expected, next);
      };
      const trustedMasterKeys = isTrusted ? ['local', lab.to.key, theirs.key] : undefined;
      const report = await place.migrate({ execute: true, keyVault: store, trustedMasterKeys });
      assert.equal(interfered, true);
      if (!isTrusted) {
        assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.ssn.toHexString(true), code: 'KEY_VAULT_MASTER_KEY_NOT_TRUSTED' }]);
        assert.deepEqual((await place.vault.findOne({ _id: place.keys.ssn })).masterKey, theirs);
        return;
      }
      // Wrapped by them under another CMK: taken up from there, on the value they wrote.
      assert.equal(report.ok, true, JSON.stringify(report.failures));
      assert.deepEqual((await place.vault.findOne({ _id: place.keys.ssn })).masterKey, lab.to);
      await place.readsAs({ aws: lab.aws });
    });

  it('a key that loses every attempt is named as a conflict', async () => {
    const place = await hospital(lab, { documents: 0 });
    let attempts = 0;
    const lose = () => {
      attempts += 1;
      return false;
    };
    const store = {
      ...countingStore(place.store),
      rewrapIf: async (id, expected, next) => (id.toString('hex') === place.keys.ssn.toString('hex') ? lose() : place.store.rewrapIf(id, expected, next)),
    };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.ssn.toHexString(true), code: 'KEY_VAULT_CONFLICT' }]);
    assert.equal(attempts, 5);
    assert.equal(report.keys.migrated, 2);
  });

  it('a store that does not keep what was written is found out', async () => {
    const place = await hospital(lab, { documents: 0 });
    const store = { ...countingStore(place.store), rewrapIf: async () => true };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual(
      report.failures.map(({ code }) => code),
      Array(3).fill('MIGRATION_VERIFICATION_FAILED'),
    );
    assert.equal(report.keys.migrated, 0);
  });

  it('a store that keeps the key material and another master key is found out', async () => {
    const place = await hospital(lab, { documents: 0 });
    const store = {
      ...countingStore(place.store),
      rewrapIf: (id, expected, next) => place.store.rewrapIf(id, expected, { ...next, masterKey: { ...next.masterKey, key: 'another' } }),
    };
    const report = await place.migrate({ execute: true, keyVault: store });
    assert.deepEqual(
      report.failures.map(({ code }) => code),
      Array(3).fill('MIGRATION_VERIFICATION_FAILED'),
    );
  });

  it('a store that keeps the master key and other key material is found out', async () => {
    const place = await hospital(lab, { documents: 0 });
    const { keyMaterial: other } = await place.vault.findOne({ _id: place.keys.plain });
    const store = { ...countingStore(place.store), rewrapIf: (id, expected, next) => place.store.rewrapIf(id, expected, { ...next, keyMaterial: other }) };
    const report = await place.migrate({ execute: true, keyVault: store, keyFilter: { keyAltNames: 'notes' } });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.notes.toHexString(true), code: 'MIGRATION_VERIFICATION_FAILED' }]);
    assert.equal(report.keys.migrated, 0);
  });

  it('a key that holds other material at the end is named', async () => {
    const place = await hospital(lab, { documents: 0 });
    let verifying = false;
    const store = countingStore(place.store);
    store.find = async (filter) => {
      const found = await place.store.find(filter);
      if (!verifying || filter._id?.toString('hex') !== place.keys.ssn.toString('hex')) return found;
      const [{ keyMaterial, masterKey }] = await place.store.find({ _id: place.keys.notes });
      return found.map((key) => ({ ...key, keyMaterial, masterKey }));
    };
    const report = await place.migrate({
      execute: true,
      keyVault: store,
      onProgress: ({ phase }) => {
        verifying = phase === 'verify-keys';
      },
    });
    assert.deepEqual(failuresOf(report), [{ kind: 'key', id: place.keys.ssn.toHexString(true), code: 'MIGRATION_VERIFICATION_FAILED' }]);
    assert.equal(report.keys.verified, 2);
  });

  it('a key that another run wrapped under the same master key after the plan counts as done', async () => {
    const place = await hospital(lab, { documents: 0 });
    const onBackup = async () => {
      assert.equal((await place.migrate({ execute: true, keyFilter: { keyAltNames: 'ssn' } })).keys.migrated, 1);
    };
    const report = await place.migrate({ execute: true, onBackup });
    assert.equal(report.ok, true);
    assert.deepEqual([report.keys.migrated, report.keys.alreadyDone], [2, 1]);
  });

  it('an abort while the KMS is asked is no failure of the key', async () => {
    const place = await hospital(lab, { documents: 0 });
    const controller = new AbortController();
    let calls = 0;
    const encrypt = (call) => {
      calls += 1;
      if (calls === 3) controller.abort();
      return calls < 3 ? lab.aws.encrypt(call) : new Promise(() => {});
    };
    const report = await place.migrate({
      execute: true,
      kmsConcurrency: 1,
      signal: controller.signal,
      kmsProviders: { local: place.local, aws: { encrypt, decrypt: (call) => lab.aws.decrypt(call) } },
    });
    assert.deepEqual([report.interrupted, report.failures, report.keys.migrated, report.keys.failed], [true, [], 1, 0]);
  });

  it('an abort finishes the write in flight and says so', async () => {
    const place = await hospital(lab, { documents: 3 });
    const controller = new AbortController();
    const store = countingStore(place.store);
    const rewrapIf = store.rewrapIf;
    store.rewrapIf = async (...args) => {
      controller.abort();
      return rewrapIf(...args);
    };
    const report = await place.migrate({ execute: true, keyVault: store, kmsConcurrency: 1, signal: controller.signal });
    assert.equal(report.interrupted, true);
    assert.equal(report.ok, false);
    assert.deepEqual(report.failures, []);
    assert.equal(report.keys.migrated, 1);
    assert.equal(store.writes, 1);
    await place.readsAs(place.kmsProviders);
    assert.equal((await place.migrate({ execute: true })).keys.migrated, 2);
  });

  it('an abort before the start writes nothing', async () => {
    const place = await hospital(lab, { documents: 0 });
    const before = await place.dump();
    const report = await place.migrate({ execute: true, signal: AbortSignal.abort() });
    assert.equal(report.interrupted, true);
    assert.equal(report.executed, false);
    assert.deepEqual(report.failures, []);
    assert.deepEqual(await place.dump(), before);
  });

  it('a filter restricts the keys', async () => {
    const place = await hospital(lab, { documents: 0 });
    const report = await place.migrate({ execute: true, keyFilter: { keyAltNames: 'notes' } });
    assert.equal(report.keys.migrated, 1);
    const providers = (await place.lookAt.vault()).map(({ masterKey }) => masterKey.provider).sort();
    assert.deepEqual(providers, ['aws', 'local', 'local']);
  });

  it('moves keys from one CMK to another, and only those of the first', async () => {
    const place = await hospital(lab, { documents: 2 });
    await place.migrate({ execute: true, keyFilter: { keyAltNames: 'notes' } });
    const { KeyMetadata } = await new KMSClient({ region: lab.region, endpoint: lab.kmsEndpoint }).send(new CreateKeyCommand({}));
    const report = await place.migrate({ execute: true, from: lab.to, to: { ...lab.to, key: KeyMetadata.Arn } });
    assert.deepEqual(report.plan.counts, { migrate: 1, done: 0, other: 2, malformed: 0 });
    assert.equal(report.ok, true, JSON.stringify(report.failures));
    await place.readsAs(place.kmsProviders);
  });

  it('the report is frozen plain data without secrets', async () => {
    const place = await hospital(lab, { documents: 0 });
    const progress = [];
    const report = await place.migrate({ execute: true, onProgress: (tick) => progress.push(tick) });
    const text = JSON.stringify({ report, progress });
    assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
    for (const secret of [place.masterKey.toString('base64'), place.masterKey.toString('hex')]) assert.ok(!text.includes(secret));
    assert.throws(() => {
      report.plan.checks.push({});
    }, TypeError);
    assert.ok(progress.every(Object.isFrozen));
    assert.deepEqual([...new Set(progress.map(({ phase }) => phase))], ['check-keys', 'keys', 'verify-keys']);
    const last = progress.at(-1);
    assert.equal(last.done, last.total);
  });

  it('rewrapManyDataKey proves keys under a KMS by the values of every collection that can be read', async () => {
    const place = await hospital(lab);
    assert.equal((await place.migrate({ execute: true })).ok, true);
    const before = await place.dump();
    const right = (await place.vault.findOne({ _id: place.keys.ssn })).keyMaterial.buffer;
    // Always the same wrong answer about one key: values open, and queries by equality would find nothing.
    const lying = {
      encrypt: (call) => lab.aws.encrypt(call),
      async decrypt(call) {
        const bytes = Uint8Array.from(await lab.aws.decrypt(call));
        if (Buffer.from(call.ciphertext).equals(Buffer.from(right))) bytes[95] ^= 1;
        return bytes;
      },
    };
    const rewrap = (aws, more) => {
      const encryption = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: { ...place.kmsProviders, aws } });
      return encryption.rewrapManyDataKey({}, { provider: 'local', ...more }).finally(() => encryption.close());
    };
    const refused = { code: 'CRYPTO_AUTHENTICATION_FAILED', details: { provider: 'aws', keyId: place.keys.ssn.toHexString(true), tried: '5' } };
    await assert.rejects(rewrap(lying), (error) => {
      assert.deepEqual({ code: error.code, details: { ...error.details } }, refused);
      return true;
    });
    await assert.rejects(rewrap(lying, { proof: { collections: [{ client: lab.client, namespace: place.patientsNamespace }] } }), { code: refused.code });
    assert.deepEqual(await place.dump(), before);
    assert.equal((await rewrap(lab.aws)).bulkWriteResult.modifiedCount, 3);
    await place.readsAs({ local: place.local });
  });

  it('a key under the target master key that does not open is counted as failed, not as done', async () => {
    const place = await hospital(lab, { documents: 0 });
    assert.equal((await place.migrate({ execute: true })).ok, true);
    const { keyMaterial } = await place.vault.findOne({ _id: place.keys.notes });
    keyMaterial.buffer[30] ^= 1;
    await place.vault.updateOne({ _id: place.keys.notes }, { $set: { keyMaterial } });
    const report = await place.migrate({ execute: true });
    assert.equal(report.ok, false);
    // What the emulator calls a damaged ciphertext depends on the byte.
    assert.deepEqual(
      report.failures.map(({ kind, id }) => [kind, id]),
      [['key', place.keys.notes.toHexString(true)]],
    );
    assert.equal(report.kmsCalls.unwrap + report.kmsCalls.wrap, report.plan.kmsCalls);
  });

  it('options that make no sense are refused at once', async () => {
    const place = await hospital(lab, { documents: 0 });
    const refused = async (code, options) => assert.rejects(place.migrate(options), { name: 'CsfleError', code });
    await refused('OPTION_INVALID', { executed: true });
    await refused('OPTION_INVALID', { mode: 'rotate' });
    await refused('OPTION_INVALID', { deleteOldKeys: true });
    await refused('OPTION_INVALID', { collections: [{ client: lab.client, namespace: 'a.b' }] });
    await refused('OPTION_INVALID', { confirmPlaintext: true });
    await refused('MIGRATION_TARGET_INVALID', { to: undefined });
    await refused('MIGRATION_TARGET_INVALID', { to: { provider: 'azure', keyVaultEndpoint: 'a.b', keyName: 'k' } });
    await refused('MIGRATION_TARGET_INVALID', { from: { provider: 'gcp' } });
    await refused('MIGRATION_TARGET_INVALID', { from: lab.to, to: lab.to });
    await refused('MASTER_KEY_INVALID', { to: { provider: 'aws', region: 'us-east-1' } });
    await refused('KMS_ENDPOINT_INVALID', { to: { ...lab.to, endpoint: 'nodots' } });
    await refused('ARGUMENT_INVALID', { keyVault: 5 });
    assert.equal(bson.EJSON.stringify(await place.lookAt.vault()).includes('"aws"'), false);
  });
});
