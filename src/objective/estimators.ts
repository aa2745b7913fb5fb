// The advantage estimators of group-based reinforcement learning, chosen by data. All in float64; each result is rounded once.
//
// Handled alike by all of them: a reward NaN is a sample left out, which takes no part in any mean or deviation and gets 0. A sample alone
// in its group has no baseline, so estimators with one give it 0; a group without spread gets exact zeros from them. Some libraries give
// a sample alone its raw reward instead. Where a deviation is taken over the batch, samples with advantage 0 count in it.
//
// Whitening over the batch counts a sample by its tokens, as verl and OpenRLHF do, or, without their counts, once. Leaves out the KL in the
// reward: subtract it from the rewards first. Dr. GRPO is "grpo" without the deviation and the aggregation "constant" of weights.ts.
import { type AdvantageRule, groupAdvantages, hasSpread, overDeviation } from "./advantage.js";
import { byGroup, checkGroups, checkNotNegative, refuse } from "./groups.js";
import { whitened } from "./whitened.js";

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
  /**
   * Above the group's mean, then whitened over the batch. Hu et al. 2025, "REINFORCE++ w/ baseline". Counted by tokens the batch's mean of
   * that is not 0, and a group without spread gets what the mean leaves.
   */
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
 * @param tokens [n] counts by which "reinforce++" and its baseline whiten: >= 0; without them every sample counts once
 * @returns [n] float32
 * @throws InputError BAD_ARGUMENT when shapes disagree or a number is out of range
 */
export function advantages(
  spec: AdvantageSpec,
  rewards: ArrayLike<number>,
  cuGroups: Int32Array,
  tokens?: ArrayLike<number>,
): Float32Array {
  checkSpec(spec);
  checkGroups("advantages", rewards, cuGroups, spec.kind === "gdpo" ? spec.weights.length : 1);
  if (tokens !== undefined) checkTokens(tokens, cuGroups.at(-1)!);
  const values = estimate(spec, Float64Array.from(rewards), cuGroups, tokens);
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
function estimate(
  spec: AdvantageSpec,
  rewards: Float64Array,
  cuGroups: Int32Array,
  tokens: ArrayLike<number> | undefined,
): Float64Array {
  switch (spec.kind) {
    case "grpo":
      return byGroup(rewards, cuGroups, (group) => groupAdvantages(group, spec));
    case "rloo":
      return byGroup(rewards, cuGroups, leaveOneOut);
    case "reinforce":
      return rewards;
    case "reinforce++":
      return whitened(rewards, tokens, spec.eps);
    case "reinforce++-baseline": {
      const centred = byGroup(rewards, cuGroups, (group) => groupAdvantages(group, { scaleByStd: false, eps: 0 }));
      // Counted once each, the batch's mean is 0, as each group's is.
      return tokens ? whitened(centred, tokens, spec.eps) : overDeviation(centred, spec.eps);
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

function checkTokens(tokens: ArrayLike<number>, samples: number): void {
  if (tokens.length !== samples) refuse("advantages tokens", `${samples} counts`, tokens.length, "one for each sample");
  const counts = Array.from(tokens);
  const wrong = counts.findIndex((count) => !(Number.isSafeInteger(count) && count >= 0));
  if (wrong >= 0)
    refuse("advantages tokens", "counts of tokens", `${counts[wrong]} at place ${wrong}`, "0 leaves a sample out");
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
