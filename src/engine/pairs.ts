// Losses of pairs of sequences, chosen and rejected in turn: which they are, and the means of their sums.
import type { NativePairSums } from "./addon.js";
import type { LossSpec, PairMetrics } from "./types.js";

/** Sequences that a loss does not cut apart. */
export function sequencesTogether(loss: LossSpec): number {
  return loss.kind === "dpo" ? 2 : 1;
}

export function pairMetrics(sums: NativePairSums): PairMetrics {
  const mean = (sum: number) => sum / sums.count;
  return {
    count: sums.count,
    chosenReward: mean(sums.chosen),
    rejectedReward: mean(sums.rejected),
    margin: mean(sums.chosen - sums.rejected),
    accuracy: mean(sums.accurate),
    chosenLogprob: mean(sums.chosenLogprob),
    rejectedLogprob: mean(sums.rejectedLogprob),
  };
}
