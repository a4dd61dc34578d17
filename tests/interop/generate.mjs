// Seeded random material: the same seed gives the same values, documents and damage.
import { concat, document, fields, int32, RawValue, TYPE, value } from './raw-bson.mjs';
import { ENCRYPTABLE } from './samples.mjs';

/** sfc32: small, fast, good enough to choose test cases; nothing here needs to be unpredictable. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = Uint32Array.of(seed, seed ^ 0x9e3779b9, Math.trunc(seed / 2 ** 32), 1);
    for (let round = 0; round < 16; round += 1) this.uint32();
  }

  uint32() {
    const s = this.#state;
    const out = (s[0] + s[1] + s[3]) >>> 0;
    s[3] += 1;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = s[2] + (s[2] << 3);
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + out;
    return out;
  }

  /** 0 to below `limit`. */
  below(limit) {
    return Math.floor((this.uint32() / 2 ** 32) * limit);
  }
  between(low, high) {
    return low + this.below(high - low + 1);
  }
  chance(probability) {
    return this.uint32() < probability * 2 ** 32;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
  bytes(length) {
    return Uint8Array.from({ length }, () => this.uint32() & 0xff);
  }
  bigint() {
    return BigInt.asIntN(64, (BigInt(this.uint32()) << 32n) | BigInt(this.uint32()));
  }

  /** Mostly short, often at a block edge, rarely up to 64 KiB. */
  length() {
    const kind = this.below(20);
    if (kind === 0) return this.between(1000, 65536);
    if (kind < 6) return Math.max(0, 16 * this.between(0, 8) + this.between(-6, 6));
    return this.below(48);
  }

  /** Text in which a NUL byte may stand, as BSON strings allow. */
  anyText(length) {
    const text = this.text(length);
    return this.chance(0.05) ? `${text.slice(0, 2)}\0${text.slice(2)}` : text;
  }

  text(length = this.length()) {
    const letters = 'abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 _-.$äß漢🗝';
    const points = [...letters];
    return Array.from({ length }, () => this.pick(points)).join('');
  }

  /** A field name: no NUL, sometimes empty, dotted or with a dollar sign. */
  name() {
    return this.text(this.between(0, 12));
  }
}

const MAKERS = {
  double: (rng) => new RawValue(TYPE.double, rng.bytes(8)),
  string: (rng) => value.string(rng.anyText()),
  object: (rng, depth) => value.object(randomDocument(rng, depth - 1)),
  array: (rng, depth) => value.array(Array.from({ length: rng.below(4) }, () => randomValue(rng, depth - 1))),
  binData: (rng) => {
    const subtype = rng.pick([0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 128, 255]);
    return subtype === 2 ? value.binDataOld(rng.bytes(rng.length())) : value.binData(rng.bytes(rng.length()), subtype);
  },
  objectId: (rng) => value.objectId(rng.bytes(12)),
  bool: (rng) => value.bool(rng.chance(0.5)),
  date: (rng) => value.date(rng.bigint()),
  regex: (rng) => value.regex(rng.text(rng.below(30)), rng.pick(['', 'i', 'im', 'imsx', 'ilmsux', 'ism', 'xi', 'ii', 'k', 'mé'])),
  dbPointer: (rng) => value.dbPointer(rng.anyText(rng.below(20)), rng.bytes(12)),
  javascript: (rng) => value.javascript(rng.anyText(rng.below(40))),
  symbol: (rng) => value.symbol(rng.anyText(rng.below(40))),
  javascriptWithScope: (rng, depth) => value.javascriptWithScope(rng.anyText(rng.below(30)), randomDocument(rng, depth - 1)),
  int: (rng) => value.int(rng.uint32() | 0),
  timestamp: (rng) => value.timestamp(rng.uint32(), rng.uint32()),
  long: (rng) => value.long(rng.bigint()),
  decimal: (rng) => value.decimal(rng.bytes(16)),
};
const SCALARS = Object.keys(MAKERS).filter((name) => !['object', 'array', 'javascriptWithScope'].includes(name));

export const typeNameOf = (item) => Object.keys(TYPE).find((name) => TYPE[name] === item.type);
export const allowsDeterministic = (item) => ENCRYPTABLE[typeNameOf(item)].deterministic;

/** A value of any encryptable type. */
export function randomValue(rng, depth = 3) {
  return MAKERS[rng.pick(depth > 0 ? Object.keys(MAKERS) : SCALARS)](rng, depth);
}

/** A document of a few fields; `leaf` may put something else in place of a value, such as an encrypted one. */
export function randomDocument(rng, depth = 3, leaf = () => undefined) {
  return document(Array.from({ length: rng.below(6) }, () => [rng.name(), randomField(rng, depth, leaf)]));
}

/** Like randomValue, but also null and the like, and with `leaf` at every depth. */
function randomField(rng, depth, leaf) {
  const placed = leaf(rng);
  if (placed) return placed;
  if (depth > 0 && rng.chance(0.3)) {
    if (rng.chance(0.5)) return value.object(randomDocument(rng, depth - 1, leaf));
    return value.array(Array.from({ length: rng.below(4) }, () => randomField(rng, depth - 1, leaf)));
  }
  if (rng.chance(0.1)) return rng.pick([value.null(), value.minKey(), value.maxKey(), value.undefined()]);
  return randomValue(rng, Math.min(depth, 1));
}

