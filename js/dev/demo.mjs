// `npm run demo`: real encrypted data on a real server moves from a local master key to a KMS, with proof that nothing was
// lost. The migration itself is the command that users run, `csfle migrate`; the proofs do without it.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, EJSON, Int32 } from 'bson';
import { awsKms, ClientEncryption, CsfleError, readBackup } from 'csfle-wasm';
import { DETERMINISTIC, fields, keyNames, patient, ssnOf, typeCount } from './demo/patients.mjs';
import { openPlace } from './demo/place.mjs';
import { count, fact, paint, print, proof, seconds, step } from './demo/screen.mjs';
import { fingerprint, unwrapByKms, unwrapLocally } from './demo/unwrap.mjs';
import { root } from './paths.mjs';
import { runScript } from './process.mjs';

const patients = 2000;
const queries = 25;
// As shells report SIGINT: 128 + 2.
const interruptedExit = 130;
const typesKept = { promoteValues: false, promoteLongs: false, promoteBuffers: false, bsonRegExp: true };

async function main() {
  const started = performance.now();
  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  print(paint('bold', 'csfle-wasm: from a local master key to AWS KMS'));
  const place = await openPlace();
  let proofs;
  try {
    proofs = await demonstrate(place, interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    await place.close();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
  if (proofs === undefined || interrupt.signal.aborted) {
    print('\nInterrupted; nothing was left behind.');
    return interruptedExit;
  }
  const held = proofs.filter(Boolean).length;
  print(`\n${paint('bold', 'Report')}`);
  fact('proofs', `${held} of ${proofs.length} held`);
  fact('time', `${seconds(performance.now() - started)} in all`);
  fact('left behind', 'nothing: database dropped, servers stopped, folder removed');
  return held === proofs.length ? 0 : 1;
}

async function demonstrate(place, signal) {
  step('A server, a KMS, a local master key');
  fact('server', place.server);
  fact('KMS', place.kmsName);
  fact('CMK', place.arn);
  fact('local master key', `96 random bytes in ${join(place.folder, 'master-key.bin')}, mode 600`);

  step('Data keys under the local master key, and documents encrypted with them');
  const originals = await encryptPatients(place);
  const before = await snapshot(place);
  signal.throwIfAborted();

  step('The plan');
  const command = [
    'migrate', '--key-vault', place.keyVault, '--from', 'local', '--local-key-file', join(place.folder, 'master-key.bin'),
    '--to', 'aws', '--key-arn', place.arn,
  ];
  await csfle(place, command, signal);

  step('The migration');
  const backup = join(place.folder, 'key-vault.csfle-backup');
  const executedIn = performance.now();
  const status = await csfle(place, [...command, '--backup-file', backup, '--execute'], signal);
  fact('took', seconds(performance.now() - executedIn));

  step('The proofs');
  return prove(place, { originals, before, backup, status });
}

async function encryptPatients(place) {
  const { client, keyVault, database, masterKey } = place;
  const vault = client.db(database).collection('__keyVault');
  await vault.createIndex({ keyAltNames: 1 }, { unique: true, partialFilterExpression: { keyAltNames: { $exists: true } } });
  const encryption = new ClientEncryption(client, { keyVaultNamespace: keyVault, kmsProviders: { local: { key: masterKey } } });
  try {
    for (const keyAltName of keyNames) await encryption.createDataKey('local', { keyAltNames: [keyAltName] });
    await encryption.createDataKey('local');
    fact('data keys', `${keyNames.length + 1}: ${keyNames.join(', ')} and one without a name`);
    const originals = Array.from({ length: patients }, (_, n) => patient(n));
    const started = performance.now();
    const encrypted = split(await encryption.encryptDocuments(Buffer.concat(originals), { fields }));
    const values = encrypted.reduce((sum, document) => sum + encryptedValues(deserialize(document, typesKept)), 0);
    fact('documents', `${count(patients)} patients with ${count(values)} encrypted values, of all ${typeCount} BSON types that can be encrypted`);
    fact('encrypted in', `${seconds(performance.now() - started)}, in WebAssembly`);
    const collection = client.db(database).collection('patients');
    for (let at = 0; at < encrypted.length; at += 500)
      await collection.insertMany(encrypted.slice(at, at + 500).map((document) => deserialize(document, typesKept)));
    const { ssn } = await collection.findOne({ _id: 0 });
    fact('as stored', `ssn: Binary subtype ${ssn.sub_type}, ${ssn.toString('hex').slice(0, 44)}...`);
    return originals;
  } finally {
    encryption.close();
  }
}

function encryptedValues(value) {
  if (typeof value !== 'object' || value === null) return 0;
  if (value._bsontype === 'Binary') return value.sub_type === 6 ? 1 : 0;
  return Object.values(value).reduce((sum, inner) => sum + encryptedValues(inner), 0);
}

// Runs the command as a user would, in this terminal. Resolves to its exit code.
function csfle({ mongodbUri }, args, signal) {
  const shown = args.map((word) => (word.startsWith('--') ? `\\\n       ${word}` : word)).join(' ');
  print(`   ${paint('cyan', `$ csfle ${shown}`)}\n`);
  const child = spawn(process.execPath, [join(root, 'dist', 'cli.mjs'), ...args], { stdio: 'inherit', env: { ...process.env, MONGODB_URI: mongodbUri } });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (signal.aborted) reject(signal.reason);
      else resolve(code);
    });
  });
}

