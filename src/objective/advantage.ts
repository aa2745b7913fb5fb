// Group advantages: what a sample's reward is above the mean of its group. Shao et al., "DeepSeekMath", 2024, eq. 3, with the standard
// deviation; Liu et al., "Understanding R1-Zero-like training", 2025, without. The native kernel of the same maths is exported apart;
// other estimators are in estimators.ts.
import { InputError } from "../errors.js";

export interface AdvantageRule {
  /** Divide by the group's standard deviation (unbiased, n - 1). */
  readonly scaleByStd: boolean;
  /** Added to the standard deviation. */
  readonly eps: number;
}

/**
 * Whether rewards differ by more than `tolerance`; NaN, a sample left out, takes no part. Without spread every advantage of a group is 0
 * and the group teaches nothing, so also a group of one.
 */
export function hasSpread(rewards: ArrayLike<number>, tolerance = 0): boolean {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < rewards.length; i++) {
    const reward = rewards[i]!;
    if (reward < low) low = reward;
    if (reward > high) high = reward;
  }
  return high - low > tolerance;
}

const EPS = 1e-6;

/**
 * Advantages [S] of one group's rewards [S]; zeros without spread, so also for a single sample. Default: over the deviation, eps 1e-6.
 * Throws InputError BAD_ARGUMENT for an eps that is no number >= 0.
 */
export function groupAdvantages(rewards: ArrayLike<number>, rule: Partial<AdvantageRule> = {}): Float64Array {
  const { scaleByStd = true, eps = EPS } = rule;
  if (!(Number.isFinite(eps) && eps >= 0))
    throw new InputError(
      "BAD_ARGUMENT",
      `[groupAdvantages eps] expected a finite number >= 0, got ${eps}; 1e-6 is usual`,
    );
  const values = Float64Array.from(rewards);
  if (!hasSpread(values)) return values.fill(0);
  const mean = values.reduce((sum, reward) => sum + reward, 0) / values.length;
  const centred = values.map((reward) => reward - mean);
  return scaleByStd ? overDeviation(centred, eps) : centred;
}

/**
 * Values [n] whose mean is 0 over their standard deviation (unbiased) plus eps; NaN stays NaN and is not counted. Zeros where that sum is
 * 0: no value differs from 0, or their squares underflow.
 */
export function overDeviation(centred: Float64Array, eps: number): Float64Array {
  const count = centred.reduce((n, value) => (Number.isNaN(value) ? n : n + 1), 0);
  const squares = centred.reduce((sum, value) => (Number.isNaN(value) ? sum : sum + value * value), 0);
  const scale = Math.sqrt(squares / Math.max(1, count - 1)) + eps;
  if (scale === 0) return centred.map((value) => (Number.isNaN(value) ? value : 0));
  return centred.map((value) => value / scale);
}
