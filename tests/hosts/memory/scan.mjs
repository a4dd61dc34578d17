// Looks for any part of any secret in a whole memory, in one pass.

/** Sixteen bytes in a row are a find: far beyond chance, and short enough for a half-overwritten copy. */
const WINDOW = 16;

/**
 * Finds every run of 16 bytes of any form in `memory`.
 * Returns one entry per form that was found: where it begins, and how many places there are.
 */
export function scan(memory, forms) {
  const bytes = new Uint8Array(memory);
  const starts = new Uint8Array(1 << 24);
  const windows = new Map();
  for (const { name, bytes: secret } of forms) {
    for (let offset = 0; offset + WINDOW <= secret.length; offset += 1) {
      const window = secret.subarray(offset, offset + WINDOW);
      const start = window[0] | (window[1] << 8) | (window[2] << 16);
      starts[start] = 1;
      windows.set(start, [...(windows.get(start) ?? []), { name, window }]);
    }
  }
  const finds = new Map();
  for (let at = 0; at + WINDOW <= bytes.length; at += 1) {
    const start = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
    if (starts[start] === 0) continue;
    for (const { name, window } of windows.get(start)) {
      if (!liesAt(window, bytes, at)) continue;
      const find = finds.get(name) ?? { name, address: at, places: 0 };
      find.places += 1;
      finds.set(name, find);
    }
  }
  return [...finds.values()];
}

function liesAt(window, bytes, at) {
  for (let index = WINDOW - 1; index >= 0; index -= 1) if (bytes[at + index] !== window[index]) return false;
  return true;
}
