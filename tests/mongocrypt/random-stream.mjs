// Random bytes that follow from a seed, for both libraries: what they encrypt at random, and the keys they make, is then the
// same byte for byte.
//
// The stream is a row of blocks, SHAKE-256 of `seed/length/number`. More than 16 bytes at once are a block of that length;
// up to 16 are cut off blocks of 1024, in the order in which they are asked for. That is how the core draws from its host.
import { createHash } from 'node:crypto';

class Stream {
  #counts = new Map();

  constructor(seed) {
    this.seed = seed;
  }

  fill(out) {
    const { length } = out;
    const number = this.#counts.get(length) ?? 0;
    this.#counts.set(length, number + 1);
    out.set(createHash('shake256', { outputLength: length }).update(`${this.seed}/${length}/${number}`).digest());
    return out;
  }
}

const host = globalThis.crypto;
const { getRandomValues } = host;

/** Runs `work` with the host's randomness replaced by `stream`. */
export function drawingFrom(stream, work) {
  host.getRandomValues = (out) => stream.fill(out);
  try {
    return work();
  } finally {
    host.getRandomValues = getRandomValues;
  }
}

export const streamOf = (seed) => new Stream(seed);
