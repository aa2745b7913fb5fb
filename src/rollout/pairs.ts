// Graded groups to pairs of a chosen and a rejected completion, and pairs to a training batch. Pure. Leaves out where pairs are kept.
import type { PackedTokens, TrainBatch } from "../engine/types.js";
import { packSequences, wholeSequence } from "./pack.js";
import type { Group, Sample } from "./types.js";

/** One side of a pair. */
export interface Answer {
  readonly completion: Int32Array; // [C]
  /** 1 where the policy chose the token and the loss counts it. */
  readonly mask: Uint8Array; // [C]
  readonly reward: number;
}

/** Two completions of one prompt, of which the chosen one has the larger reward. */
export interface Pair {
  readonly prompt: Int32Array; // [P]
  readonly chosen: Answer;
  readonly rejected: Answer;
}

export interface PairRule {
  /** Samples that a group must have that can be parsed and graded. */
  readonly minValid: number;
  /** Tokens of prompt and completion that either side may have. */
  readonly maxPairTokens: number;
}

/** Why a group gives no pair: too few valid samples, equal rewards, or a side that is too long. */
export type NoPair = "few_valid" | "tied" | "too_long";

/** The pair of a group: its highest reward against its lowest, the first of equals. `valid` [S] says which samples count. */
export function pairOf(group: Group<unknown>, valid: readonly boolean[], rule: PairRule): Pair | NoPair {
  const { samples, rewards } = group;
  const places = [...samples.keys()].filter((i) => valid[i]);
  if (places.length < rule.minValid) return "few_valid";
  const best = places.reduce((a, b) => (rewards[b]! > rewards[a]! ? b : a));
  const worst = places.reduce((a, b) => (rewards[b]! < rewards[a]! ? b : a));
  if (rewards[best] === rewards[worst]) return "tied";
  const [chosen, rejected] = [samples[best]!, samples[worst]!];
  const { prompt } = chosen;
  const longest = Math.max(chosen.completion.length, rejected.completion.length);
  if (prompt.length + longest > rule.maxPairTokens) return "too_long";
  return { prompt, chosen: answer(chosen, rewards[best]!), rejected: answer(rejected, rewards[worst]!) };
}

/** A copy: a sample is a part of the arrays of its whole rollout. */
const answer = ({ completion, mask }: Sample, reward: number): Answer => ({
  completion: completion.slice(),
  mask: mask.slice(),
  reward,
});

const sidesOf = (pairs: readonly Pair[]) =>
  pairs.flatMap(({ prompt, chosen, rejected }) => [chosen, rejected].map((side) => ({ prompt, ...side })));

/** Both sides of each pair, chosen first, end to end. */
export function packPairs(pairs: readonly Pair[]): PackedTokens {
  return packSequences(sidesOf(pairs).map(wholeSequence));
}

/** What the DPO loss takes: the mean over the pairs. `reference`: log-probs of the packed tokens, of which prompts may be anything. */
export function pairBatch(pairs: readonly Pair[], packed: PackedTokens, reference: Float32Array): TrainBatch {
  const weights = new Float32Array(packed.ids.length);
  sidesOf(pairs).forEach(({ prompt, mask }, s) => {
    weights.set(mask, packed.cuSeqlens[s]! + prompt.length);
  });
  const pairWeights = new Float32Array(pairs.length).fill(1 / pairs.length);
  return { ...packed, weights, refLogprobs: reference, pairWeights };
}
