// Published key documents and the known answers around them: the deterministic vector of prose test 1, libmongocrypt's
// test keys with published plaintext material, and every key document inside the published test files.
import { binary, document, field, fields, fromBase64, fromHex, sameBytes, toHex, TYPE, value } from '../interop/raw-bson.mjs';
import { DETERMINISTIC, encryptValue, readHeader, unwrapKey } from '../interop/reference.mjs';
import { ALGORITHM } from '../interop/samples.mjs';
import { toDocument, toValue } from './extended-json.mjs';
import { jsonFiles, KMIP_SECRET_1, LOCAL_MASTER_KEY, LOCAL_NAME2_MASTER_KEY, PUBLISHED_MATERIAL, vectorsFolder } from './published.mjs';
import { skippedSuite } from './corpus.mjs';
import { accepted, same, sameValue, Suite } from './suite.mjs';

// specifications, client-side-encryption, tests/README, prose test 1 "Custom Key Material".
export const PROSE_1 = Object.freeze({
  keyId: new Uint8Array(16),
  material: fromHex(`
    c4f4c08c1446e4988f9be7777e3e972e2daae43317512fdfd5ff923009618709210d12f492bf2bf460cb2064c01a5bc2
    f8756348881d2fe44ac190afa574b2c532025925d3518b1660fcaedc8a076ee059766c367da3375a17112206cc45e539`),
  value: value.string('test'),
  payload: fromBase64('AQAAAAAAAAAAAAAAAAAAAAACz0ZOLuuhEYi807ZXTdhbqhLaS2/t9wLifJnnNYwiw79d75QYIZ6M/aYC1h9nCzCjZ7pGUpAuNnkUhnIXM3PjrA=='),
});

const FOLDERS = ['keys', 'external', 'limits', 'lookup', 'corpus', 'legacy', 'unified'];
/** Files whose ciphertexts are there to be refused. */
const MALFORMED_ON_PURPOSE = new Set(['malformedCiphertext']);
const PROBE = value.string('probe');

export async function runPublishedKeys(open) {
  return [await customKeyMaterial(open), ...(await publishedMaterial(open)), ...(await publishedFiles(open))];
}

/** Prose test 1: key material of one's own, and the one ciphertext that follows from it. */
async function customKeyMaterial(open) {
  const suite = new Suite('prose/1-custom-key-material');
  const subject = await open({ local: LOCAL_MASTER_KEY });
  await suite.case('the created key encrypts "test" to the published bytes', async () => {
    const created = accepted(await subject.createDataKey('local', { keyMaterial: PROSE_1.material }));
    // The test asks for an id of zeros, which createDataKey never makes: the stored document gets it afterwards.
    subject.vault = [withField(created.output, '_id', value.uuid(PROSE_1.keyId))];
    const { payload } = accepted(await subject.encrypt(PROSE_1.value, { algorithm: ALGORITHM.deterministic, keyId: PROSE_1.keyId }));
    same(payload, PROSE_1.payload, 'ciphertext');
    sameValue(accepted(await subject.decrypt(PROSE_1.payload)).value, PROSE_1.value);
  });
  await subject.close();
  return suite;
}

const withField = (bytes, name, item) => document(fields(bytes).map(([known, old]) => [known, known === name ? item : old]));

/** Keys whose plaintext is published: the material shows in what deterministic encryption makes of a value. */
async function publishedMaterial(open) {
  const { folder, missing } = vectorsFolder('driver-specs', 'keys');
  if (missing) return [skippedSuite('keys/published-material', missing)];
  const suite = new Suite('keys/published-material');
  for (const [name, json] of jsonFiles(folder)) {
    if (!name.endsWith('-document')) continue;
    const subject = await open({ local: LOCAL_MASTER_KEY });
    await suite.case(name, async () => {
      const key = toDocument(json);
      subject.vault = [key];
      const keyId = binary(field(key, '_id')).content;
      const material = PUBLISHED_MATERIAL.get(toHex(keyId));
      if (!material) throw new Error(`no published material for ${toHex(keyId)}`);
      const { payload } = accepted(await subject.encrypt(PROBE, { algorithm: ALGORITHM.deterministic, keyId }));
      same(payload, encryptValue(PROBE, { kind: DETERMINISTIC, keyId, material }), 'ciphertext');
    });
    await subject.close();
  }
  return [suite];
}

