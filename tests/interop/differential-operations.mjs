// The steps of the differential run. Each makes its input from the seeded generator, asks both sides, and returns
// `{theirs, ours, input, check}`; `check` compares what both accepted and returns what is wrong, or undefined.
import { allowsDeterministic, damageFields, damageKeyDocument, damagePayload, randomDocument, randomValue } from './generate.mjs';
import { MORE_OPERATIONS } from './differential-more.mjs';
import { Ours } from './ours.mjs';
import { HEX, keyIdOf, MASTER_KEYS, withField } from './pair.mjs';
import { binary, boxed, document, field, fields, hasBrokenText, text, TYPE, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM, readHeader } from './reference.mjs';
import { canonicalRegex, differ, differBeyondCopying, isCut } from './rewriting.mjs';
import { ALGORITHM, NEVER } from './samples.mjs';
import { Theirs } from './theirs.mjs';

const PROVIDERS = Object.keys(MASTER_KEYS);

const referenceTo = (rng, key) => (rng.chance(0.5) ? { keyId: key.keyId } : { keyAltName: key.keyAltNames[0] });
const seal = (item, key, kind) => encryptValue(item, { kind, keyId: key.keyId, material: key.material });
const kindFor = (rng, item) => (allowsDeterministic(item) && rng.chance(0.5) ? DETERMINISTIC : RANDOM);
const valuesDiffer = (actual, expected) => differBeyondCopying(boxed(actual), boxed(expected), 'value');

const severalOf = (faults) => faults.filter(Boolean).length > 1;

/** New instances of both sides, without anything in their caches. */
async function freshly({ pair }, prepare, ask) {
  const theirs = await Theirs.open(pair.peer, pair.providers);
  const ours = await Ours.open(pair.providers);
  try {
    for (const side of [theirs, ours]) prepare(side);
    return { theirs: await ask(theirs), ours: await ask(ours) };
  } finally {
    await theirs.close();
    ours.close();
  }
}

/** A value of any type, now and then one that must not be encrypted. */
const anyValue = (rng) => (rng.chance(0.05) ? rng.pick(Object.values(NEVER)) : randomValue(rng));

async function encryptDeterministic({ rng, pair, keys }) {
  const item = anyValue(rng);
  const options = { algorithm: ALGORITHM.deterministic, ...referenceTo(rng, rng.pick(keys)) };
  const [theirs, ours] = [await pair.theirs.encrypt(item, options), await pair.ours.encrypt(item, options)];
  const check = () => (isCut(item) ? { difference: 'text-after-nul' } : differ(ours.payload, theirs.payload, 'ciphertext'));
  return { theirs, ours, input: { what: `type ${item.type}, ${item.bytes.length} bytes` }, check };
}

async function encryptRandom({ rng, pair, keys }) {
  const item = anyValue(rng);
  const options = { algorithm: ALGORITHM.random, ...referenceTo(rng, rng.pick(keys)) };
  const ours = await pair.ours.encrypt(item, options);
  const theirs = await pair.theirs.encrypt(item, { ...options, random: ours.ok ? [readHeader(ours.payload).iv] : undefined });
  const check = async () => {
    const opened = await pair.theirs.decrypt(ours.payload);
    if (!opened.ok) return `libmongocrypt does not open our ciphertext: ${opened.message}`;
    if (isCut(item)) return { difference: 'text-after-nul' };
    if (!opened.value.equals(canonicalRegex(item))) return 'libmongocrypt reads another value';
    return differ(ours.payload, theirs.payload, 'ciphertext with our initialisation vector');
  };
  return { theirs, ours, input: { what: `type ${item.type}, ${item.bytes.length} bytes` }, check };
}

async function decrypt({ rng, pair, keys }) {
  const item = randomValue(rng);
  const payload = seal(item, rng.pick(keys), kindFor(rng, item));
  const [theirs, ours] = [await pair.theirs.decrypt(payload), await pair.ours.decrypt(payload)];
  return {
    theirs,
    ours,
    input: { what: `type ${item.type}`, payloads: [payload] },
    check: () => (ours.value.equals(item) ? valuesDiffer(ours.value, theirs.value) : 'another value'),
  };
}

