// The client-side encryption corpus through the official driver on this package (specifications, prose test 6): every value
// that JavaScript can hold is encrypted explicitly and by a client that encrypts by itself, with a schema of the application's
// and one of the server's; every published value is read by a client that decrypts by itself.
import { Binary, EJSON } from 'bson';
import { binary, document, field, fields, value } from '../../interop/raw-bson.mjs';
import { DETERMINISTIC, decryptValue, encryptValue, RANDOM, unwrapKey } from '../../interop/reference.mjs';
import { SUBSTITUTE } from '../accounts.mjs';
import { ALGORITHM_OF, keyOf, PROVIDERS, readCases } from '../corpus.mjs';
import { toDocument } from '../extended-json.mjs';
import { jsonFiles, KMIP_SECRET_1, LOCAL_MASTER_KEY, vectorsFolder } from '../published.mjs';
import { same, sameValue, Suite } from '../suite.mjs';

const NOT_IN_JAVASCRIPT = { dbPointer: 'js-bson has no DBPointer', undefined: 'js-bson writes undefined as null' };
const KEK = { local: LOCAL_MASTER_KEY, kmip: KMIP_SECRET_1 };
const KIND_OF = { det: DETERMINISTIC, rand: RANDOM };

export async function runCorpusThroughDriver(world) {
  const files = jsonFiles(vectorsFolder('driver-specs', 'corpus').folder);
  const keys = new Map(PROVIDERS.map((provider) => [provider, files.get(`corpus-key-${provider}`)]));
  const [vaultDatabase, vaultCollection] = world.keyVaultNamespace.split('.');
  await world.prepare({ databaseName: vaultDatabase, collectionName: vaultCollection, documents: [...keys.values()] });
  const encryption = world.clientEncryption(world.plain, { kmsProviders: everyProvider() });
  const cases = readCases(files.get('corpus'), files.get('corpus-encrypted'));
  const [suites, groups] = [[], []];
  for (const provider of PROVIDERS) {
    const key = toDocument(keys.get(provider));
    const own = { provider, cases: cases.filter(({ kms }) => kms === provider), keyId: binary(field(key, '_id')).content, material: materialOf(provider, key) };
    groups.push(own);
    suites.push(await explicitly(encryption, own), await automaticallyDecrypted(world, own));
  }
  for (const isRemote of [false, true]) suites.push(await automaticallyEncrypted(world, groups, files.get('corpus-schema'), isRemote));
  return suites;
}

const everyProvider = () => Object.fromEntries(PROVIDERS.map((provider) => [provider, {}]));

const materialOf = (provider, key) => (KEK[provider] ? unwrapKey(KEK[provider], binary(field(key, 'keyMaterial')).content) : SUBSTITUTE);

/** What is stored: as published, or under the material that stands in for a closed key's own. */
function storedPayload({ payload, plain, algo }, { provider, keyId, material }) {
  return KEK[provider] ? payload : encryptValue(plain, { kind: KIND_OF[algo], keyId, material });
}

async function explicitly(encryption, own) {
  const suite = new Suite(`driver/corpus/${own.provider}/explicit`);
  for (const testCase of own.cases) {
    const missing = NOT_IN_JAVASCRIPT[testCase.type];
    if (missing) {
      suite.skip(testCase.name, missing);
      continue;
    }
    await suite.case(testCase.name, async () => {
      const item = itemOf(testCase);
      const { keyId, keyAltName } = keyOf(testCase, new Binary(own.keyId, 4));
      const encrypting = encryption.encrypt(item, { algorithm: ALGORITHM_OF[testCase.algo], ...(keyAltName ? { keyAltName } : { keyId }) });
      if (testCase.allowed) await matchPayload(await encrypting, testCase, own);
      else await mustBeRefused(encrypting);
    });
  }
  return suite;
}

/** A value as an application holds it, of just its type. */
const itemOf = ({ value: json }) => EJSON.deserialize({ item: json }, { relaxed: false }).item;

