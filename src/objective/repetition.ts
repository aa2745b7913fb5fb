// How much of a text is said again: n-grams that came before. Pure, on token ids. Li et al., "A diversity-promoting objective function for
// neural conversation models", 2016 (distinct-n).

/**
 * 1 - distinct-n: the share of a text's n-grams that are repetitions of an earlier one; NaN for a text of fewer than n tokens.
 * @param ids [T]
 */
export function repeatedShare(ids: ArrayLike<number>, n: number): number {
  const count = ids.length - n + 1;
  if (count < 1) return Number.NaN;
  const tokens = numbered(ids);
  let grams = tokens; // [T - k + 1] numbers of the k-grams that begin at each place
  for (let k = 2; k <= n; k++) {
    const longer = new Float64Array(ids.length - k + 1);
    for (let i = 0; i < longer.length; i++) longer[i] = grams[i]! * ids.length + tokens[i + k - 1]!; // both < T, so exact to T = 9e7
    grams = numbered(longer);
  }
  return 1 - distinct(grams) / count;
}

/** How many numbers there are of values numbered from 0. */
const distinct = (numbers: Float64Array): number => numbers.reduce((most, number) => Math.max(most, number), -1) + 1;

/** Values [n] as numbers from 0, equal ones alike, in the order of their first appearance. */
function numbered(values: ArrayLike<number>): Float64Array {
  const numbers = new Map<number, number>();
  return Float64Array.from(values, (value) => {
    const known = numbers.get(value) ?? numbers.size;
    numbers.set(value, known);
    return known;
  });
}
