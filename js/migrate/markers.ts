/**
 * The resume state of `reencrypt`, kept where a key vault has room for it: in alternate names. Key documents are a
 * closed format, libmongocrypt refuses any further field.
 *
 * A new key carries `csfle-migrate:<id of the key it replaces>`, and for each name that will move to it
 * `csfle-migrate:name:<name>`. The second kind goes when the name has moved, the first kind when the old key is removed.
 */

const PREFIX = 'csfle-migrate:';
const NAME_PREFIX = `${PREFIX}name:`;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The name that says which key a new key replaces. */
export function keyMarker(oldKeyId: string): string {
  return `${PREFIX}${oldKeyId}`;
}

/** The key that a name of this kind speaks of. */
export function replacedKeyId(name: string): string | undefined {
  const rest = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : '';
  return UUID.test(rest) ? rest : undefined;
}

/** The name that reserves another name for a new key. */
export function nameMarker(name: string): string {
  return `${NAME_PREFIX}${name}`;
}

/** The name that is reserved by a name of this kind. */
export function reservedName(marker: string): string | undefined {
  return marker.startsWith(NAME_PREFIX) ? marker.slice(NAME_PREFIX.length) : undefined;
}

/** Whether a name is a user's own. */
export function isOwnName(name: string): boolean {
  return reservedName(name) === undefined && replacedKeyId(name) === undefined;
}
