// `csfle doctor`, and what it says about data that the keys at hand do not open.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ClientEncryption, createBackup } from 'csfle-wasm';
import { hospital, valuesByKey } from '../migration/fixtures.mjs';
import { csfle } from './cli/command.mjs';
import { openCommandLab } from './cli/lab.mjs';

describe('csfle doctor and data without its keys', { timeout: 300_000 }, () => {
  let lab;
  before(async () => {
    lab = await openCommandLab();
  });
  after(() => lab.close());

  const env = () => ({ MONGODB_URI: lab.uri, AWS_ENDPOINT_URL_KMS: lab.kmsEndpoint });
  async function madePlace(options) {
    const place = await hospital(lab, { documents: 5, ...options });
    const keyFile = await lab.keyFileOf(place);
    const run = (...args) => csfle([...args, '--key-vault', place.namespace, '--local-key-file', keyFile], { env: env() });
    const json = async (...args) => {
      const { code, stdout, stderr } = await run(...args, '--json');
      return { code, stderr, ...JSON.parse(stdout) };
    };
    return { ...place, keyFile, run, json, doctor: (...args) => json('doctor', '--collection', place.patientsNamespace, ...args) };
  }
  const failuresOf = ({ findings }) => findings.filter(({ state }) => state === 'fail');

  it('reports how many documents and collections it searched', async () => {
    const place = await madePlace();
    const { code, findings } = await place.doctor();
    assert.equal(code, 0);
    const values = findings.find(({ name }) => name === 'values');
    assert.equal(values.state, 'ok');
    assert.match(values.detail, /20 values .* 5 documents, the first 2,000 of each of 1 collection$/);
  });

  it('fails for values whose key is gone, and names collection, key and number', async () => {
    const place = await madePlace();
    const id = place.keys.ssn.toHexString(true);
    const backup = join(lab.folder, `${place.database}.csfle-backup`);
    const key = { passphrase: 'a passphrase of the tests' };
    await writeFile(backup, (await createBackup({ keyVault: { client: lab.client, namespace: place.namespace }, key, collections: [] })).bytes);
    const document = await place.vault.findOne({ _id: place.keys.ssn });
    await place.vault.deleteOne({ _id: place.keys.ssn });

    const gone = await place.doctor();
    assert.deepEqual([gone.code, gone.ok], [1, false]);
    const [failure, ...others] = failuresOf(gone);
    assert.deepEqual([others, failure.name, failure.code], [[], 'values', 'KEY_VAULT_KEY_NOT_FOUND']);
    for (const part of [place.patientsNamespace, id, '5 values']) assert.ok(failure.detail.includes(part), part);
    assert.ok(failure.remedy.includes('csfle backup restore') && failure.remedy.includes(`--key-vault ${place.namespace}`), failure.remedy);

    // The plain text does not say either that everything is in order.
    const text = await place.run('doctor', '--collection', place.patientsNamespace);
    assert.equal(text.code, 1);
    assert.ok(!text.stdout.includes('everything is in order') && text.stdout.includes(id));

    const restored = await csfle(['backup', 'restore', backup, '--key-vault', place.namespace, '--execute'], {
      env: { ...env(), CSFLE_BACKUP_PASSPHRASE: key.passphrase },
    });
    assert.equal(restored.code, 0, restored.stderr);
    assert.deepEqual(await place.vault.findOne({ _id: place.keys.ssn }), document);
    assert.equal((await place.doctor()).code, 0);
  });

  it('names keys restore as the remedy when the missing key is among the retired keys', async () => {
    const place = await madePlace();
    const id = place.keys.notes.toHexString(true);
    await place.encryption.deleteKey(place.keys.notes);
    const [failure] = failuresOf(await place.doctor());
    assert.equal(failure.code, 'KEY_VAULT_KEY_NOT_FOUND');
    const command = /Run: csfle (keys restore .*)$/.exec(failure.remedy)[1];
    assert.equal(command, `keys restore ${id} --key-vault ${place.namespace}`);
    assert.equal((await csfle(command.split(' '), { env: env() })).code, 0);
    assert.equal((await place.doctor()).code, 0);
  });

  it('fails for an empty key vault, and names the key vault that has the keys', async () => {
    const place = await madePlace();
    const { code, stdout } = await csfle(['doctor', '--json', '--key-vault', `${place.database}.typo`, '--collection', place.patientsNamespace], {
      env: env(),
    });
    assert.equal(code, 1);
    const failures = failuresOf(JSON.parse(stdout));
    assert.deepEqual(
      failures
        .map(({ detail }) => /(\d+) values? under key ([0-9a-f-]+)/.exec(detail).slice(1))
        .map(([number, id]) => [id, Number(number)])
        .sort(),
      Object.entries(await valuesByKey(place.patients)).sort(),
    );
    for (const { remedy } of failures) assert.ok(remedy.includes(place.namespace) && remedy.includes('--key-vault') && remedy.includes('--collection'), remedy);
  });

  it('searches the first 2,000 documents of a collection only', async () => {
    const place = await madePlace({ documents: 1 });
    const [{ _id: _, ...template }] = await place.lookAt.patients();
    const filler = Array.from({ length: 1_999 }, (_, n) => ({ _id: 10_000 + n }));
    const foreign = await madePlace({ documents: 1 });
    const [{ ssn }] = await foreign.lookAt.patients();
    await place.patients.insertMany([...filler.slice(1), { ...template, _id: 20_000, ssn }, { ...template, _id: 20_001, ssn }]);
    // A key of another key vault: the value gets a warning, no failure.
    const { code, findings } = await place.doctor();
    const failure = findings.find((one) => one.code === 'KEY_VAULT_KEY_NOT_FOUND');
    assert.deepEqual([code, failure.state], [0, 'warn']);
    assert.match(failure.detail, /: 1 value under key .* its first 2000 documents\)$/);
    assert.ok(failure.remedy.includes(foreign.namespace));
  });

  it('prints the number of keys that do not open before it lists them', async () => {
    const place = await madePlace();
    const other = new ClientEncryption(lab.client, { keyVaultNamespace: place.namespace, kmsProviders: { local: { key: randomBytes(96) } } });
    await other.createDataKey('local');
    other.close();
    const { code, findings } = await place.doctor();
    assert.equal(code, 1);
    const ofKeys = findings.filter(({ name }) => name === 'master key' || name === 'data key');
    assert.deepEqual([ofKeys[0].name, ofKeys[0].state, ofKeys[0].code], ['master key', 'fail', 'CRYPTO_AUTHENTICATION_FAILED']);
    assert.match(ofKeys[0].detail, /^1 of 4 keys under local does not open under this master key$/);
    assert.equal(ofKeys.filter(({ name, state }) => name === 'data key' && state === 'fail').length, 1);
  });

  it('warns of an interrupted re-encryption, with the command that continues it', async () => {
    const place = await madePlace();
    const [one] = await place.lookAt.patients();
    assert.equal(
      (await place.doctor()).findings.some(({ name }) => name === 're-encryption'),
      false,
    );
    assert.equal(
      (await place.migrate({ mode: 'reencrypt', collections: [{ client: lab.client, namespace: place.patientsNamespace }], execute: true })).ok,
      true,
    );
    // All done: the marks alone are nothing to warn of.
    assert.equal(
      (await place.doctor()).findings.some(({ name }) => name === 're-encryption'),
      false,
    );
    await place.patients.replaceOne({ _id: one._id }, one);

    const stopped = await place.doctor();
    assert.equal(stopped.code, 0, 'a warning');
    const warning = stopped.findings.find(({ name }) => name === 're-encryption');
    assert.equal(warning.state, 'warn');
    assert.match(warning.detail, /4 values .* 3 keys that have replacements/);
    const [, command] = /Run it again: csfle (.*)$/.exec(warning.remedy);
    assert.ok(command.includes(`--to aws --key-arn ${lab.to.key}`));
    const again = await csfle([...command.split(' '), '--local-key-file', place.keyFile], { env: env() });
    assert.equal(again.code, 0, again.stdout + again.stderr);
    const old = Object.values(place.keys).map((id) => id.toHexString(true));
    assert.deepEqual(
      Object.keys(await valuesByKey(place.patients)).filter((id) => old.includes(id)),
      [],
    );
    assert.equal(
      (await place.doctor()).findings.some(({ name }) => name === 're-encryption'),
      false,
    );
  });
});
