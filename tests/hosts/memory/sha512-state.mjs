// The chaining value of SHA-512 after one block: what an HMAC implementation keeps instead of its key. Whoever finds it
// can compute tags, so it is as secret as the key. node:crypto does not show it, hence the compression function here.

const MASK = (1n << 64n) - 1n;
const rotate = (x, n) => ((x >> n) | (x << (64n - n))) & MASK;

/** Floor of the n-th root, by Newton's method. */
function integerRoot(value, n) {
  let x = 1n << BigInt(Math.ceil(value.toString(2).length / Number(n)));
  for (;;) {
    const next = ((n - 1n) * x + value / x ** (n - 1n)) / n;
    if (next >= x) return x;
    x = next;
  }
}

function primes(count) {
  const found = [];
  for (let candidate = 2; found.length < count; candidate += 1) {
    if (found.every((prime) => candidate % prime !== 0)) found.push(candidate);
  }
  return found.map(BigInt);
}

// FIPS 180-4 section 4.2.3: the first 64 bits of the fractional parts of the cube roots of the first eighty primes;
// section 5.3.5: of the square roots of the first eight.
const K = primes(80).map((prime) => integerRoot(prime << 192n, 3n) & MASK);
const INITIAL = primes(8).map((prime) => integerRoot(prime << 128n, 2n) & MASK);

/** The eight state words, little-endian as WebAssembly stores them, after the 128 bytes of `block` (FIPS 180-4, 6.4.2). */
export function stateAfter(block) {
  const view = new DataView(block.buffer, block.byteOffset, 128);
  const w = Array.from({ length: 16 }, (_, at) => view.getBigUint64(at * 8));
  for (let t = 16; t < 80; t += 1) {
    const s0 = rotate(w[t - 15], 1n) ^ rotate(w[t - 15], 8n) ^ (w[t - 15] >> 7n);
    const s1 = rotate(w[t - 2], 19n) ^ rotate(w[t - 2], 61n) ^ (w[t - 2] >> 6n);
    w.push((w[t - 16] + s0 + w[t - 7] + s1) & MASK);
  }
  let [a, b, c, d, e, f, g, h] = INITIAL;
  for (let t = 0; t < 80; t += 1) {
    const big1 = rotate(e, 14n) ^ rotate(e, 18n) ^ rotate(e, 41n);
    const first = (h + big1 + ((e & f) ^ (~e & MASK & g)) + K[t] + w[t]) & MASK;
    const big0 = rotate(a, 28n) ^ rotate(a, 34n) ^ rotate(a, 39n);
    const second = (big0 + ((a & b) ^ (a & c) ^ (b & c))) & MASK;
    [a, b, c, d, e, f, g, h] = [(first + second) & MASK, a, b, c, (d + first) & MASK, e, f, g];
  }
  const state = new DataView(new ArrayBuffer(64));
  for (const [at, word] of [a, b, c, d, e, f, g, h].entries()) state.setBigUint64(at * 8, (INITIAL[at] + word) & MASK, true);
  return new Uint8Array(state.buffer);
}
