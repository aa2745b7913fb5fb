// What tells that a policy games its reward, and how it thinks, from the rollout of one step: fields for metrics.jsonl from plain data.
// What does not exist in a step is NaN here and left out of the file. Leaves out when a figure is alarming: see diagnosis.ts.
import { spearmanWithin } from "../objective/correlation.js";
import { repeatedShare } from "../objective/repetition.js";
import { type Style, thinkingStyle } from "../prompt/style.js";
import type { Group, Sample } from "../rollout/types.js";
import { mean } from "./metrics.js";

/** A sample's text and where its tokens went. */
export interface ReadSample {
  /** The thought; null where the format has none or its marks are missing. */
  readonly thinking: string | null;
  /** The answer as it is judged; where marks are missing, what the format puts in its place. */
  readonly answer: string;
  /** The answer's marks are missing. */
  readonly malformed: boolean;
  /** Tokens of the completion up to and with the mark that the answer follows; null where malformed or unknown. 0 without thinking. */
  readonly thoughtTokens: number | null;
  /** The other tokens, the end token included; null where malformed or unknown. */
  readonly answerTokens: number | null;
}

export type SampleReader<P> = (problem: P, sample: Sample) => ReadSample;

/** n of the n-grams whose repetition is watched, in tokens. */
export const WATCHED_NGRAM = 4;

/**
 * The figures of a rollout's samples:
 * - `length/thought`, `length/answer`: mean tokens over the samples that are well formed; `length/thought` where any of them thinks;
 * - `malformed`: share of samples whose marks are missing;
 * - `watch/malformed_lead`: by how much their rewards lead those of the group's well-formed samples, mean over the groups that have both;
 * - `watch/length_correlation`: Spearman's correlation of reward and answer length, both less their group's mean; well-formed samples;
 * - `watch/repeated_4grams`: share of a completion's 4-grams of tokens that came before in it, mean over samples;
 * - `style/...`: means over thoughts, see prompt/style.ts.
 * Without `read` the answer is the whole completion, and there is nothing to say about marks and thoughts.
 */
export function watchMetrics<P>(groups: readonly Group<P>[], read?: SampleReader<P>): Record<string, number> {
  const seen = groups.map(({ problem, samples }) => samples.map((sample) => read?.(problem, sample) ?? null));
  const samples = groups.flatMap((group) => [...group.samples]);
  const repeated = samples.map(({ completion }) => repeatedShare(completion, WATCHED_NGRAM));
  return {
    "watch/length_correlation": lengthCorrelation(groups, seen),
    [`watch/repeated_${WATCHED_NGRAM}grams`]: mean(repeated.filter((share) => !Number.isNaN(share))),
    ...(read && { "watch/malformed_lead": malformedLead(groups, seen as ReadSample[][]) }),
    ...(read && textMetrics(seen.flat() as ReadSample[])),
  };
}

function textMetrics(samples: readonly ReadSample[]): Record<string, number> {
  const known = (field: "thoughtTokens" | "answerTokens") => samples.flatMap((each) => each[field] ?? []);
  const thoughts = samples.flatMap(({ thinking }) => thinking ?? []);
  return {
    malformed: samples.filter((each) => each.malformed).length / samples.length,
    "length/thought": thoughts.length > 0 ? mean(known("thoughtTokens")) : Number.NaN,
    "length/answer": mean(known("answerTokens")),
    ...styleMetrics(thoughts.map(thinkingStyle)),
  };
}

function styleMetrics(styles: readonly Style[]): Record<string, number> {
  const names = Object.keys(styles[0] ?? {}) as (keyof Style)[];
  return Object.fromEntries(names.map((name) => [`style/${name}`, mean(styles.map((style) => style[name]))]));
}

/** Groups of one sample each count as one group. */
function malformedLead<P>(groups: readonly Group<P>[], seen: readonly (readonly ReadSample[])[]): number {
  const graded = groups.map(({ rewards }, g) =>
    seen[g]!.map(({ malformed }, s) => ({ malformed, reward: rewards[s]! })),
  );
  const compared = graded.every(({ length }) => length === 1) ? [graded.flat()] : graded;
  const leads = compared.map((samples) => {
    const rewardOf = (malformed: boolean) =>
      mean(samples.filter((sample) => sample.malformed === malformed).map(({ reward }) => reward));
    return rewardOf(true) - rewardOf(false);
  });
  return mean(leads.filter((lead) => !Number.isNaN(lead)));
}

/** Over the samples whose answer's length is known. */
function lengthCorrelation<P>(groups: readonly Group<P>[], seen: readonly (readonly (ReadSample | null)[])[]): number {
  const rewards: number[] = [];
  const lengths: number[] = [];
  const cuGroups = [0];
  groups.forEach((group, g) => {
    group.samples.forEach((sample, s) => {
      const read = seen[g]![s]!;
      const length = read === null ? sample.completion.length : read.answerTokens;
      if (length === null) return;
      rewards.push(group.rewards[s]!);
      lengths.push(length);
    });
    if (rewards.length > cuGroups.at(-1)!) cuGroups.push(rewards.length);
  });
  return spearmanWithin(rewards, lengths, cuGroups);
}
