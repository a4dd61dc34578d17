// Further steps of the differential run: text that is parsed (endpoints, provider identifiers), whole documents that are
// encrypted, and documents that are no BSON.
import { allowsDeterministic, damageDocument, randomDocument, randomValue } from './generate.mjs';
import { MASTER_KEYS } from './pair.mjs';
import { document, field, fields, LATIN1, TYPE, value } from './raw-bson.mjs';
import { DETERMINISTIC, encryptValue, RANDOM, readHeader } from './reference.mjs';
import { canonicalRegex, differ, differBeyondCopying } from './rewriting.mjs';
import { ALGORITHM } from './samples.mjs';

const join = (rng, pieces, most) => Array.from({ length: rng.between(1, most) }, () => rng.pick(pieces)).join('');

const ENDPOINT_PIECES = [
  'a',
  'b.c',
  'host',
  '.',
  '..',
  ':',
  '443',
  ':443',
  '/',
  '//',
  '?',
  '#',
  '@',
  '%',
  '%41',
  '%4',
  '%00',
  'http://',
  'https:',
  '://',
  '[',
  ']',
  '::1',
  '-',
  '_',
  '~',
  ' ',
  '\t',
  '\r\n',
  'é',
  '\u007f',
  '"',
  '<',
  '\\',
  '^',
  '`',
  '{',
  '|',
  '}',
  '!',
  '$',
  '&',
  "'",
  '(',
  ')',
  '*',
  '+',
  ',',
  ';',
  '=',
  'x=1',
  'A.B',
  '1.2.3.4',
  '99999',
  '-1',
];

/** An endpoint out of the pieces that parsers trip over; what is stored of an accepted one is compared too. */
async function endpoint({ rng, pair }) {
  const text = rng.chance(0.5) ? `a.b${join(rng, ENDPOINT_PIECES, 4)}` : join(rng, ENDPOINT_PIECES, 6);
  const [provider, name] = rng.pick([
    ['aws', 'endpoint'],
    ['azure', 'keyVaultEndpoint'],
    ['gcp', 'endpoint'],
    ['kmip', 'endpoint'],
  ]);
  const parts = [...MASTER_KEYS[provider].filter(([known]) => known !== name), [name, text]];
  const options = { masterKey: parts, keyMaterial: rng.bytes(96) };
  const [theirs, ours] = [await pair.theirs.createDataKey(provider, options), await pair.ours.createDataKey(provider, options)];
  const check = () => differ(field(ours.output, 'masterKey').bytes, field(theirs.output, 'masterKey').bytes, 'master key');
  return { theirs, ours, input: { what: `${provider} ${JSON.stringify(text)}`, endpoint: text }, check };
}

const PROVIDER_PIECES = ['aws', 'azure', 'gcp', 'kmip', 'local', 'a', 'loc', 'AWS', 'Local', ':', '::', 'eu', 'other', 'A_1', '-', ' ', '.', 'é', '0'];

/** A provider identifier; the master key beside it is whole for any type it may mean. */
async function providerIdentifier({ rng, pair }) {
  const provider = join(rng, PROVIDER_PIECES, 3);
  const type = Object.keys(MASTER_KEYS).find((known) => known === provider.split(':')[0]);
  const options = { masterKey: MASTER_KEYS[type] ?? [] };
  const [theirs, ours] = [await pair.theirs.createDataKey(provider, options), await pair.ours.createDataKey(provider, options)];
  return { theirs, ours, input: { what: JSON.stringify(provider), provider } };
}

/** A document encrypted in one call, field by field compared with what the rules give, and opened by libmongocrypt. */
async function encryptDocument({ rng, pair, keys }) {
  const chosen = Array.from({ length: rng.between(1, 6) }, (_, index) => ({
    name: `f${index}`,
    item: randomValue(rng, 1),
    key: rng.pick(keys),
    inside: rng.chance(0.4),
  }));
  const rules = {};
  for (const entry of chosen) {
    entry.kind = allowsDeterministic(entry.item) && rng.chance(0.5) ? DETERMINISTIC : RANDOM;
    const algorithm = entry.kind === DETERMINISTIC ? ALGORITHM.deterministic : ALGORITHM.random;
    rules[entry.inside ? `in.${entry.name}` : entry.name] = { algorithm, keyAltName: entry.key.keyAltNames[0] };
  }
  const plainly = ({ name, item }) => [name, item];
  const others = fields(randomDocument(rng, 2)).filter(([name]) => name !== 'in' && !/^f\d$/.test(name));
  const build = (write) =>
    document([
      ...others,
      ...chosen.filter(({ inside }) => !inside).map(write),
      ['in', value.object(document(chosen.filter(({ inside }) => inside).map(write)))],
    ]);
  const plain = build(plainly);
  const ours = await pair.ours.encryptDocument(plain, rules);
  if (!ours.ok) return { theirs: { ok: true }, ours, input: { what: Object.keys(rules).join() } };
  const theirs = await pair.theirs.decryptDocument(ours.output);
  const check = () => {
    const inside = field(ours.output, 'in').bytes;
    const expected = build(({ name, item, key, kind, inside: nested }) => {
      const written = field(nested ? inside : ours.output, name);
      const iv = kind === RANDOM ? readHeader(written.bytes.subarray(5)).iv : undefined;
      return [name, value.encrypted(encryptValue(canonicalRegex(item), { kind, keyId: key.keyId, material: key.material, iv }))];
    });
    return differ(ours.output, expected, 'encrypted document') ?? differBeyondCopying(theirs.output, plain, 'document that libmongocrypt opened');
  };
  return { theirs, ours, input: { what: Object.keys(rules).join() }, check };
}

/** Bytes that are no document, or no longer: the length, the end, a bit in between. */
async function damagedDocument({ rng, pair, keys }) {
  const key = rng.pick(keys);
  const item = randomValue(rng, 0);
  const sealed = value.encrypted(encryptValue(item, { kind: RANDOM, keyId: key.keyId, material: key.material }));
  const whole = document([...fields(randomDocument(rng, 2)), ['sealed', sealed], ...fields(randomDocument(rng, 1))]);
  const { what, bytes } = damageDocument(rng, whole);
  const [theirs, ours] = [await pair.theirs.decryptDocument(bytes), await pair.ours.decryptDocument(bytes)];
  const malformed = !isWellFormed(bytes);
  return {
    // A document may be malformed in one place and hold a damaged value in another.
    theirs,
    ours,
    input: { what, payloads: payloadsIn(bytes), document: true, malformed, several: malformed },
    check: () => differBeyondCopying(ours.output, theirs.output, 'document'),
  };
}

/** Whatever the encoding of its names and strings. */
function isWellFormed(bytes) {
  try {
    fields(bytes, LATIN1);
    return true;
  } catch {
    return false;
  }
}

function payloadsIn(bytes) {
  try {
    return fields(bytes, LATIN1)
      .filter(([, item]) => item.type === TYPE.binData && item.bytes[4] === 6)
      .map(([, item]) => item.bytes.subarray(5));
  } catch {
    return [];
  }
}

export const MORE_OPERATIONS = {
  endpoint: { weight: 10, run: endpoint },
  providerIdentifier: { weight: 4, run: providerIdentifier },
  encryptDocument: { weight: 8, run: encryptDocument },
  damagedDocument: { weight: 8, run: damagedDocument },
};
