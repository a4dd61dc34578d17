// The client-side encryption corpus (specifications, client-side-encryption/corpus; prose test 5): 720 values, of every BSON
// type, under one data key per provider, named by id or by alternate name.
import { binary, document, field, value } from '../interop/raw-bson.mjs';
import { readHeader } from '../interop/reference.mjs';
import { ALGORITHM } from '../interop/samples.mjs';
import { toDocument, toValue } from './extended-json.mjs';
import { jsonFiles, KMIP_SECRET_1, LOCAL_MASTER_KEY, vectorsFolder } from './published.mjs';
import { accepted, same, sameValue, Suite } from './suite.mjs';

export const PROVIDERS = ['local', 'aws', 'azure', 'gcp', 'kmip'];
const KNOWN_FIELDS = new Set(['kms', 'type', 'algo', 'method', 'identifier', 'allowed', 'value']);
export const ALGORITHM_OF = { det: ALGORITHM.deterministic, rand: ALGORITHM.random };
const KIND_OF = { det: 1, rand: 2 };
const NOT_PUBLISHED = 'the material of this data key exists only inside the KMS account of its owners';

/** What the pretend KMS answers for keys it never wrapped: values written under it open, published ones do not. */
const SUBSTITUTE = Uint8Array.from({ length: 96 }, (_, index) => index);

/** The cases of one provider, read and checked: an unknown field or a missing counterpart is an error. */
export function readCases(plain, encrypted) {
  const cases = [];
  for (const [name, entry] of Object.entries(plain)) {
    if (name === '_id' || name.startsWith('altname_')) continue;
    for (const key of Object.keys(entry)) if (!KNOWN_FIELDS.has(key)) throw new Error(`corpus: unknown field ${key} in ${name}`);
    if (!PROVIDERS.includes(entry.kms)) throw new Error(`corpus: unknown provider ${entry.kms} in ${name}`);
    if (!(entry.algo in ALGORITHM_OF)) throw new Error(`corpus: unknown algorithm ${entry.algo} in ${name}`);
    if (!(name in encrypted)) throw new Error(`corpus: ${name} is not in corpus-encrypted`);
    const stored = toValue(encrypted[name].value);
    cases.push({ ...entry, name, plain: toValue(entry.value), payload: entry.allowed ? binary(stored).content : undefined });
  }
  if (cases.length === 0) throw new Error('corpus: no cases');
  return cases;
}

export const keyOf = (testCase, keyId) => (testCase.identifier === 'id' ? { keyId } : { keyAltName: testCase.kms });

/** Runs the corpus. `open(providers, options)` makes the side under test. */
export async function runCorpus(open) {
  const { folder, missing } = vectorsFolder('driver-specs', 'corpus');
  if (missing) return [skippedSuite('corpus', missing)];
  const files = jsonFiles(folder);
  const cases = readCases(files.get('corpus'), files.get('corpus-encrypted'));
  const keys = new Map(PROVIDERS.map((provider) => [provider, toDocument(files.get(`corpus-key-${provider}`))]));
  const subject = await open(
    { local: LOCAL_MASTER_KEY, aws: true, azure: true, gcp: true, kmip: true },
    { substitute: SUBSTITUTE, kmipSecrets: { 1: KMIP_SECRET_1 } },
  );
  subject.vault = [...keys.values()];
  const suites = [];
  for (const provider of PROVIDERS) {
    const keyId = binary(field(keys.get(provider), '_id')).content;
    const own = cases.filter(({ kms }) => kms === provider);
    suites.push(
      await headers(provider, own, keyId),
      await refusals(provider, own, keyId, subject),
      await roundTrips(provider, own, keyId, subject),
      ...(await published(provider, own, keyId, subject)),
    );
  }
  suites.push(await wholeDocument(cases, subject));
  await subject.close();
  return suites;
}

export function skippedSuite(name, reason) {
  const suite = new Suite(name);
  suite.skip(name, reason);
  return suite;
}

const hasMaterial = (provider) => provider === 'local' || provider === 'kmip';

