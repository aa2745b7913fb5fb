// The figures of a loss from the sums that the native side gives: means over tokens or pairs, and what a critic explains.
import type { NativeSums, NativeValueSums } from "./addon.js";
import { pairMetrics, sequencesTogether } from "./pairs.js";
import type { LossMetrics, LossSpec, ValueMetrics } from "./types.js";

export function lossMetrics({ kind }: LossSpec, sums: NativeSums): LossMetrics {
  if (kind === "value") return valueLossMetrics(sums);
  const mean = (sum: number) => sum / sums.tokens;
  const policy = kind === "policy";
  return {
    loss: sums.loss,
    tokens: sums.tokens,
    entropy: mean(sums.entropy),
    mismatchMaxAbs: policy ? sums.maxAbsDrift : Number.NaN,
    clipFraction: mean(sums.clipped),
    clipLowFraction: mean(sums.clippedLow),
    clipHighFraction: mean(sums.clippedHigh),
    ratio: policy ? mean(sums.ratio) : Number.NaN,
    kl: mean(sums.kl),
    ...(sequencesTogether(kind) > 1 && { pairs: pairMetrics(kind, sums.pairs) }),
  };
}

function valueLossMetrics({ loss, value }: NativeSums): LossMetrics {
  const none = Number.NaN;
  return {
    loss,
    tokens: value.tokens,
    entropy: none,
    mismatchMaxAbs: value.maxAbsDrift,
    clipFraction: value.clipped / value.tokens,
    clipLowFraction: none,
    clipHighFraction: none,
    ratio: none,
    kl: none,
    value: valueMetrics(value),
  };
}

export function valueMetrics(sums: NativeValueSums): ValueMetrics {
  const mean = (sum: number) => sum / sums.tokens;
  const variance = (sum: number, squares: number) => mean(squares) - mean(sum) ** 2;
  return {
    mean: mean(sums.values),
    returnMean: mean(sums.returns),
    explainedVariance: 1 - variance(sums.errors, sums.squaredErrors) / variance(sums.returns, sums.squaredReturns),
  };
}
