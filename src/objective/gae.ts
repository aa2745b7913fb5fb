// What PPO's critic is for: rewards of tokens, generalised advantages and returns of a completion, and whitening over a rollout. Pure
// functions in float64; a mask of 1 is a token that the policy chose, and those of mask 0 are passed over as if they were not there.
import type { LossSettings } from "../config/fragments.js";
import { checkNotNegative, refuse } from "./groups.js";
import { type KlBounds, klEstimate, sameLength } from "./kl.js";

export interface GaeRule {
  /** Discount of the next token, in 0 .. 1. */
  readonly gamma: number;
  /** 1: the whole return, 0: one step and the critic's word for the rest. In 0 .. 1. */
  readonly lambda: number;
}

export interface Advantages {
  /** 0 where the mask is. */
  readonly advantages: Float64Array; // [C]
  /** advantages + values, what the critic is trained on; 0 where the mask is. */
  readonly returns: Float64Array; // [C]
}

/**
 * Generalised advantage estimation: sums over the tokens from t on of (gamma lambda)^k delta, delta_t = reward_t + gamma value_(t+1) -
 * value_t, where value_t is that of the state that token t was chosen in and nothing follows the last token. Schulman et al. 2016, eq. 16.
 * @throws InputError BAD_ARGUMENT when lengths disagree or gamma or lambda is out of range
 */
export function generalizedAdvantages(
  rewards: ArrayLike<number>, // [C]
  values: ArrayLike<number>, // [C]
  mask: ArrayLike<number>, // [C]
  { gamma, lambda }: GaeRule,
): Advantages {
  sameLength("generalizedAdvantages values", values, rewards);
  sameLength("generalizedAdvantages mask", mask, rewards);
  checkShare("generalizedAdvantages gamma", gamma);
  checkShare("generalizedAdvantages lambda", lambda);
  const advantages = new Float64Array(rewards.length);
  const returns = new Float64Array(rewards.length);
  let [next, sum] = [0, 0]; // value and advantage of the token behind
  for (let t = rewards.length - 1; t >= 0; t--) {
    if (mask[t] === 0) continue;
    sum = rewards[t]! + gamma * next - values[t]! + gamma * lambda * sum;
    next = values[t]!;
    advantages[t] = sum;
    returns[t] = sum + next;
  }
  return { advantages, returns };
}

/** A KL to the reference that each token pays for. */
export interface TokenKl {
  readonly logprobs: ArrayLike<number>; // [C] of the policy when the tokens were sampled
  readonly reference: ArrayLike<number>; // [C]
  readonly estimator: LossSettings["klEstimator"];
  readonly coefficient: number;
  readonly bounds?: KlBounds;
}

/**
 * Rewards of tokens: the completion's score on its last one, and from each minus the coefficient times an estimate of the KL to the
 * reference (Ouyang et al. 2022, eq. 2; k1 is usual). All 0 for a completion without a token of mask 1.
 */
export function tokenRewards(score: number, mask: ArrayLike<number>, kl: TokenKl | null = null): Float64Array {
  const rewards = new Float64Array(mask.length);
  if (kl) {
    sameLength("tokenRewards logprobs", kl.logprobs, mask);
    sameLength("tokenRewards reference", kl.reference, mask);
    checkNotNegative("tokenRewards coefficient", kl.coefficient, "0 is no penalty");
  }
  let isLast = true;
  for (let t = mask.length - 1; t >= 0; t--) {
    if (mask[t] === 0) continue;
    const penalty = kl ? kl.coefficient * klEstimate(kl.reference[t]! - kl.logprobs[t]!, kl.estimator, kl.bounds) : 0;
    rewards[t] = (isLast ? score : 0) - penalty;
    isLast = false;
  }
  return rewards;
}

/** Added to the variance that whitening divides by, as in TRL and verl. */
const VARIANCE_EPS = 1e-8;

/**
 * Values with mean 0 and variance 1 over the tokens of mask 1 of all completions; without `shiftMean` the mean stays what it was. The
 * variance is the unbiased one. 0 where the mask is 0. A single token has no spread: it becomes 0, or stays.
 */
export function whiten(
  values: readonly ArrayLike<number>[], // [S][C]
  masks: readonly ArrayLike<number>[], // [S][C]
  shiftMean = true,
): Float64Array[] {
  sameLength("whiten masks", masks, values);
  values.forEach((each, s) => {
    sameLength(`whiten masks ${s}`, masks[s]!, each);
  });
  const used = values.flatMap((each, s) => Array.from(each).filter((_, t) => masks[s]![t] !== 0));
  const mean = used.reduce((sum, value) => sum + value, 0) / used.length;
  const squares = used.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const variance = used.length > 1 ? squares / (used.length - 1) : 0;
  const scale = 1 / Math.sqrt(variance + VARIANCE_EPS);
  const whole = (value: number) => (value - mean) * scale + (shiftMean ? 0 : mean);
  return values.map((each, s) => Float64Array.from(each, (value, t) => (masks[s]![t] === 0 ? 0 : whole(value))));
}

function checkShare(where: string, value: number): void {
  if (!(value >= 0 && value <= 1)) refuse(where, "a number in 0 .. 1", value, "1 neither discounts nor cuts short");
}
