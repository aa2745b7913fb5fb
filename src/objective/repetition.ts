// How much of a text is said again: n-grams that came before. Pure, on token ids. Li et al., "A diversity-promoting objective function for
// neural conversation models", 2016 (distinct-n).

/**
 * 1 - distinct-n: the share of a text's n-grams that are repetitions of an earlier one; NaN for a text of fewer than n tokens.
 * @param ids [T] int32
 */
export function repeatedShare(ids: ArrayLike<number>, n: number): number {
  const count = ids.length - n + 1;
  if (count < 1) return Number.NaN;
  const tokens = Int32Array.from(ids);
  let grams = numberedPairs(tokens, new Int32Array(tokens.length)); // numbers of the k-grams that begin at each place
  for (let k = 2; k <= n; k++) grams = numberedPairs(grams.subarray(0, tokens.length - k + 1), tokens.subarray(k - 1));
  return 1 - (grams.reduce((most, number) => Math.max(most, number), -1) + 1) / count;
}

const EMPTY = -1;
const MIX_LEFT = 0x9e3779b1; // odd numbers whose products spread neighbours over all bits
const MIX_RIGHT = 0x85ebca6b;

/** Pairs (left[i], right[i]) as numbers from 0, equal ones alike, in the order of their first appearance: a table with open addressing. */
function numberedPairs(left: Int32Array, right: Int32Array): Int32Array {
  const n = Math.min(left.length, right.length);
  const mask = 2 ** Math.ceil(Math.log2(2 * n + 1)) - 1;
  const firsts = new Int32Array(mask + 1).fill(EMPTY); // place of the first pair of each kind
  const numbers = new Int32Array(n);
  let kinds = 0;
  for (let i = 0; i < n; i++) {
    const mixed = Math.imul(left[i]!, MIX_LEFT) ^ Math.imul(right[i]!, MIX_RIGHT);
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    for (; firsts[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const first = firsts[slot]!;
      if (left[first] === left[i] && right[first] === right[i]) break;
    }
    if (firsts[slot] === EMPTY) {
      firsts[slot] = i;
      numbers[i] = kinds++;
    } else {
      numbers[i] = numbers[firsts[slot]!]!;
    }
  }
  return numbers;
}
