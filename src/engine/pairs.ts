// Losses of pairs of sequences, chosen and rejected in turn: which they are, and the means of their sums.
import type { NativePairSums } from "./addon.js";
import type { LossSpec, PairMetrics } from "./types.js";

/** Sequences that a loss does not cut apart. */
export function sequencesTogether(kind: LossSpec["kind"]): number {
  return kind === "dpo" || kind === "bradley-terry" ? 2 : 1;
}

export function pairMetrics(kind: LossSpec["kind"], sums: NativePairSums): PairMetrics {
  const mean = (sum: number) => sum / sums.count;
  const logprobs = (sum: number) => (kind === "dpo" ? mean(sum) : Number.NaN);
  return {
    count: sums.count,
    chosenReward: mean(sums.chosen),
    rejectedReward: mean(sums.rejected),
    margin: mean(sums.chosen - sums.rejected),
    accuracy: mean(sums.accurate),
    chosenLogprob: logprobs(sums.chosenLogprob),
    rejectedLogprob: logprobs(sums.rejectedLogprob),
  };
}
