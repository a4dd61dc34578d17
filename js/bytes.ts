/** Bytes: kinds, texts and wiping. Nothing here knows of BSON or of keys. */

// The kind of a typed array as the engine knows it, whatever a subclass calls itself (ECMA-262, %TypedArray%.prototype).
const kindOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)?.get;

/** Says whether `value` is a `Uint8Array` (a `Buffer` too), also one of another realm such as a shell's context. */
export function isBytes(value: unknown): value is Uint8Array {
  return kindOf?.call(value) === 'Uint8Array';
}

/**
 * Overwrites bytes with zeros; absent ones are fine, so that a `finally` needs no test. So are those that were handed
 * over to another thread: they have no length any more, and refuse to be filled.
 */
export function wipe(...buffers: readonly (Uint8Array | undefined)[]): void {
  for (const buffer of buffers) if (buffer !== undefined && buffer.length > 0) buffer.fill(0);
}

/** Compares two byte strings; not in constant time, so for public bytes only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** Lays byte strings end to end in a new array. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Lower-case hexadecimal text of bytes. */
export function hexText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The usual text of a UUID, such as `0f14d0ab-9605-4a62-a9e4-5ed26688389b`, from its 16 bytes. */
export function uuidText(bytes: Uint8Array): string {
  return hexText(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/;

/** Decodes base64 into a new array of its own; `undefined` when the text is none. Line ends and spaces around are fine. */
export function decodeBase64(text: string): Uint8Array | undefined {
  const packed = text.replace(/[\r\n\t ]+/g, '');
  if (!BASE64.test(packed)) return undefined;
  const latin1 = atob(packed);
  const bytes = new Uint8Array(latin1.length);
  for (let index = 0; index < latin1.length; index += 1) bytes[index] = latin1.charCodeAt(index);
  return bytes;
}
