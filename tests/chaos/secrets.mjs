// Documents in two forms at once: as they are stored, with encrypted values, and as what an honest reader must get.

/** A value that is stored encrypted under the key of this name. `value` may hold further secrets. */
export class Secret {
  constructor(value, key, algorithm = 'Random') {
    Object.assign(this, { value, key, algorithm });
  }
}

const isPlainObject = (value) => typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** What a reader must get: the secrets' own values. */
export function plainOf(template) {
  if (template instanceof Secret) return plainOf(template.value);
  if (Array.isArray(template)) return template.map(plainOf);
  if (!isPlainObject(template)) return template;
  return Object.fromEntries(Object.entries(template).map(([name, value]) => [name, plainOf(value)]));
}

/** What is stored. `encrypt(value, key, algorithm)` is the honest encryption of the world. */
export async function storedOf(template, encrypt) {
  if (template instanceof Secret) return encrypt(await storedOf(template.value, encrypt), template.key, template.algorithm);
  if (Array.isArray(template)) return Promise.all(template.map((value) => storedOf(value, encrypt)));
  if (!isPlainObject(template)) return template;
  return Object.fromEntries(await Promise.all(Object.entries(template).map(async ([name, value]) => [name, await storedOf(value, encrypt)])));
}
