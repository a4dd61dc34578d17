/** The known name that a misspelt one was most likely meant to be, as part of a message; empty when none is near. */
export function suggestion(name: string, known: readonly string[]): string {
  const [best] = known
    .map((one) => ({ one, distance: distanceOf(name.toLowerCase(), one.toLowerCase()) }))
    .filter(({ one, distance }) => distance <= Math.max(1, Math.floor(Math.min(one.length, name.length) / 3)))
    .sort((a, b) => a.distance - b.distance);
  return best === undefined ? '' : `; did you mean \`${best.one}\`?`;
}

/** How many letters have to be inserted, removed, replaced or swapped with their neighbour. */
function distanceOf(a: string, b: string): number {
  const rows: number[][] = Array.from({ length: a.length + 1 }, (_, i) => [i]);
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let j = 0; j <= b.length; j += 1) (rows[0] as number[])[j] = j;
  for (let i = 1; i <= a.length; i += 1)
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const simple = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + cost);
      (rows[i] as number[])[j] = isSwap ? Math.min(simple, at(i - 2, j - 2) + 1) : simple;
    }
  return at(a.length, b.length);
}
