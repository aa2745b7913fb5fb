// Groups with advantages to one training batch: tokens end to end, weights with the step's normaliser, recorded log-probs in place.
// Pure. Leaves out which groups are worth training on.
import type { TrainBatch } from "../engine/types.js";
import { type Aggregation, tokenWeights } from "../objective/weights.js";
import { packSequences, wholeSequence } from "./pack.js";
import type { Group, Sample } from "./types.js";

/** An advantage for each sample, or for each token of its completion [C]. */
type SampleAdvantage = number | Float32Array;

/** Prompts come along with weight 0. Throws InputError `EMPTY_SEQUENCE` for a sample without tokens. */
export function packGroups(
  groups: readonly Group<unknown>[], // [G]
  advantages: readonly ArrayLike<SampleAdvantage>[], // [G][samples]
  aggregation: Aggregation = "token-mean",
  constantLength = 1, // tokens, for the aggregation "constant"
): TrainBatch {
  const samples = groups.flatMap((group) => [...group.samples]); // [S]
  const ofSample = advantages.flatMap((group) => Array.from<SampleAdvantage>(group)); // [S]
  const weights = tokenWeights(
    samples.map((sample) => sample.mask),
    aggregation,
    constantLength,
  ); // [S][C]
  const packed = packSequences(samples.map(wholeSequence));
  return {
    ...packed,
    weights: scatter(samples, packed.cuSeqlens, (s) => weights[s]!),
    advantages: scatter(samples, packed.cuSeqlens, (s) => ofTokens(ofSample[s]!, samples[s]!.completion.length)),
    oldLogprobs: scatter(samples, packed.cuSeqlens, (s) => samples[s]!.logprobs),
  };
}

const ofTokens = (advantage: SampleAdvantage, length: number): Float32Array =>
  typeof advantage === "number" ? new Float32Array(length).fill(advantage) : advantage;

/** Values of completion tokens at their places in the packed tokens; 0 on prompts. */
export function scatter(
  samples: readonly Sample[],
  cuSeqlens: Int32Array,
  values: (s: number) => Float32Array, // [C] of sample s
): Float32Array {
  const packed = new Float32Array(cuSeqlens[samples.length]!);
  samples.forEach((sample, s) => {
    packed.set(values(s), cuSeqlens[s]! + sample.prompt.length);
  });
  return packed;
}
