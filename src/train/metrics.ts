// The fields that a policy step writes to metrics.jsonl, from plain data. Values that do not exist in a step (no update was made) are
// NaN here and left out of the file.
import type { GenerateStats, LossMetrics } from "../engine/types.js";
import { hasSpread } from "../objective/advantage.js";
import type { Group, Sample } from "../rollout/types.js";

/** What one optimizer step of a policy step came to. */
export interface PolicyUpdate {
  readonly loss: LossMetrics;
  readonly gradNorm: number;
  /** Tokens of the sequences, prompts included. */
  readonly sequenceTokens: number;
  /** What the batch itself had to say. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** "groups/zero_spread" counts groups whose rewards do not differ: their advantages are 0. */
export function policyMetrics(
  groups: readonly Group<unknown>[],
  updates: readonly PolicyUpdate[],
): Record<string, number> {
  const rewards = groups.flatMap((group) => [...group.rewards]);
  const lengths = samplesOf(groups).map((sample) => sample.completion.length);
  const truncated = samplesOf(groups).filter((sample) => sample.finish === "length").length;
  const zeroSpread = groups.filter((group) => !hasSpread(group.rewards)).length;
  const over = (field: (update: PolicyUpdate) => number) => mean(updates.map(field));
  return {
    "reward/mean": mean(rewards),
    "reward/std": deviation(rewards),
    "completion_length/mean": mean(lengths),
    "completion_length/max": lengths.reduce((most, length) => Math.max(most, length), 0),
    "completion_length/truncated": truncated / lengths.length,
    "groups/total": groups.length,
    "groups/zero_spread": zeroSpread,
    frac_reward_zero_std: zeroSpread / groups.length,
    ...partMetrics(groups),
    loss: over((u) => u.loss.loss),
    "mismatch/max_abs": updates[0]?.loss.mismatchMaxAbs ?? Number.NaN,
    "drift/max_abs": updates.length > 1 ? updates.at(-1)!.loss.mismatchMaxAbs : Number.NaN,
    ratio: over((u) => u.loss.ratio),
    clip_fraction: over((u) => u.loss.clipFraction),
    "clip_ratio/low_mean": over((u) => u.loss.clipLowFraction),
    "clip_ratio/high_mean": over((u) => u.loss.clipHighFraction),
    kl: over((u) => u.loss.kl),
    entropy: over((u) => u.loss.entropy),
    grad_norm: over((u) => u.gradNorm),
    ...Object.fromEntries(Object.keys(updates[0]?.metrics ?? {}).map((name) => [name, over((u) => u.metrics[name]!)])),
  };
}

/** Mean and deviation of each of several rewards, before weighting. */
function partMetrics(groups: readonly Group<unknown>[]): Record<string, number> {
  const parts = groups[0]?.parts ?? [];
  return Object.fromEntries(
    parts.flatMap(({ name }, k) => {
      const rewards = groups.flatMap((group) => [...group.parts![k]!.rewards]);
      return [
        [`reward/${name}`, mean(rewards)],
        [`reward/${name}/std`, deviation(rewards)],
      ];
    }),
  );
}

/** How the room for keys and values was used by the calls of a step, which follows memory and threads: sums, and the most at once. */
export function roomMetrics(calls: readonly GenerateStats[]): Record<string, number> {
  const sum = (field: (stats: GenerateStats) => number) => calls.reduce((total, stats) => total + field(stats), 0);
  const most = (field: (stats: GenerateStats) => number) =>
    calls.reduce((top, stats) => Math.max(top, field(stats)), 0);
  return {
    "kv/preemptions": sum((stats) => stats.preemptions),
    "kv/recomputed_tokens": sum((stats) => stats.recomputedTokens),
    "kv/blocks": most((stats) => stats.blocks),
    "kv/peak_blocks": most((stats) => stats.peakBlocks),
  };
}

/** How far the sampler is from the policy: |sampler's log-prob - policy's| over the sampled tokens. */
export function samplerMetrics(groups: readonly Group<unknown>[]): Record<string, number> {
  let [sum, most, tokens] = [0, 0, 0];
  for (const { logprobs, samplerLogprobs } of samplesOf(groups)) {
    for (let t = 0; t < logprobs.length; t++) {
      const difference = Math.abs(samplerLogprobs[t]! - logprobs[t]!);
      sum += difference;
      most = Math.max(most, difference);
    }
    tokens += logprobs.length;
  }
  return { "sampling_logp_difference/mean": sum / tokens, "sampling_logp_difference/max": most };
}

/** Tokens a second of sampling (new tokens), of training (whole sequences) and of the whole step (new tokens). */
export function throughput(
  groups: readonly Group<unknown>[],
  rolloutSeconds: number,
  updates: readonly PolicyUpdate[],
): Record<string, number> {
  const sampled = samplesOf(groups).reduce((sum, sample) => sum + sample.completion.length, 0);
  const trained = updates.reduce((sum, update) => sum + update.sequenceTokens, 0);
  const trainSeconds = updates.reduce((sum, update) => sum + update.seconds, 0);
  return {
    tokens_per_second: sampled / (rolloutSeconds + trainSeconds),
    "tokens_per_second/rollout": sampled / rolloutSeconds,
    "tokens_per_second/train": trained / trainSeconds,
    "seconds/rollout": rolloutSeconds,
    "seconds/train": trainSeconds,
  };
}

function samplesOf(groups: readonly Group<unknown>[]): Sample[] {
  return groups.flatMap((group) => [...group.samples]);
}

/** NaN for no values. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Population standard deviation. */
function deviation(values: readonly number[]): number {
  const center = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - center) ** 2)));
}