async function matchPayload(encrypted, testCase, own) {
  if (encrypted.sub_type !== 6) throw new Error(`subtype ${encrypted.sub_type}`);
  const payload = new Uint8Array(encrypted.value());
  const stored = storedPayload(testCase, own);
  if (testCase.algo === 'det') same(payload, stored, 'ciphertext');
  same(payload.subarray(0, 18), stored.subarray(0, 18), 'header');
  sameValue(decryptValue(payload, own.material), testCase.plain);
}

async function mustBeRefused(encrypting) {
  const error = await encrypting.then(
    () => new Error('accepted'),
    (one) => one,
  );
  if (error.name !== 'MongoCryptError') throw error;
}

/** All values of one provider in one document, stored as they are and read by a client that decrypts. */
async function automaticallyDecrypted(world, own) {
  const suite = new Suite(`driver/corpus/${own.provider}/decrypted`);
  const allowed = own.cases.filter((testCase) => testCase.allowed);
  const stored = document([
    ['_id', value.string(own.provider)],
    ...allowed.map((testCase) => [testCase.name, value.object(document([['value', value.encrypted(storedPayload(testCase, own))]]))]),
  ]);
  const [databaseName, collectionName] = [`${world.prefix}db`, 'coll'];
  await world.prepare({ databaseName, collectionName, documents: [EJSON.serialize(world.driver.BSON.deserialize(stored), { relaxed: false })] });
  const { client, close } = await world.client({ autoEncryptOpts: { kmsProviders: everyProvider(), bypassAutoEncryption: true } });
  let found;
  await suite.case('the document is read', () =>
    world.judge(async () => {
      const [read] = await client.db(databaseName).collection(collectionName).find({}, { raw: true }).toArray().finally(close);
      found = new Map(fields(new Uint8Array(read)));
    }),
  );
  if (!found) return suite;
  for (const testCase of allowed) {
    await suite.case(testCase.name, () => sameValue(field(found.get(testCase.name).bytes, 'value'), testCase.plain));
  }
  return suite;
}

/** One document with the values of all providers, written by a client that encrypts and read by one that does not. */
async function automaticallyEncrypted(world, groups, schema, isRemote) {
  const suite = new Suite(`driver/corpus/encrypted-by-${isRemote ? 'remote' : 'local'}-schema`);
  const [databaseName, collectionName] = [`${world.prefix}db`, 'coll'];
  const namespace = `${databaseName}.${collectionName}`;
  await world.prepare({ databaseName, collectionName, documents: [], ...(isRemote && { createOptions: { validator: { $jsonSchema: schema } } }) });
  const auto = groups.flatMap((own) => own.cases.filter(({ method }) => method === 'auto').map((testCase) => ({ testCase, own })));
  const names = Object.fromEntries(PROVIDERS.map((provider) => [`altname_${provider}`, provider]));
  const written = auto.filter(({ testCase }) => !NOT_IN_JAVASCRIPT[testCase.type]).map(({ testCase }) => [testCase.name, { value: itemOf(testCase) }]);
  const { client, close } = await world.client({
    autoEncryptOpts: { kmsProviders: everyProvider(), ...(!isRemote && { schemaMap: { [namespace]: schema } }) },
  });
  await suite.case('the document is written', () =>
    client
      .db(databaseName)
      .collection(collectionName)
      .insertOne({ _id: 'corpus', ...names, ...Object.fromEntries(written) })
      .finally(close),
  );
  if (suite.failures.length > 0) return suite;
  const found = await world.plain.db(databaseName).collection(collectionName).findOne({ _id: 'corpus' });
  for (const { testCase, own } of auto) {
    const missing = NOT_IN_JAVASCRIPT[testCase.type];
    if (missing) suite.skip(testCase.name, missing);
    else await suite.case(testCase.name, () => matchPayload(found[testCase.name].value, testCase, own));
  }
  return suite;
}
