// Intervals by resampling: no assumption about how figures are distributed, and the same interval for the same stream of random numbers.
// Efron, "Bootstrap methods: another look at the jackknife", 1979; percentile intervals. They are too narrow for a handful of values.
import { InputError } from "../errors.js";
import type { Difference } from "./intervals.js";

/** An integer in [0, below), at random. */
export type Draw = (below: number) => number;

export interface BootstrapOptions {
  readonly draw: Draw;
  /** Default 4,000. */
  readonly resamples?: number;
}

/** A mean with its 95% interval; plain JSON. */
export interface Estimate {
  readonly n: number;
  readonly mean: number;
  readonly interval: readonly [low: number, high: number];
}

const RESAMPLES = 4000;
const LOW = 0.025;
const HIGH = 0.975;

/** The mean of values [n], n > 1. */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions): Estimate {
  const all = requireTwo("bootstrapMean", values);
  return { n: all.length, mean: meanOf(all), interval: interval(options, (draw) => resampledMean(all, draw)) };
}

/** mean(after - before) of two lists [n] of scores on the same problems, n > 1: problems are drawn, each with both of its scores. */
export function pairedBootstrap(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  options: BootstrapOptions,
): Difference {
  if (before.length !== after.length) {
    const message = `[pairedBootstrap] expected two lists of the same length, got ${before.length} and ${after.length}`;
    throw new InputError("PAIRS", `${message}; give one score of each for a problem`);
  }
  return bootstrapMean(
    Float64Array.from(after, (score, i) => score - before[i]!),
    options,
  );
}

/** mean(after) - mean(before) of two lists [n] and [m] of scores on different problems, n and m > 1; `n` is the smaller one. */
export function unpairedBootstrap(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  options: BootstrapOptions,
): Difference {
  const [a, b] = [requireTwo("unpairedBootstrap", before), requireTwo("unpairedBootstrap", after)];
  const difference = (draw: Draw) => {
    const less = resampledMean(a, draw);
    return resampledMean(b, draw) - less;
  };
  return {
    n: Math.min(a.length, b.length),
    mean: meanOf(b) - meanOf(a),
    interval: interval(options, difference),
  };
}

/** The value below which a share of sorted values [n] lies, between neighbours in proportion (numpy's default, type 7). */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below]!;
  return low + (place - below) * ((sorted[below + 1] ?? low) - low);
}

function interval({ draw, resamples = RESAMPLES }: BootstrapOptions, figure: (draw: Draw) => number): [number, number] {
  const figures = Float64Array.from({ length: resamples }, () => figure(draw)).sort();
  return [quantile(figures, LOW), quantile(figures, HIGH)];
}

function resampledMean(values: Float64Array, draw: Draw): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[draw(values.length)]!;
  return sum / values.length;
}

const meanOf = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function requireTwo(where: string, list: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(list);
  if (values.length > 1 && values.every(Number.isFinite)) return values;
  const got = values.length > 1 ? "others among them" : String(values.length);
  const message = `[${where}] expected at least 2 finite values, got ${got}`;
  throw new InputError("BOOTSTRAP", `${message}; leave such a figure without interval`);
}
