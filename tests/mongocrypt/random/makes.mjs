// How contexts are made: every kind, with options and inputs that are mostly right.
import { damageDocument, damagePayload, randomDocument, randomValue } from '../../interop/generate.mjs';
import { boxed, concat, document, value } from '../../interop/raw-bson.mjs';
import { ALGORITHM, NEVER } from '../../interop/samples.mjs';
import { toBase64 } from '../reference.mjs';
import { commandOf } from './commands.mjs';
import { NAMES } from './world.mjs';

const altName = (name) => toBase64(document([['keyAltName', value.string(name)]]));
const ALGORITHMS = Object.values(ALGORITHM);
const ODD_ALGORITHMS = ['', 'Random', 'rangePreview', 'textPreview', ALGORITHM.random.toLowerCase(), `${ALGORITHM.random} `, 'undefined'];
const ODD_NAMES = [
  document([['name', value.string('x')]]),
  document([['keyAltName', value.int(1)]]),
  document([
    ['keyAltName', value.string('x')],
    ['y', value.int(1)],
  ]),
  document([]),
  Uint8Array.of(5, 0, 0),
];

const damaged = (rng, bytes) => damageDocument(rng, bytes).bytes;

const reference = (world) => {
  const { rng } = world;
  const key = rng.pick(world.keys);
  if (rng.chance(world.oddness)) {
    return rng.pick([
      () => ({}),
      () => ({ keyId: toBase64(key.id), keyAltNames: [altName('n')] }),
      () => ({ keyId: toBase64(rng.bytes(rng.pick([0, 15, 17]) || 1)) }),
      () => ({ keyAltNames: [toBase64(rng.pick(ODD_NAMES))] }),
      () => ({ keyId: toBase64(rng.bytes(16)) }),
      () => ({ keyAltNames: [altName(rng.text(3))] }),
    ])();
  }
  return key.names.length > 0 && rng.chance(0.5) ? { keyAltNames: [altName(rng.pick(key.names))] } : { keyId: toBase64(key.id) };
};

function explicitEncrypt(world) {
  const { rng } = world;
  const item = rng.chance(0.06) ? rng.pick(Object.values(NEVER)) : randomValue(rng, 1);
  const input = boxed(item);
  return {
    kind: rng.chance(world.oddness / 3) ? 'explicitEncryptExpression' : 'explicitEncrypt',
    input: toBase64(rng.chance(world.oddness) ? rng.pick([document([['w', item]]), document([]), damaged(rng, input)]) : input),
    ...(!rng.chance(world.oddness / 5) && { algorithm: rng.chance(world.oddness) ? rng.pick(ODD_ALGORITHMS) : rng.pick(ALGORITHMS) }),
    ...reference(world),
  };
}

function explicitDecrypt(world) {
  const { rng } = world;
  const payload = world.payload();
  const input = boxed(value.encrypted(rng.chance(world.oddness * 2) ? damagePayload(rng, payload).payload : payload));
  const odd = () => rng.pick([document([]), boxed(value.int(1)), boxed(value.binData(payload)), boxed(value.encrypted(new Uint8Array())), damaged(rng, input)]);
  return { kind: 'explicitDecrypt', input: toBase64(rng.chance(world.oddness) ? odd() : input) };
}

function decrypt(world) {
  const { rng } = world;
  const leaf = () => {
    if (rng.chance(0.25)) return value.encrypted(rng.chance(world.oddness) ? damagePayload(rng, world.payload()).payload : world.payload());
    return rng.chance(0.03) ? value.encrypted(concat([rng.pick([0, 3, 5, 8, 10, 12, 13, 18, 19, 200])], rng.bytes(rng.below(90)))) : undefined;
  };
  const reply = document([
    ['ok', value.double(1)],
    ['cursor', value.object(document([['firstBatch', value.array(Array.from({ length: rng.below(4) }, () => value.object(randomDocument(rng, 2, leaf))))]]))],
  ]);
  return { kind: 'decrypt', input: toBase64(rng.chance(world.oddness) ? damaged(rng, reply) : reply) };
}

/** A master key document as an option: sometimes with a fault, or for a provider that is not there. */
function masterKeyOption(world) {
  const { rng } = world;
  if (!rng.chance(world.oddness)) return document(world.masterKey());
  const parts = world.masterKey();
  return rng.pick([
    () => document([]),
    () => document(parts.slice(1)),
    () => document([['provider', value.string(rng.pick(['aws', 'azure', 'gcp', 'kmip', 'local', 'local:none', 'x', 'AWS']))], ...parts.slice(1)]),
    () => document([...parts, ['x', value.int(1)]]),
    () => document(parts.slice(0, -1)),
    () => document([['provider', value.int(1)]]),
    () => damaged(rng, document(parts)),
    () => document(parts.map(([name, item], index) => (index === parts.length - 1 && index > 0 ? [name, value.int(5)] : [name, item]))),
  ])();
}

function dataKey(world) {
  const { rng } = world;
  const material = document([['keyMaterial', value.binData(rng.bytes(96))]]);
  const oddMaterial = () =>
    rng.pick([
      document([['keyMaterial', value.binData(rng.bytes(rng.pick([0, 95, 97])))]]),
      document([['keyMaterial', value.string('x')]]),
      document([['material', value.binData(rng.bytes(96))]]),
      document([]),
      document([
        ['keyMaterial', value.binData(rng.bytes(96))],
        ['x', value.int(1)],
      ]),
      damaged(rng, material),
    ]);
  const names = Array.from({ length: rng.pick([0, 0, 1, 2, 3]) }, () => (rng.chance(world.oddness) ? toBase64(rng.pick(ODD_NAMES)) : altName(rng.pick(NAMES))));
  return {
    kind: 'dataKey',
    masterKey: toBase64(masterKeyOption(world)),
    keyAltNames: rng.chance(0.9) ? [...new Set(names)] : names,
    ...(rng.chance(0.3) && { keyMaterial: toBase64(rng.chance(world.oddness * 2) ? oddMaterial() : material) }),
  };
}

function rewrap(world) {
  const { rng } = world;
  const filter = rng.pick([document([]), randomDocument(rng, 1), document([['keyAltNames', value.string('n')]])]);
  return {
    kind: 'rewrap',
    input: toBase64(rng.chance(world.oddness / 2) ? damaged(rng, filter) : filter),
    ...(rng.chance(0.5) && { masterKey: toBase64(masterKeyOption(world)) }),
  };
}

const encrypt = (world) => ({ kind: 'encrypt', ...commandOf(world) });

const MAKES = { explicitEncrypt, explicitDecrypt, decrypt, dataKey, rewrap, encrypt };
const WEIGHTED = Object.entries({ explicitEncrypt: 3, explicitDecrypt: 2, decrypt: 3, dataKey: 3, rewrap: 3, encrypt: 4 }).flatMap(([name, weight]) =>
  Array(weight).fill(name),
);

/** The arguments of a `make` step. */
export const randomMake = (world) => MAKES[world.rng.pick(WEIGHTED)](world);
