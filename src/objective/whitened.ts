// Whitening over a batch of samples of which each counts as often as it has tokens: verl's `masked_whiten` of values that are alike at all
// tokens of a sample.
import { hasSpread } from "./advantage.js";

/**
 * (value - mean) / (deviation + eps), mean and deviation (unbiased) over the batch's tokens; zeros without spread. NaN stays NaN and is not
 * counted.
 * @param values [n]
 * @param tokens [n] counts; without them every sample counts once
 * @returns [n]
 */
export function whitened(values: Float64Array, tokens: ArrayLike<number> | undefined, eps: number): Float64Array {
  const counts = Float64Array.from(values, (value, i) => (Number.isNaN(value) ? 0 : (tokens?.[i] ?? 1)));
  const sum = (term: (value: number, count: number) => number) =>
    values.reduce((total, value, i) => (counts[i] === 0 ? total : total + term(value, counts[i]!)), 0);
  const counted = sum((_, count) => count);
  const zeros = () => values.map((value) => (Number.isNaN(value) ? value : 0));
  if (!hasSpread(values.filter((_, i) => counts[i]! > 0))) return zeros();
  const mean = sum((value, count) => count * value) / counted;
  const squares = sum((value, count) => count * (value - mean) ** 2);
  const scale = Math.sqrt(squares / (counted - 1)) + eps;
  return scale === 0 ? zeros() : values.map((value) => (value - mean) / scale);
}
