// The advantage estimators of group-based reinforcement learning, chosen by data. All in float64; each result is rounded once.
//
// Handled alike by all of them: a reward NaN is a sample left out, which takes no part in any mean or deviation and gets 0. A sample alone
// in its group has no baseline, so estimators with one give it 0; a group without spread gets exact zeros from them. Some libraries give
// a sample alone its raw reward instead. Where a deviation is taken over the batch, samples with advantage 0 count in it.
//
// Leaves out weighting by length: rewards are whitened over samples, each counted once, where libraries that whiten over tokens count a
// sample by its tokens. Leaves out the KL in the reward: subtract it from the rewards first. Dr. GRPO is "grpo" without the deviation
// and the aggregation "constant" of weights.ts.
import { type AdvantageRule, groupAdvantages, hasSpread, overDeviation } from "./advantage.js";
import { byGroup, checkGroups, checkNotNegative, refuse } from "./groups.js";

/** `eps` is added to standard deviations (unbiased, n - 1). */
export type AdvantageSpec =
  /** Above the group's mean, over its deviation if so wished. Shao et al. 2024, eq. 3; Liu et al. 2025 without the deviation. */
  | ({ readonly kind: "grpo" } & AdvantageRule)
  /** Above the mean of the other samples of the group. Ahmadian et al., "Back to basics", 2024 (RLOO). */
  | { readonly kind: "rloo" }
  /** The reward as it is. Williams 1992. */
  | { readonly kind: "reinforce" }
  /** Whitened over the batch, groups unseen. Hu et al., "REINFORCE++", 2025. */
  | { readonly kind: "reinforce++"; readonly eps: number }
  /** Above the group's mean, then over the batch's deviation of that. Hu et al. 2025, "REINFORCE++ w/ baseline". */
  | { readonly kind: "reinforce++-baseline"; readonly eps: number }
  /**
   * Several rewards a sample: each as "grpo" in its group, their weighted sum over the batch's deviation of it. Liu et al., "GDPO", 2026;
   * TRL: `multi_objective_aggregation="normalize_then_sum"`. A reward that is NaN adds nothing to its sample's sum; a sample is left out
   * when all of its rewards are NaN. `eps` > 0: rewards that cancel leave rounding noise, which nothing else keeps small.
   */
  | { readonly kind: "gdpo"; readonly weights: readonly number[]; readonly eps: number }; // weights [K]

/**
 * Advantages of a step's samples. Give whole rollouts: estimators that whiten over the batch depend on what is in it; the others see one
 * group at a time.
 * @param rewards [n], or [n, K] row-major for "gdpo": K rewards a sample; finite, or NaN to leave out
 * @param cuGroups [G + 1] int32: group g is samples cuGroups[g] .. cuGroups[g + 1] - 1
 * @returns [n] float32
 * @throws InputError BAD_ARGUMENT when shapes disagree or a number is out of range
 */
export function advantages(spec: AdvantageSpec, rewards: ArrayLike<number>, cuGroups: Int32Array): Float32Array {
  checkSpec(spec);
  checkGroups("advantages", rewards, cuGroups, spec.kind === "gdpo" ? spec.weights.length : 1);
  const values = estimate(spec, Float64Array.from(rewards), cuGroups);
  return Float32Array.from(values, (value) => (Number.isNaN(value) ? 0 : value));
}

/**
 * Whether a group without spread teaches nothing and may be dropped. Not so without a group baseline, where a group that is right
 * throughout is pushed up as a whole.
 */
export function usesGroupBaseline({ kind }: AdvantageSpec): boolean {
  return kind !== "reinforce" && kind !== "reinforce++";
}

/** Advantages [n] of rewards [n] or [n, K]; NaN for samples left out. */
function estimate(spec: AdvantageSpec, rewards: Float64Array, cuGroups: Int32Array): Float64Array {
  switch (spec.kind) {
    case "grpo":
      return byGroup(rewards, cuGroups, (group) => groupAdvantages(group, spec));
    case "rloo":
      return byGroup(rewards, cuGroups, leaveOneOut);
    case "reinforce":
      return rewards;
    case "reinforce++": {
      const batch = Int32Array.of(0, rewards.length);
      return byGroup(rewards, batch, (all) => groupAdvantages(all, { scaleByStd: true, eps: spec.eps }));
    }
    case "reinforce++-baseline": {
      const centred = byGroup(rewards, cuGroups, (group) => groupAdvantages(group, { scaleByStd: false, eps: 0 }));
      return overDeviation(centred, spec.eps); // the batch's mean is 0, as each group's is
    }
    case "gdpo":
      return overDeviation(weightedSum(rewards, cuGroups, spec.weights, spec.eps), spec.eps); // mean 0 for the same reason
  }
}

/** r_i - mean of the other rewards; zeros without spread, so also for a single sample. */
function leaveOneOut(rewards: Float64Array): Float64Array {
  if (!hasSpread(rewards)) return rewards.fill(0);
  const sum = rewards.reduce((total, reward) => total + reward, 0);
  return rewards.map((reward) => reward - (sum - reward) / (rewards.length - 1));
}

/** sum_k w_k (r_k - mean_k) / (std_k + eps), means and deviations of the group; NaN where a sample has no reward at all. */
function weightedSum(
  rewards: Float64Array, // [n, K]
  cuGroups: Int32Array, // [G + 1]
  weights: readonly number[], // [K]
  eps: number,
): Float64Array {
  const K = weights.length;
  const sums = new Float64Array(rewards.length / K).fill(Number.NaN);
  weights.forEach((weight, k) => {
    const column = sums.map((_, i) => rewards[i * K + k]!);
    const normalised = byGroup(column, cuGroups, (group) => groupAdvantages(group, { scaleByStd: true, eps }));
    normalised.forEach((value, i) => {
      if (!Number.isNaN(value)) sums[i] = (Number.isNaN(sums[i]!) ? 0 : sums[i]!) + weight * value;
    });
  });
  return sums;
}

function checkSpec(spec: AdvantageSpec): void {
  if ("eps" in spec) checkNotNegative("advantages eps", spec.eps, "1e-6 is usual");
  if (spec.kind !== "gdpo") return;
  const { weights, eps } = spec;
  const wrong = weights.findIndex((weight) => !Number.isFinite(weight));
  if (weights.length === 0) refuse("advantages weights", "at least one weight", "none", "give one for each reward");
  if (wrong >= 0)
    refuse("advantages weights", "finite numbers", `${weights[wrong]} at place ${wrong}`, "0 leaves a reward out");
  if (eps === 0) refuse("advantages eps", 'a number > 0 for "gdpo"', eps, "without it, rewards that cancel give noise");
}