async function decryptDamaged({ rng, pair, keys }) {
  const item = randomValue(rng, 1);
  const { what, payload } = damagePayload(rng, seal(item, rng.pick(keys), kindFor(rng, item)));
  const [theirs, ours] = [await pair.theirs.decrypt(payload), await pair.ours.decrypt(payload)];
  return {
    theirs,
    ours,
    input: { what: `${what} ${HEX(payload).slice(0, 80)}`, payloads: [payload], several: what === 'random' },
    check: () => valuesDiffer(ours.value, theirs.value),
  };
}

/** Option values that are well typed and may still be wrong. */
async function encryptOptions({ rng, pair, keys }) {
  const key = rng.pick(keys);
  const algorithm = rng.pick([
    ...Object.values(ALGORITHM),
    ALGORITHM.random.toLowerCase(),
    ALGORITHM.deterministic.toUpperCase(),
    'Random',
    'rangePreview',
    'textPreview',
    '',
    `${ALGORITHM.random} `,
    ALGORITHM.random.slice(0, -1),
    rng.text(8),
  ]);
  const reference = rng.pick([
    { keyId: key.keyId },
    { keyAltName: key.keyAltNames[0] },
    {},
    { keyId: key.keyId, keyAltName: key.keyAltNames[0] },
    { keyId: rng.bytes(16) },
    { keyId: rng.bytes(15) },
    { keyId: rng.bytes(17) },
    { keyAltName: rng.text(5) },
    { keyAltName: '' },
  ]);
  const options = { algorithm, ...reference };
  const item = rng.pick([value.string('x'), value.double(1), value.null()]);
  const [theirs, ours] = [await pair.theirs.encrypt(item, options), await pair.ours.encrypt(item, options)];
  const known = keys.some(({ keyId, keyAltNames }) => (reference.keyId ? HEX(keyId) === HEX(reference.keyId) : keyAltNames.includes(reference.keyAltName)));
  const faults = [
    !Object.values(ALGORITHM).some((name) => name.toLowerCase() === algorithm.toLowerCase()),
    Object.keys(reference).length !== 1 || !known,
    item.type !== TYPE.string,
  ];
  return { theirs, ours, input: { what: `${algorithm} ${Object.keys(reference)} type ${item.type}`, several: severalOf(faults) } };
}

/** Names that may clash: repeated, empty, with a NUL. */
function randomNames(rng) {
  const names = Array.from({ length: rng.below(4) }, () => rng.text(rng.below(10)));
  if (names.length > 0 && rng.chance(0.1)) names.push(rng.pick(names));
  if (rng.chance(0.05)) names.push('a\0b', 'a\0c');
  return names;
}

const ENDPOINTS = [
  'a.b',
  'a.b:443',
  'https://a.b',
  'https://A.b:1/',
  'a.b/',
  'a.b/path/',
  'a.b?x=1',
  'a.b/p:1',
  'nodots',
  'a.b:',
  'a b.c',
  'a.b\r\nX: y',
  '[::1]:443',
  'a.b:x',
  '',
  'http://',
  'a.b%zz',
  'é.b',
  'a.b%41',
  'a..b',
  '.a',
  'a.',
  ':1',
  'a.b:1:2',
  'a.b#f',
  'user@a.b',
  '//a.b',
  'a.b/?',
  '\u0001a.b',
  'a.b\t',
];
const ENDPOINT_FIELDS = new Set(['endpoint', 'keyVaultEndpoint']);

/** The master key of a provider with its optional fields at random, sometimes with one fault. */
function randomMasterKey(rng, provider) {
  const type = provider.split(':')[0];
  const word = () => rng.pick([rng.text(rng.between(1, 12)), 'plain', 'with-dash_1.2~x']);
  const parts = MASTER_KEYS[provider].map(([name, item]) => [name, value.string(ENDPOINT_FIELDS.has(name) || rng.chance(0.6) ? item : word())]);
  if (['aws', 'gcp', 'kmip'].includes(type) && !parts.some(([name]) => name === 'endpoint') && rng.chance(0.4))
    parts.push(['endpoint', value.string(rng.pick(ENDPOINTS))]);
  if (['azure', 'gcp'].includes(type) && rng.chance(0.3)) parts.push(['keyVersion', value.string(word())]);
  if (type === 'kmip' && rng.chance(0.3)) parts.push(['delegated', value.bool(rng.chance(0.5))]);
  if (rng.chance(0.25)) {
    const { what, entries } = damageFields(rng, parts);
    // A JavaScript object has each field once.
    if (new Set(entries.map(([name]) => name)).size === entries.length) return { what, parts: entries, faulty: true };
  }
  const faulty = parts.some(([name, item]) => name === 'endpoint' && ENDPOINTS.indexOf(text(item)) > 7);
  return { what: 'whole', parts: rng.chance(0.3) ? parts.toReversed() : parts, faulty };
}

