// Group advantages: what a sample's reward is above the mean of its group. Shao et al., "DeepSeekMath", 2024, eq. 3, with the standard
// deviation; Liu et al., "Understanding R1-Zero-like training", 2025, without. The native kernel of the same maths is exported apart.

export interface AdvantageRule {
  /** Divide by the group's standard deviation (unbiased, n - 1). */
  readonly scaleByStd: boolean;
  /** Added to the standard deviation. */
  readonly eps: number;
}

/** Whether a group's rewards differ at all; without spread every advantage is 0 and the group teaches nothing. */
export function hasSpread(rewards: ArrayLike<number>): boolean {
  for (let i = 1; i < rewards.length; i++) if (rewards[i] !== rewards[0]) return true;
  return false;
}

/** Advantages [S] of one group's rewards [S]; zeros without spread, so also for a single sample. */
export function groupAdvantages(rewards: ArrayLike<number>, rule: AdvantageRule): Float64Array {
  const values = Float64Array.from(rewards);
  if (!hasSpread(values)) return values.fill(0);
  const mean = values.reduce((sum, reward) => sum + reward, 0) / values.length;
  const centred = values.map((reward) => reward - mean);
  if (!rule.scaleByStd) return centred;
  const variance = centred.reduce((sum, deviation) => sum + deviation * deviation, 0) / (values.length - 1);
  const scale = Math.sqrt(variance) + rule.eps;
  return centred.map((deviation) => deviation / scale);
}
