// How sure a difference between two arms is when both answered the same problems: pairs take the problems' difficulty out of it.
import { InputError } from "../errors.js";

/** mean(after - before) with its 95% interval; plain JSON. */
export interface Difference {
  readonly n: number;
  readonly mean: number;
  readonly interval: readonly [low: number, high: number];
}

const Z_95 = 1.959963984540054; // the 97.5% point of the normal distribution

/** Scores [n] of two arms on the same problems, n > 1. Normal approximation: meant for hundreds of problems. */
export function pairedDifference(before: ArrayLike<number>, after: ArrayLike<number>): Difference {
  const n = before.length;
  if (n !== after.length || n < 2) {
    throw new InputError(
      "PAIRS",
      `[pairedDifference] expected two lists of the same length, at least 2, got ${n} and ${after.length}`,
    );
  }
  const differences = Float64Array.from(after, (score, i) => score - before[i]!);
  const mean = differences.reduce((sum, difference) => sum + difference, 0) / n;
  const variance = differences.reduce((sum, difference) => sum + (difference - mean) ** 2, 0) / (n - 1);
  const half = Z_95 * Math.sqrt(variance / n);
  return { n, mean, interval: [mean - half, mean + half] };
}