/** What needs the data key itself: opening the published values and writing the deterministic ones again. */
async function published(provider, cases, keyId, subject) {
  const decrypt = new Suite(`corpus/${provider}/decrypt`);
  const reencrypt = new Suite(`corpus/${provider}/deterministic-bytes`);
  for (const testCase of cases.filter(({ allowed }) => allowed)) {
    if (!hasMaterial(provider)) {
      decrypt.skip(testCase.name, NOT_PUBLISHED);
      if (testCase.algo === 'det') reencrypt.skip(testCase.name, NOT_PUBLISHED);
      continue;
    }
    await decrypt.case(testCase.name, async () => sameValue(accepted(await subject.decrypt(testCase.payload)).value, testCase.plain));
    if (testCase.algo !== 'det') continue;
    await reencrypt.case(testCase.name, async () => {
      const answer = accepted(await subject.encrypt(testCase.plain, { algorithm: ALGORITHM.deterministic, ...keyOf(testCase, keyId) }));
      same(answer.payload, testCase.payload, 'ciphertext');
    });
  }
  return [decrypt, reencrypt];
}

/** What the 18 public bytes of every published value say, keys or no keys. */
async function headers(provider, cases, keyId) {
  const suite = new Suite(`corpus/${provider}/headers`);
  for (const testCase of cases.filter(({ allowed }) => allowed)) {
    await suite.case(testCase.name, () => {
      const header = readHeader(testCase.payload);
      if (header.kind !== KIND_OF[testCase.algo]) throw new Error(`kind ${header.kind}`);
      if (header.originalType !== testCase.plain.type) throw new Error(`type ${header.originalType}`);
      same(header.keyId, keyId, 'key id');
    });
  }
  return suite;
}

/** Values that must not be encrypted: the type is refused before any key is looked up. */
async function refusals(provider, cases, keyId, subject) {
  const suite = new Suite(`corpus/${provider}/refused`);
  for (const testCase of cases.filter(({ allowed }) => !allowed)) {
    await suite.case(testCase.name, async () => {
      const answer = await subject.encrypt(testCase.plain, { algorithm: ALGORITHM_OF[testCase.algo], ...keyOf(testCase, keyId) });
      if (answer.ok) throw new Error('accepted');
      const never = ['undefined', 'null', 'minKey', 'maxKey'].includes(testCase.type);
      const expected = never ? 'VALUE_TYPE_NOT_ENCRYPTABLE' : 'VALUE_TYPE_NOT_DETERMINISTIC';
      if (answer.code && answer.code !== expected) throw new Error(`${answer.code}, expected ${expected}`);
    });
  }
  return suite;
}

/** Every allowed value under the corpus's key, or under substitute material where that key's own is not public. */
async function roundTrips(provider, cases, keyId, subject) {
  const suite = new Suite(`corpus/${provider}/round-trip${hasMaterial(provider) ? '' : '-substitute-material'}`);
  for (const testCase of cases.filter(({ allowed }) => allowed)) {
    await suite.case(testCase.name, async () => {
      const { payload } = accepted(await subject.encrypt(testCase.plain, { algorithm: ALGORITHM_OF[testCase.algo], ...keyOf(testCase, keyId) }));
      sameValue(accepted(await subject.decrypt(payload)).value, testCase.plain);
      if (payload.length !== testCase.payload.length) throw new Error(`${payload.length} bytes, published ${testCase.payload.length}`);
    });
  }
  return suite;
}

/** All published values of one provider in one document, as a server would return them. */
async function wholeDocument(cases, subject) {
  const suite = new Suite('corpus/whole-document');
  for (const provider of PROVIDERS) {
    const own = cases.filter(({ kms, allowed }) => kms === provider && allowed);
    if (!hasMaterial(provider)) {
      suite.skip(provider, NOT_PUBLISHED);
      continue;
    }
    const build = (item) => document(own.map((testCase) => [testCase.name, value.object(document([['value', item(testCase)]]))]));
    await suite.case(provider, async () => {
      const { output } = accepted(await subject.decryptDocument(build(({ payload }) => value.encrypted(payload))));
      same(
        output,
        build(({ plain }) => plain),
        'document',
      );
    });
  }
  return suite;
}
