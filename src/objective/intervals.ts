// How sure a figure is: shares, means and differences between two arms with 95% intervals, the same ones wherever a run or a comparison
// shows them. Pairs of the same problems take the problems' difficulty out of a difference. Scores of right and wrong, 1 and 0, have the
// intervals of proportions, which keep a width where all answers are alike.
import { InputError } from "../errors.js";
import { student95 } from "./student.js";

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

/** Scores of 0 and 1 alone are right and wrong; of other figures, such as lengths and means of steps, 0 and 1 are numbers. */
export type Kind = "scores" | "figures";

/** Mean of finite values [n], n > 1: of right and wrong alone Wilson's interval, else Student's. Throws InputError PAIRS for other lists. */
export function meanOf(values: ArrayLike<number>, kind: Kind = "scores"): Mean {
  const all = requireTwo("meanOf", values);
  const { n, mean, variance } = moments(all);
  if (kind === "scores" && all.every(isBinary))
    return { n, mean, interval: wilson(all.filter((value) => value === 1).length, n).interval };
  return around(mean, variance / n, n, n - 1);
}

/** A mean of however many values there are: of fewer than two it has no interval, of none there is no mean. Plain JSON. */
export type Estimate = Mean | { readonly n: number; readonly mean: number | null; readonly interval: null };

export const estimate = (values: readonly number[], kind?: Kind): Estimate =>
  values.length > 1 ? meanOf(values, kind) : { n: values.length, mean: values[0] ?? null, interval: null };

/** A difference with its 95% interval. */
export type Difference = Mean;

/**
 * mean(after - before) of two arms' scores [n] on the same problems, n > 1: of right and wrong alone as matched proportions, see `winShare`,
 * else Student's.
 */
export function pairedDifference(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  kind: Kind = "scores",
): Difference {
  const n = before.length;
  if (n !== after.length || n < 2) {
    throw new InputError(
      "PAIRS",
      `[pairedDifference] expected two lists of the same length, at least 2, got ${n} and ${after.length}`,
    );
  }
  const leads = Array.from(after, (score, i) => score - before[i]!);
  const isGraded = kind === "scores" && [before, after].every((list) => Array.from(list).every(isBinary));
  if (!isGraded) {
    const { mean, variance } = moments(requireTwo("pairedDifference", leads));
    return around(mean, variance / n, n, n - 1);
  }
  const { mean } = moments(leads);
  const [low, high] = winShare(leads.map((lead) => (1 + lead) / 2)).interval!;
  return { n, mean, interval: [2 * low - 1, 2 * high - 1] };
}

/**
 * mean(after) - mean(before) of scores [n] and [m] on different problems, n and m > 1; `n` is the smaller one. Of right and wrong alone a
 * success and a failure are added to each: Agresti and Caffo, "Simple and effective confidence intervals for proportions and differences of
 * proportions", 2000. Else Welch's, "The generalization of Student's problem", 1947, with its degrees of freedom rounded down.
 */
export function unpairedDifference(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  kind: Kind = "scores",
): Difference {
  const lists = [before, after].map((list) => requireTwo("unpairedDifference", list));
  const [a, b] = lists.map(moments) as [Moments, Moments];
  const [mean, n] = [b.mean - a.mean, Math.min(a.n, b.n)];
  if (kind === "scores" && lists.every((list) => list.every(isBinary))) {
    const [p, q] = [a, b].map((one) => (one.mean * one.n + 1) / (one.n + 2)) as [number, number];
    const half = z95 * Math.sqrt((p * (1 - p)) / (a.n + 2) + (q * (1 - q)) / (b.n + 2));
    return { n, mean, interval: [Math.max(-1, q - p - half), Math.min(1, q - p + half)] };
  }
  const [u, v] = [a.variance / a.n, b.variance / b.n];
  const freedom = u + v === 0 ? n - 1 : (u + v) ** 2 / (u ** 2 / (a.n - 1) + v ** 2 / (b.n - 1));
  return around(mean, u + v, n, Math.floor(freedom + ROUNDING));
}

/** Of degrees of freedom: what arithmetic may take from a whole number. */
const ROUNDING = 1e-9;

interface Moments {
  readonly n: number;
  readonly mean: number;
  /** Unbiased. */
  readonly variance: number;
}

function moments(values: readonly number[]): Moments {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return { n, mean, variance };
}

function around(mean: number, variance: number, n: number, freedom: number): Mean {
  const half = student95(freedom) * Math.sqrt(variance);
  return { n, mean, interval: [mean - half, mean + half] };
}

const isBinary = (value: number): boolean => value === 0 || value === 1;

function requireTwo(where: string, list: ArrayLike<number>): readonly number[] {
  const values = Array.from(list);
  if (values.length > 1 && values.every(Number.isFinite)) return values;
  const got = values.length > 1 ? "others among them" : String(values.length);
  throw new InputError(
    "PAIRS",
    `[${where}] expected at least 2 finite values, got ${got}; take more, or leave others out`,
  );
}