/** Flips one bit. */
export function flipBit(bytes, bit) {
  const out = Uint8Array.from(bytes);
  out[bit >> 3] ^= 1 << (bit & 7);
  return out;
}

/** Damages a payload in one way; returns what was done and the result. */
export function damagePayload(rng, payload) {
  const kinds = {
    bit: () => flipBit(payload, rng.below(payload.length * 8)),
    cut: () => payload.slice(0, rng.below(payload.length)),
    grown: () => concat(payload, rng.bytes(rng.between(1, 20))),
    kind: () => concat([rng.below(256)], payload.subarray(1)),
    type: () => concat(payload.subarray(0, 17), [rng.below(256)], payload.subarray(18)),
    keyId: () => concat(payload.subarray(0, 1), rng.bytes(16), payload.subarray(17)),
    block: () => concat(payload.subarray(0, 34), rng.bytes(16), payload.subarray(34)),
    random: () => rng.bytes(rng.below(120)),
  };
  const what = rng.pick(Object.keys(kinds));
  return { what, payload: kinds[what]() };
}

/** A value of another type than `item`, for retyped fields. */
function otherValue(rng, item) {
  const candidates = [
    value.null(),
    value.int(0),
    value.int(1),
    value.long(0),
    value.long(7),
    value.double(0),
    value.string(''),
    value.string('x'),
    value.bool(true),
    value.date(5n),
    value.object(document([])),
    value.array([]),
    value.array([value.string('n')]),
    value.binData(rng.bytes(16), 4),
    value.binData(rng.bytes(160), 0),
    value.binData(rng.bytes(15), 4),
    value.binData(new Uint8Array(), 0),
  ];
  return rng.pick(candidates.filter((candidate) => candidate.type !== item.type || !candidate.equals(item)));
}

const SPARE = ['x', 'version', 'keyAltNames', 'masterKey', '_id', 'status', 'Status', 'creationdate', '', 'endpoint', 'provider', 'keyId'];

/** Damages a document in one way, at its top level or inside `masterKey`. */
export function damageKeyDocument(rng, bytes) {
  const entries = fields(bytes);
  const masterKeyAt = entries.findIndex(([name, item]) => name === 'masterKey' && item.type === TYPE.object);
  if (masterKeyAt >= 0 && rng.chance(0.35)) {
    const inner = damageFields(rng, fields(entries[masterKeyAt][1].bytes));
    entries[masterKeyAt] = ['masterKey', value.object(document(inner.entries))];
    return { what: `masterKey.${inner.what}`, bytes: document(entries) };
  }
  if (rng.chance(0.12)) return damageBytes(rng, bytes);
  const outer = damageFields(rng, entries);
  return { what: outer.what, bytes: document(outer.entries) };
}

/** Removes, retypes, renames, duplicates, adds or moves one field. */
export function damageFields(rng, entries) {
  if (entries.length === 0) return { what: 'nothing', entries };
  const at = rng.below(entries.length);
  const [name, item] = entries[at];
  const without = entries.toSpliced(at, 1);
  switch (rng.below(6)) {
    case 0:
      return { what: `remove ${name}`, entries: without };
    case 1: {
      const other = otherValue(rng, item);
      return { what: `retype ${name} to ${other.type}`, entries: entries.with(at, [name, other]) };
    }
    case 2: {
      const other = rng.pick(SPARE);
      return { what: `rename ${name} to '${other}'`, entries: entries.with(at, [other, item]) };
    }
    case 3: {
      const copy = rng.chance(0.5) ? item : otherValue(rng, item);
      return { what: `duplicate ${name} as ${copy.type}`, entries: entries.toSpliced(rng.below(entries.length + 1), 0, [name, copy]) };
    }
    case 4: {
      const extra = rng.pick(SPARE);
      return { what: `add '${extra}'`, entries: entries.toSpliced(rng.below(entries.length + 1), 0, [extra, otherValue(rng, value.minKey())]) };
    }
    default:
      return { what: `move ${name}`, entries: without.toSpliced(rng.below(entries.length), 0, [name, item]) };
  }
}

/** Damages a document as bytes: its length, its end, a bit in between. */
export function damageDocument(rng, bytes) {
  const damages = {
    length: () => concat(int32(bytes.length + rng.between(-3, 3)), bytes.subarray(4)),
    end: () => concat(bytes.subarray(0, -1), [rng.between(1, 255)]),
    // Never to nothing: libmongocrypt ends the process over an empty document.
    cut: () => bytes.slice(0, rng.between(1, bytes.length - 1)),
    bit: () => flipBit(bytes, rng.below(bytes.length * 8)),
  };
  const what = rng.pick(Object.keys(damages));
  return { what, bytes: damages[what]() };
}

function damageBytes(rng, bytes) {
  if (rng.chance(0.5)) return { what: 'flip a bit', bytes: flipBit(bytes, rng.below(bytes.length * 8)) };
  const cut = bytes.slice(0, rng.between(5, bytes.length - 1));
  return rng.chance(0.5) ? { what: 'cut', bytes: cut } : { what: 'cut with the length corrected', bytes: concat(int32(cut.length), cut.subarray(4)) };
}
