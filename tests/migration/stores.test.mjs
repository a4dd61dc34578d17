// Key vault stores of the caller's own that lie or never answer: each is an error with a code, and an abort ends the wait.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { restoreBackup } from 'csfle-wasm';
import { countingStore, failedChecks, failuresOf, hospital, openLab } from './fixtures.mjs';

// Answers that no `find` may give.
const lies = [undefined, null, {}, 'keys', [null], [5]];
const never = () => new Promise(() => {});

describe('key vault stores that misbehave', { timeout: 120_000 }, () => {
  let lab;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());

  it('a store that lies about its documents fails the check, and nothing is written', async () => {
    const place = await hospital(lab, { documents: 0 });
    for (const lie of lies) {
      const store = { ...countingStore(place.store), find: async () => lie };
      const report = await place.migrate({ keyVault: store, execute: true });
      assert.equal(report.executed, false);
      assert.deepEqual(
        failedChecks(report).filter(({ required }) => required),
        [{ name: 'vault-readable', code: 'HOST_CALLBACK_FAILED', required: true }],
      );
    }
  });

  it('a store that lies later fails the key by name', async () => {
    const place = await hospital(lab, { documents: 0 });
    const documents = await place.vault.find({ _id: place.keys.ssn }).toArray();
    let finds = 0;
    // The plan reads the vault, what the filter matches of it, and then each key to unwrap it.
    const store = {
      ...countingStore(place.store),
      find: async (filter) => {
        finds += 1;
        return finds <= 3 ? place.store.find(filter) : {};
      },
    };
    const report = await place.migrate({ keyVault: store, execute: true, keyFilter: { _id: place.keys.ssn } });
    const expected = [{ kind: 'key', id: place.keys.ssn.toHexString(true), code: 'HOST_CALLBACK_FAILED' }];
    assert.deepEqual(failuresOf(report), expected);
    const restored = await restoreBackup({ keyVault: { ...countingStore(place.store), find: async () => 5 }, documents, execute: true });
    assert.deepEqual(failuresOf(restored), expected);
  });

  it('an abort ends the wait for a store that never answers', async () => {
    const place = await hospital(lab, { documents: 0 });
    const documents = await place.vault.find().toArray();
    for (const method of ['find', 'capabilities']) {
      const controller = new AbortController();
      const store = {
        ...countingStore(place.store),
        [method]: () => {
          setTimeout(() => controller.abort(), 10);
          return never();
        },
      };
      const report = await place.migrate({ keyVault: store, execute: true, signal: controller.signal });
      assert.deepEqual([report.interrupted, report.executed, report.failures], [true, false, []], method);
    }
    const controller = new AbortController();
    const store = {
      ...countingStore(place.store),
      find: () => {
        setTimeout(() => controller.abort(), 10);
        return never();
      },
    };
    const report = await restoreBackup({ keyVault: store, documents, execute: true, signal: controller.signal });
    assert.deepEqual([report.interrupted, report.ok, report.failures], [true, false, []]);
  });

  it('a signal that is none is refused', async () => {
    const place = await hospital(lab, { documents: 0 });
    await assert.rejects(place.migrate({ signal: 5 }), { code: 'ARGUMENT_INVALID' });
    await assert.rejects(restoreBackup({ keyVault: place.store, documents: [], signal: {} }), { code: 'ARGUMENT_INVALID' });
  });
});
