/** Whether a local master key is the one that the keys of its provider are under, for the command and the shell. */

/** What a master key opens: a key of the vault, retired ones only, or none. `unknown`: none that could be tried. */
export type Opens = 'key' | 'retired-key' | 'none' | 'unknown';

/**
 * Tries key documents until one opens. A second master key makes keys that the first does not open, and nothing says so before
 * the first is the only one at hand. `tryOne` gives the code of the failure, or undefined.
 */
export async function whatOpens<Key>(
  keys: readonly Key[],
  retired: readonly Key[],
  tryOne: (key: Key) => Promise<string | undefined>,
): Promise<Opens> {
  let isForeign = false;
  for (const key of keys) {
    const code = await tryOne(key);
    if (code === undefined) return 'key';
    // Other failures say nothing about the master key: the document is malformed, or the provider is not trusted.
    isForeign ||= code === 'CRYPTO_AUTHENTICATION_FAILED';
  }
  if (!isForeign) return 'unknown';
  for (const key of retired) if ((await tryOne(key)) === undefined) return 'retired-key';
  return 'none';
}