async function createDataKey({ rng, pair }) {
  const provider = rng.pick(PROVIDERS);
  const { what, parts, faulty } = randomMasterKey(rng, provider);
  const names = randomNames(rng);
  const keyMaterial = rng.chance(0.05) ? rng.bytes(rng.pick([0, 95, 97])) : rng.bytes(96);
  const options = { masterKey: parts, keyAltNames: names, keyMaterial };
  // A KMIP master key without keyId makes an object on each side's own server: only the shape can be the same.
  const registers = provider === 'kmip' && !parts.some(([name]) => name === 'keyId');
  const ours = await pair.ours.createDataKey(provider, options);
  const theirs = await pair.theirs.createDataKey(provider, { ...options, random: ours.ok && !registers ? randomDraws(ours.output) : undefined });
  const without = (key) => document(fields(key).filter(([name]) => !['creationDate', 'updateDate'].includes(name)));
  const faults = [faulty, new Set(names).size < names.length, keyMaterial.length !== 96];
  const input = { what: `${provider} ${what} ${parts.map(([name, item]) => `${name}:${item.type}`)}`, names, several: severalOf(faults) };
  return {
    theirs,
    ours,
    input,
    check: () =>
      registers ? differ(shapeOf(ours.output), shapeOf(theirs.output), 'shape') : differ(without(ours.output), without(theirs.output), 'key document'),
  };
}

/** Names and types of all fields, those of the master key included. */
function shapeOf(key) {
  const list = (bytes) =>
    fields(bytes)
      .map(([name, item]) => `${name}:${item.type}`)
      .join();
  return new TextEncoder().encode(`${list(key)};${list(field(key, 'masterKey').bytes)}`);
}

/** What libmongocrypt must draw to arrive at our key document: the vector of a wrapping of its own, then the id. */
function randomDraws(key) {
  const masterKey = field(key, 'masterKey').bytes;
  const provider = new TextDecoder().decode(field(masterKey, 'provider').bytes.subarray(4, -1));
  const wrapsItself = provider.startsWith('local') || (provider.startsWith('kmip') && !field(masterKey, 'delegated'));
  return [...(wrapsItself ? [binary(field(key, 'keyMaterial')).content.slice(0, 16)] : []), keyIdOf(key)];
}

async function damagedKeyDocument(context) {
  const { rng, keys } = context;
  const key = rng.pick(keys);
  let damaged = damageKeyDocument(rng, key.document);
  const several = rng.chance(0.15);
  if (several) damaged = secondDamage(rng, damaged);
  const options = { algorithm: ALGORITHM.random, ...referenceTo(rng, key) };
  const { theirs, ours } = await freshly(
    context,
    (side) => {
      side.feed = [damaged.bytes];
    },
    (side) => side.encrypt(value.int(1), options),
  );
  // With two faults each side may meet another one first.
  return { theirs, ours, input: { what: `${key.provider}: ${damaged.what}`, provider: key.provider, several, brokenText: hasBrokenText(damaged.bytes) } };
}

function secondDamage(rng, { what, bytes }) {
  try {
    const second = damageKeyDocument(rng, bytes);
    return { what: `${what}, then ${second.what}`, bytes: second.bytes };
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    return { what, bytes }; // the first damage left no document to damage again
  }
}

/** What a vault may answer: too few documents, too many, the same one twice, another key under the name. */
async function vaultAnswer(context) {
  const { rng, keys } = context;
  const key = rng.pick(keys);
  const fed = Array.from({ length: rng.below(4) }, () => (rng.chance(0.6) ? key.document : rng.pick(keys).document));
  if (rng.chance(0.2)) fed.push(withField(rng.pick(keys).document, 'keyAltNames', value.array([value.string(key.keyAltNames[0])])));
  const reference = referenceTo(rng, key);
  const options = { algorithm: ALGORITHM.random, ...reference };
  const { theirs, ours } = await freshly(
    context,
    (side) => {
      side.feed = fed;
    },
    (side) => side.encrypt(value.int(1), options),
  );
  const isWanted = (bytes) =>
    reference.keyId ? HEX(keyIdOf(bytes)) === HEX(key.keyId) : HEX(field(bytes, 'keyAltNames').bytes) === HEX(field(key.document, 'keyAltNames').bytes);
  const repeated = ['_id', 'keyAltNames'].some((name) => new Set(fed.map((bytes) => HEX(field(bytes, name).bytes))).size < fed.length);
  const faults = [fed.some((bytes) => !isWanted(bytes)), repeated, !fed.some(isWanted)];
  return { theirs, ours, input: { what: `${fed.length} documents for ${Object.keys(options)[1]}`, several: severalOf(faults) } };
}

