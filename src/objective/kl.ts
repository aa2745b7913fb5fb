// The KL to the reference as a part of the reward, and the weights that make up for a filtered sampler. Pure functions of log-probs of one
// completion [C].
import type { LossSettings } from "../config/fragments.js";
import { refuse } from "./groups.js";

type KlEstimator = LossSettings["klEstimator"];

/** Bounds of d and of a token's estimate, each to either side; absent or 0 is off. As verl bounds k3: 20 and 10. */
export interface KlBounds {
  readonly maxLogRatio?: number;
  readonly max?: number;
}

/**
 * Sum over the tokens with a mask of an estimate of KL(policy || reference), d = ref - logp: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1
 * (Schulman 2020). Subtracted from a sample's reward, times a coefficient, before advantages are computed: k1 is what TRL's RLOO does and
 * verl's `use_kl_in_reward` for estimators that see a sample's reward as a whole (Ahmadian et al. 2024, eq. 1). verl's REINFORCE++ gives
 * each token the penalties from it on instead.
 */
export function sequenceKl(
  logprobs: ArrayLike<number>, // [C]
  reference: ArrayLike<number>, // [C]
  mask: ArrayLike<number>, // [C]
  estimator: KlEstimator,
  bounds: KlBounds = {},
): number {
  sameLength("sequenceKl reference", reference, logprobs);
  sameLength("sequenceKl mask", mask, logprobs);
  let sum = 0;
  for (let t = 0; t < mask.length; t++) {
    if (mask[t] !== 0) sum += klEstimate(reference[t]! - logprobs[t]!, estimator, bounds);
  }
  return sum;
}

/** An estimate of KL(policy || reference) from one token, d = ref - logp. */
export function klEstimate(d: number, estimator: KlEstimator, { maxLogRatio = 0, max = 0 }: KlBounds = {}): number {
  return within(estimate(within(d, maxLogRatio), estimator), max);
}

function estimate(d: number, estimator: KlEstimator): number {
  if (estimator === "k1") return -d;
  return estimator === "k2" ? (d * d) / 2 : Math.expm1(d) - d;
}

const within = (value: number, bound: number): number => (bound > 0 ? Math.min(Math.max(value, -bound), bound) : value);

export const klBounds = ({ klMaxLogRatio, klMax }: LossSettings): KlBounds => ({
  maxLogRatio: klMaxLogRatio,
  max: klMax,
});

/**
 * min(policy / sampler, cap) of each token: the truncated importance weight of samples that came from another distribution than the policy
 * that the ratio is to. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training", 2025 (TIS).
 */
export function truncatedImportance(
  logprobs: ArrayLike<number>, // [C] of the policy when the tokens were sampled
  samplerLogprobs: ArrayLike<number>, // [C]
  cap: number,
): Float32Array {
  sameLength("truncatedImportance samplerLogprobs", samplerLogprobs, logprobs);
  if (!(cap > 0)) refuse("truncatedImportance cap", "a number > 0", cap, "2 is usual");
  return Float32Array.from(logprobs, (value, t) => Math.min(Math.exp(value - samplerLogprobs[t]!), cap));
}

export function sameLength(where: string, array: ArrayLike<unknown>, of: ArrayLike<unknown>): void {
  if (array.length !== of.length) refuse(where, `${of.length} numbers`, array.length, "give one for each token");
}
