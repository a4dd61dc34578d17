// Every shape in which a secret may lie in memory.
import { stateAfter } from './sha512-state.mjs';

/** Plaintext: as UTF-8, wherever it is copied to. */
export function formsOfText(name, text) {
  return [{ name: `${name}: text`, bytes: Buffer.from(text) }];
}

/** 96 bytes of key material: MAC key, encryption key and IV key, raw and as the primitives expand them. */
export function formsOfKey(name, material) {
  const part = (index) => material.subarray(index * 32, index * 32 + 32);
  return [
    { name: `${name}: raw`, bytes: Buffer.from(material) },
    ...formsOfHmacKey(`${name}: MAC key`, part(0)),
    ...formsOfAesKey(`${name}: encryption key`, part(1)),
    ...formsOfHmacKey(`${name}: IV key`, part(2)),
  ];
}

// RFC 2104: the key with every byte XOR 0x36 or 0x5c, and the hash states after those blocks.
function formsOfHmacKey(name, key) {
  return [
    ['inner', 0x36],
    ['outer', 0x5c],
  ].flatMap(([pad, byte]) => {
    const block = new Uint8Array(128).fill(byte);
    key.forEach((value, at) => {
      block[at] = value ^ byte;
    });
    return [
      { name: `${name}, ${pad} pad`, bytes: Buffer.from(block.subarray(0, 32)) },
      { name: `${name}, ${pad} state`, bytes: Buffer.from(stateAfter(block)) },
    ];
  });
}

// The bit-sliced software AES keeps bit p of every byte of a round key in word p; the first round key is the first half of
// the key itself. One bit a byte in 16-bit words where the schedule is stored, four copies of it in 64-bit words (two in
// 32-bit words) while several blocks are transformed together.
function formsOfAesKey(name, key) {
  return [1, 2, 4].map((copies) => {
    const words = Array.from({ length: 8 }, () => 0n);
    for (let row = 0; row < 4; row += 1) {
      for (let column = 0; column < 4; column += 1) {
        for (let bit = 0; bit < 8; bit += 1) {
          if (((key[column * 4 + row] >> bit) & 1) === 0) continue;
          for (let copy = 0; copy < copies; copy += 1) words[bit] |= 1n << BigInt((row * 4 + column) * copies + copy);
        }
      }
    }
    const width = copies * 2;
    const bytes = Buffer.alloc(8 * width);
    words.forEach((word, at) => {
      for (let byte = 0; byte < width; byte += 1) bytes[at * width + byte] = Number((word >> BigInt(byte * 8)) & 0xffn);
    });
    return { name: `${name}, first round key in ${width * 8}-bit words`, bytes };
  });
}