async function decryptDocument({ rng, pair, keys }) {
  const payloads = [];
  const damage = rng.chance(0.15);
  const leaf = () => {
    if (!rng.chance(0.3)) return undefined;
    const item = randomValue(rng, 1);
    let payload = seal(item, rng.pick(keys), kindFor(rng, item));
    if (damage && rng.chance(0.4)) payload = damagePayload(rng, payload).payload;
    payloads.push(payload);
    return value.encrypted(payload);
  };
  const bytes = randomDocument(rng, 4, leaf);
  const [theirs, ours] = [await pair.theirs.decryptDocument(bytes), await pair.ours.decryptDocument(bytes)];
  return {
    theirs,
    ours,
    input: { what: `${payloads.length} values in ${bytes.length} bytes`, payloads, document: true, several: damage },
    check: () => differBeyondCopying(ours.output, theirs.output, 'document'),
  };
}

async function rewrap(context) {
  const { rng, keys, pair } = context;
  const chosen = keys.filter(() => rng.chance(0.3));
  const to = rng.chance(0.2) ? undefined : rng.pick(PROVIDERS);
  const masterKey = to && MASTER_KEYS[to];
  const vault = chosen.map((key) => key.document);
  const { theirs, ours } = await freshly(
    context,
    (side) => {
      side.vault = vault;
    },
    (side) => side.rewrap(to, masterKey),
  );
  const check = async () => {
    if (ours.keys.length !== chosen.length || theirs.keys.length !== chosen.length)
      return `${ours.keys.length} and ${theirs.keys.length} keys of ${chosen.length}`;
    const byId = (found) => new Map(found.keys.map((key) => [HEX(binary(key._id).content), key]));
    const [left, right] = [byId(ours), byId(theirs)];
    for (const key of chosen) {
      const [mine, other] = [left.get(HEX(key.keyId)), right.get(HEX(key.keyId))];
      const wrong = differ(mine.masterKey.bytes, other.masterKey.bytes, 'master key') ?? (await sameMaterial(pair, key, mine, other));
      if (wrong) return wrong;
    }
    return undefined;
  };
  return { theirs, ours, input: { what: `${chosen.length} keys to ${to}` }, check };
}

/** Each side opens what the other wrapped. */
async function sameMaterial(pair, key, mine, other) {
  const stored = ({ keyMaterial, masterKey }) => withField(withField(key.document, 'keyMaterial', keyMaterial), 'masterKey', masterKey);
  const item = value.string('same');
  const expected = seal(item, key, DETERMINISTIC);
  for (const [Side, wrapping] of [
    [Theirs, mine],
    [Ours, other],
  ]) {
    const side = Side === Theirs ? await Theirs.open(pair.peer, pair.providers) : await Ours.open(pair.providers);
    side.vault = [stored(wrapping)];
    const answer = await side.encrypt(item, { algorithm: ALGORITHM.deterministic, keyId: key.keyId });
    await side.close();
    if (!answer.ok) return `the other side does not open the key: ${answer.message}`;
    if (HEX(answer.payload) !== HEX(expected)) return 'the material changed';
  }
  return undefined;
}

/** Name, how often it is chosen, and the step. */
export const OPERATIONS = {
  ...MORE_OPERATIONS,
  encryptDeterministic: { weight: 12, run: encryptDeterministic },
  encryptRandom: { weight: 8, run: encryptRandom },
  decrypt: { weight: 8, run: decrypt },
  decryptDamaged: { weight: 12, run: decryptDamaged },
  encryptOptions: { weight: 8, run: encryptOptions },
  createDataKey: { weight: 12, run: createDataKey },
  damagedKeyDocument: { weight: 20, run: damagedKeyDocument },
  vaultAnswer: { weight: 6, run: vaultAnswer },
  decryptDocument: { weight: 12, run: decryptDocument },
  rewrap: { weight: 2, run: rewrap },
};