// What the collection and the vault hold, as bytes.
async function snapshot({ client, database }) {
  const documents = createHash('sha256');
  for await (const document of client.db(database).collection('patients').find({}, { raw: true }).sort({ _id: 1 })) documents.update(document);
  return { documents: documents.digest('hex'), keys: await keysOf({ client, database }) };
}

function keysOf({ client, database }) {
  return client.db(database).collection('__keyVault').find().sort({ _id: 1 }).toArray();
}

async function prove(place, { originals, before, backup, status }) {
  const { client, keyVault, database, kms, masterKey } = place;
  const collection = client.db(database).collection('patients');
  const after = await snapshot(place);
  const withKms = new ClientEncryption(client, { keyVaultNamespace: keyVault, kmsProviders: { aws: awsKms(kms) } });
  const withLocalKey = new ClientEncryption(client, { keyVaultNamespace: keyVault, kmsProviders: { local: { key: masterKey } } });
  const results = [];
  const show = async (claim, work) => { results.push(await proof(claim, work)); };
  try {
    await show('the command ended with exit code 0', () => expect(status === 0, `exit code ${status}`));

    await show('every key is under the CMK, and its material is what it was', async () => {
      const lines = [];
      for (const [index, key] of after.keys.entries()) {
        const old = fingerprint(unwrapLocally(before.keys[index].keyMaterial.buffer, masterKey));
        const now = fingerprint(await unwrapByKms(key.keyMaterial.buffer, kms));
        expect(key.masterKey.provider === 'aws' && key.masterKey.key === place.arn, `${key._id} is not under the CMK`);
        expect(old === now, `${key._id}: ${old} became ${now}`);
        lines.push(`${key._id.toString().padEnd(38)} ${(key.keyAltNames?.[0] ?? '-').padEnd(16)} local ${old} = KMS ${now}`);
      }
      return [...lines, '(unwrapped with node:crypto and the AWS SDK alone; SHA-256, first 8 bytes)'];
    });

    await show('documents were not touched: the collection is byte for byte what it was', () => {
      expect(after.documents === before.documents, 'the collection has changed');
      return `SHA-256 of all documents ${after.documents.slice(0, 32)}...`;
    });

    await show(`every document decrypts through KMS to its original: ${count(patients)} of ${count(patients)}, compared as BSON bytes`, async () => {
      const stored = await collection.find({}, { raw: true }).sort({ _id: 1 }).toArray();
      const started = performance.now();
      const decrypted = split(await withKms.decryptDocuments(Buffer.concat(stored)));
      const took = performance.now() - started;
      expect(decrypted.length === originals.length, `${decrypted.length} documents`);
      for (const [n, document] of decrypted.entries()) expect(originals[n].equals(document), `document ${n} differs`);
      return `${seconds(took)} for all of them`;
    });

    await show(`an equality query on the deterministic ssn finds its document: ${queries} of ${queries}`, async () => {
      for (let query = 0; query < queries; query += 1) {
        const n = (query * 797) % patients;
        const ssn = await withKms.encrypt(ssnOf(n), { algorithm: DETERMINISTIC, keyAltName: 'demo.ssn' });
        const found = await collection.find({ ssn }).toArray();
        expect(found.length === 1 && found[0]._id === n, `${ssnOf(n)} found ${found.length} documents`);
      }
    });

    await show('the old master key alone opens nothing any more', async () => {
      for (const key of after.keys) {
        await expectFailure(async () => withLocalKey.encrypt(new Int32(1), { algorithm: DETERMINISTIC, keyId: key._id }), `${key._id} still opens`);
        await expectFailure(async () => unwrapLocally(key.keyMaterial.buffer, masterKey), `${key._id} still unwraps`);
      }
      await expectFailure(async () => withLocalKey.decryptDocument(await collection.findOne()), 'a document still decrypts');
      return `${after.keys.length} keys and a document tried, with this library and with node:crypto`;
    });

    await show('the sealed backup holds the keys as they were, in a file for its owner alone', async () => {
      expect(process.platform === 'win32' || ((await stat(backup)).mode & 0o777) === 0o600, 'the file is open to others');
      const { keyDocuments } = await readBackup(new Uint8Array(await readFile(backup)), { kmsProviders: { aws: awsKms(kms) } });
      const keys = keyDocuments.map((bytes) => deserialize(bytes));
      expect(EJSON.stringify(keys.sort(byId)) === EJSON.stringify(before.keys.sort(byId)), 'the backup differs');
    });
    return results;
  } finally {
    withKms.close();
    withLocalKey.close();
  }
}

const byId = (a, b) => (a._id.toString() < b._id.toString() ? -1 : 1);

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

async function expectFailure(work, otherwise) {
  try {
    await work();
  } catch (error) {
    if (error instanceof CsfleError || error.message === 'authentication fails') return;
    throw error;
  }
  throw new Error(otherwise);
}

function split(joined) {
  const documents = [];
  for (let at = 0; at < joined.length; ) {
    const length = Buffer.from(joined.buffer, joined.byteOffset + at, 4).readInt32LE();
    documents.push(joined.subarray(at, at + length));
    at += length;
  }
  return documents;
}

await runScript('demo', main);