/** Every key document and every ciphertext that stands anywhere in a published file, once per folder. */
async function publishedFiles(open) {
  const suites = [];
  for (const name of FOLDERS) {
    const { folder, missing } = vectorsFolder('driver-specs', name);
    if (missing) {
      suites.push(skippedSuite(`${name}/key-documents`, missing));
      continue;
    }
    const keySuite = new Suite(`${name}/key-documents`);
    const payloadSuite = new Suite(`${name}/ciphertexts`);
    const seen = new Set();
    const once = (json) => !seen.has(JSON.stringify(json)) && seen.add(JSON.stringify(json));
    for (const [file, json] of jsonFiles(folder)) {
      const keys = found(json, isKeyDocument)
        .filter(once)
        .map((key) => readKey(toDocument(key), localKeysIn(json)));
      for (const key of keys) await keyDocumentCase(keySuite, open, file, key);
      if (name === 'corpus') continue; // corpus.mjs knows what its values must be
      const payloads = found(json, isCiphertext)
        .filter(once)
        .map((item) => binary(toValue(item)).content);
      for (const payload of payloads) await ciphertextCase(payloadSuite, open, file, payload, keys);
    }
    suites.push(keySuite);
    if (payloadSuite.cases > 0) suites.push(payloadSuite);
  }
  return suites;
}

/** Every object of a JSON tree that `is` says yes to. */
function found(json, is) {
  if (json === null || typeof json !== 'object') return [];
  return [...(is(json) ? [json] : []), ...Object.values(json).flatMap((inner) => found(inner, is))];
}

// Expectations ($$type and the like) describe documents; only whole documents are data.
const isKeyDocument = (json) => (json._id?.$binary || json._id?.$uuid) && json.keyMaterial?.$binary && typeof json.masterKey?.provider === 'string';
const isCiphertext = (json) => json.$binary?.subType === '06';

/** Local master keys that a file gives its own providers. */
const localKeysIn = (json) =>
  found(json, (node) => typeof node.key === 'string')
    .map(({ key }) => fromBase64(key))
    .filter(({ length }) => length === 96);

/** A key document with what is needed to use it; `opener` is undefined when its master key is not published. */
function readKey(key, localKeys) {
  const provider = masterKeyText(key, 'provider');
  const type = provider.split(':')[0];
  let opener = true;
  if (type === 'local') opener = [LOCAL_MASTER_KEY, LOCAL_NAME2_MASTER_KEY, ...localKeys].find((candidate) => opens(candidate, key));
  if (type === 'kmip' && !(masterKeyText(key, 'keyId') === '1' && opens(KMIP_SECRET_1, key))) opener = undefined;
  const materialKnown = opener !== undefined && (type === 'local' || type === 'kmip');
  return { document: key, keyId: binary(field(key, '_id')).content, provider, type, opener, materialKnown };
}

/** The text of a string field inside `masterKey`, or undefined. */
function masterKeyText(key, name) {
  const item = field(field(key, 'masterKey').bytes, name);
  return item && new TextDecoder().decode(item.bytes.subarray(4, -1));
}

async function subjectWith(open, { provider, opener, document: key }) {
  const subject = await open({ [provider]: opener }, { substitute: new Uint8Array(96).fill(7), kmipSecrets: { 1: KMIP_SECRET_1 } });
  subject.vault = [key];
  return subject;
}

/** A key document is read, its key unwrapped (closed clouds: to substitute material), and used. */
async function keyDocumentCase(suite, open, file, key) {
  const name = `${file} ${toHex(key.keyId)} ${key.provider}`;
  if (key.opener === undefined) {
    suite.skip(name, `${key.type}: the master key of this document is not published`);
    return;
  }
  const subject = await subjectWith(open, key);
  await suite.case(name, async () => {
    const { payload } = accepted(await subject.encrypt(PROBE, { algorithm: ALGORITHM.random, keyId: key.keyId }));
    sameValue(accepted(await subject.decrypt(payload)).value, PROBE);
  });
  await subject.close();
}

/** A ciphertext opens under the key of its file; a deterministic one is written again. */
async function ciphertextCase(suite, open, file, payload, keys) {
  const name = `${file} ${toHex(payload.subarray(0, 40))}`;
  if (MALFORMED_ON_PURPOSE.has(file)) {
    const subject = await subjectWith(open, { provider: 'local', opener: LOCAL_MASTER_KEY, document: undefined });
    subject.vault = [];
    await suite.case(`${name} is refused`, async () => {
      if ((await subject.decrypt(payload)).ok) throw new Error('accepted');
    });
    await subject.close();
    return;
  }
  const { kind, keyId } = readHeader(payload);
  const key = keys.find((candidate) => sameBytes(candidate.keyId, keyId));
  if (!key?.materialKnown) {
    suite.skip(name, key ? `${key.type}: the material of this key is not published` : 'the file holds no key document for this value');
    return;
  }
  const subject = await subjectWith(open, key);
  await suite.case(name, async () => {
    const { value: opened } = accepted(await subject.decrypt(payload));
    if (kind !== DETERMINISTIC) return;
    same(accepted(await subject.encrypt(opened, { algorithm: ALGORITHM.deterministic, keyId })).payload, payload, 'ciphertext');
  });
  await subject.close();
}

function opens(masterKey, key) {
  const material = field(key, 'keyMaterial');
  if (material.type !== TYPE.binData) return false;
  try {
    unwrapKey(masterKey, binary(material).content);
    return true;
  } catch {
    return false;
  }
}
