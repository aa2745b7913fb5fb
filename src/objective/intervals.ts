// How sure a figure is: the share of successes with its interval, and the difference between two arms that answered the same problems,
// whose pairs take the problems' difficulty out of it.
import { InputError } from "../errors.js";

const z95 = 1.959963984540054; // the 97.5% point of the normal distribution

/** A count of successes with the 95% interval of their share; plain JSON. */
export interface Share {
  readonly n: number;
  readonly correct: number;
  /** correct / n. */
  readonly rate: number;
  readonly interval: readonly [low: number, high: number];
}

/** Share of `correct` in `n` > 0 trials. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. */
export function wilson(correct: number, n: number): Share {
  const rate = correct / n;
  const shrink = 1 + (z95 * z95) / n;
  const center = (rate + (z95 * z95) / (2 * n)) / shrink;
  const half = (z95 / shrink) * Math.sqrt((rate * (1 - rate)) / n + (z95 * z95) / (4 * n * n));
  return { n, correct, rate, interval: [Math.max(0, center - half), Math.min(1, center + half)] };
}

/** How often the second of two came out ahead; plain JSON. */
export interface WinShare {
  readonly n: number;
  /** Pairs in which it is ahead, in which neither is, in which it is behind. */
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  /** Mean score, a tie being half a win; null for no pairs. */
  readonly rate: number | null;
  /** 95%; null for no pairs. */
  readonly interval: readonly [low: number, high: number] | null;
}

/**
 * Share of wins from scores [n] of pairs: 1 the second is ahead, 0 the first is, 0.5 a tie. The interval is that of a difference of matched
 * proportions, so that ties narrow it: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005, half
 * a pair added to each of their four cells.
 */
export function winShare(scores: readonly number[]): WinShare {
  const n = scores.length;
  const wins = scores.filter((score) => score > 0.5).length;
  const losses = scores.filter((score) => score < 0.5).length;
  const counts = { n, wins, ties: n - wins - losses, losses };
  if (n === 0) return { ...counts, rate: null, interval: null };
  const leads = scores.map((score) => 2 * score - 1); // in [-1, 1]
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  const many = n + 2;
  const mean = total(leads) / many;
  const variance = (total(leads.map((lead) => lead * lead)) + 1) / many - mean * mean;
  const half = z95 * Math.sqrt(variance / many);
  const bound = (lead: number) => Math.min(1, Math.max(0, (1 + lead) / 2));
  return { ...counts, rate: total([...scores]) / n, interval: [bound(mean - half), bound(mean + half)] };
}

/** "73.8 [71.0, 76.4]": percent with its interval. */
export function showShare(share: Share): string {
  const percent = (x: number) => (100 * x).toFixed(1);
  return `${percent(share.rate)} [${percent(share.interval[0])}, ${percent(share.interval[1])}]`;
}

/** A mean with its 95% interval; plain JSON. */
export interface Mean {
  readonly n: number;
  readonly mean: number;
  readonly interval: readonly [low: number, high: number];
}

/** Mean of values [n], n > 1. Normal approximation: meant for hundreds of them. */
export function meanOf(values: ArrayLike<number>): Mean {
  const all = Float64Array.from(values);
  const n = all.length;
  if (n < 2) throw new InputError("PAIRS", `[meanOf] expected at least 2 values, got ${n}; take more`);
  const mean = all.reduce((sum, value) => sum + value, 0) / n;
  const variance = all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = z95 * Math.sqrt(variance / n);
  return { n, mean, interval: [mean - half, mean + half] };
}

/** mean(after - before) with its 95% interval. */
export type Difference = Mean;

/** Scores [n] of two arms on the same problems, n > 1. Normal approximation: meant for hundreds of problems. */
export function pairedDifference(before: ArrayLike<number>, after: ArrayLike<number>): Difference {
  const n = before.length;
  if (n !== after.length || n < 2) {
    throw new InputError(
      "PAIRS",
      `[pairedDifference] expected two lists of the same length, at least 2, got ${n} and ${after.length}`,
    );
  }
  return meanOf(Float64Array.from(after, (score, i) => score - before[i]!));
}
