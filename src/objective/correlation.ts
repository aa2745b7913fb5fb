// How two figures of the same samples go together. Pure, in float64. Leaves out whether one is the cause of the other.
import { InputError } from "../errors.js";

/** Pearson's r of two lists [n]; NaN where one has no spread or n < 2. */
export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number {
  requirePairs("pearson", a, b);
  const [x, y] = [centred(a), centred(b)];
  const dot = (u: Float64Array, v: Float64Array) => u.reduce((sum, value, i) => sum + value * v[i]!, 0);
  const scale = Math.sqrt(dot(x, x)) * Math.sqrt(dot(y, y));
  return scale > 0 ? Math.max(-1, Math.min(1, dot(x, y) / scale)) : Number.NaN;
}

/** Spearman's rank correlation of two lists [n]: Pearson's r of their ranks, ties sharing the mean of theirs. NaN as `pearson`. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  requirePairs("spearman", a, b);
  return pearson(ranks(a), ranks(b));
}

/**
 * Spearman's correlation within groups: both figures less their group's mean, which takes the problems' own levels out of it, as group
 * advantages do. Where every group is a single sample there is nothing to take out, and the figures are compared as they are.
 * @param cuGroups [G + 1]: group g is cuGroups[g] .. cuGroups[g + 1] - 1 of the lists [n]
 */
export function spearmanWithin(a: ArrayLike<number>, b: ArrayLike<number>, cuGroups: ArrayLike<number>): number {
  const single = cuGroups.length - 1 === a.length;
  if (single) return spearman(a, b);
  return spearman(lessGroupMean(a, cuGroups), lessGroupMean(b, cuGroups));
}

/** Ranks [n] from 1; equal values have the mean of the ranks that they take up. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((i, j) => values[i]! - values[j]!);
  const ranked = new Float64Array(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let at = from; at < to; at++) ranked[order[at]!] = (from + to + 1) / 2;
  }
  return ranked;
}

function centred(values: ArrayLike<number>): Float64Array {
  const all = Float64Array.from(values);
  const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
  return all.map((value) => value - mean);
}

function lessGroupMean(values: ArrayLike<number>, cuGroups: ArrayLike<number>): Float64Array {
  const less = Float64Array.from(values);
  for (let g = 0; g + 1 < cuGroups.length; g++) {
    const group = less.subarray(cuGroups[g]!, cuGroups[g + 1]!);
    group.set(group.every((value) => value === group[0]) ? new Float64Array(group.length) : centred(group)); // no rounding noise to rank
  }
  return less;
}

function requirePairs(where: string, a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length === b.length) return;
  const message = `[${where}] expected two lists of the same length, got ${a.length} and ${b.length}`;
  throw new InputError("PAIRS", `${message}; give one value of each for a sample`);
}
