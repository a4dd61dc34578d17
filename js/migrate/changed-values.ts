/** What differs between a document as it was read and as it is to be: the places that a change writes. */

import { type BsonElement, buildDocument, elementsOf, isContainer, sameValue } from './exact-bson.js';

/**
 * The values that differ, each as a field of its own: what they mean must not differ.
 * Shape: both documents have the same fields in the same order, as the core's rewritten documents have.
 */
export function changedValues(before: Uint8Array, after: Uint8Array): { readonly old: Uint8Array; readonly new: Uint8Array } {
  const old: BsonElement[] = [];
  const changed: BsonElement[] = [];
  for (const [was, is] of changedPairs(before, after)) {
    const name = String(old.length);
    old.push({ ...was, name });
    changed.push({ ...is, name });
  }
  return { old: buildDocument(old), new: buildDocument(changed) };
}

/** Whether a document holds every value of `after` that differs from `before`, at its place. What else it holds is no matter. */
export function holdsChanges(stored: Uint8Array, before: Uint8Array, after: Uint8Array): boolean {
  const fields = new Map<string, BsonElement>();
  for (const element of elementsOf(stored)) if (!fields.has(element.name)) fields.set(element.name, element);
  for (const [was, is] of differing(before, after)) {
    const found = fields.get(is.name);
    if (found === undefined || found.type !== is.type) return false;
    const holds = areEntered(was, is) ? holdsChanges(found.value, was.value, is.value) : sameValue(found, is);
    if (!holds) return false;
  }
  return true;
}

function* changedPairs(before: Uint8Array, after: Uint8Array): Generator<readonly [BsonElement, BsonElement]> {
  for (const [was, is] of differing(before, after)) {
    if (areEntered(was, is)) yield* changedPairs(was.value, is.value);
    else yield [was, is];
  }
}

/** The pairs of elements of one level that are not the same. */
function* differing(before: Uint8Array, after: Uint8Array): Generator<readonly [BsonElement, BsonElement]> {
  const others = elementsOf(after);
  for (const was of elementsOf(before)) {
    const is = others.next().value as BsonElement;
    if (!sameValue(was, is)) yield [was, is];
  }
}

// A value that becomes a document was a binary before: two documents, or two arrays, are the way to what changed.
function areEntered(was: BsonElement, is: BsonElement): boolean {
  return was.type === is.type && isContainer(is);
}
